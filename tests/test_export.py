"""Exported graphs against torch, on the same windows, and a bundle made of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx.checker
import pytest
import torch
from tiny import CONFIG, PHRASES, SPEC, sounds, tiny_net, windows

from export.graph import verifier_graph
from export.pack import check_parity, draft_bundle, export_verifier, golden_audio
from export.quantize import quantize_dynamic_int8
from wakeword.audio import as_float, level_dbfs
from wakeword.bundle import load_bundle, save_bundle
from wakeword.errors import ExportError
from wakeword.mel import log_mel
from wakeword.scorer import Scorer
from wakeword.train.model import WakewordNet, window_samples
from wakeword.verifier import Verifier, make_session

METADATA = {"phrases": PHRASES, "window": 100}
INT8 = onnx.TensorProto.INT8


@dataclass(frozen=True)
class Exported:
    net: WakewordNet
    audio: np.ndarray
    """Windows [16, N]."""
    mel: np.ndarray
    """Of the same sound [16, 80, T]."""
    posterior: np.ndarray
    """By torch [16, K]."""
    fp32: onnx.ModelProto
    int8: onnx.ModelProto


@pytest.fixture(scope="module")
def exported() -> Exported:
    net = tiny_net()
    audio = np.stack([sounds(1.1, seed)[:16_240] for seed in range(16)])
    with torch.inference_mode():
        mel = net.encoder_input(torch.from_numpy(audio))
        posterior = torch.sigmoid(net(mel)).numpy()
    fp32, int8, _ = export_verifier(net, mel.numpy(), METADATA)
    return Exported(net, audio, mel.numpy(), posterior, fp32, int8)


@pytest.fixture(scope="module")
def portable(exported: Exported) -> onnx.ModelProto:
    return verifier_graph(exported.net, torch.from_numpy(exported.audio[:2]), METADATA, portable=True)


def run(graph: onnx.ModelProto, name: str, x: np.ndarray) -> np.ndarray:
    (posterior,) = make_session(graph.SerializeToString()).run(["posterior"], {name: x})
    return np.asarray(posterior)


def test_posteriors_differ_enough_to_compare(exported: Exported) -> None:
    assert np.ptp(exported.posterior, axis=0).min() > 0.2


@pytest.mark.parametrize("batch", [1, 2, 5, 16])
def test_fp32_equals_torch(exported: Exported, batch: int) -> None:
    got = run(exported.fp32, "mel", exported.mel[:batch])
    assert got.shape == (batch, 2)
    np.testing.assert_allclose(got, exported.posterior[:batch], atol=1e-4)


def test_int8_is_near_torch(exported: Exported) -> None:
    """Measured: 0.06 at most, 0.02 on average, for a head whose slope is 300 times a fresh one's."""
    off = np.abs(
        np.concatenate([run(exported.int8, "mel", m[None]) for m in exported.mel]) - exported.posterior
    )
    assert off.mean() < 0.04
    assert off.max() < 0.15


def test_audio_in_equals_mel_in(exported: Exported, portable: onnx.ModelProto) -> None:
    got = run(portable, "audio", exported.audio)
    np.testing.assert_allclose(got, run(exported.fp32, "mel", exported.mel), atol=1e-4)
    np.testing.assert_allclose(got, exported.posterior, atol=1e-4)
    mel = np.stack([log_mel(a) for a in exported.audio])  # numpy's, as the runtime feeds it
    np.testing.assert_allclose(run(exported.fp32, "mel", mel), exported.posterior, atol=1e-3)


def test_audio_in_as_int8_keeps_its_ears(exported: Exported, portable: onnx.ModelProto) -> None:
    """Log-mel stays float in it: with int8 sines and cosines posteriors were off by up to 0.63."""
    int8 = quantize_dynamic_int8(portable)
    onnx.checker.check_model(int8, full_check=True)
    got = np.concatenate([run(int8, "audio", a[None]) for a in exported.audio])
    assert np.abs(got - exported.posterior).max() < 0.15
    assert {t.name for t in int8.graph.initializer} >= {"net.log_mel.power.dft", "net.log_mel.power.filters"}


def test_int8_holds_int8(exported: Exported) -> None:
    n_matrices = 6 * SPEC.blocks + 2  # query, key, value, out and two of the MLP; the head's two
    assert (
        sum(t.data_type == INT8 and len(t.dims) == 2 for t in exported.int8.graph.initializer) == n_matrices
    )
    assert exported.int8.ByteSize() < 0.7 * exported.fp32.ByteSize()


@pytest.mark.parametrize("kind", ["fp32", "int8"])
def test_graphs_are_valid_and_say_what_they_are(exported: Exported, kind: str) -> None:
    graph: onnx.ModelProto = getattr(exported, kind)
    onnx.checker.check_model(graph, full_check=True)
    told = {p.key: json.loads(p.value) for p in graph.metadata_props if p.key in METADATA}
    assert told == {"phrases": list(PHRASES), "window": 100}
    session = make_session(graph.SerializeToString())
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type, taken.shape[1:]) == ("mel", "tensor(float)", [80, 100])
    assert (given.name, given.type, given.shape[1:]) == ("posterior", "tensor(float)", [2])
    assert isinstance(taken.shape[0], str)  # any batch


def test_graphs_say_nothing_of_this_machine(exported: Exported, portable: onnx.ModelProto) -> None:
    for graph in (exported.fp32, exported.int8, portable):
        data = graph.SerializeToString()
        assert b".py" not in data
        assert str(Path(__file__).parents[1]).encode() not in data


def test_only_plain_operators(exported: Exported, portable: onnx.ModelProto) -> None:
    for graph in (exported.fp32, portable):
        assert {node.domain for node in graph.graph.node} <= {"", "ai.onnx"}
        assert not {node.op_type for node in graph.graph.node} & {"STFT", "DFT", "Loop", "If", "Scan"}


def tampered(graph: onnx.ModelProto, factor: float) -> onnx.ModelProto:
    """The same graph, the head's second convolution multiplied."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    (tensor,) = [t for t in copy.graph.initializer if t.name == "net.head.conv2.weight"]
    values = onnx.numpy_helper.to_array(tensor) * np.float32(factor)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), tensor.name))
    return copy


def test_parity_is_measured(exported: Exported) -> None:
    parity = check_parity(exported.net, exported.mel, exported.fp32, exported.int8)
    assert parity.windows == 16
    assert parity.fp32_max < 1e-4
    assert 0 < parity.int8_mean < parity.int8_max < 0.15


def test_broken_graphs_are_refused(exported: Exported) -> None:
    wrong = tampered(exported.fp32, 1.5)
    with pytest.raises(ExportError, match="the fp32 graph differs from torch by 0"):
        check_parity(exported.net, exported.mel, wrong, exported.int8)
    with pytest.raises(ExportError, match="the int8 graph differs from torch by 0"):
        check_parity(exported.net, exported.mel, exported.fp32, tampered(exported.int8, -3.0))
    with pytest.raises(ExportError, match="the fp32 graph differs from torch by nan"):
        check_parity(exported.net, exported.mel, tampered(exported.fp32, float("nan")), exported.int8)


def test_export_changes_nothing_of_the_net(exported: Exported) -> None:
    before = tiny_net().state_dict()
    assert all(torch.equal(value, before[name]) for name, value in exported.net.state_dict().items())
    assert not exported.net.training


def test_draft_bundle(exported: Exported, tmp_path: Path) -> None:
    draft = draft_bundle(exported.net, exported.int8, "hey", CONFIG, {"policy": "head"})
    assert draft.manifest.thresholds == {phrase: {} for phrase in PHRASES}
    assert (draft.manifest.input, draft.manifest.window, draft.manifest.encoder) == ("mel", 100, SPEC.name)
    assert draft.manifest.licences[f"encoder {SPEC.name}"] == SPEC.licence
    assert draft.manifest.decision == CONFIG.decision
    mel = log_mel(as_float(draft.golden.audio))
    posterior = run(exported.int8, "mel", mel[None])[0]
    np.testing.assert_allclose(1 / (1 + np.exp(-draft.golden.logits)), posterior, atol=1e-5)
    save_bundle(tmp_path / "draft.wakeword", draft)
    rows = Scorer(Verifier(load_bundle(tmp_path / "draft.wakeword"))).feed(sounds(2.0))
    assert len(rows) == 25 - 12
    with pytest.raises(AssertionError):
        assert draft == replace(draft, verifier=b"")


def test_golden_sound_is_fixed_and_loud() -> None:
    audio = golden_audio(16_240)
    assert (audio.dtype, audio.shape) == (np.int16, (16_240,))
    np.testing.assert_array_equal(audio, golden_audio(16_240))
    assert -30 < level_dbfs(as_float(audio)) < 0


def test_windows_of_the_tiny_net() -> None:
    assert windows(3, tiny_net()).shape == (3, 80, 100)


def test_quick_features_are_the_int8_encoder_window_by_window() -> None:
    from export.quick_features import QuickFeatures

    net = tiny_net()
    audio = torch.from_numpy(
        np.stack([sounds(1.0, seed=i)[: window_samples(CONFIG.window_s)] for i in range(3)])
    )
    quick = QuickFeatures(net, audio[0].numpy())
    with torch.inference_mode():
        exact = net.features(net.encoder_input(audio))
    found = quick.features(quick.encoder_input(audio))
    assert found.shape == exact.shape
    assert float((found - exact).norm() / exact.norm()) < 0.1
    assert not torch.equal(found, exact)  # it is int8
    alone = quick.features(quick.encoder_input(audio[1:2]))
    torch.testing.assert_close(alone, found[1:2], rtol=0, atol=1e-5)
