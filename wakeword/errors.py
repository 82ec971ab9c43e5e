"""Everything that can go wrong and that a user can mend.

- WakewordError        exit code 1: a failure we explain
  - AudioError         a recording that cannot be used
  - DataError          a folder or manifest that cannot be trained or judged on
  - EncoderError       pretrained weights missing, damaged or unknown
  - TrainingError      training cannot go on (diverged, no checkpoint to resume)
  - BundleError        a `.wakeword` file that is damaged, foreign or too new
  - ExportError        a model that cannot be exported, or exported wrongly
  - DeviceError        a microphone that is missing, busy or gone
  - UsageError         exit code 2: the call itself is wrong
"""

from __future__ import annotations


class WakewordError(Exception):
    """A failure with a message for the user: what came in, what is allowed, what to do."""

    exit_code = 1


class AudioError(WakewordError):
    """A recording that cannot be used."""


class DataError(WakewordError):
    """A set of recordings that cannot be trained or judged on."""


class EncoderError(WakewordError):
    """Pretrained weights that are missing, damaged or unknown."""


class TrainingError(WakewordError):
    """Training that cannot start or go on."""


class BundleError(WakewordError):
    """A `.wakeword` file that is damaged, foreign or too new."""


class ExportError(WakewordError):
    """A model that cannot be exported, or whose export computes something else."""


class DeviceError(WakewordError):
    """A microphone that is missing, busy or gone."""


class UsageError(WakewordError):
    """A call with wrong arguments or settings."""

    exit_code = 2
