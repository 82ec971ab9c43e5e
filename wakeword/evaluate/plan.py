"""Drawing the streams: which phrase, background and noise plays when. Same inputs and seed, same plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wakeword.audio import SAMPLE_RATE, Samples
from wakeword.clips.dataset import Clip
from wakeword.errors import DataError
from wakeword.evaluate.streams import (
    FADE_SAMPLES,
    MixedStream,
    NegativeStream,
    Segment,
    Source,
    Spoken,
    duration_samples,
    spoken_in_clip,
)

BABBLE_TALKERS = 5
BABBLE_SAMPLES = 60 * SAMPLE_RATE
BABBLES = 4
"""Different babbles in one evaluation; streams take them in turn."""
CLIP_FADE_SAMPLES = 80
"""5 ms at the ends of a phrase clip, against clicks."""


@dataclass(frozen=True, kw_only=True)
class MixConfig:
    """How a mixed stream is made."""

    snr_db: float | None = None
    """Phrase level over noise level; None = no noise."""
    gap_s: tuple[float, float] = (5.0, 30.0)
    """Shortest and longest time between two phrase clips."""
    background_db: float = 0.0
    """Level of the background speech relative to the phrases."""
    piece_s: float = 600.0
    """About how long one stream is; the phrases are dealt to as many streams as that takes."""
    room: Samples | None = None
    """Impulse response [R] applied to phrases and background speech."""


def build_mixed_streams(
    phrases: Sequence[Clip],
    speech: Sequence[Clip],
    noise: Sequence[Clip],
    config: MixConfig,
    seed: int,
) -> list[MixedStream]:
    """Deal the phrase clips, each once and in random order, to mixed streams.

    The order, gaps and background depend on the seed alone, so two SNRs differ by the noise only. Babble
    is made of `speech`; `noise` holds clips of kind "noise" and "music". Raises DataError where there is no
    phrase, no background speech, or an SNR and no noise.
    """
    if not phrases or not speech:
        raise DataError(
            f"a mixed stream needs phrase clips and background speech; "
            f"got {len(phrases)} and {len(speech)} files"
        )
    layout, noise_rng = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
    order = [phrases[i] for i in layout.permutation(len(phrases))]
    mean_clip_s = float(np.mean([clip.seconds for clip in order]))
    per_piece = max(1, round(config.piece_s / (sum(config.gap_s) / 2 + mean_clip_s)))
    n_pieces = -(-len(order) // per_piece)
    background = _Background(speech, config, layout)
    kinds = _noise_kinds(speech, noise, noise_rng)
    streams = []
    for i, part in enumerate(np.array_split(np.arange(len(order)), n_pieces)):
        name = f"mixed {_snr_name(config.snr_db)} {i + 1}/{n_pieces}"
        stream = _piece(name, [order[j] for j in part], background, config, layout)
        streams.append(_add_noise(stream, i, kinds, config.snr_db, noise_rng))
    return streams


def _snr_name(snr_db: float | None) -> str:
    return "clean" if snr_db is None else f"{snr_db:g} dB"


class _Background:
    """Background files laid end to end in one random order, without end; consumed from front to back."""

    def __init__(self, clips: Sequence[Clip], config: MixConfig, rng: np.random.Generator) -> None:
        self._room = b"" if config.room is None else config.room.astype(np.float32).tobytes()
        self._factor = 10 ** (config.background_db / 20)
        self._paths = [clips[i].path for i in rng.permutation(len(clips))]
        self._lengths = [duration_samples(path) for path in self._paths]
        self._file, self._offset = 0, 0

    def take(self, start: int, length: int) -> list[Segment]:
        """Segments that fill [start, start + length), with fades around, and move on by `length`."""
        segments = []
        end = start + length
        while start < end:
            n = min(end - start, self._lengths[self._file] - self._offset)
            source = Source((self._paths[self._file],), "speech", room=self._room)
            fade = min(FADE_SAMPLES, n // 2)
            segments.append(Segment(start, n, source, self._offset, self._factor, fade))
            start += n
            self._offset += n
            if self._offset >= self._lengths[self._file]:
                self._file, self._offset = (self._file + 1) % len(self._paths), 0
        return segments


def _piece(
    name: str, clips: Sequence[Clip], background: _Background, config: MixConfig, rng: np.random.Generator
) -> MixedStream:
    room = b"" if config.room is None else config.room.astype(np.float32).tobytes()
    segments, spoken = list[Segment](), list[Spoken]()
    at, resume = 0, 0
    for clip in clips:
        at += round(rng.uniform(*config.gap_s) * SAMPLE_RATE)
        length, first, last = spoken_in_clip(clip.path)
        overlap = min(FADE_SAMPLES, length // 2)
        segments += background.take(resume, at + overlap - resume)
        source = Source((clip.path,), "speech", room=room, once=True)
        segments.append(Segment(at, length, source, fade=CLIP_FADE_SAMPLES))
        start_s, end_s = (at + first) / SAMPLE_RATE, (at + last) / SAMPLE_RATE
        spoken.append(Spoken(clip.label, start_s, end_s, clip.path, clip.group))
        at += length
        resume = at - overlap
    at += round(rng.uniform(*config.gap_s) * SAMPLE_RATE)
    segments += background.take(resume, at - resume)
    return MixedStream(name, tuple(sorted(segments, key=lambda s: s.start)), at, tuple(spoken))


@dataclass(frozen=True)
class _NoiseKind:
    name: str
    sources: tuple[Source, ...]
    """Streams take them in turn."""


def _noise_kinds(speech: Sequence[Clip], noise: Sequence[Clip], rng: np.random.Generator) -> list[_NoiseKind]:
    """The kinds there are files for, babble first, each in random order."""
    kinds = [_NoiseKind("babble", tuple(_babble(speech, rng) for _ in range(BABBLES)))]
    for name in ("noise", "music"):
        paths = [c.path for c in noise if c.kind == name]
        sources = tuple(Source((paths[i],), "noise") for i in rng.permutation(len(paths)))
        kinds += [_NoiseKind(name, sources)] if sources else []
    return kinds


def _babble(speech: Sequence[Clip], rng: np.random.Generator) -> Source:
    chosen = rng.choice(len(speech), size=min(BABBLE_TALKERS, len(speech)), replace=False)
    paths = tuple(speech[i].path for i in chosen)
    offsets = tuple(int(rng.integers(duration_samples(path))) for path in paths)
    return Source(paths, "noise", offsets, BABBLE_SAMPLES)


def _add_noise(
    stream: MixedStream,
    number: int,
    kinds: Sequence[_NoiseKind],
    snr_db: float | None,
    rng: np.random.Generator,
) -> MixedStream:
    """Lay noise over all of a stream, changing its kind half-way between two phrases."""
    if snr_db is None:
        return stream
    first = int(rng.integers(len(kinds)))
    sources = [kind.sources[number % len(kind.sources)] for kind in kinds]
    middles = [
        round((a.end_s + b.start_s) / 2 * SAMPLE_RATE)
        for a, b in zip(stream.spoken, stream.spoken[1:], strict=False)
    ]
    edges = [0, *middles, stream.n_samples]
    noises, spoken = list[Segment](), list[Spoken]()
    for i, label in enumerate(stream.spoken):
        k = (first + i) % len(kinds)
        start, end = edges[i], edges[i + 1]
        offset = int(rng.integers(BABBLE_SAMPLES))
        fade = min(FADE_SAMPLES, (end - start) // 2)
        noises.append(Segment(start, end - start, sources[k], offset, 10 ** (-snr_db / 20), fade))
        spoken.append(
            Spoken(label.phrase, label.start_s, label.end_s, label.path, label.group, kinds[k].name)
        )
    segments = tuple(sorted((*stream.segments, *noises), key=lambda s: s.start))
    return MixedStream(stream.name, segments, stream.n_samples, tuple(spoken))


def build_negative_streams(clips: Sequence[Clip], piece_s: float = 600.0) -> list[NegativeStream]:
    """Lay the clips of each source end to end, in order of path, in streams of about `piece_s` seconds.

    Short files are joined so that the detector's start-up (one window unheard) is not most of what is
    judged; a file is never split. Raises DataError for no clips.
    """
    if not clips:
        raise DataError("a negative stream needs recordings without the phrase; got none")
    streams = list[NegativeStream]()
    for source in sorted({c.source for c in clips}):
        segments, at = list[Segment](), 0
        paths = sorted({c.path for c in clips if c.source == source})
        for path in paths:
            length = duration_samples(path)
            if segments and (at + length / 2) / SAMPLE_RATE > piece_s:
                streams.append(_negative(source, segments, at, len(streams)))
                segments, at = [], 0
            segments.append(Segment(at, length, Source((path,))))
            at += length
        streams.append(_negative(source, segments, at, len(streams)))
    return streams


def _negative(source: str, segments: Sequence[Segment], n_samples: int, number: int) -> NegativeStream:
    return NegativeStream(f"{source or 'background'} #{number + 1}", tuple(segments), n_samples, source)
