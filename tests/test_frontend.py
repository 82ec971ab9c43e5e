"""The torch log-mel against numpy's, batch and stream, and against its own exported graph."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from wakeword import mel
from wakeword.audio import Samples
from wakeword.train.frontend import LogMel, frames, normalise

TOLERANCE = 1e-4
"""log10 units. The largest difference seen on speech is 4e-5, in bands 80 dB below the loudest."""


def torch_mel(samples: Samples) -> np.ndarray:
    return LogMel()(torch.from_numpy(samples)[None])[0].numpy()


def export(
    module: torch.nn.Module, example: torch.Tensor, path: Path, lengths: bool = True
) -> onnxruntime.InferenceSession:
    """Export for any batch and (with `lengths`) any length.

    torch's own deprecation warnings are not ours to fail on.
    """
    axes = (0, example.dim() - 1) if lengths else (0,)
    dynamic = ({axis: torch.export.Dim.DYNAMIC for axis in axes},)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        program = torch.onnx.export(
            module.eval(), (example,), dynamo=True, verbose=False, dynamic_shapes=dynamic, input_names=["x"]
        )
    program.save(path)
    return onnxruntime.InferenceSession(path)


@pytest.mark.parametrize("n_samples", [400, 401, 559, 560, 719, 720, 16_000, 30_320])
def test_frames_are_those_of_the_stream(n_samples: int) -> None:
    samples = torch.arange(n_samples, dtype=torch.float32)[None]
    expected = samples.unfold(1, 400, 160)
    assert torch.equal(frames(samples), expected)
    assert expected.shape[1] == mel.n_frames(n_samples)


def test_equals_numpy_on_speech(speech: Samples) -> None:
    np.testing.assert_allclose(torch_mel(speech), mel.log_mel(speech), atol=TOLERANCE, rtol=0)


def test_equals_numpy_on_noise_and_silence(rng: np.random.Generator) -> None:
    noise = rng.normal(0, 0.1, 8_000).astype(np.float32)
    samples = np.concatenate([noise, np.zeros(4_000, np.float32)])
    np.testing.assert_allclose(torch_mel(samples), mel.log_mel(samples), atol=TOLERANCE, rtol=0)
    assert torch_mel(samples)[:, -1] == pytest.approx(-10.0)


@pytest.mark.parametrize("block", [1, 159, 160, 1280, 4001])
def test_equals_the_stream(block: int, speech: Samples) -> None:
    samples = speech[:12_345]
    stream = mel.StreamingLogMel()
    parts = [stream.feed(samples[i : i + block]) for i in range(0, len(samples), block)]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), torch_mel(samples), atol=TOLERANCE, rtol=0)


def test_windows_of_a_batch_do_not_mix(speech: Samples) -> None:
    batch = np.stack([speech[:32_000], speech[40_000:72_000] * np.float32(0.01)])
    features = normalise(LogMel()(torch.from_numpy(batch))).numpy()
    for window, got in zip(batch, features, strict=True):
        np.testing.assert_allclose(got, mel.normalise(mel.log_mel(window)), atol=TOLERANCE, rtol=0)


def test_autocast_does_not_lower_the_precision(speech: Samples) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = torch_mel(speech)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, torch_mel(speech))


def test_exported_graph_computes_the_same(speech: Samples, tmp_path: Path) -> None:
    session = export(LogMel(), torch.randn(2, 4_000), tmp_path / "mel.onnx")
    assert {node for node in operators(tmp_path / "mel.onnx") if "STFT" in node or "DFT" in node} == set()
    for n_samples in (400, 32_000, 32_077):
        batch = np.stack([speech[:n_samples], speech[-n_samples:], speech[5_000 : 5_000 + n_samples]])
        (got,) = session.run(None, {"x": batch})
        expected = np.stack([mel.log_mel(window) for window in batch])
        np.testing.assert_allclose(got, expected, atol=TOLERANCE, rtol=0)


def operators(path: Path) -> set[str]:
    import onnx

    return {node.op_type for node in onnx.load(path).graph.node}
