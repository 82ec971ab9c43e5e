"""The audio a detector is judged on: mixed streams with spoken phrases, and negative streams without.

A stream is a plan (`Timeline`): segments of files on a time axis, drawn once from a seed and rendered in
blocks when it is listened to, so hours of audio need the memory of a few files. The mixed stream:

- Background speech runs all the time. It pauses while a phrase clip plays and goes on where it stopped
  (50 ms fades that overlap the clip's first and last 50 ms), as in Picovoice's benchmark; it is never muted
  elsewhere.
- Phrase clips and background speech are brought to one active-speech level, -26 dBFS.
- Noise lies over everything. Its level over its whole file is the phrase level less the SNR. Each spoken
  phrase, with half the gap on either side, gets one kind: babble of five talkers, noise, music, in turn.
- Where the sum would clip, the whole stream is scaled down; nothing is ever clipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile

from wakeword.audio import (
    HOP_SAMPLES,
    SAMPLE_RATE,
    Samples,
    active_level_dbfs,
    read_audio,
    speech_span,
)
from wakeword.clips.augment import amplify, babble, convolve, level_rms_dbfs
from wakeword.errors import AudioError
from wakeword.files import written_whole

LEVEL_DBFS = -26.0
"""Active-speech level of phrases and background speech."""
FADE_SAMPLES = 800
"""50 ms."""
PEAK = 0.98
"""Largest sample of a mixed stream; a louder mix is scaled down as a whole."""
NARROW_BAND_HZ = 5_700
MAX_GAIN_DB = 60.0
"""So that a silent file stays silent instead of becoming noise."""
BLOCK_SAMPLES = 25 * HOP_SAMPLES


@dataclass(frozen=True)
class Spoken:
    """One phrase in a stream: the label."""

    phrase: str
    start_s: float
    """Start of the speech in the clip, by energy."""
    end_s: float
    path: Path
    group: str
    """Speaker, or whatever the recordings are split by."""
    noise: str = ""
    """Kind of noise over it: "babble", "noise", "music", or "" for none."""


@dataclass(frozen=True)
class Source:
    """Samples that segments are cut from: a file, or several laid over each other (babble)."""

    paths: tuple[Path, ...]
    level: str = "as is"
    """"as is", "speech" (active level to -26 dBFS) or "noise" (RMS of the whole to -26 dBFS)."""
    offsets: tuple[int, ...] = (0,)
    """Where each talker of a babble starts, in samples."""
    length: int = 0
    """Samples of babble; 0 = the file's own length."""
    room: bytes = b""
    """Impulse response as float32 bytes, applied to speech."""
    once: bool = False
    """Heard once, as a phrase clip is: not worth the place of a long recording in memory."""

    def load(self) -> Samples:
        """Read, mix and level the samples [N]; the last few sources stay in memory."""
        if self.length:
            return _load_babble(self)
        return _load_once(self) if self.once else _load_long(self)


@lru_cache(maxsize=8)
def _load_long(source: Source) -> Samples:
    return _load(source)


@lru_cache(maxsize=2)
def _load_once(source: Source) -> Samples:
    return _load(source)


def _load(source: Source) -> Samples:
    samples = read_audio(source.paths[0])
    if source.room:
        samples = reverberate(samples, np.frombuffer(source.room, dtype=np.float32))
    return _levelled(samples, source.level)


@lru_cache(maxsize=8)
def _load_babble(source: Source) -> Samples:
    # A cache of its own: five decoded files make one, which every stream of an evaluation needs again.
    starts = zip(source.paths, source.offsets, strict=True)
    talkers = [_cyclic(read_audio(path), offset, source.length) for path, offset in starts]
    return _levelled(babble(talkers), source.level)


def _levelled(samples: Samples, level: str) -> Samples:
    if level != "as is":
        measured = active_level_dbfs(samples) if level == "speech" else level_rms_dbfs(samples)
        samples = amplify(samples, min(LEVEL_DBFS - measured, MAX_GAIN_DB))
    samples.setflags(write=False)
    return samples


def is_narrow_band(samples: Samples) -> bool:
    """Whether almost nothing (-40 dB of the power) lies above 5.7 kHz, as in 11 kHz and telephone audio."""
    n_fft = 1024
    frames = samples[: len(samples) // n_fft * n_fft].reshape(-1, n_fft) * np.hanning(n_fft)
    power = np.square(np.abs(np.fft.rfft(frames, axis=1))).sum(axis=0)
    high = power[np.fft.rfftfreq(n_fft, 1 / SAMPLE_RATE) > NARROW_BAND_HZ].sum()
    return bool(high < 1e-4 * power.sum())


def reverberate(samples: Samples, response: Samples) -> Samples:
    """The samples [N] as heard in a room [R], the direct sound in place: [N]."""
    return convolve(samples, response[int(np.abs(response).argmax()) :])


def _cyclic(samples: Samples, offset: int, length: int) -> Samples:
    """`length` samples from `offset` on, starting again at the front as often as needed."""
    offset %= len(samples)
    if offset + length <= len(samples):
        return samples[offset : offset + length]
    wrapped = np.arange(offset, offset + length) % len(samples)
    return np.asarray(samples[wrapped])


@dataclass(frozen=True)
class Segment:
    """A piece of a source on the time axis; all counts in samples."""

    start: int
    length: int
    source: Source
    offset: int = 0
    factor: float = 1.0
    fade: int = 0
    """Linear fade at both ends."""

    def add_to(self, block: Samples, block_start: int) -> None:
        """Add the part of this segment that falls into the block."""
        first = max(self.start, block_start)
        last = min(self.start + self.length, block_start + len(block))
        if first >= last:
            return
        at = first - self.start
        piece = _cyclic(self.source.load(), self.offset + at, last - first) * np.float32(self.factor)
        if self.fade and (at < self.fade or last > self.start + self.length - self.fade):
            piece = piece * self._envelope(at, last - first)
        block[first - block_start : last - block_start] += piece

    def _envelope(self, at: int, n: int) -> Samples:
        position = np.arange(at, at + n)
        edge = np.minimum(position + 0.5, self.length - position - 0.5)
        return np.asarray(np.minimum(edge / self.fade, 1.0), dtype=np.float32)


@dataclass(frozen=True)
class Timeline:
    """Audio that can be rendered in any blocks: the same samples for any block size."""

    name: str
    segments: tuple[Segment, ...]
    """In order of their start."""
    n_samples: int

    @property
    def seconds(self) -> float:
        """Length."""
        return self.n_samples / SAMPLE_RATE

    def blocks(self, n: int = BLOCK_SAMPLES) -> Iterator[Samples]:
        """The whole stream in blocks of n samples, the last one shorter.

        Scaled so that no sample exceeds 0.98. The loudest decides, so all of it is rendered before the
        first block comes (38 MB for ten minutes).
        """
        raw = list(self._raw_blocks(n))
        scale = np.float32(_fitting_scale(raw))
        return (block * scale for block in raw)

    @property
    def scale(self) -> float:
        """What `blocks` scales the sum by; 1.0 where nothing would clip."""
        return _fitting_scale(self._raw_blocks(BLOCK_SAMPLES))

    def excerpt(self, start_s: float, end_s: float) -> Samples:
        """A piece to listen to, within the stream; scaled on its own if it would clip."""
        first, last = max(0, int(start_s * SAMPLE_RATE)), min(self.n_samples, int(end_s * SAMPLE_RATE))
        block = self._render(self.segments, first, max(0, last - first))
        peak = float(np.abs(block).max(initial=0.0))
        return np.asarray(block / np.float32(max(1.0, peak / PEAK)))

    def _raw_blocks(self, n: int) -> Iterator[Samples]:
        waiting, playing = list(self.segments), list[Segment]()
        for start in range(0, self.n_samples, n):
            length = min(n, self.n_samples - start)
            while waiting and waiting[0].start < start + length:
                playing.append(waiting.pop(0))
            playing = [s for s in playing if s.start + s.length > start]
            yield self._render(playing, start, length)

    def _render(self, segments: Sequence[Segment], start: int, length: int) -> Samples:
        block = np.zeros(length, dtype=np.float32)
        for segment in segments:
            segment.add_to(block, start)
        return block


def _fitting_scale(blocks: Iterable[Samples]) -> float:
    peak = max((float(np.abs(block).max()) for block in blocks), default=0.0)
    return min(1.0, PEAK / peak) if peak else 1.0


@dataclass(frozen=True)
class MixedStream(Timeline):
    """A stream with phrases in it."""

    spoken: tuple[Spoken, ...] = ()
    """In order of their start."""


@dataclass(frozen=True)
class NegativeStream(Timeline):
    """Recordings of one source laid end to end, with no phrase in them."""

    source: str = ""

    def blocks(self, n: int = BLOCK_SAMPLES) -> Iterator[Samples]:
        """The recordings as they are, in blocks of n samples, the last one shorter."""
        return self._raw_blocks(n)

    def file_at(self, time_s: float) -> tuple[Path, float]:
        """The recording that plays at a time, and the seconds into it."""
        at = int(time_s * SAMPLE_RATE)
        playing = [s for s in self.segments if s.start <= at] or [self.segments[0]]
        return playing[-1].source.paths[0], (at - playing[-1].start) / SAMPLE_RATE


def duration_samples(path: Path) -> int:
    """Length of a file at 16 kHz, from its header."""
    try:
        info = soundfile.info(path)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as err:
        raise AudioError(f"{path}: not a readable audio file ({err})") from err
    if not info.frames:
        raise AudioError(f"{path}: holds no audio")
    return int(info.frames * SAMPLE_RATE // info.samplerate)


def write_mixed(stream: MixedStream, wav: str | os.PathLike[str]) -> Path:
    """Write the stream as a 16-bit WAV and its labels as a TSV beside it; return the TSV's path.

    Columns: phrase, start_s, end_s, group, noise, path. Both files are written whole or not at all.
    """
    target = Path(wav)
    labels = target.with_suffix(".tsv")
    try:
        with written_whole(target) as partial:
            with soundfile.SoundFile(partial, "w", SAMPLE_RATE, 1, "PCM_16", format="WAV") as file:
                for block in stream.blocks():
                    file.write(block)
            _write_labels(stream.spoken, labels)
    except (soundfile.LibsndfileError, OSError) as err:
        raise AudioError(f"cannot write {target}: {err}") from err
    return labels


def _write_labels(spoken: Sequence[Spoken], target: Path) -> None:
    rows = ["phrase\tstart_s\tend_s\tgroup\tnoise\tpath"]
    rows += [f"{s.phrase}\t{s.start_s:.3f}\t{s.end_s:.3f}\t{s.group}\t{s.noise}\t{s.path}" for s in spoken]
    with written_whole(target) as partial:
        partial.write_text("\n".join(rows) + "\n", encoding="utf-8")


@lru_cache(maxsize=4096)
def spoken_in_clip(path: Path) -> tuple[int, int, int]:
    """Length of a phrase clip and first and one-past-last sample of its speech."""
    samples = read_audio(path)
    return len(samples), *speech_span(samples)
