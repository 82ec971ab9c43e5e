"""`wakeword export` and `wakeword verify` on a small random model with a student."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from browser import browse, find_chromium
from tiny import PHRASES, sounds
from tiny_cascade import cascade_bundle

import export.npm
from export.description import read_description
from export.frontend import audio_samples
from export.options import Options
from export.runners import folder_variants
from export.targets import export_model
from export.verify import verify_folder
from wakeword.audio import as_float, write_wav
from wakeword.bundle import load_bundle, save_bundle
from wakeword.cascade import StudentStream, golden_scores
from wakeword.cli import main
from wakeword.errors import ExportError, UsageError
from wakeword.evaluate.trace import trace
from wakeword.mel import log_mel
from wakeword.verifier import make_session

ROOT = Path(__file__).resolve().parents[1]
NODE_MODULES = Path(os.environ.get("WAKEWORD_NODE_MODULES", ROOT / "node_modules"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.wakeword"
    save_bundle(path, cascade_bundle(evidence=0.7, evidence_hops=5, stride_hops=2))
    return path


@pytest.fixture(scope="module")
def folder(model: Path) -> Path:
    export_model(model, "onnx", model.parent / "onnx")
    return model.parent / "onnx"


def package(name: str) -> Path:
    if not (NODE_MODULES / name / "package.json").is_file():
        pytest.skip(f"no npm package {name} in {NODE_MODULES}")
    return NODE_MODULES


def test_audio_in_equals_mel_in(folder: Path) -> None:
    audio = sounds(2.0)[: audio_samples(100)]
    by_audio = make_session(str(folder / "verifier.audio.int8.onnx"))
    by_mel = make_session(str(folder / "verifier.mel.int8.onnx"))
    (got,), (expected,) = (
        by_audio.run(None, {"audio": audio[None]}),
        by_mel.run(None, {"mel": log_mel(audio)[None]}),
    )
    np.testing.assert_allclose(got, expected, atol=0.02)  # int8, behind a head of slope 300


def test_audio_in_student_follows_a_stream(folder: Path, model: Path) -> None:
    bundle = load_bundle(model)
    manifest = bundle.manifest
    (variant,) = [
        v for v in folder_variants(folder, read_description(folder), manifest) if v.name == "onnx audio int8"
    ]
    assert variant.student is not None
    # int16 on both sides: its rounding is loud beside the silent bands of these sounds.
    audio = (sounds(2.0) * 32768).round().clip(-32768, 32767).astype(np.int16)
    stream, hops = variant.student().stream(), as_float(audio).reshape(-1, 1280)
    scores = []
    for hop in hops:
        stream.hear(hop)  # type: ignore[attr-defined]
        scores.append(stream.feed(np.zeros((80, 8), dtype=np.float32)))
    expected = golden_scores(StudentStream(make_session(bundle.student or b"")), audio)
    np.testing.assert_allclose(scores, expected, atol=2e-3)


def test_same_input_same_bytes(folder: Path, model: Path, tmp_path: Path) -> None:
    again = {p.name: p.read_bytes() for p in export_model(model, "onnx", tmp_path / "onnx")}
    assert again == {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "verify.json"}


def test_files_say_what_they_are(folder: Path) -> None:
    described = read_description(folder)
    assert {f["file"] for f in described["files"]} == {p.name for p in folder.glob("*.onnx")}
    for entry in described["files"]:
        graph = onnx.load(folder / entry["file"])
        told = {p.key: json.loads(p.value) for p in graph.metadata_props}
        assert (told["phrases"], told["role"], told["input"]) == (
            list(PHRASES),
            entry["role"],
            entry["input"],
        )
    card = (folder / "MODEL_CARD.md").read_text()
    assert all(word in card for word in ("## Licences", "MIT", "hey nova", "## Limits", "wakeword export"))
    assert json.loads((folder / "model_card.json").read_text())["operating_points"]["hey nova"]["0.5"]


def test_ort_format_says_the_same_and_lists_its_operators(model: Path, folder: Path, tmp_path: Path) -> None:
    export_model(model, "ort", tmp_path / "a")
    operators = (tmp_path / "a" / "required_operators.config").read_text()
    assert "DynamicQuantizeMatMul" in operators and str(tmp_path) not in operators
    audio = sounds(2.0)[: audio_samples(100)][None]
    ort, plain = tmp_path / "a" / "verifier.audio.int8.ort", folder / "verifier.audio.int8.onnx"
    got, expected = (make_session(str(path)).run(None, {"audio": audio})[0] for path in (ort, plain))
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_verify_passes_and_writes(folder: Path, model: Path) -> None:
    rows = verify_folder(folder, model)
    assert rows[0].variant == "bundle" and not any(row.faults for row in rows)
    assert len(json.loads((folder / "verify.json").read_text())["rows"]) == len(rows)


def test_verify_finds_another_network(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    path = broken / "verifier.audio.int8.onnx"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ExportError, match="changed since it was exported"):
        read_description(broken)
    graph = onnx.load(folder / path.name)
    bias = next(t for t in graph.graph.initializer if t.name == "net.head.output.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(2), bias.name))
    path.write_bytes(graph.SerializeToString())
    described = json.loads((broken / "detector.json").read_text())
    import hashlib

    for entry in described["files"]:
        if entry["file"] == path.name:
            entry["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (broken / "detector.json").write_text(json.dumps(described))
    assert main(["verify", str(broken)]) == 1
    assert path.is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "onyx"], "no target 'onyx'; choose one of onnx, ort, web, openwakeword"),
        (["--target", "onnx", "--precision", "int4"], "no precision 'int4'"),
        (["--target", "onnx", "--precision", "fp32"], "no checkpoint in"),
        (["--target", "ort", "--precision", "fp16"], "holds no fp16"),
        (["--target", "openwakeword"], "train with --encoder speech-embedding"),
        (["--target", "web", "--npm", "nowhere"], "no onnxruntime-web in it"),
    ],
)
def test_bad_input_is_one_line(
    model: Path, tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(model), "--out", str(tmp_path / "out"), *arguments]) in (1, 2)
    error = capsys.readouterr().err.strip()
    assert said in error and "\n" not in error
    assert not list(tmp_path.iterdir())


def test_a_full_folder_stays_as_it_is(model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not an empty folder"):
        export_model(model, "onnx", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_without_npm(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export.npm.shutil, "which", lambda _: None)
    with pytest.raises(ExportError, match=r"npm is missing.*apt-get install npm"):
        export_model(model, "web", tmp_path / "web")


def audio_in_events(folder: Path, model: Path, samples: np.ndarray) -> list[tuple[str, float]]:
    """What the exported audio-in files say when Python runs them."""
    manifest = load_bundle(model).manifest
    variants = folder_variants(folder, read_description(folder), manifest)
    scorer = next(v for v in variants if v.name == "onnx audio int8").scorer()
    heard = trace(scorer, [samples])
    from wakeword.decision import Decision

    decision = Decision(PHRASES, (0.6, 0.6), manifest.decision)
    rows = zip(heard.scores, heard.times_s.tolist(), strict=True)
    return [(e.phrase, round(e.time_s, 3)) for row, at in rows for e in decision.update(row, at)]


def test_node_hears_the_same(folder: Path, model: Path, tmp_path: Path) -> None:
    modules = package("onnxruntime-node")
    samples = sounds(20.0, seed=4)
    expected = audio_in_events(folder, model, (samples * 32768).astype(np.int16) / np.float32(32768))
    run = subprocess.run(
        ["node", str(ROOT / "examples" / "node" / "listen.mjs"), str(folder)],
        input=(samples * 32768).astype("<i2").tobytes(),
        capture_output=True,
        check=False,
        env={**os.environ, "NODE_PATH": str(modules)},
    )
    lines = run.stdout.decode().splitlines()
    assert len(expected) > 3, run.stderr
    assert lines and [line.rsplit("  ", 1)[0] for line in lines] == [f"{t:.2f} s  {p}" for p, t in expected]


def test_browser_hears_the_same(folder: Path, model: Path, tmp_path: Path) -> None:
    modules = package("onnxruntime-web")
    if find_chromium() is None:
        pytest.skip("no chromium")
    web, samples = tmp_path / "web", sounds(20.0, seed=4)
    export_model(model, "web", web, None, Options(npm=modules))
    write_wav(web / "stream.wav", samples)
    heard = browse(web, tmp_path / "profile", "file=stream.wav")
    from wakeword.audio import read_audio

    expected = audio_in_events(folder, model, read_audio(web / "stream.wav"))
    assert heard["error"] is None
    assert [(e["phrase"], round(e["time_s"], 3)) for e in heard["events"]] == expected
