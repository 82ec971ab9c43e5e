"""What an export may be told besides its target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.calibration import calibration_windows
from export.source import PRECISIONS, Source
from wakeword.errors import UsageError


@dataclass(frozen=True)
class Options:
    """Settings of one export; a target uses those that concern it."""

    precisions: tuple[str, ...] = ()
    """Of the verifier; empty = what the target does by default."""
    phrases: Path | None = None
    """Clips to calibrate int8-static on, with `background`."""
    background: tuple[Path, ...] = ()
    npm: Path | None = None
    """A `node_modules` to take npm packages from; None = fetch them with npm."""

    def __post_init__(self) -> None:
        if unknown := [p for p in self.precisions if p not in PRECISIONS]:
            raise UsageError(f"no precision {unknown[0]!r}; choose one of {', '.join(PRECISIONS)}")

    def chosen(self, source: Source) -> tuple[str, ...]:
        """The precisions asked for, else all that the source and the recordings at hand allow."""
        possible = {"int8": True, "int8-static": source.has_net and self._can_calibrate}
        return self.precisions or tuple(p for p in PRECISIONS if possible.get(p, source.has_net))

    def windows(self, source: Source, precision: str) -> npt.NDArray[np.float32] | None:
        """What a precision is calibrated on, None where it needs nothing or nothing was given."""
        if precision != "int8-static" or not self._can_calibrate:
            return None
        assert self.phrases is not None
        return calibration_windows(source.bundle.manifest, self.phrases, self.background)

    @property
    def _can_calibrate(self) -> bool:
        return self.phrases is not None and bool(self.background)
