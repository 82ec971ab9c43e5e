"""Export a trained wake word to ONNX hosts."""
