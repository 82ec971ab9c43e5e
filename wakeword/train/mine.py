"""Background for the student: hours of it, and above all the seconds that it still takes for a phrase.

False accepts are rare, so windows drawn at random hardly ever show one. The student is cheap enough to hear
all background anew before each epoch; what scores highest is what it is then shown most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wakeword.audio import as_float
from wakeword.errors import DataError, TrainingError
from wakeword.mel import N_MELS, log_mel
from wakeword.train.student import StudentNet

PIECE_STEPS = 1_500
"""Background heard at once, in steps: a minute."""
APART_STEPS = 25
"""One false accept is taken from every so many steps."""
HARDEST = 400
"""False accepts shown again, per phrase."""
AFTER_FRAMES = (4, 72)
"""How long after a false accept its window ends: as long as after a phrase."""


class Background:
    """Log-mel of hours without a phrase, end to end, to cut windows from."""

    def __init__(self, mel: npt.NDArray[np.float16], frames: int) -> None:
        """`mel` [T, M] may be memory-mapped; windows are `frames` long. DataError where T is less."""
        if len(mel) <= frames:
            raise DataError(f"{len(mel)} frames of background are less than one window of {frames}")
        self._mel, self._frames = mel, frames
        self._hardest = np.zeros(0, dtype=np.int64)

    def mine(self, student: StudentNet) -> None:
        """Hear everything with the student and note where it comes nearest to firing."""
        stride = student.config.stride
        steps = self.logits(student)
        steps = steps[: len(steps) // APART_STEPS * APART_STEPS]
        blocks = steps.reshape(-1, APART_STEPS, steps.shape[1])
        order = np.argsort(-blocks.max(axis=1), axis=0)[:HARDEST]
        peaks = np.take_along_axis(blocks.argmax(axis=1), order, axis=0) + order * APART_STEPS
        self._hardest = peaks.ravel() * stride

    def logits(self, student: StudentNet) -> npt.NDArray[np.float32]:
        """The student's logits of every step [S, K]."""
        stride = student.config.stride
        was_training, states, rows = student.training, student.zero_states(1), list[Tensor]()
        student.eval()
        with torch.inference_mode():
            for start in range(0, len(self._mel) // stride * stride, PIECE_STEPS * stride):
                piece = self._windows([start], min(PIECE_STEPS, (len(self._mel) - start) // stride) * stride)
                logits, states = student(piece.to(states[0].device), states)
                rows.append(logits[0].cpu())
        student.train(was_training)
        return torch.cat(rows).numpy()

    def draw(self, n: int, rng: np.random.Generator) -> Tensor:
        """Windows [n, M, frames]: half of them drawn evenly, half from what was mined (once it was)."""
        last = len(self._mel) - self._frames
        starts = rng.integers(0, last, n)
        if len(self._hardest):
            ends = rng.choice(self._hardest, n // 2) + rng.integers(*AFTER_FRAMES, n // 2)
            starts[: n // 2] = np.clip(ends - self._frames, 0, last)
        return self._windows(starts.tolist(), self._frames)

    def _windows(self, starts: Sequence[int], frames: int) -> Tensor:
        cut = np.stack([self._mel[start : start + frames] for start in starts])
        return torch.from_numpy(cut.astype(np.float32)).transpose(1, 2).contiguous()


def cache_background(recordings: Iterable[npt.NDArray[np.generic]], path: Path) -> npt.NDArray[np.float16]:
    """Log-mel of all recordings (int16 or float32), end to end, kept on disk [T, 80]: 58 MB an hour."""
    try:
        with path.open("wb") as file:
            for samples in recordings:
                file.write(log_mel(as_float(samples)).T.astype(np.float16).tobytes())
        return np.memmap(path, np.float16, "r").reshape(-1, N_MELS)
    except OSError as err:
        raise TrainingError(f"cannot keep log-mel in {path}: {err}") from err
