"""The float graph for ESP-DL against the integers it comes from. esp-ppq is optional and not run here."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tiny import sounds

from firmware_bridge.espdl import build_espdl, float_graph, n_frames
from firmware_bridge.micro import micro_features
from firmware_bridge.micro_student import MicroStudent
from firmware_bridge.network import INPUT_SCALE, INPUT_ZERO_POINT
from firmware_bridge.network_file import FirmwareModel
from firmware_bridge.quantize import quantise
from firmware_bridge.reference import ReferenceNet
from wakeword.errors import ExportError


def test_the_float_graph_says_what_the_integers_say() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        student = MicroStudent(("hey nova",))
    with torch.no_grad():
        student.output.get_parameter("bias").zero_()
    features = micro_features(sounds(8.0, seed=4))
    windows = np.stack([features[10 * i : 10 * i + 183] for i in range(48)])
    net = quantise(student, "hey nova", windows)
    assert n_frames(net) == 183
    session = onnxruntime.InferenceSession(float_graph(net).SerializeToString())
    real = ((windows.astype(np.float32) - INPUT_ZERO_POINT) * np.float32(INPUT_SCALE)).transpose(0, 2, 1)
    said = np.array([session.run(None, {"features": window[None]})[0].item() for window in real])
    integers = np.array([ReferenceNet(net).feed(window)[-1] for window in windows]) / 256
    assert integers.std() > 0.05
    assert np.abs(said - integers).mean() < 0.1 * integers.std()


@pytest.mark.skipif(importlib.util.find_spec("esp_ppq") is not None, reason="esp-ppq is installed")
def test_without_esp_ppq_the_install_line_is_named(tmp_path: Path) -> None:
    model = FirmwareModel.__new__(FirmwareModel)
    with pytest.raises(ExportError, match="pip install esp-ppq"):
        build_espdl(model, tmp_path / "out", "esp32s3")
    assert not (tmp_path / "out").exists()
