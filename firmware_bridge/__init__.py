"""Bring the streaming student to microcontrollers."""

import wakeword as wakeword  # before onnxruntime, which it keeps from reporting its use
