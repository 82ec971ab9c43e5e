"""On-device wake words from a pretrained speech-recognition encoder."""

import os

# From 1.29 on onnxruntime tells Microsoft how it is used, unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# torch's threads wait for each other asleep, unless told otherwise before it is imported: awake they take
# the cores from whatever else runs there, and from each other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from wakeword.decision import Detection
from wakeword.detector import Detector, load
from wakeword.errors import WakewordError
from wakeword.listen.api import listen

__version__ = "0.1.0"
__all__ = ["Detection", "Detector", "WakewordError", "listen", "load"]
