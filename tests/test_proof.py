"""The proof: all processors agree on real speech, a wrong library is caught, and it is written down."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from c_library import expected, need, rule_that_fires
from click.testing import CliRunner
from toy_network import toy_network

from firmware_bridge import proof, proof_report, qemu
from firmware_bridge.decision import FirmwareRule
from firmware_bridge.emit_c import emit_library
from firmware_bridge.emit_model import CModel
from firmware_bridge.network_file import FirmwareModel, Point
from firmware_bridge.proof_audio import golden_pcm
from wakeword.audio import Samples, as_int16
from wakeword.commands.firmware_device import prove
from wakeword.errors import BundleError, WakewordError

NET = toy_network(3, channels=32, blocks=("separable", "separable"), kernel=5, dilations=(1, 2))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("gcc")
    scores = expected(CModel(NET, FirmwareRule(100, 4), ""), golden_pcm()).scores
    model = FirmwareModel(NET, {"0.5": Point(rule_that_fires(scores), 1, 2.0, {})})
    return emit_library(model, tmp_path_factory.mktemp("proof") / "lib", 0.5, "test").folder


def test_every_processor_computes_the_same(library: Path, speech: Samples) -> None:
    for core in qemu.CORES.values():
        need(*core.tools)
    found = proof.prove(library, [("golden", golden_pcm()), ("speech", as_int16(speech[:48_000]))])
    assert len(found.expected.event_slices) >= 1
    ran = {outcome.name: outcome.differing for outcome in found.outcomes}
    assert ran == dict.fromkeys(
        (*("numpy int8", "TensorFlow Lite Micro", "host C", "host C, ASan and UBSan"), *qemu.CORES), 0
    )
    m4 = next(o.cost for o in found.outcomes if o.name == "cortex-m4")
    assert m4 is not None
    n_weights = NET.n_parameters
    assert n_weights < m4.rodata < n_weights + 20_000
    assert 2_000 < m4.text < 8_000 and m4.data == 0
    assert 200 < m4.stack < 2_000
    assert 20_000 < m4.instructions_per_slice < m4.most_instructions < 1_000_000
    assert not found.over_budget

    written, table = proof_report.write_proof(found)
    told = json.loads(written.read_text())
    assert told["differing_bytes"] == 0 and told["within_budget"] is True
    assert told["slices"] == len(found.expected.features) == 498 + 300
    assert [r["name"] for r in told["runtimes"]] == list(ran)
    assert told["runtimes"][5]["flash"] == m4.flash
    assert "cortex-m55" in table.read_text() and "counted by QEMU" in table.read_text()


def test_a_difference_is_found(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "CORES", {})
    wrong = replace(NET, output=replace(NET.output, bias=NET.output.bias + 400))
    real = proof.expect

    def other(model: CModel, pcm: np.ndarray) -> object:
        return real(replace(model, net=wrong), pcm)

    monkeypatch.setattr(proof, "expect", other)
    done = CliRunner().invoke(prove, [str(library)])
    assert isinstance(done.exception, WakewordError) and "bytes differ" in str(done.exception)
    assert json.loads((library / "proof.json").read_text())["differing_bytes"] > 100


def test_what_cannot_run_is_skipped_and_said(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = replace(qemu.CORES["cortex-m0"], name="tiny", ram=(0x20000000, 4096))
    absent = replace(qemu.CORES["cortex-m4"], name="absent", emulator="qemu-system-none")
    monkeypatch.setattr(proof, "CORES", {core.name: core for core in (tiny, absent)})
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "gcc" else which(name))
    found = proof.prove(library, [("golden", golden_pcm()[:16_000])])
    text = proof_report.as_text(found)
    assert "skipped: qemu-system-none not installed" in text
    assert text.count("skipped: gcc is not installed") == 2
    assert ("skipped: does not fit" in text) == (not qemu.missing_tools(tiny))
    assert found.differing == 0


def test_tampered_libraries_and_bad_audio(library: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not a C library of ours"):
        proof.prove(tmp_path, [("golden", golden_pcm())])
    done = CliRunner().invoke(prove, [str(library), "--audio", str(tmp_path / "none.wav")])
    assert isinstance(done.exception, WakewordError) and "none.wav" in str(done.exception)


def test_programs_that_hang_are_ended(tmp_path: Path) -> None:
    with pytest.raises(qemu.ToolchainError, match=r"was ended after 0\.2 s"):
        qemu.run_tool(["sleep", "60"], 0.2)
    with pytest.raises(qemu.ToolchainError, match="is not installed"):
        qemu.run_tool(["no-such-compiler"], 1)
    with pytest.raises(qemu.ToolchainError, match=r"failed \(1\)"):
        qemu.run_tool(["false"], 5)
