"""The test streams that an export is verified on: phrases in noise, and background without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wakeword.audio import SAMPLE_RATE, SILENCE_DBFS, frame_levels_dbfs
from wakeword.clips.dataset import load_background, load_clips
from wakeword.errors import DataError
from wakeword.evaluate.plan import MixConfig, build_mixed_streams, build_negative_streams
from wakeword.evaluate.run import pick_clips, speech_and_noise
from wakeword.evaluate.streams import MixedStream, NegativeStream, Spoken


@dataclass(frozen=True)
class TestStreams:
    """What every variant hears."""

    __test__ = False  # not a test, whatever pytest makes of the name

    streams: Sequence[MixedStream | NegativeStream]
    hours: Sequence[float]
    """Audible hours of each."""
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def none(cls) -> TestStreams:
        """The golden sound alone."""
        return cls((), ())

    @property
    def spoken(self) -> list[Sequence[Spoken]]:
        """Of each stream what is spoken in it."""
        return [s.spoken if isinstance(s, MixedStream) else () for s in self.streams]

    @property
    def seconds(self) -> float:
        """Length of all."""
        return sum(s.seconds for s in self.streams)


def build_test_streams(
    phrases: Sequence[str],
    clips: Path,
    background: Sequence[Path],
    split: str,
    snr_db: float | None,
    max_clips: int,
    max_minutes: float,
    seed: int,
) -> TestStreams:
    """Mixed streams of at most so many clips a phrase, and at most so many minutes of background alone.

    Raises DataError where the split holds no clips of the phrases or no background.
    """
    spoken = [c for c in load_clips(clips, phrases) if c.split == split]
    sounds = [c for c in load_background(background) if c.split == split]
    if not spoken or not sounds:
        raise DataError(
            f"nothing to verify on: {len(spoken)} clips and {len(sounds)} recordings of background in split "
            f"{split}; give --phrases and --background as to `wakeword evaluate`"
        )
    speech, noise = speech_and_noise(sounds)
    chosen = pick_clips(spoken, phrases, max_clips, seed)
    mixed = build_mixed_streams(chosen, speech, noise, MixConfig(snr_db=snr_db if noise else None), seed)
    streams: list[MixedStream | NegativeStream] = [*mixed]
    left_s = max_minutes * 60
    for stream in build_negative_streams(sounds):
        if left_s > 0:
            streams.append(stream)
            left_s -= stream.seconds
    facts = {"split": split, "snr_db": snr_db, "clips": len(chosen), "seed": seed}
    return TestStreams(streams, [_audible_hours(s) for s in streams], facts)


def _audible_hours(stream: MixedStream | NegativeStream) -> float:
    frames = sum(int((frame_levels_dbfs(b) >= SILENCE_DBFS).sum()) for b in stream.blocks(SAMPLE_RATE))
    return float(np.float64(frames) / 100 / 3600)
