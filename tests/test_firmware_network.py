"""The quantised network: our integers against TFLite Micro's own kernels, byte by byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_network import toy_features, toy_network

from firmware_bridge.decision import FirmwareRule
from firmware_bridge.fixed_point import quantise_multiplier, scaled, sigmoid_table
from firmware_bridge.network import Block, QuantisedNet
from firmware_bridge.network_file import FirmwareModel, Point, load_model, save_model, slug
from firmware_bridge.reference import ReferenceNet
from firmware_bridge.tflite import write_tflite
from wakeword.errors import BundleError, ExportError, UsageError

SHAPES = (
    {},
    {"channels": 16, "blocks": ("dense", "separable", "separable"), "dilations": (1, 2, 4), "kernel": 5},
    {"stem_taps": 6, "blocks": ("separable",), "dilations": (3,), "kernel": 7},
    {"blocks": (), "dilations": ()},
)


def tflm(data: bytes, features: np.ndarray, stride: int = 3) -> np.ndarray:
    """Posteriors of TFLite Micro's reference kernels [S]."""
    runtime = pytest.importorskip("tflite_micro").runtime
    interpreter = runtime.Interpreter.from_bytes(data, arena_size=100_000)
    posteriors = []
    for step in features.reshape(-1, 1, stride, 40):
        interpreter.set_input(step, 0)
        interpreter.invoke()
        posteriors.append(int(interpreter.get_output(0)[0, 0]))
    return np.array(posteriors, dtype=np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_equals_tflite_micro(shape: dict, seed: int) -> None:
    net, features = toy_network(seed, **shape), toy_features(300, seed)
    ours = ReferenceNet(net).feed(features)
    assert len(set(ours.tolist())) > 5, "a network that says one thing compares nothing"
    np.testing.assert_array_equal(ours, tflm(write_tflite(net), features))


@pytest.mark.parametrize("block", [1, 2, 3, 7, 100])
def test_any_block_size_gives_the_same(block: int) -> None:
    features = toy_features(120)
    runner = ReferenceNet(toy_network())
    whole = runner.feed(features)
    runner.reset()
    parts = [runner.feed(features[i : i + block]) for i in range(0, len(features), block)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_float_features_are_refused() -> None:
    with pytest.raises(UsageError, match="int8"):
        ReferenceNet(toy_network()).feed(np.zeros((3, 40), dtype=np.float32))


@pytest.mark.parametrize("scale", [0.02, 0.0625, 0.11, 0.3])
@pytest.mark.parametrize("zero_point", [-128, -20, 0, 31])
def test_sigmoid_is_a_sigmoid(scale: float, zero_point: int) -> None:
    logits = (np.arange(-128, 128) - zero_point) * scale
    expected = np.clip(256 / (1 + np.exp(-logits)), 0, 255)
    assert np.abs(sigmoid_table(scale, zero_point) - expected).max() <= 1.01


def test_rescaling_is_near_the_real_product(rng: np.random.Generator) -> None:
    x = rng.integers(-(2**24), 2**24, 1000)
    for factor in (1e-6, 0.0123, 0.5, 0.99999, 1.7):
        scaling = quantise_multiplier(factor)
        assert np.abs(scaled(x, scaling.multiplier, scaling.shift) - x * factor).max() <= 1 + 2 * factor


@pytest.mark.parametrize("factor", [0.0, -1.0, float("inf"), 2.0**31])
def test_a_rescaling_out_of_range_is_refused(factor: float) -> None:
    with pytest.raises(ExportError, match="rescaling"):
        quantise_multiplier(factor)


def test_layers_that_do_not_fit_are_refused() -> None:
    net = toy_network()
    first, second = net.blocks
    with pytest.raises(ExportError, match="block 0"):
        replace(net, blocks=(second, first))
    wrong = Block(first.convs, replace(first.add, a=first.add.b))
    with pytest.raises(ExportError, match="adds up"):
        replace(net, blocks=(wrong, second))


def model(net: QuantisedNet) -> FirmwareModel:
    point = Point(FirmwareRule(200, 5), 0, 1.5, {"clean": 0.02})
    return FirmwareModel(net, {"0.5": point}, {"seed": 1})


def test_a_saved_model_is_the_same(tmp_path: Path) -> None:
    net = toy_network(3, blocks=("dense", "separable"))
    save_model(tmp_path / "toy.npz", model(net))
    again = load_model(tmp_path / "toy.npz")
    assert write_tflite(again.net) == write_tflite(net)
    assert (again.points, again.training) == (model(net).points, {"seed": 1})
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("keep", [0, 100, -200])
def test_a_damaged_model_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "toy.npz"
    save_model(path, model(toy_network()))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BundleError, match="damaged"):
        load_model(path)


def test_a_missing_model_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="wakeword firmware train"):
        load_model(tmp_path / "none.npz")


def test_an_unknown_rate_names_those_there_are() -> None:
    with pytest.raises(ExportError, match="there are 0"):
        model(toy_network()).point(3.0)


def test_slug() -> None:
    assert slug("Smart  mirror!") == "smart_mirror"
