"""What a bundle's graph may not hold, each built with the onnx package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny import tiny_bundle

import wakeword
from wakeword.bundle import save_bundle
from wakeword.errors import BundleError
from wakeword.graph_check import check_graph


def model(*nodes: onnx.NodeProto, weights: tuple[onnx.TensorProto, ...] = ()) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("mel", TensorProto.FLOAT, [1, 80, 100])
    y = helper.make_tensor_value_info("posterior", TensorProto.FLOAT, [1, 2])
    taken = nodes or (helper.make_node("Add", ["mel", "w"], ["posterior"]),)
    held = weights or (numpy_helper.from_array(np.ones(3, dtype=np.float32), "w"),)
    return helper.make_model(helper.make_graph(list(taken), "g", [x], [y], list(held)))


def external() -> onnx.ModelProto:
    tensor = numpy_helper.from_array(np.ones(3, dtype=np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return model(weights=(tensor,))


def external_constant() -> onnx.ModelProto:
    return model(helper.make_node("Constant", [], ["c"], value=external().graph.initializer[0]))


def loop() -> onnx.ModelProto:
    body = helper.make_graph([], "body", [], [])
    return model(helper.make_node("Add", ["a", "b"], ["c"], body=body))


def huge() -> onnx.ModelProto:
    return model(weights=(TensorProto(dims=[1 << 20, 1 << 20], data_type=TensorProto.FLOAT, name="w"),))


def functions() -> onnx.ModelProto:
    made = model()
    made.functions.add(name="f", domain="mine")
    return made


def sparse() -> onnx.ModelProto:
    made = model()
    made.graph.sparse_initializer.add(dims=[3])
    return made


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (external, "weights lie in another file"),
        (external_constant, "weights lie in another file"),
        (loop, "graph of its own"),
        (lambda: model(helper.make_node("Loop", [], [])), "operator 'Loop' of domain ''"),
        (lambda: model(helper.make_node("Add", [], [], domain="evil")), "operator 'Add' of domain 'evil'"),
        (lambda: model(helper.make_node("Tile", [], [])), "operator 'Tile'"),
        (huge, "a tensor has 1099511627776 elements"),
        (functions, "functions or training steps"),
        (sparse, "sparse weights"),
    ],
)
def test_refused(make: Callable[[], onnx.ModelProto], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_graph(make().SerializeToString())


@pytest.mark.parametrize("data", [b"", b"\x3a\x05ab", b"\xff" * 40, b"\x38\x01", b"hello world"])
def test_what_is_no_model(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut short|not an ONNX model"):
        check_graph(data)


def test_a_bundle_with_such_a_graph_is_not_run(tmp_path: Path) -> None:
    bundle = tiny_bundle()
    check_graph(model().SerializeToString())
    check_graph(bundle.verifier)
    save_bundle(tmp_path / "evil.wakeword", replace(bundle, verifier=external().SerializeToString()))
    with pytest.raises(BundleError, match=r"its verifier does not run \(its weights lie in another file\)"):
        wakeword.load(tmp_path / "evil.wakeword")
