"""Takes of a phrase: recorded from blocks of sound or read from files, checked, trimmed, kept twice.

Knows no device: whoever calls it gives the blocks (`wakeword.commands.record` those of the microphone).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wakeword.audio import (
    FRAME_SAMPLES,
    MAX_CLIP_S,
    SAMPLE_RATE,
    Samples,
    active_level_dbfs,
    frame_levels_dbfs,
    level_dbfs,
    read_audio,
    speech_span,
    write_wav,
)
from wakeword.clips.dataset import AUDIO_SUFFIXES, normalise_phrase
from wakeword.errors import AudioError, DataError, DeviceError

READY_S = 1.8
"""Of the count-down."""
LEAD_S = 0.3
"""Of the sound before the signal that belongs to a take."""
LONGEST_S = 4.0
QUIET_AFTER_S = 0.7
"""So long after the phrase a take ends."""
MIN_SPEECH_S = 0.2
MARGIN_S = 0.25
"""Left before and after the phrase by the trimming."""
OVER_FLOOR_DB = 12.0
FAINT_DBFS = -50.0
MUTED_DBFS = -85.0
"""A microphone that is on hisses louder than that."""
MIN_SNR_DB = 10.0
CLIPPED = 0.995
MAX_CLIPPED = 3
"""Samples at full scale that may be chance."""
EDGE_S = 0.03
"""Speech this near to an end of the take was cut there."""
RAW = "raw"

Show = Callable[[str, float, float], None]
"""Told what to show: the phase ("ready" or "speak"), the level (dBFS) and the seconds left of it."""


@dataclass(frozen=True)
class Take:
    """One recording of a phrase."""

    raw: Samples
    start: int
    """First sample of the phrase, by energy."""
    end: int
    problems: tuple[str, ...]
    """What is wrong with it, each with what to do; a good take has none."""

    @property
    def trimmed(self) -> Samples:
        """The phrase with a quarter of a second around it."""
        margin = int(MARGIN_S * SAMPLE_RATE)
        return self.raw[max(0, self.start - margin) : self.end + margin]


def record_take(blocks: Iterator[Samples], show: Show | None = None) -> Take:
    """Count down, then record one phrase; ends 0.7 s after it, or after 4 s.

    Raises DeviceError where the microphone gives nothing but silence, or ends.
    """
    show = show or (lambda phase, level, left: None)
    ready = _gather(blocks, int(READY_S * SAMPLE_RATE), lambda level, left: show("ready", level, left))
    floor = float(np.percentile(frame_levels_dbfs(ready), 25))
    ending = _Ending(floor)
    said = _gather(
        blocks, int(LONGEST_S * SAMPLE_RATE), lambda level, left: show("speak", level, left), ending.over
    )
    if max(level_dbfs(ready), level_dbfs(said)) < MUTED_DBFS:  # before speech alone, noise gates do that
        raise DeviceError(
            "the microphone gives silence; is it muted, or switched off? "
            "(see the sound settings, or choose another one: wakeword devices)"
        )
    lead = int(LEAD_S * SAMPLE_RATE)
    early = bool(np.median(frame_levels_dbfs(ready[-lead:])) > max(floor + OVER_FLOOR_DB, FAINT_DBFS))
    return check_take(np.concatenate([ready[-lead:], said]), early)


class _Ending:
    """Notices when a phrase has been said."""

    def __init__(self, floor_dbfs: float) -> None:
        self._threshold = max(floor_dbfs + OVER_FLOOR_DB, FAINT_DBFS)
        self._spoken = 0
        self._quiet = 0

    def over(self, block: Samples) -> bool:
        """Take the next sound; return whether the phrase is over."""
        for level in frame_levels_dbfs(block):
            if level > self._threshold:
                self._spoken, self._quiet = self._spoken + 1, 0
            elif self._spoken * FRAME_SAMPLES >= MIN_SPEECH_S * SAMPLE_RATE:
                self._quiet += 1
        return self._quiet * FRAME_SAMPLES >= QUIET_AFTER_S * SAMPLE_RATE


def _gather(
    blocks: Iterator[Samples],
    n_samples: int,
    show: Callable[[float, float], None],
    over: Callable[[Samples], bool] | None = None,
) -> Samples:
    """So much sound, or less where `over` says that it is enough."""
    got: list[Samples] = []
    have = 0
    while have < n_samples:
        block = next(blocks, None)
        if block is None:
            raise DeviceError("the sound ended before the take did; is the microphone unplugged?")
        got.append(block)
        have += len(block)
        show(level_dbfs(block), max(0.0, (n_samples - have) / SAMPLE_RATE))
        if over and over(block):
            break
    return np.concatenate(got)


def check_take(raw: Samples, early: bool = False) -> Take:
    """Find the phrase in a recording, and what is wrong with it."""
    start, end = speech_span(raw)
    edge = int(EDGE_S * SAMPLE_RATE)
    problems = []
    speech = raw[start:end]
    if level_dbfs(raw) < FAINT_DBFS or (end - start) < MIN_SPEECH_S * SAMPLE_RATE:
        problems.append("nothing was heard: speak up, nearer to the microphone")
        return Take(raw, start, end, tuple(problems))
    if np.count_nonzero(np.abs(raw) >= CLIPPED) > MAX_CLIPPED:
        problems.append("too loud, it is clipped: go farther away or turn the microphone down")
    cut = start < edge, end > len(raw) - edge
    around = np.concatenate([raw[: max(0, start - edge)], raw[end + edge :]])
    if all(cut) or active_level_dbfs(speech) - _median_dbfs(around) < MIN_SNR_DB:
        problems.append("there is much noise: find a quieter place or come nearer")
    elif cut[1]:
        problems.append("it goes on at the end: say only the phrase, then be quiet")
    if early or (cut[0] and not cut[1]):
        problems.append("it began before the signal: wait for it")
    return Take(raw, start, end, tuple(problems))


def _median_dbfs(samples: Samples) -> float:
    levels = frame_levels_dbfs(samples)
    return float(np.median(levels)) if len(levels) else -120.0


def import_takes(folder: Path) -> Iterable[tuple[Path, Take | str]]:
    """Every recording below a folder as a take; for a file that cannot be read, why."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file())
    if not paths:
        raise DataError(f"no recordings in {folder}")
    for path in paths:
        try:
            samples = read_audio(path)
        except AudioError as err:
            yield path, str(err).removeprefix(f"{path}: ")
            continue
        if len(samples) > MAX_CLIP_S * SAMPLE_RATE:
            yield (
                path,
                f"{len(samples) / SAMPLE_RATE:.0f} s long; a take of a phrase has at most {MAX_CLIP_S:.0f} s",
            )
            continue
        yield path, check_take(samples)


class TakeFolder:
    """Where takes of a phrase are kept: out/<phrase>/NNN.wav trimmed, out/raw/<phrase>/NNN.wav as they came.

    With a speaker the trimmed ones go to out/<phrase>/<speaker>/, so that speakers are told apart.
    """

    def __init__(self, out: Path, phrase: str, speaker: str = "") -> None:
        name = normalise_phrase(phrase).replace(" ", "_")
        who = normalise_phrase(speaker).replace(" ", "_") if speaker else ""
        self.trimmed = out / name / who
        self.raw = out / RAW / name / who
        try:
            for folder in (self.trimmed, self.raw):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise DataError(f"cannot make folder {out}: {err.strerror or err}") from err

    def keep(self, take: Take) -> Path:
        """Write a take under the next free number; return the trimmed file."""
        taken = [
            int(p.stem) for p in (*self.trimmed.glob("*.wav"), *self.raw.glob("*.wav")) if p.stem.isdecimal()
        ]
        name = f"{max(taken, default=-1) + 1:03d}.wav"
        write_wav(self.raw / name, take.raw)
        write_wav(self.trimmed / name, take.trimmed)
        return self.trimmed / name
