"""Enrolling voices: from clips to what `wakeword.speaker` matches against, and out again.

Nothing of the sound is kept, only 256 numbers a person; whoever has them can recognise that person's voice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wakeword.audio import Samples
from wakeword.errors import DataError, UsageError
from wakeword.files import written_whole
from wakeword.speaker import (
    ENCODER_SHA256,
    FORMAT,
    SIZE,
    UNKNOWN,
    SpeakerEncoder,
    Speakers,
    Vector,
    load_speakers,
    mean_voice,
)

CONSENT = """\
A voice print of {name} will be stored on this computer, in {path}:
256 numbers by which the voice can be recognised, no sound. In many countries this is biometric data that
may only be kept with the consent of the person. It never leaves this computer by itself.
`wakeword enroll {model} {name} --delete` deletes it. It keeps honest people apart: it is no lock, for a
recording or an imitation of the voice passes."""

MIN_CLIPS = 3
MAX_NAME = 40
OTHERS_MEAN, OTHERS_SPREAD = 0.42, 0.19
"""Similarity of one phrase said by two people; see docs/text_only.md for how they were measured."""
LEAST_SPREAD = 0.06
"""Of a person's own clips: a few in one room are more alike than they will be."""
MIN_OTHERS = 20


@dataclass(frozen=True)
class Enrolled:
    """What came of an enrolment."""

    name: str
    n_clips: int
    own: float
    """Mean similarity of a clip to the others of the same person."""
    others: float
    """Mean similarity of other people's."""
    threshold: float
    expected_error: float
    """Share that is mistaken either way, if both spread as bell curves do."""


def enroll(
    path: Path,
    name: str,
    clips: Sequence[Samples],
    encoder: SpeakerEncoder,
    background: Iterable[Samples] = (),
) -> Enrolled:
    """Add a person to the file (or replace one of that name) by at least three clips.

    `background` are utterances of other people, at least 20 to have an effect; without them the threshold
    comes from what was measured on strangers who say one phrase.
    """
    name = _checked(name)
    if len(clips) < MIN_CLIPS:
        raise DataError(
            f"{len(clips)} usable clips of {name}; at least {MIN_CLIPS} are needed, 5 to 10 are better"
        )
    vectors = np.stack([encoder.embed(clip) for clip in clips])
    own = _leave_one_out(vectors)
    voice = mean_voice(vectors)
    strangers = np.array([float(encoder.embed(clip) @ voice) for clip in background])
    measured = len(strangers) >= MIN_OTHERS
    others = (strangers.mean(), strangers.std()) if measured else (OTHERS_MEAN, OTHERS_SPREAD)
    threshold, error = _between((float(own.mean()), max(float(own.std()), LEAST_SPREAD)), others)
    _store(path, name, voice, threshold)
    return Enrolled(name, len(clips), float(own.mean()), float(others[0]), threshold, error)


def _checked(name: str) -> str:
    plain = " ".join(name.split())
    if not plain or len(plain) > MAX_NAME or not plain.isprintable():
        raise UsageError(f"name {name!r}: 1 to {MAX_NAME} printable characters, please")
    if plain.casefold() == UNKNOWN:
        raise UsageError(f"name {name!r}: that is what everyone else is called; choose another")
    return plain


def _leave_one_out(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Similarity of each of the clips [n, 256] to the mean of the others [n]."""
    rest = [mean_voice(np.delete(vectors, i, axis=0)) for i in range(len(vectors))]
    return np.array([float(vector @ other) for vector, other in zip(vectors, rest, strict=True)])


def _between(own: tuple[float, float], others: tuple[float, float]) -> tuple[float, float]:
    """Where as many of one kind are mistaken as of the other, and how many: kinds as mean and spread."""
    distance = own[0] - others[0]
    spreads = own[1] + others[1]
    if distance <= 0:
        raise DataError(
            "these clips are less like each other than strangers are; do they hold one voice and the phrase?"
        )
    threshold = (own[0] * others[1] + others[0] * own[1]) / spreads
    return float(threshold), float(_tail(distance / spreads))


def _tail(deviations: float) -> float:
    """Share of a bell curve beyond so many standard deviations."""
    from math import erfc, sqrt

    return 0.5 * erfc(deviations / sqrt(2))


def _store(path: Path, name: str, voice: Vector, threshold: float) -> None:
    old = _known(path)
    keep = [i for i, other in enumerate(old.names) if other != name]
    _write(
        path,
        Speakers(
            (*(old.names[i] for i in keep), name),
            np.concatenate([old.vectors[keep], voice[None]]).astype(np.float32),
            np.append(old.thresholds[keep], threshold).astype(np.float32),
        ),
    )


def _known(path: Path) -> Speakers:
    if path.exists():
        return load_speakers(path)
    return Speakers((), np.zeros((0, SIZE), np.float32), np.zeros(0, np.float32))


def _write(path: Path, speakers: Speakers) -> None:
    try:
        with written_whole(path) as partial:
            with partial.open("wb") as file:
                np.savez(
                    file,
                    format=np.array(FORMAT),
                    encoder=np.array(ENCODER_SHA256),
                    names=np.array(speakers.names),
                    vectors=speakers.vectors,
                    thresholds=speakers.thresholds,
                )
            partial.chmod(0o600)
    except OSError as err:
        raise DataError(f"cannot write {path}: {err.strerror or err}") from err


def forget(path: Path, name: str) -> None:
    """Delete a person; the last one takes the file along. DataError where no one has that name."""
    old = load_speakers(path)
    name = _checked(name)
    if name not in old.names:
        raise DataError(f"{name!r} is not enrolled in {path}; enrolled: {', '.join(old.names)}")
    keep = [i for i, other in enumerate(old.names) if other != name]
    if keep:
        _write(path, Speakers(tuple(old.names[i] for i in keep), old.vectors[keep], old.thresholds[keep]))
    else:
        path.unlink()
