"""On-device wake words from a pretrained speech-recognition encoder."""

from wakeword.decision import Detection
from wakeword.detector import Detector, load
from wakeword.errors import WakewordError
from wakeword.listen.api import listen

__version__ = "0.1.0"
__all__ = ["Detection", "Detector", "WakewordError", "listen", "load"]
