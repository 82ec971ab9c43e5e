"""On-device wake words from a pretrained speech-recognition encoder."""

__version__ = "0.1.0"
