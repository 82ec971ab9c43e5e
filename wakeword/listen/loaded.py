"""A model in use: its networks, loaded once, and where each of its phrases fires."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wakeword.detector import Detector, Models, load_models
from wakeword.errors import UsageError
from wakeword.files import Seal, seal_of
from wakeword.listen.settings import ModelSettings, PointSettings
from wakeword.listen.voices import Voices


@dataclass(frozen=True)
class Loaded:
    """A model and its thresholds; any number of streams may share it."""

    path: Path
    settings: ModelSettings
    models: Models
    thresholds: tuple[float, ...]
    """One per phrase."""
    seal: Seal
    """The file as it was loaded, see `seal_of`."""
    voices: Voices | None = None
    """Who may speak, or is to be named; None = nobody asks."""

    @property
    def name(self) -> str:
        """The model's own name."""
        return self.models.manifest.name

    @property
    def phrases(self) -> tuple[str, ...]:
        """What it listens for."""
        return self.models.manifest.phrases

    def rates(self, phrase: str) -> dict[float, float]:
        """Operating points that can be chosen: false accepts per hour -> threshold."""
        points = self.models.manifest.thresholds_of(self.models.mode)[phrase]
        return {float(rate): point.value for rate, point in points.items()}

    def detector(self) -> Detector:
        """A detector for one stream."""
        return Detector(self.models, self.thresholds)


def load_model(settings: ModelSettings, folder: Path, known: Sequence[Loaded] = ()) -> Loaded:
    """Load a model of `listen.toml`, whose folder its path is relative to.

    Networks that are `known` and whose file has not changed are shared. BundleError for a damaged file,
    UsageError for a phrase, an operating point or a mode that it does not have, DataError where voices are
    to be told apart and nothing here can.
    """
    path = folder / Path(settings.path).expanduser()
    seal = seal_of(path)
    for other in known:
        if (other.path, other.seal, other.settings.mode) == (path, seal, settings.mode):
            models = other.models
            break
    else:
        models = load_models(path, None if settings.mode == "auto" else settings.mode)
    if unknown := sorted(set(settings.phrases) - set(models.manifest.phrases)):
        raise UsageError(
            f"{path} has no phrase {unknown[0]!r}; its phrases are {', '.join(models.manifest.phrases)}"
        )
    voices = None if settings.speakers == "off" else Voices(path, settings.speakers)
    return Loaded(path, settings, models, _thresholds(settings, models), seal, voices)


def _thresholds(settings: ModelSettings, models: Models) -> tuple[float, ...]:
    everywhere = PointSettings(fa_per_hour=settings.fa_per_hour, threshold=settings.threshold)
    points = [settings.phrases.get(phrase, everywhere) for phrase in models.manifest.phrases]
    default = float(models.manifest.default_fa_per_hour)
    return tuple(
        point.threshold or models.manifest.threshold(phrase, point.fa_per_hour or default, models.mode).value
        for phrase, point in zip(models.manifest.phrases, points, strict=True)
    )
