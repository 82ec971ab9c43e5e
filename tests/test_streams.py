from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wakeword.audio import SAMPLE_RATE, Samples, active_level_dbfs, read_audio, speech_span, write_wav
from wakeword.clips.augment import level_rms_dbfs as rms_dbfs
from wakeword.clips.dataset import Clip, Kind
from wakeword.errors import AudioError, DataError
from wakeword.evaluate.plan import MixConfig, build_mixed_streams, build_negative_streams
from wakeword.evaluate.streams import LEVEL_DBFS, MixedStream, reverberate, write_mixed

GAP_S = (1.0, 3.0)


def tone(hz: float, seconds: float, amplitude: float) -> Samples:
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (amplitude * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def make_clip(
    folder: Path, name: str, kind: Kind, samples: Samples, label: str = "", source: str = ""
) -> Clip:
    path = folder / f"{name}.wav"
    write_wav(path, samples)
    seconds = len(samples) / SAMPLE_RATE
    return Clip(path, kind, label, "test", f"group {name}", seconds, "en", "CC0", source or "made up")


@pytest.fixture(scope="module")
def phrases(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Bursts of 0.5 s within 1 s of silence, of different levels: 3 kHz is "alpha", 4 kHz "beta"."""
    folder, quiet = tmp_path_factory.mktemp("phrases"), np.zeros(SAMPLE_RATE // 4, dtype=np.float32)
    clips = []
    for i in range(8):
        label, hz = ("alpha", 3000.0) if i % 2 else ("beta", 4000.0)
        burst = np.concatenate([quiet, tone(hz, 0.5, 0.02 * (i + 1)), quiet])
        clips.append(make_clip(folder, str(i), "phrase", burst, label))
    return clips


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    folder = tmp_path_factory.mktemp("speech")
    return [make_clip(folder, str(i), "speech", tone(200.0 + i, 4.0, 0.3)) for i in range(3)]


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    folder, rng = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    hiss = (0.1 * rng.normal(size=3 * SAMPLE_RATE)).astype(np.float32)
    return [make_clip(folder, "hiss", "noise", hiss), make_clip(folder, "hum", "music", tone(60.0, 3.0, 0.7))]


def mix(
    phrases: Sequence[Clip], speech: Sequence[Clip], noise: Sequence[Clip], seed: int = 1, **config: object
) -> list[MixedStream]:
    return build_mixed_streams(phrases, speech, noise, MixConfig(gap_s=GAP_S, **config), seed)  # type: ignore[arg-type]


def render(stream: MixedStream, block: int = 4000) -> Samples:
    return np.concatenate(list(stream.blocks(block)))


def test_same_seed_same_samples_another_seed_another_stream(phrases, speech, noise) -> None:  # type: ignore[no-untyped-def]
    (a,), (b,), (c,) = (mix(phrases, speech, noise, seed, snr_db=5.0) for seed in (1, 1, 2))
    assert a == b
    np.testing.assert_array_equal(render(a), render(b))
    assert [s.path for s in a.spoken] != [s.path for s in c.spoken]


@pytest.mark.parametrize("block", [777, 1280, 10**9])
def test_block_size_changes_nothing(phrases, speech, noise, block: int) -> None:  # type: ignore[no-untyped-def]
    (stream,) = mix(phrases, speech, noise, snr_db=5.0)
    np.testing.assert_array_equal(render(stream, block), render(stream, 5000))
    assert len(render(stream, block)) == stream.n_samples


def test_labels_are_where_the_phrase_sounds(phrases, speech) -> None:  # type: ignore[no-untyped-def]
    (stream,) = mix(phrases, speech, [])
    audio = render(stream)
    assert sorted(s.path for s in stream.spoken) == sorted(c.path for c in phrases)
    clips = {c.path: c for c in phrases}
    for s in stream.spoken:
        assert (s.phrase, s.group) == (clips[s.path].label, clips[s.path].group)
        assert s.end_s - s.start_s == pytest.approx(0.5, abs=0.04)
        heard = audio[round(s.start_s * SAMPLE_RATE) : round(s.end_s * SAMPLE_RATE)]
        spectrum = np.abs(np.fft.rfft(heard))
        loudest_hz = np.fft.rfftfreq(len(heard), 1 / SAMPLE_RATE)[spectrum.argmax()]
        assert loudest_hz == pytest.approx(3000 if s.phrase == "alpha" else 4000, abs=3)


def test_gaps_and_levels(phrases, speech) -> None:  # type: ignore[no-untyped-def]
    (stream,) = mix(phrases, speech, [])
    audio = render(stream)
    clip_starts = [s.start_s - 0.25 for s in stream.spoken]
    gaps = np.diff([0.0, *clip_starts]) - np.array([0.0] + [1.0] * (len(clip_starts) - 1))
    assert ((gaps > GAP_S[0] - 0.03) & (gaps < GAP_S[1] + 0.03)).all()
    for s in stream.spoken:
        spoken = audio[round((s.start_s + 0.05) * SAMPLE_RATE) : round((s.end_s - 0.05) * SAMPLE_RATE)]
        before = audio[round((s.start_s - 0.9) * SAMPLE_RATE) : round((s.start_s - 0.4) * SAMPLE_RATE)]
        assert rms_dbfs(spoken) == pytest.approx(LEVEL_DBFS, abs=0.2)
        assert rms_dbfs(before) == pytest.approx(
            LEVEL_DBFS, abs=1.5
        )  # not muted; may hold a joint of two files


def test_background_pauses_and_goes_on(tmp_path: Path, phrases) -> None:  # type: ignore[no-untyped-def]
    # A background that counts its own samples shows what was played: a slow ramp.
    ramp = np.linspace(0.1, 0.9, 40 * SAMPLE_RATE, dtype=np.float32)
    (stream,) = mix(phrases[:1], [make_clip(tmp_path, "ramp", "speech", ramp)], [])
    audio = render(stream)
    first, last = (round(t * SAMPLE_RATE) for t in (stream.spoken[0].start_s, stream.spoken[0].end_s))
    slope = np.mean(np.diff(audio[1000 : first - 6000]))
    before, after = audio[first - 6000], audio[last + 6000]
    # Of the time between the two points, the clip took its 16,000 samples less two overlaps of 800.
    expected = (last - first) + 12_000 - 16_000 + 2 * 800
    assert (after - before) / slope == pytest.approx(expected, abs=50)  # 16-bit steps are 25 samples apart


@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_snr_is_phrase_over_noise(phrases, speech, noise, snr_db: float) -> None:  # type: ignore[no-untyped-def]
    (clean,), (noisy,) = mix(phrases, speech, noise), mix(phrases, speech, noise, snr_db=snr_db)
    assert [(s.start_s, s.path) for s in clean.spoken] == [(s.start_s, s.path) for s in noisy.spoken]
    difference = render(noisy) / np.float32(noisy.scale) - render(clean) / np.float32(clean.scale)
    assert rms_dbfs(difference) == pytest.approx(LEVEL_DBFS - snr_db, abs=0.5)
    assert {s.noise for s in noisy.spoken} == {"babble", "noise", "music"}
    assert {s.noise for s in clean.spoken} == {""}
    kinds = [s.noise for s in noisy.spoken]
    assert all(a != b for a, b in itertools.pairwise(kinds))


def test_each_phrase_has_the_noise_its_label_says(phrases, speech, noise) -> None:  # type: ignore[no-untyped-def]
    (clean,), (noisy,) = mix(phrases, speech, noise), mix(phrases, speech, noise, snr_db=0.0)
    difference = render(noisy) / np.float32(noisy.scale) - render(clean) / np.float32(clean.scale)
    for s in noisy.spoken:
        heard = difference[round(s.start_s * SAMPLE_RATE) : round(s.end_s * SAMPLE_RATE)]
        power = np.abs(np.fft.rfft(heard)) ** 2
        share = power / power.sum()
        hz = np.fft.rfftfreq(len(heard), 1 / SAMPLE_RATE)
        hum, voices = share[(hz > 50) & (hz < 70)].sum(), share[(hz > 190) & (hz < 215)].sum()
        assert {"music": hum > 0.9, "babble": voices > 0.9, "noise": max(hum, voices) < 0.1}[s.noise]


def test_nothing_clips(phrases, speech, noise) -> None:  # type: ignore[no-untyped-def]
    (stream,) = mix(phrases, speech, noise, snr_db=-25.0)
    assert stream.scale < 0.5
    assert np.abs(render(stream)).max() == pytest.approx(0.98, abs=1e-3)


def test_pieces_share_out_the_phrases_and_carry_on_the_background(phrases, speech) -> None:  # type: ignore[no-untyped-def]
    pieces = mix(phrases, speech, [], piece_s=8.0)
    assert len(pieces) == 3
    assert sorted(s.path for p in pieces for s in p.spoken) == sorted(c.path for c in phrases)
    played = [s for p in pieces for s in p.segments if s.source.paths[0] in {c.path for c in speech}]
    for a, b in itertools.pairwise(played):
        assert b.offset in (a.offset + a.length, 0)


def test_room_response(phrases, speech) -> None:  # type: ignore[no-untyped-def]
    response = np.zeros(4000, dtype=np.float32)
    response[[100, 2100]] = 1.0, 0.5
    signal = np.random.default_rng(0).normal(size=8000).astype(np.float32)
    expected = signal.copy()
    expected[2000:] += 0.5 * signal[:-2000]
    np.testing.assert_allclose(reverberate(signal, response), expected, atol=1e-4)
    (dry,), (wet,) = mix(phrases, speech, []), mix(phrases, speech, [], room=response)
    assert np.abs(render(dry) - render(wet)).max() > 0.01


def test_excerpt_is_the_stream(phrases, speech) -> None:  # type: ignore[no-untyped-def]
    (stream,) = mix(phrases, speech, [])
    np.testing.assert_array_equal(stream.excerpt(2.0, 3.0), render(stream)[32_000:48_000])
    assert len(stream.excerpt(-1.0, 1.0)) == SAMPLE_RATE


def test_written_stream_and_labels(tmp_path: Path, phrases, speech) -> None:  # type: ignore[no-untyped-def]
    (stream,) = mix(phrases, speech, [])
    labels = write_mixed(stream, tmp_path / "mixed.wav")
    np.testing.assert_allclose(read_audio(tmp_path / "mixed.wav"), render(stream), atol=1e-4)
    with labels.open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [r["phrase"] for r in rows] == [s.phrase for s in stream.spoken]
    assert float(rows[0]["end_s"]) == pytest.approx(stream.spoken[0].end_s, abs=1e-3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mixed.tsv", "mixed.wav"]
    with pytest.raises(AudioError, match="cannot write"):
        write_mixed(stream, tmp_path / "absent" / "mixed.wav")


def test_negative_streams_join_short_files_of_one_source(tmp_path: Path) -> None:
    clips = [
        make_clip(tmp_path, f"{source}{i}", "speech", tone(300, seconds, 0.1 * (i + 1)), source=source)
        for source, seconds in (("a", 2.0), ("b", 5.0))
        for i in range(3)
    ]
    streams = build_negative_streams(clips, piece_s=4.0)
    assert [(s.source, s.seconds) for s in streams] == [("a", 4.0), ("a", 2.0), *[("b", 5.0)] * 3]
    first = np.concatenate(list(streams[0].blocks(1000)))
    np.testing.assert_array_equal(first, np.concatenate([read_audio(c.path) for c in clips[:2]]))
    assert streams[0].file_at(2.5) == (clips[1].path, 0.5)
    assert streams[0].file_at(1.0) == (clips[0].path, 1.0)


def test_what_cannot_be_mixed(tmp_path: Path, phrases, speech) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match="0 and 3 files"):
        mix([], speech, [])
    with pytest.raises(DataError, match="8 and 0 files"):
        mix(phrases, [], [])
    with pytest.raises(DataError, match="got none"):
        build_negative_streams([])
    bad = Clip(tmp_path / "bad.wav", "speech", "", "test", "x", 1.0, "en", "", "x")
    bad.path.write_bytes(b"RIFF")
    with pytest.raises(AudioError, match="not a readable audio file"):
        build_negative_streams([bad])


@pytest.mark.corpus
def test_real_phrases_end_inside_their_clips(corpus: Path) -> None:
    paths = sorted((corpus / "phrases" / "jarvis").glob("*.opus"))[:10]
    for path in paths:
        samples = read_audio(path)
        first, last = speech_span(samples)
        assert 0.2 < (last - first) / SAMPLE_RATE <= soundfile.info(path).duration
        assert active_level_dbfs(samples[first:last]) > -60
