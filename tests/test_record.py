"""Recording takes: the end is found, what is wrong is said, nothing is lost; with a real microphone too."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from virtual_mic import VirtualMic

from wakeword.audio import SAMPLE_RATE, Samples, level_dbfs, read_audio, write_wav
from wakeword.clips.record import (
    LONGEST_S,
    READY_S,
    TakeFolder,
    check_take,
    import_takes,
    record_take,
)
from wakeword.errors import DataError, DeviceError


def tone(seconds: float, amplitude: float = 0.3) -> Samples:
    n = int(seconds * SAMPLE_RATE)
    wave = np.sin(2 * np.pi * 440 * np.arange(n) / SAMPLE_RATE) + np.sin(
        2 * np.pi * 1900 * np.arange(n) / SAMPLE_RATE
    )
    return (amplitude / 2 * wave).astype(np.float32)


def room(seconds: float, seed: int = 0) -> Samples:
    return (np.random.default_rng(seed).standard_normal(int(seconds * SAMPLE_RATE)) * 1e-3).astype(np.float32)


def laid(total_s: float, *sounds: tuple[float, Samples]) -> Samples:
    """A room with sounds at given seconds."""
    samples = room(total_s)
    for at, sound in sounds:
        start = int(at * SAMPLE_RATE)
        samples[start : start + len(sound)] += sound
    return samples


def blocks(samples: Samples, size: int = 320) -> Iterator[Samples]:
    return iter([samples[i : i + size] for i in range(0, len(samples), size)])


def test_a_take_ends_after_the_phrase_and_holds_it() -> None:
    phases: list[str] = []
    sound = laid(8.0, (READY_S + 0.5, tone(0.8)))
    take = record_take(blocks(sound), lambda phase, level, left: phases.append(phase))
    assert take.problems == ()
    assert (take.end - take.start) / SAMPLE_RATE == pytest.approx(0.8, abs=0.1)
    assert len(take.raw) / SAMPLE_RATE == pytest.approx(0.3 + 0.5 + 0.8 + 0.7, abs=0.1)
    assert len(take.trimmed) / SAMPLE_RATE == pytest.approx(1.3, abs=0.12)
    assert phases.count("ready") == READY_S * 50 and "speak" in phases


def test_problems_are_named() -> None:
    silent = record_take(blocks(room(8.0)))
    assert len(silent.raw) / SAMPLE_RATE == pytest.approx(LONGEST_S + 0.3, abs=0.05)
    assert "nothing was heard" in silent.problems[0]
    early = record_take(blocks(laid(8.0, (READY_S - 0.4, tone(0.9)))))
    assert any("before the signal" in p for p in early.problems)
    loud = check_take(np.clip(laid(3.0, (1.0, tone(0.8, 4.0))), -1, 1))
    assert any("clipped" in p for p in loud.problems)
    cut = check_take(laid(2.0, (1.2, tone(0.8))))
    assert any("goes on at the end" in p for p in cut.problems)
    noisy = check_take(laid(3.0, (1.0, tone(0.8, 0.05))) + 20 * room(3.0, seed=1))
    assert any("noise" in p for p in noisy.problems)
    assert check_take(laid(3.0, (1.0, tone(0.8)))).problems == ()


def test_a_muted_microphone_is_an_error_and_a_noise_gate_is_not() -> None:
    sound = blocks(np.zeros(int(9 * SAMPLE_RATE), np.float32))
    with pytest.raises(DeviceError, match="is it muted"):
        record_take(sound)
    gated = np.zeros(int(9 * SAMPLE_RATE), np.float32)
    gated[int(2.5 * SAMPLE_RATE) : int(3.3 * SAMPLE_RATE)] = tone(0.8)
    assert record_take(blocks(gated)).problems == ()
    with pytest.raises(DeviceError, match="unplugged"):
        record_take(blocks(room(1.0)))


def test_takes_are_kept_raw_and_trimmed_under_free_numbers(tmp_path: Path) -> None:
    take = check_take(laid(3.0, (1.0, tone(0.8))))
    folder = TakeFolder(tmp_path, "Hey Nova", "Ada L.")
    assert folder.keep(take) == tmp_path / "hey_nova" / "ada_l" / "000.wav"
    (tmp_path / "raw" / "hey_nova" / "ada_l" / "007.wav").touch()
    assert TakeFolder(tmp_path, "hey nova", "ada l").keep(take).name == "008.wav"
    whole = read_audio(tmp_path / "raw" / "hey_nova" / "ada_l" / "000.wav")
    assert len(whole) == len(take.raw)
    assert len(read_audio(tmp_path / "hey_nova" / "ada_l" / "000.wav")) == len(take.trimmed)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot make folder"):
        TakeFolder(tmp_path / "file", "hey nova")


def test_import_says_what_is_left_out(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", laid(3.0, (1.0, tone(0.8))))
    write_wav(tmp_path / "b.wav", room(2.0))
    write_wav(tmp_path / "long.wav", room(40.0))
    (tmp_path / "broken.mp3").write_bytes(b"x" * 100)
    takes = {path.name: take for path, take in import_takes(tmp_path)}
    assert takes["a.wav"].problems == ()  # type: ignore[union-attr]
    assert "nothing was heard" in takes["b.wav"].problems[0]  # type: ignore[union-attr]
    assert "40 s long" in str(takes["long.wav"])
    assert "not a readable audio file" in str(takes["broken.mp3"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no recordings"):
        list(import_takes(tmp_path / "empty"))


COMMAND = "import sys; from wakeword.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.mic
def test_record_from_a_real_microphone(tmp_path: Path) -> None:
    write_wav(tmp_path / "room.wav", room(90.0))
    with VirtualMic() as mic:
        hiss = subprocess.Popen(["paplay", "--device=vmic", str(tmp_path / "room.wav")], env=mic.env)
        process = mic.python(COMMAND, "record", "hey nova", "--out", str(tmp_path), "--n", "2", "--yes")
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if "speak now" in line:
                mic.play(laid(1.4, (0.3, tone(0.7))))
        out = process.communicate(timeout=30)[0]
        hiss.kill()
        hiss.wait(10)
    assert process.returncode == 0, said
    assert "2 takes of 'hey nova'" in out
    for path in (tmp_path / "hey_nova").glob("*.wav"):
        samples = read_audio(path)
        assert 0.7 < len(samples) / SAMPLE_RATE < 1.7
        assert level_dbfs(samples) > -25
    assert len(list((tmp_path / "raw" / "hey_nova").glob("*.wav"))) == 2


@pytest.mark.mic
def test_a_muted_real_microphone(tmp_path: Path) -> None:
    with VirtualMic() as mic:
        process = mic.python(COMMAND, "record", "hey nova", "--out", str(tmp_path), "--n", "1", "--yes")
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "is it muted" in err and "Traceback" not in err
