"""Synthetic clips and background: right files, right sound, resumable, split by voice."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wakeword.audio import SAMPLE_RATE, level_dbfs, read_audio, speech_span
from wakeword.clips import synth
from wakeword.clips.dataset import check_clips, load_background, load_clips, normalise_phrase
from wakeword.errors import DataError, UsageError

needs_espeak = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")


def pitch_hz(samples: np.ndarray) -> float:
    """A man's pitch half a second into the samples: the best autocorrelation between 60 and 160 Hz."""
    frame = samples[8000:10048] * np.hanning(2048)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frame, 8192)) ** 2)
    low, high = SAMPLE_RATE // 160, SAMPLE_RATE // 60
    return SAMPLE_RATE / (low + int(np.argmax(correlation[low:high])))


@needs_espeak
def test_speak_obeys_rate_and_pitch() -> None:
    slow = synth.speak("hello there", "en-us+m3", 120, 50)
    fast = synth.speak("hello there", "en-us+m3", 210, 50)
    assert slow.dtype == np.float32 and np.abs(slow).max() <= 1
    lengths = [np.diff(speech_span(x))[0] for x in (slow, fast)]
    assert lengths[0] / lengths[1] == pytest.approx(210 / 120, rel=0.25)
    low = synth.speak("nine nine nine", "en-us+m3", 150, 20)
    high = synth.speak("nine nine nine", "en-us+m3", 150, 80)
    assert pitch_hz(high) > 1.3 * pitch_hz(low)


@needs_espeak
@pytest.mark.parametrize("text", ["--version", "-w x.wav", "$(ls)", "grüß gott"])
def test_text_is_spoken_and_never_taken_for_an_option(text: str) -> None:
    assert level_dbfs(synth.speak(text, "en-us", 150, 50)) > -30


@needs_espeak
def test_every_voice_exists() -> None:
    spoken = {voice: synth.speak("yes please", voice, 170, 50) for voice in synth.VOICES}
    assert len(spoken) == len(synth.VARIANTS) > 60
    assert min(level_dbfs(x) for x in spoken.values()) > -30
    assert len({x.tobytes() for x in spoken.values()}) == len(spoken)


@needs_espeak
def test_unknown_voice_is_named() -> None:
    with pytest.raises(DataError, match=r"voice 'xx-nowhere': .*does not exist"):
        synth.speak("yes", "xx-nowhere", 150, 50)


def test_missing_engine_says_how_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert synth.engines() == []
    with pytest.raises(DataError, match="apt-get install -y espeak-ng"):
        synth.speak("yes", "en-us", 150, 50)
    with pytest.raises(DataError, match="apt-get install -y espeak-ng"):
        synth.synthesise("yes", tmp_path / "out", 3)
    assert not list(tmp_path.rglob("*.wav"))


@pytest.mark.parametrize(
    "call",
    [
        lambda p: synth.synthesise("yes", p, 0),
        lambda p: synth.synthesise_background(p, 0),
        lambda p: synth.speak("yes", "en-us", 150, 50, engine="parrot"),
    ],
)
def test_impossible_orders(tmp_path: Path, call) -> None:
    with pytest.raises(UsageError):
        call(tmp_path)


@needs_espeak
def test_synthesise_makes_varied_clips_that_load_with_voices_as_groups(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    paths = synth.synthesise("Smart Mirror!", tmp_path, 24, seed=3, progress=lambda i, n: seen.append((i, n)))
    assert seen == [(i, 24) for i in range(1, 25)]
    assert {p.parent.parent for p in paths} == {tmp_path / "smart_mirror"}
    clips = load_clips(tmp_path, ["smart mirror"])
    good, bad = check_clips(clips)
    assert (len(good), bad) == (24, [])
    assert {c.group for c in clips} == {p.parent.name for p in paths}
    assert {c.split for c in clips} == {"train", "dev", "test"}
    assert soundfile.info(paths[0]).samplerate == SAMPLE_RATE
    spans = [np.diff(speech_span(read_audio(p)))[0] / SAMPLE_RATE for p in paths]
    assert min(spans) > 0.4 and max(spans) < 2.0
    assert len({read_audio(p).tobytes() for p in paths}) == 24


@needs_espeak
def test_synthesise_keeps_what_is_there_and_extends_it(tmp_path: Path) -> None:
    first = synth.synthesise("hello", tmp_path / "a", 4, seed=1)
    before = {p: p.stat().st_mtime_ns for p in first}
    first[0].write_bytes(b"mine")
    longer = synth.synthesise("hello", tmp_path / "a", 6, seed=1)
    assert longer[:4] == first
    assert first[0].read_bytes() == b"mine"
    assert [p.stat().st_mtime_ns for p in first[1:]] == [before[p] for p in first[1:]]
    again = synth.synthesise("hello", tmp_path / "b", 6, seed=1)
    assert [p.read_bytes() for p in again[1:]] == [p.read_bytes() for p in longer[1:]]
    other = synth.synthesise("hello", tmp_path / "c", 6, seed=2)
    assert [p.parent.name for p in other] != [p.parent.name for p in again]


@needs_espeak
def test_background_has_every_kind_in_every_split(tmp_path: Path) -> None:
    paths = synth.synthesise_background(tmp_path, 1.5, seed=2)
    clips = load_background([tmp_path])
    assert len(clips) == len(paths) == 18
    for kind in ("speech", "noise", "music"):
        assert {c.split for c in clips if c.kind == kind} == {"train", "dev", "test"}
    assert sum(c.seconds for c in clips) == pytest.approx(90, rel=0.02)
    assert sum(c.seconds for c in clips if c.kind == "speech") == pytest.approx(63, rel=0.02)
    for clip in clips:
        samples = read_audio(clip.path)
        assert -35 < 10 * np.log10(np.mean(samples**2)) < -8
    modified = [p.stat().st_mtime_ns for p in paths]
    assert synth.synthesise_background(tmp_path, 1.5, seed=2) == paths
    assert [p.stat().st_mtime_ns for p in paths] == modified


def test_music_is_tonal_and_noise_is_not() -> None:
    def flatness(x: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(x[:32000] * np.hanning(32000)))[400:6000] ** 2
        return float(np.exp(np.mean(np.log(power))) / np.mean(power))

    rng = np.random.default_rng(0)
    assert flatness(synth._music(48000, rng)) < 0.1
    assert flatness(synth.coloured_noise(48000, rng, 0.0)) > 0.4


def test_sentences_hold_no_usual_wake_word_and_none_to_avoid() -> None:
    lines = synth._sentences([])
    assert len(lines) == len(set(lines)) >= 150
    words = {word for line in lines for word in normalise_phrase(line).split()}
    assert not words & {"alexa", "computer", "jarvis", "mirror", "nova"}
    kept = synth._sentences(["the kettle", "garden gate"])
    assert len(lines) > len(kept) > 140  # "the" forbids nothing
    assert not any(word in normalise_phrase(line).split() for line in kept for word in ("kettle", "gate"))


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot make folder"):
        synth._make_file(tmp_path / "file" / "x" / "0.wav", lambda: np.zeros(10, np.float32))
