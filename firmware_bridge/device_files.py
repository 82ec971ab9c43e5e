"""A device's scores and sound as files, on request."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from firmware_bridge.frames import Audio, Message, Trace
from wakeword.audio import SAMPLE_RATE
from wakeword.errors import WakewordError

MAX_GAP_SAMPLES = SAMPLE_RATE
"""Sound that is missing is written as silence, so that times stay right; longer gaps are left out."""
STEP_SLICES = 3


def open_writers(stack: ExitStack, trace: Path | None, audio: Path | None) -> list[Callable[[Message], None]]:
    """Open the files that are wanted, until the stack closes; WakewordError where one cannot be written."""
    writers = []
    try:
        if trace is not None:
            writers.append(_scores(stack, trace))
        if audio is not None:
            writers.append(_sound(stack, audio))
    except (OSError, RuntimeError) as err:  # libsndfile's own errors are RuntimeErrors
        raise WakewordError(f"cannot write {getattr(err, 'filename', None) or audio}: {err}") from err
    return writers


def _scores(stack: ExitStack, path: Path) -> Callable[[Message], None]:
    """Seconds on the device's clock and the score, 0 to 255, of each step."""
    file = stack.enter_context(path.open("w", buffering=1))
    file.write("time_s,score\n")

    def write(message: Message) -> None:
        if isinstance(message, Trace):
            for i, score in enumerate(message.scores):
                file.write(f"{(message.frame + STEP_SLICES * i + 2) / 100:.2f},{score}\n")

    return write


def _sound(stack: ExitStack, path: Path) -> Callable[[Message], None]:
    import soundfile

    file = stack.enter_context(soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16", format="WAV"))
    expected: int | None = None

    def write(message: Message) -> None:
        nonlocal expected
        if isinstance(message, Audio):
            gap = 0 if expected is None else message.first_sample - expected
            if 0 < gap <= MAX_GAP_SAMPLES:
                file.write(np.zeros(gap, dtype=np.int16))
            file.write(message.pcm)
            expected = message.first_sample + len(message.pcm)

    return write
