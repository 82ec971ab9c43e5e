"""The hardest moments of hours of audio without a phrase: what a detector takes for one, or nearly.

Each stretch of some minutes is heard by the listener's own scorer, and by the student alone where there is
one; what scored highest is noted in a small file per stretch, so that a run that was killed goes on where it
was. The moments chosen from all of them, each once, become WAV files to listen to and to train on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from wakeword.clips.dataset import Clip
from wakeword.cluster import Cluster
from wakeword.detector import load_models
from wakeword.errors import DataError
from wakeword.evaluate.plan import build_negative_streams
from wakeword.evaluate.score import PhraseTrace
from wakeword.evaluate.streams import NegativeStream
from wakeword.evaluate.trace import ScoresAudio, trace
from wakeword.files import written_whole
from wakeword.manifest import Manifest, Mode
from wakeword.scorer import HopScorer
from wakeword.spread import Processes

STRETCH_S = 180.0
"""About how much is heard between two notes."""
PER_STRETCH = 60
"""Most moments noted of a stretch, per phrase and scorer."""
LEAST = 0.05
"""Share of the threshold below which a moment is not hard."""

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Moment:
    """Where in which recording something came near to a phrase."""

    phrase: str
    scorer: str
    """The mode of listening: "cascade", "verifier" or "student"."""
    score: float
    threshold: float
    path: Path
    at_s: float

    @property
    def hardness(self) -> float:
        """Score over threshold: 1 or more is a false accept."""
        return self.score / self.threshold


@dataclass(frozen=True)
class Ear:
    """One way of listening, made in the process where it runs."""

    mode: Mode
    thresholds: dict[str, float]
    make: Callable[[], ScoresAudio]


def ears_of(model: Path, mode: Mode | None = None) -> tuple[Manifest, list[Ear]]:
    """The manifest, and who listens: what the mode says (the bundle's default), and the student alone."""
    models = load_models(model, mode)
    modes: list[Mode] = [models.mode]
    if models.student is not None and models.mode == "cascade":
        modes.append("student")
    return models.manifest, [
        Ear(m, thresholds_of(models.manifest, m), partial(_scorer, model, m)) for m in modes
    ]


def _scorer(model: Path, mode: Mode) -> HopScorer:
    return load_models(model, mode).scorer()


def thresholds_of(manifest: Manifest, mode: Mode) -> dict[str, float]:
    """The default threshold of each phrase in a mode."""
    rate = float(manifest.default_fa_per_hour)
    return {phrase: manifest.threshold(phrase, rate, mode).value for phrase in manifest.phrases}


def hear(
    manifest: Manifest,
    ears: Sequence[Ear],
    clips: Sequence[Clip],
    notes: Path,
    key: str,
    workers: int = 1,
    progress: Progress | None = None,
    cluster: Cluster | None = None,
) -> list[Moment]:
    """All hard moments of the recordings, in no order that means anything.

    Args:
        manifest: What is listened for.
        ears: Who listens.
        clips: Recordings without the phrases.
        notes: Folder of what is known already; filled stretch by stretch.
        key: Names the model: notes of another one are not used.
        workers: Processes.
        progress: Told of the seconds of each stretch.
        cluster: Whose workers listen, instead of processes of this machine.
    """
    notes.mkdir(parents=True, exist_ok=True)
    streams = build_negative_streams(clips, STRETCH_S)
    places = [notes / f"{_name(stream, key)}.json" for stream in streams]
    todo = [(s, p) for s, p in zip(streams, places, strict=True) if not _read_note(p)]
    if progress:
        progress(sum(s.seconds for s in streams) - sum(s.seconds for s, _ in todo))
    spread = cluster or Processes(workers)
    for i, moments in spread.run(partial(Hearing, manifest, ears), [stream for stream, _ in todo]):
        stream, place = todo[i]
        _write_note(place, moments)
        if progress:
            progress(stream.seconds)
    return [moment for place in places for moment in _read_note(place) or []]


def _name(stream: NegativeStream, key: str) -> str:
    """Names a stretch by the model and its files; a file that changes is heard again."""
    files = []
    for path in dict.fromkeys(segment.source.paths[0] for segment in stream.segments):
        about = path.stat()
        files.append(f"{path.resolve()}|{about.st_size}|{about.st_mtime_ns}")
    return hashlib.sha256("\n".join([key, *files]).encode()).hexdigest()[:24]


class Hearing:
    """Each ear's scorer, loaded once, and what they find hard in a stretch."""

    def __init__(self, manifest: Manifest, ears: Sequence[Ear]) -> None:
        self._manifest = manifest
        self._ears = [(ear, ear.make()) for ear in ears]

    def __call__(self, stream: NegativeStream) -> list[Moment]:
        """All hard moments of a stretch."""
        moments = list[Moment]()
        for ear, scorer in self._ears:
            heard = trace(scorer, stream.blocks())
            for phrase in self._manifest.phrases:
                threshold = ear.thresholds[phrase]
                smoothed = PhraseTrace(heard, phrase, self._manifest.decision_of(ear.mode))
                for score, at_s in smoothed.peaks(PER_STRETCH).tolist():
                    if score >= LEAST * threshold:
                        path, into_s = stream.file_at(at_s)
                        moments.append(Moment(phrase, ear.mode, score, threshold, path, round(into_s, 2)))
        return moments


def _write_note(place: Path, moments: Sequence[Moment]) -> None:
    rows = [asdict(moment) | {"path": str(moment.path)} for moment in moments]
    try:
        with written_whole(place) as partial_path:
            partial_path.write_text(json.dumps(rows), encoding="utf-8")
    except OSError as err:
        raise DataError(f"cannot write {place}: {err.strerror or err}") from err


def _read_note(place: Path) -> list[Moment] | None:
    try:
        rows = json.loads(place.read_text(encoding="utf-8"))
        return [Moment(**row | {"path": Path(row["path"])}) for row in rows]
    except (OSError, ValueError, TypeError, KeyError):
        return None
