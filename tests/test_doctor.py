"""The doctor: each check on a machine where it must be content, and where it must not."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from tiny import PHRASES, sounds
from virtual_mic import VirtualMic

from wakeword.audio import SAMPLE_RATE, Samples
from wakeword.cli import main
from wakeword.listen import doctor
from wakeword.listen.doctor_models import check_model, judge_speed
from wakeword.listen.doctor_sound import check_permissions, judge, measure

DOCTOR = "import sys; from wakeword.cli import main; sys.exit(main(['doctor', '--json', *sys.argv[1:]]))"


def statuses(findings: list[doctor.Finding]) -> dict[str, str]:
    return {finding.check: finding.status for finding in findings}


@pytest.mark.parametrize(
    "version, machine, status",
    [
        ("1.27.0", "aarch64", "fail"),
        ("1.27.0", "x86_64", "warn"),
        ("1.27.1", "aarch64", "ok"),
        ("1.19.2", "x86_64", "warn"),
        ("1.32.0", "x86_64", "ok"),
        (None, "x86_64", "fail"),
    ],
)
def test_versions_of_onnxruntime(version: str | None, machine: str, status: str) -> None:
    finding = doctor.check_onnxruntime(version, machine)
    assert (finding.status, bool(finding.fix)) == (status, status != "ok")


def test_processors() -> None:
    assert doctor.check_processor(frozenset({"avx2", "sse"}), "x86_64", 2).status == "ok"
    old = doctor.check_processor(frozenset({"sse"}), "x86_64", 2)
    assert (old.status, "avx2" in old.text) == ("warn", True)
    assert doctor.check_processor(frozenset({"asimd"}), "aarch64", 4).status == "warn"
    assert doctor.check_processor(frozenset({"asimd", "asimddp"}), "aarch64", 4).status == "ok"
    assert doctor.check_processor(frozenset(), "riscv64", 1).status == "ok"


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        taken = doctor.check_port("Wyoming", port)
    assert (taken.status, str(port) in taken.text) == ("warn", True)
    assert doctor.check_port("Wyoming", port).status == "ok"


def test_missing_packages_are_named_with_what_needs_them() -> None:
    finding = doctor.check_extras(lambda name: name != "paho.mqtt")
    assert (finding.status, finding.text) == ("warn", "not installed: paho (MQTT)")
    assert "wakeword[serve]" in finding.fix


def test_permissions_of_sound_cards(tmp_path: Path) -> None:
    assert list(check_permissions(tmp_path)) == []
    (tmp_path / "pcmC0D0c").touch()
    assert [finding.status for finding in check_permissions(tmp_path)] == ["ok"]


def test_level_clipping_and_offset(rng: np.random.Generator) -> None:
    speech = 0.1 * rng.standard_normal((32_000, 1)).astype(np.float32)
    assert set(statuses(list(judge(measure(speech)))).values()) == {"ok"}
    assert measure(speech).rms_dbfs == pytest.approx(-20, abs=0.1)
    assert statuses(list(judge(measure(np.zeros((100, 2), np.float32)))))["level"] == "fail"
    assert statuses(list(judge(measure(speech / 10_000))))["level"] == "warn"
    one_channel_clips = np.clip(speech * np.array([[1, 40]], np.float32), -1, 1)
    assert statuses(list(judge(measure(one_channel_clips)))) == {
        "level": "ok", "clipping": "warn", "offset": "ok",
    }  # fmt: skip
    assert statuses(list(judge(measure(speech + np.float32(0.05)))))["offset"] == "warn"


def test_a_good_model(tiny_model: Path) -> None:
    loaded, speed = check_model(tiny_model)
    assert loaded.status == "ok"
    assert all(phrase in loaded.text for phrase in PHRASES)
    assert "real-time factor" in speed.text


def test_a_damaged_model(tiny_model: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.wakeword"
    data = bytearray(tiny_model.read_bytes())
    data[len(data) // 2] ^= 0xFF
    damaged.write_bytes(data)
    (finding,) = check_model(damaged)
    assert (finding.status, "damaged.wakeword" in finding.text) == ("fail", True)
    (missing,) = check_model(tmp_path / "none.wakeword")
    assert missing.status == "fail"


def test_speed_is_judged_by_the_worst_case() -> None:
    assert judge_speed("m", "cascade", 0.1, 6.0).status == "ok"
    assert judge_speed("m", "cascade", 0.1, 45.0).status == "warn"
    assert judge_speed("m", "verifier", 90.0, 90.0).status == "fail"


def test_command_says_what_failed_and_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(tmp_path / "none.wakeword"), "--seconds", "0"]) == 1
    out, err = capsys.readouterr()
    assert "fail  model none.wakeword: no such file" in out
    assert "checks failed" in err


@pytest.mark.mic
def test_a_real_microphone_silent_then_loud_then_broken() -> None:
    with VirtualMic() as mic:
        silent = examine(mic, None)
        assert silent["level"] == ("fail", "digital silence")
        assert silent["rates"][0] == "ok"
        assert examine(mic, 0.5 * sounds(3.0))["level"][0] == "ok"
        square = np.sign(np.sin(np.arange(3 * SAMPLE_RATE) / 50)).astype(np.float32)
        assert examine(mic, square)["clipping"][0] == "warn"
        assert examine(mic, 0.1 * sounds(3.0) + np.float32(0.1))["offset"][0] == "warn"


def examine(mic: VirtualMic, samples: Samples | None) -> dict[str, tuple[str, str]]:
    """What the command says of a microphone while something plays, again and again."""
    done = threading.Event()

    def play() -> None:
        while samples is not None and not done.is_set():
            mic.play(samples)

    player = threading.Thread(target=play)
    player.start()
    try:
        run = subprocess.run(
            [sys.executable, "-c", DOCTOR, "--device", "pulse", "--seconds", "1"],
            env=mic.env, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    finally:
        done.set()
        player.join()
    report = json.loads(run.stdout)
    assert report["ok"] == (run.returncode == 0), run.stderr
    return {f["check"]: (f["status"], f["text"]) for f in report["findings"]}
