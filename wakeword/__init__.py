"""On-device wake words from a pretrained speech-recognition encoder."""

import os

# From 1.29 on onnxruntime tells Microsoft how it is used, unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from wakeword.decision import Detection
from wakeword.detector import Detector, load
from wakeword.errors import WakewordError
from wakeword.listen.api import listen

__version__ = "0.1.0"
__all__ = ["Detection", "Detector", "WakewordError", "listen", "load"]
