"""Of many hard moments the hardest, each once, as WAV files with a list that training reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wakeword.audio import SAMPLE_RATE, Samples, read_audio, write_wav
from wakeword.clips.dataset import COLUMNS, Clip
from wakeword.errors import DataError
from wakeword.evaluate.mining import Moment
from wakeword.files import write_csv
from wakeword.mel import log_mel

BEFORE_S, AFTER_S = 2.2, 0.8
"""What is kept around a moment: the verifier's window, and what a listener hears until it fires."""
APART_S = 2.0
"""Two moments of one recording nearer than this are one."""
PRINT_S = 1.5
"""The part before the moment that is compared."""
PRINT_BANDS, PRINT_STEPS = 20, 30
SHIFTS = range(-2, 3)
"""Steps of 50 ms by which two copies may lie apart."""
ALIKE = 0.9
"""Correlation of the spectra of two copies of one sound."""
MORE_COLUMNS = ("phrase", "scorer", "score", "threshold", "accepted", "from", "at_s")

Print = npt.NDArray[np.float32]


@dataclass(frozen=True)
class HardClip:
    """A moment with its sound."""

    moment: Moment
    audio: Samples


def choose_hardest(moments: Sequence[Moment], n: int) -> list[HardClip]:
    """For each phrase and scorer the n hardest, the hardest first, near-identical sounds and moments once."""
    kept = list[HardClip]()
    taken = dict[tuple[str, str], int]()
    places = dict[Path, list[float]]()
    prints = list[Print]()
    for moment in sorted(moments, key=lambda m: (-m.hardness, str(m.path), m.at_s, m.phrase)):
        group = (moment.phrase, moment.scorer)
        known = places.setdefault(moment.path, [])
        if taken.get(group, 0) >= n or any(abs(moment.at_s - at_s) < APART_S for at_s in known):
            continue
        audio = cut_moment(moment.path, moment.at_s)
        shape = sound_print(audio, moment.at_s)
        if is_copy(shape, prints):
            continue
        known.append(moment.at_s)
        taken[group] = taken.get(group, 0) + 1
        prints.append(shape)
        kept.append(HardClip(moment, audio))
    return kept


def cut_moment(path: Path, at_s: float) -> Samples:
    """The sound around a moment, shorter at the ends of the recording."""
    samples = _recording(path)
    first, last = int((at_s - BEFORE_S) * SAMPLE_RATE), int((at_s + AFTER_S) * SAMPLE_RATE)
    piece: Samples = samples[max(0, first) : last].copy()
    return piece


@lru_cache(maxsize=4)
def _recording(path: Path) -> Samples:
    return read_audio(path)


def sound_print(audio: Samples, at_s: float) -> Print:
    """What makes a sound the same sound: its spectrum over the last 1.5 s [20, 30], of norm 1.

    `audio` as `cut_moment` gives it; louder and softer copies have the same print.
    """
    at = min(len(audio), int(min(at_s, BEFORE_S) * SAMPLE_RATE))
    piece = audio[max(0, at - int(PRINT_S * SAMPLE_RATE)) : at]
    piece = np.pad(piece, (int(PRINT_S * SAMPLE_RATE) - len(piece), 0))
    mel = np.maximum(log_mel(piece), log_mel(piece).max() - 4)
    steps = np.stack([part.mean(axis=1) for part in np.array_split(mel, PRINT_STEPS, axis=1)], axis=1)
    bands = np.stack([part.mean(axis=0) for part in np.array_split(steps, PRINT_BANDS, axis=0)])
    return np.asarray(_unit(bands - bands.mean()), dtype=np.float32)


def _unit(values: Print) -> Print:
    return np.asarray(values / max(float(np.linalg.norm(values)), 1e-6), dtype=np.float32)


def is_copy(shape: Print, others: Sequence[Print]) -> bool:
    """Whether it is the same sound as one of the others, perhaps a little earlier or later."""
    if not others:
        return False
    stacked = np.stack(others)
    for shift in SHIFTS:
        mine = shape[:, max(0, shift) : PRINT_STEPS + min(0, shift)]
        theirs = stacked[:, :, max(0, -shift) : PRINT_STEPS + min(0, -shift)]
        norms = np.linalg.norm(mine) * np.linalg.norm(theirs, axis=(1, 2)) + 1e-9
        if ((theirs * mine).sum(axis=(1, 2)) / norms >= ALIKE).any():
            return True
    return False


def write_hard_clips(folder: Path, chosen: Sequence[HardClip], sources: Mapping[Path, Clip]) -> Path:
    """Write folder/clips/*.wav and folder/index.csv, a manifest of background; return its path.

    `sources` are the recordings that the moments come from: a clip is in the split of its recording.
    """
    path = folder / "index.csv"
    rows = [_row(i, one, sources[one.moment.path]) for i, one in enumerate(chosen, 1)]
    try:
        (folder / "clips").mkdir(parents=True, exist_ok=True)
        for one, row in zip(chosen, rows, strict=True):
            write_wav(folder / row[0], one.audio)
        names = {row[0] for row in rows}
        for old in (folder / "clips").glob("*.wav"):
            if f"clips/{old.name}" not in names:
                old.unlink()
    except OSError as err:
        raise DataError(f"cannot write to {folder}: {err.strerror or err}") from err
    write_csv(path, (*COLUMNS, *MORE_COLUMNS), rows)
    return path


def _row(number: int, one: HardClip, source: Clip) -> tuple[str, ...]:
    m = one.moment
    name = f"clips/{number:04d}_{m.phrase.replace(' ', '_')}_{m.scorer}_{m.score:.3f}.wav"
    seconds = f"{len(one.audio) / SAMPLE_RATE:.2f}"
    return (
        *(name, source.kind, "", source.split, source.group, seconds, source.lang, source.licence),
        *(source.source, m.phrase, m.scorer, f"{m.score:.5f}", f"{m.threshold:.5f}"),
        *("yes" if m.hardness >= 1 else "no", str(m.path), f"{m.at_s:.2f}"),
    )
