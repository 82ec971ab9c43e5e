"""Files and pipes as sources: equal to reading the whole, and one clear error for what is no sound."""

from __future__ import annotations

import io
import os
import struct
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from wakeword.audio import SAMPLE_RATE, Samples, read_audio
from wakeword.errors import AudioError
from wakeword.listen.sources import FileSource, MonoStream, PcmSource, Source


def collect(source: Source) -> Samples:
    with source:
        return np.concatenate(list(source))


def noise(rng: np.random.Generator, seconds: float, rate: int, channels: int) -> npt.NDArray[np.float32]:
    return (0.1 * rng.standard_normal((int(seconds * rate), channels))).astype(np.float32)


def wav_bytes(samples: npt.NDArray[np.float32], rate: int, subtype: str, form: str = "WAV") -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate, subtype=subtype, format=form)
    return out.getvalue()


@pytest.mark.parametrize(
    ("suffix", "rate", "channels", "subtype"),
    [
        ("wav", 8_000, 1, "PCM_16"),
        ("wav", 16_000, 1, "PCM_16"),
        ("wav", 48_000, 2, "PCM_24"),
        ("flac", 44_100, 2, "PCM_16"),
        ("wav", 22_050, 3, "FLOAT"),
        ("ogg", 48_000, 2, "VORBIS"),
        ("mp3", 44_100, 2, None),
    ],
)
def test_file_equals_reading_it_whole(
    tmp_path: Path, rng: np.random.Generator, suffix: str, rate: int, channels: int, subtype: str | None
) -> None:
    path = tmp_path / f"clip.{suffix}"
    soundfile.write(path, noise(rng, 2.37, rate, channels), rate, subtype=subtype)
    np.testing.assert_allclose(collect(FileSource(path)), read_audio(path), atol=1e-6)


def test_file_is_read_in_small_blocks(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "long.flac"
    soundfile.write(path, noise(rng, 30.0, 48_000, 1), 48_000)
    with FileSource(path) as source:
        lengths = [len(block) for block in source]
    assert sum(lengths) == 30 * SAMPLE_RATE
    assert max(lengths) <= 0.15 * SAMPLE_RATE


@pytest.mark.parametrize("block", [1, 160, 4_001])
def test_resampling_is_seamless(rng: np.random.Generator, block: int) -> None:
    samples = noise(rng, 0.3, 44_100, 2)
    whole, cut = MonoStream(44_100, "test"), MonoStream(44_100, "test")
    want = np.concatenate([whole.feed(samples), whole.flush()])
    parts = [cut.feed(samples[i : i + block]) for i in range(0, len(samples), block)]
    np.testing.assert_allclose(np.concatenate([*parts, cut.flush()]), want, atol=1e-6)
    assert len(want) == round(0.3 * SAMPLE_RATE)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not audio" * 500, bytes(100)])
def test_file_without_audio(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=r"bad\.wav"):
        collect(FileSource(path))


def test_file_missing_empty_or_broken_inside(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such file"):
        FileSource(tmp_path / "none.wav")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), 16_000)
    with pytest.raises(AudioError, match="holds no audio"):
        collect(FileSource(tmp_path / "empty.wav"))
    samples = np.zeros(16_000, np.float32)
    samples[12_000] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"nan\.wav: samples hold NaN"):
        collect(FileSource(tmp_path / "nan.wav"))


def test_raw_pipe(rng: np.random.Generator) -> None:
    pcm = rng.integers(-32_768, 32_768, 5_001, dtype=np.int16)
    got = collect(PcmSource(io.BytesIO(pcm.astype("<i2").tobytes())))
    np.testing.assert_array_equal(got, pcm / np.float32(32_768))


def test_raw_pipe_drops_half_a_sample() -> None:
    got = collect(PcmSource(io.BytesIO(struct.pack("<3h", 1, 2, -16_384) + b"\x7f")))
    np.testing.assert_array_equal(got * 32_768, [1, 2, -16_384])


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (8_000, 1)])
@pytest.mark.parametrize(("subtype", "form"), [("PCM_16", "WAV"), ("FLOAT", "WAV"), ("PCM_16", "WAVEX")])
def test_piped_wav_equals_the_file(
    tmp_path: Path, rng: np.random.Generator, rate: int, channels: int, subtype: str, form: str
) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(wav_bytes(noise(rng, 0.5, rate, channels), rate, subtype, form))
    np.testing.assert_allclose(collect(PcmSource(io.BytesIO(path.read_bytes()))), read_audio(path), atol=1e-6)


@pytest.mark.parametrize("size", [0, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_piped_wav_of_unknown_length(rng: np.random.Generator, size: int) -> None:
    data = wav_bytes(noise(rng, 0.5, 16_000, 1), 16_000, "PCM_16")
    at = data.index(b"data") + 4
    streamed = data[:at] + struct.pack("<I", size) + data[at + 4 :]
    np.testing.assert_array_equal(
        collect(PcmSource(io.BytesIO(streamed))), collect(PcmSource(io.BytesIO(data)))
    )


def test_chunks_around_the_sound_are_not_sound(rng: np.random.Generator) -> None:
    data = wav_bytes(noise(rng, 0.5, 16_000, 1), 16_000, "PCM_16")
    extra = b"LIST" + struct.pack("<I", 5) + b"INFOx\0"
    got = collect(PcmSource(io.BytesIO(data[:12] + extra + data[12:] + extra)))
    np.testing.assert_array_equal(got, collect(PcmSource(io.BytesIO(data))))


def header(tag: int = 1, channels: int = 1, rate: int = 16_000, bits: int = 16) -> bytes:
    fmt = struct.pack("<HHIIHH", tag, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits)
    return b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<I", 16) + fmt + b"data\xff\xff\xff\xff"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "holds no audio"),
        (b"\x01", "holds no audio"),
        (header(), "holds no audio"),
        (b"OggS" + bytes(99), "Ogg cannot be read from a pipe"),
        (b"fLaC" + bytes(99), "ffmpeg"),
        (b"RIFF\0\0\0\0AVI " + bytes(99), "not a WAV"),
        (header()[:20], "ends within its WAV header"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0" + bytes(99), "does not describe"),
        (b"RIFF\0\0\0\0WAVEfmt \4\0\0\0" + bytes(99), "damaged"),
        (header(bits=24) + bytes(99), "format 1 with 24 bits"),
        (header(tag=85, bits=0) + bytes(99), "format 85"),
        (header(channels=0) + bytes(99), "0 channels"),
        (header(rate=0) + bytes(99), "sample rate 0 Hz"),
        (header(tag=3, bits=32) + struct.pack("<f", float("nan")) * 9, "NaN"),
    ],
)
def test_pipe_that_is_no_sound(data: bytes, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        collect(PcmSource(io.BytesIO(data)))


def test_terminal_is_refused() -> None:
    ours, theirs = os.openpty()
    with (
        os.fdopen(ours, "rb", buffering=0),
        os.fdopen(theirs, "rb") as terminal,
        pytest.raises(AudioError, match="standard input is a terminal"),
    ):
        PcmSource(terminal)


def test_live_pipe_gives_blocks_before_it_ends() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as live:
        threading.Thread(target=live.write, args=(bytes(1_000),)).start()
        blocks = iter(PcmSource(stream))
        assert (
            sum(len(next(blocks)) for _ in range(2)) == 322
        )  # the four bytes of the header check, and 20 ms
