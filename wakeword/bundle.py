"""The `.wakeword` file: everything a listener needs, checked before it is used.

A zip whose members are stored, not compressed: `manifest.json` (a strict, versioned schema),
`verifier.onnx`, `student.onnx` (may be absent) and `golden.npz` (a short synthetic sound with the logits
it must give). Nothing in it can run code: no pickle, no external data, and every member's sha256 stands in
the manifest.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wakeword.audio import HOP_SAMPLES
from wakeword.errors import BundleError
from wakeword.files import ZIP_FAULTS, written_whole
from wakeword.manifest import Manifest, StudentManifest, Threshold, parse_manifest
from wakeword.mel import n_samples

__all__ = ["Bundle", "Golden", "Manifest", "StudentManifest", "Threshold", "load_bundle", "save_bundle"]

MANIFEST, VERIFIER, GOLDEN, STUDENT = "manifest.json", "verifier.onnx", "golden.npz", "student.onnx"
MAX_BYTES = {MANIFEST: 4 << 20, VERIFIER: 512 << 20, GOLDEN: 4 << 20, STUDENT: 16 << 20}
OPTIONAL = {STUDENT}
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Members carry no time, so that the same model makes the same bytes."""


@dataclass(frozen=True)
class Golden:
    """A synthetic sound and what the verifier must say of it."""

    audio: npt.NDArray[np.int16]
    """One window of samples [N]."""
    logits: npt.NDArray[np.float32]
    """Log-odds of the posteriors of the window [K]."""
    student: npt.NDArray[np.float32] | None = None
    """Log-odds of the student's scores, hop by hop from the start of the sound [H, K]."""


@dataclass(frozen=True)
class Bundle:
    """A loaded, checked `.wakeword` file."""

    manifest: Manifest
    verifier: bytes
    golden: Golden
    student: bytes | None = None


def save_bundle(path: str | os.PathLike[str], bundle: Bundle) -> None:
    """Write the file whole or not at all; the same bundle always gives the same bytes."""
    target = Path(path)
    members = {VERIFIER: bundle.verifier, GOLDEN: _golden_bytes(bundle.golden)}
    if bundle.student is not None:
        members[STUDENT] = bundle.student
    manifest = asdict(bundle.manifest) | {"files": {name: _sha256(data) for name, data in members.items()}}
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(target) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            for name, data in {MANIFEST: text.encode(), **members}.items():
                archive.writestr(zipfile.ZipInfo(name, ZIP_EPOCH), data)
    except OSError as err:
        raise BundleError(f"cannot write {target}: {err}") from err


def load_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read and check a `.wakeword` file.

    Raises BundleError, with the reason, when it is missing, truncated, a zip of something else, made by a
    newer schema, or when a member does not match its digest.
    """
    source = Path(path)
    if not source.is_file():
        raise BundleError(f"no such file: {source}")
    try:
        with zipfile.ZipFile(source) as archive:
            wanted = [name for name in MAX_BYTES if name not in OPTIONAL or name in archive.namelist()]
            members = {name: _read_member(archive, name, source) for name in wanted}
    except ZIP_FAULTS as err:
        raise BundleError(f"{source}: not a .wakeword file, or damaged ({err})") from err
    manifest, digests = parse_manifest(members[MANIFEST], source)
    for name, data in members.items():
        if name != MANIFEST and digests.get(name) != _sha256(data):
            raise BundleError(f"{source}: {name} does not match its sha256 in the manifest; copy it again")
    golden = _parse_golden(members[GOLDEN], manifest, source)
    student = members.get(STUDENT)
    if len({student is None, manifest.student is None, golden.student is None}) > 1:
        raise BundleError(f"{source}: the student is only partly there; copy it again")
    return Bundle(manifest, members[VERIFIER], golden, student)


def _read_member(archive: zipfile.ZipFile, name: str, source: Path) -> bytes:
    try:
        info = archive.getinfo(name)
    except KeyError as err:
        raise BundleError(f"{source}: not a .wakeword file (it holds no {name})") from err
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > MAX_BYTES[name]:
        raise BundleError(f"{source}: {name} is compressed or too large; not a .wakeword file")
    return archive.read(info)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _golden_bytes(golden: Golden) -> bytes:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"audio": golden.audio, "logits": golden.logits}
    if golden.student is not None:
        arrays["student"] = golden.student
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _parse_golden(data: bytes, manifest: Manifest, source: Path) -> Golden:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                raise ValueError("it is compressed")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            golden = Golden(arrays["audio"], arrays["logits"], arrays.get("student"))
    except ZIP_FAULTS as err:
        raise BundleError(f"{source}: damaged golden vector ({err})") from err
    length = n_samples(manifest.window) if manifest.input == "mel" else manifest.window
    if golden.audio.dtype != np.int16 or golden.audio.shape != (length,):
        raise BundleError(f"{source}: the golden vector's audio is not one window of int16 mono")
    if golden.logits.dtype != np.float32 or golden.logits.shape != (len(manifest.phrases),):
        raise BundleError(f"{source}: the golden vector does not match the phrases")
    if golden.student is not None:
        expected = (length // HOP_SAMPLES, len(manifest.phrases))
        if golden.student.dtype != np.float32 or golden.student.shape != expected:
            raise BundleError(f"{source}: the golden vector does not match the student")
    return golden
