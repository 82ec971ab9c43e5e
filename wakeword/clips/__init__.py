"""Recordings: list and check them (`dataset`), make them (`synth`), vary them (`augment`, `rooms`).

Needs numpy, soundfile and soxr only; nothing here imports torch.
"""
