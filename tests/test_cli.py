"""Exit codes, and what stands on stdout and stderr. Training by command is in test_train_command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import PHRASES, sounds

import wakeword
from wakeword.audio import SAMPLE_RATE, as_int16, read_audio, write_wav
from wakeword.bundle import load_bundle
from wakeword.cli import main

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "sounds.wav"
    write_wav(path, sounds(8.0, seed=3))
    return path


def command(*args: object, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    """Run `wakeword` as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "wakeword", *map(str, args)],
        cwd=ROOT, input=stdin, capture_output=True, env={**os.environ, **env},
    )  # fmt: skip


def refused(capsys: pytest.CaptureFixture[str], code: int, message: str, *args: object) -> None:
    """The command ends with `code` and one line on stderr, and prints nothing."""
    assert main([str(arg) for arg in args]) == code
    out, err = capsys.readouterr()
    assert message in err
    assert err.startswith("wakeword: ")
    assert err.count("\n") == 1
    assert out == ""


def test_bad_models(
    capsys: pytest.CaptureFixture[str], tiny_model: Path, tmp_path: Path, sound: Path
) -> None:
    refused(capsys, 1, "no such file: none.wakeword", "listen", "none.wakeword")
    refused(capsys, 1, "no such file", "info", tmp_path)
    refused(capsys, 1, "not a .wakeword file", "info", sound)
    cut = tmp_path / "cut.wakeword"
    cut.write_bytes(tiny_model.read_bytes()[:-100])
    for args in (["info", cut], ["info", cut, "--json"], ["listen", cut], ["listen", tiny_model, cut]):
        refused(capsys, 1, "cut.wakeword: not a .wakeword file", *args)
    refused(
        capsys, 1, "not a .wakeword file", "evaluate", cut, "--phrases", tmp_path, "--background", tmp_path
    )


def test_wrong_usage(capsys: pytest.CaptureFixture[str], tiny_model: Path, sound: Path) -> None:
    listen = ("listen", tiny_model, "--file", sound)
    refused(capsys, 2, "No such option", "listen", "--bogus")
    refused(capsys, 2, "No such command 'sing'", "sing")
    refused(capsys, 2, "Missing argument 'MODELS...'; see", "listen")
    refused(capsys, 2, "holds no letters", "train", " ")
    refused(capsys, 2, "spell it as it is spoken", "train", "hey 5")
    refused(
        capsys, 2, "'x' is not a valid integer", "train", "hey", "--clips", "c", "--out", "o", "--seed", "x"
    )
    refused(capsys, 2, "seed is -1", "train", "hey", "--clips", "c", "--out", "o.wakeword", "--seed", "-1")
    refused(capsys, 2, "threshold 2.0; a threshold lies in (0, 1]", *listen, "--threshold", "2")
    refused(capsys, 2, "choose one of 0.5, 2", *listen, "--fa-per-hour", "7")
    refused(capsys, 2, "exclude each other", *listen, "--device", "pulse")
    refused(
        capsys,
        2,
        "cannot read none.toml",
        "train",
        "a",
        "--clips",
        "c",
        "--out",
        "o",
        "--config",
        "none.toml",
    )


def test_bad_sounds(capsys: pytest.CaptureFixture[str], tiny_model: Path, tmp_path: Path) -> None:
    refused(capsys, 1, "no such file: none.wav", "listen", tiny_model, "--file", "none.wav")
    refused(capsys, 1, "no such file", "listen", tiny_model, "--file", tmp_path)
    refused(capsys, 1, "not a readable audio file", "listen", tiny_model, "--file", tiny_model)


def test_bad_recordings(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "m.wakeword"
    refused(capsys, 1, "no such folder", "train", "hey", "--clips", tmp_path / "none", "--out", out)
    refused(capsys, 1, "no folder for phrase 'hey'", "train", "hey", "--clips", tmp_path, "--out", out)
    refused(capsys, 1, "are the same", "train", "a b", "A_b", "--clips", tmp_path, "--out", out)
    refused(capsys, 2, "ends in .wakeword", "train", "hey", "--clips", tmp_path, "--out", tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_no_arguments() -> None:
    run = command()
    assert run.returncode == 2
    assert run.stderr.startswith(b"Usage: wakeword [OPTIONS] COMMAND")


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("train", "listen", "evaluate", "info", "devices"))
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"wakeword, version {wakeword.__version__}\n"


def test_no_microphone(tiny_model: Path, tmp_path: Path) -> None:
    """No sound server; whatever cards there are, none is called that."""
    env = {"XDG_RUNTIME_DIR": str(tmp_path), "PULSE_SERVER": "unix:/nowhere"}
    run = command("listen", tiny_model, "--device", "nothing like it", **env)
    assert (run.returncode, run.stdout) == (1, b"")
    assert run.stderr.startswith(b"wakeword: no microphone")
    assert run.stderr.count(b"\n") == 1


def test_info(capsys: pytest.CaptureFixture[str], tiny_model: Path) -> None:
    assert main(["info", str(tiny_model)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0] == f"tiny ({tiny_model.stat().st_size / 1e6:.1f} MB): hey nova, lights on"
    assert "encoder small-random; window 1.00 s, a posterior every 80 ms" in lines[1]
    assert lines[3].split() == ["hey", "nova", "0.5:", "0.5000", "2:", "0.2500*"]
    assert "licence of encoder small-random: MIT" in lines


def test_info_as_json(capsys: pytest.CaptureFixture[str], tiny_model: Path) -> None:
    assert main(["info", str(tiny_model), "--json"]) == 0
    got = json.loads(capsys.readouterr().out)
    manifest = load_bundle(tiny_model).manifest
    assert got["phrases"] == list(PHRASES)
    assert got["window"] == manifest.window
    assert got["thresholds"]["hey nova"]["2"] == {"value": 0.25, "extrapolated": True}


def expected(model: Path, sound: Path) -> list[tuple[str, float]]:
    """What a detector finds in the recording and in the silence that follows its end."""
    silence = np.zeros(2 * SAMPLE_RATE, dtype=np.float32)
    events = wakeword.load(model).feed(np.concatenate([read_audio(sound), silence]))
    return [(event.phrase, round(event.time_s, 4)) for event in events]


def heard(stdout: str) -> list[tuple[str, float]]:
    rows = [json.loads(line) for line in stdout.splitlines()]
    assert all({"phrase", "time_s", "score", "threshold"} <= set(row) for row in rows)
    return [(row["phrase"], row["time_s"]) for row in rows]


def test_listen_to_a_file_as_json(capfd: pytest.CaptureFixture[str], tiny_model: Path, sound: Path) -> None:
    assert main(["listen", str(tiny_model), "--file", str(sound), "--json"]) == 0
    out, err = capfd.readouterr()
    assert heard(out) == expected(tiny_model, sound) != []
    assert err == ""


def test_listen_to_a_file(capfd: pytest.CaptureFixture[str], tiny_model: Path, sound: Path) -> None:
    assert main(["listen", str(tiny_model), "--file", str(sound)]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == len(expected(tiny_model, sound))
    assert all(" s  " in line and "  score 0." in line for line in lines)


def test_listen_with_other_thresholds(
    capfd: pytest.CaptureFixture[str], tiny_model: Path, sound: Path
) -> None:
    assert main(["listen", str(tiny_model), "--file", str(sound), "--json", "--fa-per-hour", "2"]) == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert {row["threshold"] for row in rows} == {0.25}
    assert main(["listen", str(tiny_model), "--file", str(sound), "--json", "--threshold", "1"]) == 0
    assert capfd.readouterr().out == ""


def test_listen_with_two_models(capfd: pytest.CaptureFixture[str], tiny_model: Path, sound: Path) -> None:
    assert main(["listen", str(tiny_model), str(tiny_model), "--file", str(sound), "--json"]) == 0
    twice = [event for event in expected(tiny_model, sound) for _ in range(2)]
    assert sorted(heard(capfd.readouterr().out)) == sorted(twice)


def test_listen_to_a_pipe(tiny_model: Path, sound: Path) -> None:
    pcm = as_int16(read_audio(sound)).astype("<i2").tobytes()
    for stdin in (pcm, sound.read_bytes()):
        run = command("listen", tiny_model, "--file", "-", "--json", stdin=stdin)
        assert (run.returncode, run.stderr) == (0, b"")
        assert heard(run.stdout.decode()) == expected(tiny_model, sound)
    run = command("listen", tiny_model, "--file", "-", stdin=b"")
    assert (run.returncode, run.stdout) == (1, b"")
    assert run.stderr == b"wakeword: standard input: holds no audio\n"


def test_training_without_its_packages(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None; from wakeword.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    args = ["train", "a", "--clips", str(tmp_path), "--out", str(tmp_path / "m.wakeword")]
    run = subprocess.run([sys.executable, "-c", program, *args], cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == "wakeword: this needs torch; run: pip install 'wakeword[train]'\n"
