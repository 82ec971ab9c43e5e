"""A bundle survives the round trip; everything else that calls itself one is refused with its reason."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import resource
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword.bundle import Bundle, Golden, Manifest, Threshold, load_bundle, save_bundle
from wakeword.decision import DecisionConfig
from wakeword.errors import BundleError, UsageError

WINDOW = 100
N_SAMPLES = 16_240
"""Samples under 100 frames: 99 steps of 160 and one frame of 400."""
PHRASES = ("hey nova", "lights on")
POINTS = {"0.5": Threshold(0.9, False), "1": Threshold(0.75, True)}
BUNDLE = Bundle(
    Manifest(
        name="demo",
        phrases=PHRASES,
        input="mel",
        window=WINDOW,
        thresholds={"hey nova": POINTS, "lights on": {"0.5": Threshold(1.0, False)}},
        default_fa_per_hour="0.5",
        decision=DecisionConfig(smoothing_hops=3, refractory_s=2.0, rearm_ratio=0.25),
        encoder="tiny.en",
        training={"policy": "head", "clips": {"hey nova": 7}},
        licences={"wakeword": "MIT"},
        wakeword_version="0.1.0",
    ),
    b"any bytes: nothing here runs them",
    Golden(np.arange(N_SAMPLES, dtype=np.int16), np.array([-3.5, 2.0], dtype=np.float32)),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_bundle(tmp_path / "demo.wakeword", BUNDLE)
    return tmp_path / "demo.wakeword"


def refused(path: Path, message: str) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(path)
    assert str(caught.value).startswith(("no such file", str(path)))
    assert "\n" not in str(caught.value)


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path: Path, compression: int = zipfile.ZIP_STORED, **changed: bytes | None) -> Path:
    """Write the bundle anew with other members (`manifest`, `verifier`, `golden`), None leaving one out."""
    files = {"manifest": "manifest.json", "verifier": "verifier.onnx", "golden": "golden.npz"}
    content = members(path) | {files[key]: data for key, data in changed.items()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            if data is not None:
                archive.writestr(name, data)
    return path


def edit_manifest(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    manifest = json.loads(members(path)["manifest.json"])
    change(manifest)
    return rewrite(path, manifest=json.dumps(manifest).encode())


def with_golden(path: Path, golden: bytes) -> Path:
    """The bundle with another golden vector, its digest mended."""
    digest = hashlib.sha256(golden).hexdigest()
    edit_manifest(path, lambda m: m["files"].update({"golden.npz": digest}))
    return rewrite(path, golden=golden)


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def same(a: Bundle, b: Bundle) -> bool:
    equal = np.array_equal(a.golden.audio, b.golden.audio) and np.array_equal(
        a.golden.logits, b.golden.logits
    )
    return a.manifest == b.manifest and a.verifier == b.verifier and equal


def test_round_trip(path: Path) -> None:
    assert same(load_bundle(path), BUNDLE)


def test_contents_are_plain_and_stored(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["manifest.json", "verifier.onnx", "golden.npz"]
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    manifest = json.loads(members(path)["manifest.json"])
    assert manifest["schema"] == 1
    assert manifest["phrases"] == list(PHRASES)
    assert manifest["thresholds"]["hey nova"]["1"] == {"value": 0.75, "extrapolated": True}
    assert manifest["files"]["verifier.onnx"] == hashlib.sha256(BUNDLE.verifier).hexdigest()


def test_same_bundle_same_bytes(path: Path, tmp_path: Path) -> None:
    save_bundle(tmp_path / "again.wakeword", load_bundle(path))
    assert (tmp_path / "again.wakeword").read_bytes() == path.read_bytes()


def test_thresholds_by_rate() -> None:
    assert BUNDLE.manifest.threshold("hey nova", 1.0) == Threshold(0.75, True)
    with pytest.raises(UsageError, match=r"no operating point at 2 .* choose one of 0\.5, 1"):
        BUNDLE.manifest.threshold("hey nova", 2.0)


def test_missing(tmp_path: Path) -> None:
    refused(tmp_path / "none.wakeword", "no such file")
    refused(tmp_path, "no such file")


@pytest.mark.parametrize("keep", [0, 1, 30, 1_000, 0.5, 0.99, -1])
def test_truncated(path: Path, keep: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if 0 < keep < 1 else int(keep)])
    refused(path, "not a .wakeword file, or damaged")


@pytest.mark.parametrize(
    "content", [b"RIFF....WAVE", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"\0" * 5_000]
)
def test_foreign(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    refused(path, "not a .wakeword file")


def test_zip_of_something_else(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<w/>")
    refused(path, "not a .wakeword file .it holds no ")


@pytest.mark.parametrize("member", ["manifest", "verifier", "golden"])
def test_missing_member(path: Path, member: str) -> None:
    refused(rewrite(path, **{member: None}), f"holds no {member}")


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed(path: Path, compression: int) -> None:
    refused(rewrite(path, compression), "compressed or too large")


def test_giant_declared_size(path: Path) -> None:
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x01\x02")  # the last entry of the central directory
    data[at + 20 : at + 28] = (0xFFFF_FFF0).to_bytes(4, "little") * 2
    path.write_bytes(data)
    refused(path, "compressed or too large")


@pytest.mark.parametrize("member", ["verifier", "golden"])
def test_wrong_digest(path: Path, member: str) -> None:
    refused(rewrite(path, **{member: b"other bytes"}), "does not match its sha256")


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"[1, 2]", b"null", b"3", b'"schema"', b"{}", b"\xff\xfe", b"[" * 100_000],
)
def test_manifest_that_is_none(path: Path, text: bytes) -> None:
    refused(rewrite(path, manifest=text), "manifest cannot be read")


def test_newer_schema(path: Path) -> None:
    refused(
        edit_manifest(path, lambda m: m.update(schema=2, invented=1)), "made by a newer wakeword .schema 2"
    )


@pytest.mark.parametrize("schema", [0, -1, "1", None, 1.0, True])
def test_no_schema(path: Path, schema: object) -> None:
    refused(edit_manifest(path, lambda m: m.update(schema=schema)), "schema")


def test_unknown_key(path: Path) -> None:
    refused(edit_manifest(path, lambda m: m.update(colour="red")), "unknown manifest key 'colour'")


@pytest.mark.parametrize(
    "change",
    [
        {"phrases": []},
        {"phrases": ["hey nova"]},
        {"phrases": ["hey nova", "hey nova"]},
        {"phrases": ["hey nova", "other"]},
        {"phrases": 3},
        {"phrases": [["hey nova"], "lights on"]},
        {"thresholds": {}},
        {"thresholds": []},
        {"thresholds": {"hey nova": [], "lights on": []}},
        {"thresholds": {"hey nova": {"0.5": 0.9}, "lights on": {}}},
        {
            "thresholds": {
                "hey nova": {"0.5": {"value": float("nan"), "extrapolated": False}},
                "lights on": {},
            }
        },
        {"thresholds": {"hey nova": {"0.5": {"value": 1.5, "extrapolated": False}}, "lights on": {}}},
        {"thresholds": {"hey nova": {"often": {"value": 0.5, "extrapolated": False}}, "lights on": {}}},
        {"default_fa_per_hour": "sometimes"},
        {"default_fa_per_hour": "nan"},
        {"default_fa_per_hour": []},
        {"input": "wave"},
        {"input": ["mel"]},
        {"window": 0},
        {"window": 3},
        {"window": "100"},
        {"window": 100.0},
        {"sample_rate": 8000},
        {"hop_samples": 160},
        {"decision": {"smoothing_hops": 0}},
        {"decision": {"smoothing_hops": 2.5}},
        {"decision": {"refractory_s": float("nan")}},
        {"decision": {"patience": 1}},
        {"decision": 1},
        {"name": 7},
        {"encoder": None},
        {"licences": ["MIT"]},
        {"training": []},
    ],
    ids=str,
)
def test_manifest_with_a_wrong_value(path: Path, change: dict[str, Any]) -> None:
    refused(edit_manifest(path, lambda m: m.update(change)), "its manifest is not valid")


@pytest.mark.parametrize("key", ["phrases", "thresholds", "window", "name", "decision"])
def test_manifest_that_lacks_a_key(path: Path, key: str) -> None:
    refused(edit_manifest(path, lambda m: m.pop(key)), "its manifest is not valid")


@pytest.mark.parametrize("files", [None, [], "x"])
def test_manifest_without_digests(path: Path, files: object) -> None:
    refused(edit_manifest(path, lambda m: m.update(files=files)), "no sha256")


def test_golden_vector_that_is_none(path: Path) -> None:
    good = npz(audio=BUNDLE.golden.audio, logits=BUNDLE.golden.logits)
    for bad in (b"", b"garbage", good[:200], npz(audio=BUNDLE.golden.audio)):
        refused(with_golden(path, bad), "damaged golden vector")


def test_golden_vector_that_would_run_code(path: Path) -> None:
    code = np.array([pickle.loads], dtype=object)
    refused(with_golden(path, npz(audio=BUNDLE.golden.audio, logits=code)), "damaged golden vector")


def test_golden_vector_that_is_a_bomb(path: Path) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, audio=np.zeros(1_000_000, np.int16), logits=BUNDLE.golden.logits)
    refused(with_golden(path, buffer.getvalue()), "it is compressed")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<i2", "fortran_order": False, "shape": (1 << 50,)}
    )
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("audio.npy", header.getvalue())
        archive.writestr("logits.npy", b"")
    refused(with_golden(path, buffer.getvalue()), "damaged golden vector")


@pytest.mark.parametrize(
    ("audio", "logits"),
    [
        (np.zeros(N_SAMPLES, np.float32), np.zeros(2, np.float32)),
        (np.zeros((N_SAMPLES, 1), np.int16), np.zeros(2, np.float32)),
        (np.zeros(N_SAMPLES - 1, np.int16), np.zeros(2, np.float32)),
        (np.zeros(0, np.int16), np.zeros(2, np.float32)),
        (np.zeros(N_SAMPLES, np.int16), np.zeros(3, np.float32)),
        (np.zeros(N_SAMPLES, np.int16), np.zeros((1, 2), np.float32)),
        (np.zeros(N_SAMPLES, np.int16), np.array(["a", "b"])),
    ],
)
def test_golden_vector_of_another_shape(path: Path, audio: np.ndarray, logits: np.ndarray) -> None:
    refused(with_golden(path, npz(audio=audio, logits=logits)), "golden vector")


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, 60_000), flip=st.integers(1, 255))
def test_any_damaged_byte_is_found_or_harmless(
    at: int, flip: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.wakeword"
    save_bundle(path, BUNDLE)
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= flip
    path.write_bytes(data)
    try:
        loaded = load_bundle(path)
    except BundleError:
        return
    assert same(loaded, BUNDLE)  # it was in what the zip says of itself


def test_not_written_where_it_cannot_be(tmp_path: Path, path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    blocked = tmp_path / "folder.wakeword"
    blocked.mkdir()
    before = sorted(tmp_path.iterdir())
    for target in (tmp_path / "file" / "m.wakeword", blocked):
        with pytest.raises(BundleError, match="cannot write"):
            save_bundle(target, BUNDLE)
    assert sorted(tmp_path.iterdir()) == before


def test_failed_rename_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(BundleError, match="No space left on device"):
        save_bundle(path, replace(BUNDLE, verifier=b"new"))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_full_disk(path: Path) -> None:
    """A real one: the operating system lets this process write 8 kB and no more."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_192, 8_192))

    program = """
import sys
from wakeword.bundle import load_bundle, save_bundle
from wakeword.errors import BundleError
try:
    save_bundle(sys.argv[1], load_bundle(sys.argv[1]))
except BundleError as err:
    sys.exit(str(err))
"""
    before = path.read_bytes()
    run = subprocess.run(
        [sys.executable, "-c", program, str(path)], preexec_fn=limit, capture_output=True, text=True
    )
    assert run.returncode == 1
    assert run.stderr.startswith(f"cannot write {path}: ")
    assert run.stderr.count("\n") == 1
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
