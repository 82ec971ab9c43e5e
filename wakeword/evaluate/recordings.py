"""`wakeword evaluate`: a bundle judged on one split of somebody's recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wakeword.bundle import load_bundle
from wakeword.clips.confusable_clips import find_confusables
from wakeword.clips.dataset import Clip, Rejected, check_clips, load_background, load_clips
from wakeword.cluster import open_cluster
from wakeword.errors import UsageError
from wakeword.evaluate.result import EvaluationResult
from wakeword.evaluate.run import evaluate, speech_and_noise
from wakeword.manifest import Mode


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What a bundle is judged on."""

    model: Path
    phrases: Path
    """Recordings of the phrases, as `load_clips` takes them."""
    background: Sequence[Path]
    """Recordings without them."""
    out: Path
    """Folder of the report."""
    snrs: Sequence[str] = ("clean", "10")
    split: str = "test"
    """dev, test or all."""
    max_clips: int | None = None
    """Of each phrase; None = all."""
    seed: int = 1
    mode: Mode | None = None
    confusables: Path | None = None
    """Folder of near phrases, played too; where there is none they are made. None = leave them out."""
    cluster: str | None = None
    """Who listens, as `open_cluster` takes it; None = the processes of this machine."""

    def anywhere(self) -> Examination:
        """The same by absolute paths, for workers that run in another folder."""
        return replace(
            self,
            model=self.model.absolute(),
            phrases=self.phrases.absolute(),
            background=[path.absolute() for path in self.background],
            confusables=self.confusables and self.confusables.absolute(),
        )


def examine(what: Examination) -> tuple[EvaluationResult, list[Rejected]]:
    """Judge a bundle and write its report; also the clips that could not be used.

    Raises UsageError for a level that is none, DataError where there is nothing to judge on.
    """
    if what.cluster:
        what = what.anywhere()
    levels = [snr_of(text) for text in what.snrs]
    known = load_bundle(what.model).manifest.phrases
    clips, rejected = check_clips(_of_split(load_clips(what.phrases, known), what.split))
    speech, noise = speech_and_noise(_of_split(load_background(what.background), what.split))
    near = find_confusables(what.confusables, known, what.split, what.seed) if what.confusables else []
    with open_cluster(what.cluster) as cluster:
        result = evaluate(
            what.model,
            clips,
            speech,
            noise,
            what.out,
            levels,
            seed=what.seed,
            max_phrases=what.max_clips,
            mode=what.mode,
            confusables=near,
            cluster=cluster,
        )
    return result, rejected


def snr_of(text: str) -> float | None:
    """ "clean" (None) or a number of decibels."""
    if text == "clean":
        return None
    try:
        return float(text)
    except ValueError as err:
        raise UsageError(f"--snr {text!r}; give clean or a number of decibels") from err


def _of_split(clips: Sequence[Clip], split: str) -> list[Clip]:
    return [clip for clip in clips if split in ("all", clip.split)]
