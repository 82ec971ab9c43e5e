"""What is built for ESPHome: files it accepts, models it can run, and clear words about those it cannot."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_network import toy_network

from firmware_bridge.checker import MAX_VARIABLES, check_path, check_tflite
from firmware_bridge.decision import FirmwareRule
from firmware_bridge.esphome import arena_with_margin, build_esphome
from firmware_bridge.network import Quantisation
from firmware_bridge.network_file import FirmwareModel, Point, save_model
from firmware_bridge.tflite import IDENTIFIER, schema, write_tflite
from firmware_bridge.train_job import student_path
from wakeword.cli import main
from wakeword.errors import ExportError

pytest.importorskip("tflite_micro")


def toy_model(phrase: str = "toy phrase") -> FirmwareModel:
    point = Point(FirmwareRule(200, 5), 0, 1.5, {"clean": 0.02})
    return FirmwareModel(replace(toy_network(), phrase=phrase), {"0.5": point})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("esphome")
    build_esphome(toy_model(), folder, 0.5)
    return folder


def test_files_and_figures(built: Path) -> None:
    assert sorted(p.name for p in built.iterdir()) == [
        "toy_phrase.json",
        "toy_phrase.tflite",
        "toy_phrase.yaml",
    ]
    checked = check_path(built / "toy_phrase.json")
    assert (checked.stride, checked.variables, checked.state_bytes) == (3, 2, 48)
    micro = json.loads((built / "toy_phrase.json").read_text())["micro"]
    assert int(micro["probability_cutoff"] * 255) == 200
    assert micro["tensor_arena_size"] == arena_with_margin(checked.arena) > (checked.arena or 0)
    assert micro["tensor_arena_size"] % 16 == 0


def altered(change: Callable[[Any, Any], None]) -> bytes:
    """The toy model with something in it changed."""
    import flatbuffers

    tf = schema()
    model = tf.ModelT.InitFromObj(tf.Model.GetRootAsModel(write_tflite(toy_network()), 0))
    change(tf, model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def end(model: Any, which: str) -> Any:
    main = model.subgraphs[0]
    return main.tensors[getattr(main, which)[0]]


def scale(which: str, value: float) -> Callable[[Any, Any], None]:
    return lambda tf, model: setattr(end(model, which).quantization, "scale", [value])


def first(model: Any, name: str) -> Any:
    """The first operator of this kind."""
    code = getattr(schema().BuiltinOperator, name)
    kinds = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in model.operatorCodes]
    return next(op for graph in model.subgraphs for op in graph.operators if kinds[op.opcodeIndex] == code)


def operator(tf: Any, model: Any) -> None:
    model.operatorCodes[1].builtinCode = tf.BuiltinOperator.SOFTMAX
    model.operatorCodes[1].deprecatedBuiltinCode = tf.BuiltinOperator.SOFTMAX


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (operator, "no operator SOFTMAX"),
        (scale("inputs", 0.1), "the input has scale"),
        (scale("outputs", 1 / 255), "the output has scale"),
        (lambda tf, m: setattr(end(m, "inputs"), "shape", [1, 3, 39]), "feeds"),
        (lambda tf, m: setattr(end(m, "outputs"), "shape", [1, 2]), "reads"),
        (lambda tf, m: setattr(end(m, "outputs"), "type", tf.TensorType.INT8), "not uint8"),
        (lambda tf, m: setattr(m, "version", 2), "schema version 2"),
        (lambda tf, m: setattr(first(m, "VAR_HANDLE"), "opcodeIndex", 99), "operator . refers"),
        (lambda tf, m: setattr(first(m, "CONV_2D"), "inputs", [0, 1, 9999]), "refers to what"),
        (lambda tf, m: setattr(m.subgraphs[0], "inputs", [9999]), "an input or output"),
        (lambda tf, m: setattr(first(m, "VAR_HANDLE"), "builtinOptions", None), "VAR_HANDLE without"),
        (lambda tf, m: setattr(first(m, "ASSIGN_VARIABLE"), "inputs", []), "ASSIGN_VARIABLE without"),
    ],
)
def test_what_esphome_would_not_run(change: Callable[[Any, Any], None], says: str) -> None:
    with pytest.raises(ExportError, match=says):
        check_tflite(altered(change))


def test_too_many_states() -> None:
    n = MAX_VARIABLES + 1
    net = toy_network(channels=2, blocks=("dense",) * n, dilations=(1,) * n)
    with pytest.raises(ExportError, match=f"{n} states"):
        check_tflite(write_tflite(net))


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\0" * 100, write_tflite(toy_network())[:3000]])
def test_tampered_files(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.tflite"
    path.write_bytes(data)
    with pytest.raises(ExportError):
        check_path(path)
    assert main(["firmware", "check", str(path)]) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 1}, "version 1; this reads version 2"),
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"model": "../toy.tflite"}, "beside the manifest"),
        ({"model": "gone.tflite"}, "cannot be read"),
        ({"micro": {}}, "probability_cutoff is missing"),
    ],
)
def test_bad_manifests(built: Path, tmp_path: Path, change: dict[str, Any], says: str) -> None:
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "toy_phrase.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ExportError, match=says):
        check_path(path)


def test_an_arena_too_small_is_refused(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "toy_phrase.json"
    entries = json.loads(path.read_text())
    entries["micro"]["tensor_arena_size"] = 1_000
    path.write_text(json.dumps(entries))
    with pytest.raises(ExportError, match="the model needs"):
        check_path(path)


def test_a_scale_that_overflows_is_refused() -> None:
    net = toy_network()
    with pytest.raises(ExportError, match="does not fit"):
        replace(net, output=replace(net.output, input=Quantisation(1e-3, 0)))


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, out = tmp_path / "my.wakeword", tmp_path / "out"
    build = ["firmware", "build", str(bundle), "--target", "esphome", "--out", str(out)]
    assert main(build) == 1
    assert "no microcontroller student; make one" in capsys.readouterr().err
    save_model(student_path(bundle, "toy phrase"), toy_model())
    assert main(build) == 0
    assert "ESPHome runs it" in capsys.readouterr().out
    assert main([*build, "--fa-per-hour", "3"]) == 1
    assert "there are 0.5" in capsys.readouterr().err
    assert main([*build, "--phrase", "a", "--phrase", "b"]) == 2
    save_model(student_path(bundle, "other"), toy_model("other"))
    assert main(build) == 2
    assert "choose one with --phrase" in capsys.readouterr().err


def test_training_needs_the_checkpoint(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--clips", ".", "--background", "."]
    assert main(["firmware", "train", str(tiny_model), "--phrase", "hey nova", *where]) == 1
    assert "taught by the verifier's own weights" in capsys.readouterr().err


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from firmware_bridge import tflite
    from firmware_bridge.micro import MicroFeatures

    monkeypatch.setattr(tflite, "SCHEMAS", ("no_such_runtime",))
    with pytest.raises(ExportError, match="pip install"):
        write_tflite(toy_network())
    monkeypatch.setitem(sys.modules, "pymicro_features", None)
    with pytest.raises(ExportError, match="pip install"):
        MicroFeatures()


def esphome() -> str:
    found = os.environ.get("ESPHOME") or shutil.which("esphome")
    if not found:
        pytest.skip("no esphome (pip install esphome in an environment of its own; set ESPHOME to its path)")
    return found


def test_esphome_accepts_the_yaml(built: Path) -> None:
    command = [esphome(), "config", str(built / "toy_phrase.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
