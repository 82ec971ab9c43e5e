"""Where sound comes from: a file or a pipe, as blocks of float32 mono at 16 kHz.

A `Source` is a context manager that is iterated once. The microphone is one too, see
`wakeword.listen.microphone`.
"""

from __future__ import annotations

import os
import struct
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt
import soxr

from wakeword.audio import HOP_S, SAMPLE_RATE, Samples, as_float, mix_down
from wakeword.errors import AudioError

PIPE_BLOCK_S = 0.02
"""Sound read from a pipe at a time: what a live pipe adds in delay."""
MIN_RATE, MAX_RATE = 4_000, 768_000
"""Hertz; a header that says anything else is damaged."""
MAX_CHANNELS = 64

AnySource = TypeVar("AnySource", bound="Source")


@dataclass(frozen=True)
class Gap:
    """Sound that was lost: what comes before it in a stream and what follows do not belong together."""

    n_samples: int
    """How much, at 16 kHz."""


class Source(ABC):
    """Blocks of sound, float32 mono [n] at 16 kHz, of any length n; where sound was lost, a `Gap`."""

    name: str

    @property
    def lag_s(self) -> float:
        """Sound that waits to be taken, as far as it knows."""
        return 0.0

    @abstractmethod
    def __iter__(self) -> Iterator[Samples | Gap]:
        """Yield blocks until the sound ends. AudioError or DeviceError where it breaks."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file or device; may be called twice."""

    def __enter__(self: AnySource) -> AnySource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class MonoStream:
    """Turns blocks of any rate and channel count into mono at 16 kHz, seamlessly.

    All blocks together give what resampling the whole would give. Output runs up to 40 ms behind the input
    (by the resampler's filter, half of it on average); `flush` gives the rest.
    """

    def __init__(self, rate: float, what: str) -> None:
        """Take blocks at `rate` Hz from `what`, which the error messages name."""
        if not MIN_RATE <= rate <= MAX_RATE:
            raise AudioError(f"{what}: sample rate {rate:g} Hz; it must lie in {MIN_RATE}..{MAX_RATE} Hz")
        self._what = what
        self._resampler = (
            None
            if rate == SAMPLE_RATE
            else soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        )

    def feed(self, block: npt.NDArray[np.generic]) -> Samples:
        """Take int16 or float32 samples [N, C]; return mono [n]. AudioError for NaN or infinity."""
        try:
            flat = as_float(block.reshape(-1))
        except AudioError as err:
            raise AudioError(f"{self._what}: {err}") from err
        return self._resample(mix_down(flat.reshape(block.shape)), last=False)

    def flush(self) -> Samples:
        """The tail [n] that the resampler still holds; ends the stream."""
        return self._resample(np.zeros(0, dtype=np.float32), last=True)

    def _resample(self, mono: Samples, last: bool) -> Samples:
        if self._resampler is not None:
            mono = self._resampler.resample_chunk(mono, last=last)
        return np.clip(mono, -1.0, 1.0).astype(np.float32, copy=False)


class FiniteSource(Source):
    """Sound that ends: frames of any rate, as mono at 16 kHz."""

    _mono: MonoStream

    def __iter__(self) -> Iterator[Samples]:
        """Yield blocks, and at last what the resampler held back. AudioError where there was no sound."""
        n_frames = 0
        for frames in self._frames():
            n_frames += len(frames)
            yield self._mono.feed(frames)
        if not n_frames:
            raise AudioError(f"{self.name}: holds no audio")
        yield self._mono.flush()

    @abstractmethod
    def _frames(self) -> Iterator[npt.NDArray[np.generic]]:
        """The sound as blocks [n, C]; AudioError for damage where it is met."""


class FileSource(FiniteSource):
    """A recording of any length, format, rate and channel count, read block by block."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the file; AudioError where it is missing or not audio."""
        import soundfile  # 8 MB that a listener to a microphone has no use for

        self.name = str(path)
        if not Path(path).is_file():
            raise AudioError(f"no such file: {path}")
        try:
            self._file = soundfile.SoundFile(path)
        except (soundfile.LibsndfileError, RuntimeError, OSError, ValueError) as err:
            raise AudioError(f"{path}: not a readable audio file ({err})") from err
        try:
            self._mono = MonoStream(self._file.samplerate, self.name)
        except AudioError:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _frames(self) -> Iterator[npt.NDArray[np.generic]]:
        """Blocks of about 80 ms."""
        n_block = int(self._file.samplerate * HOP_S)
        while True:
            try:
                frames = self._file.read(n_block, dtype="float32", always_2d=True)
            except (RuntimeError, OSError) as err:  # libsndfile's own errors are RuntimeErrors
                raise AudioError(f"{self.name}: damaged ({err})") from err
            if not len(frames):
                return
            yield frames


@dataclass(frozen=True)
class PcmFormat:
    """How the bytes of a pipe are to be read."""

    rate: int = SAMPLE_RATE
    channels: int = 1
    dtype: str = "<i2"
    n_bytes: int | None = None
    """How much sound follows; None = until the pipe ends."""

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * np.dtype(self.dtype).itemsize


WAV_EXTENSIBLE = 0xFFFE
"""Format tag that says: the true one is in the extension."""
WAV_DTYPES = {(1, 16): "<i2", (3, 32): "<f4"}
"""(format tag, bits) -> dtype that a piped WAV may have."""
OTHER_FORMATS = {b"OggS": "Ogg", b"fLaC": "FLAC", b"ID3\x03": "MP3", b"ID3\x04": "MP3", b"FORM": "AIFF"}
STREAMED_WAV_BYTES = 0x7FFF_0000
"""Writers to a pipe do not know the length and put 0 or something from here upwards into the header."""
AS_PCM = "pipe raw PCM instead: ffmpeg -i IN -f s16le -ar 16000 -ac 1 -"


class PcmSource(FiniteSource):
    """Sound from a pipe: raw 16-bit little-endian mono at 16 kHz, or a WAV whose header says what it is."""

    def __init__(self, stream: BinaryIO, name: str = "standard input") -> None:
        """Read the header, if there is one, of a buffered stream; AudioError where it cannot be sound."""
        self.name = name
        self._stream = stream
        if stream.isatty():
            raise AudioError(f"{name} is a terminal; {AS_PCM}")
        self._head = self._read(4)
        if self._head in OTHER_FORMATS:
            raise AudioError(f"{name}: {OTHER_FORMATS[self._head]} cannot be read from a pipe; {AS_PCM}")
        self.format = PcmFormat()
        if self._head == b"RIFF":
            self._head, self.format = b"", self._wav_format()
        self._mono = MonoStream(self.format.rate, name)

    def close(self) -> None:
        """Do nothing: the pipe is the caller's."""

    def _frames(self) -> Iterator[npt.NDArray[np.generic]]:
        """Blocks of about 20 ms. A cut-off last sample is dropped."""
        pending = b""
        for data in self._data():
            pending += data
            whole = len(pending) - len(pending) % self.format.frame_bytes
            yield np.frombuffer(pending[:whole], dtype=self.format.dtype).reshape(-1, self.format.channels)
            pending = pending[whole:]

    def _data(self) -> Iterator[bytes]:
        if self._head:
            yield self._head
        left = sys.maxsize if self.format.n_bytes is None else self.format.n_bytes
        n_block = int(self.format.rate * PIPE_BLOCK_S) * self.format.frame_bytes
        while data := self._read(min(left, n_block)):
            left -= len(data)
            yield data

    def _wav_format(self) -> PcmFormat:
        """Read a WAV header from behind `RIFF` up to the first byte of sound."""
        if self._exactly(8)[4:] != b"WAVE":
            raise AudioError(f"{self.name}: a RIFF file, but not a WAV; {AS_PCM}")
        found: PcmFormat | None = None
        while True:
            kind, n_bytes = struct.unpack("<4sI", self._exactly(8))
            if kind == b"data":
                break
            body = self._exactly(n_bytes + n_bytes % 2)
            found = self._parse_fmt(body) if kind == b"fmt " else found
        if found is None:
            raise AudioError(f"{self.name}: its WAV header does not describe its sound; {AS_PCM}")
        known = 0 < n_bytes < STREAMED_WAV_BYTES
        return replace(found, n_bytes=n_bytes if known else None)

    def _parse_fmt(self, body: bytes) -> PcmFormat:
        if len(body) < 16:
            raise AudioError(f"{self.name}: its WAV header is damaged; {AS_PCM}")
        tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
        if tag == WAV_EXTENSIBLE and len(body) >= 26:
            (tag,) = struct.unpack_from("<H", body, 24)
        if (tag, bits) not in WAV_DTYPES:
            raise AudioError(
                f"{self.name}: a WAV of format {tag} with {bits} bits; a piped WAV has 16-bit integers or "
                f"32-bit floats; {AS_PCM}"
            )
        if not 1 <= channels <= MAX_CHANNELS:
            raise AudioError(f"{self.name}: a WAV of {channels} channels; allowed are 1 to {MAX_CHANNELS}")
        return PcmFormat(rate, channels, WAV_DTYPES[tag, bits])

    def _exactly(self, n_bytes: int) -> bytes:
        data = self._read(n_bytes)
        if len(data) < n_bytes:
            raise AudioError(f"{self.name}: ends within its WAV header")
        return data

    def _read(self, n_bytes: int) -> bytes:
        try:
            return self._stream.read(n_bytes)
        except (OSError, ValueError) as err:
            raise AudioError(f"{self.name}: cannot be read ({err})") from err
