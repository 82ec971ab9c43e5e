"""Export a trained wake word to ONNX hosts."""

import wakeword as wakeword  # before onnxruntime, which it keeps from reporting its use
