"""The `.wakeword` file: everything a listener needs, checked before it is used.

A zip whose members are stored, not compressed: `manifest.json` (a strict, versioned schema),
`verifier.onnx` and `golden.npz` (a short synthetic sound with the logits it must give). Nothing in it
can run code: no pickle, no external data, and every member's sha256 stands in the manifest.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import struct
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from wakeword.audio import FRAME_SAMPLES, HOP_SAMPLES, SAMPLE_RATE
from wakeword.decision import DecisionConfig
from wakeword.errors import BundleError, UsageError
from wakeword.mel import n_samples

SCHEMA = 1
MANIFEST, VERIFIER, GOLDEN = "manifest.json", "verifier.onnx", "golden.npz"
MAX_BYTES = {MANIFEST: 4 << 20, VERIFIER: 512 << 20, GOLDEN: 4 << 20}
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Members carry no time, so that the same model makes the same bytes."""
ZIP_FAULTS = (
    zipfile.BadZipFile,
    OSError,
    EOFError,
    KeyError,
    MemoryError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
)
"""What reading a damaged zip, or the arrays in one, may raise."""


@dataclass(frozen=True)
class Threshold:
    """Where one phrase fires for a stated number of false accepts per hour."""

    value: float
    """Posterior, 0 to 1."""
    extrapolated: bool
    """True when the dev hours were too few to see this rate and a tail fit gave the value."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a bundle says of itself."""

    name: str
    phrases: tuple[str, ...]
    input: Literal["mel", "audio"]
    """What the verifier takes: log-mel [1, 80, T] or samples [1, N]."""
    window: int
    """T or N: log-mel frames (10 ms) or samples in one window."""
    thresholds: Mapping[str, Mapping[str, Threshold]]
    """phrase -> false accepts per hour (as text, "0.5") -> threshold, set on dev."""
    default_fa_per_hour: str
    decision: DecisionConfig = field(default_factory=DecisionConfig)
    encoder: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    licences: Mapping[str, str] = field(default_factory=dict)
    sample_rate: int = SAMPLE_RATE
    hop_samples: int = HOP_SAMPLES
    wakeword_version: str = ""
    schema: int = SCHEMA

    def threshold(self, phrase: str, fa_per_hour: float) -> Threshold:
        """The phrase's threshold at a stored operating point; UsageError lists those there are."""
        points = self.thresholds[phrase]
        for rate, threshold in points.items():
            if float(rate) == fa_per_hour:
                return threshold
        raise UsageError(
            f"{self.name} has no operating point at {fa_per_hour:g} false accepts per hour; "
            f"choose one of {', '.join(points)}"
        )


@dataclass(frozen=True)
class Golden:
    """A synthetic sound and what the verifier must say of it."""

    audio: npt.NDArray[np.int16]
    """One window of samples [N]."""
    logits: npt.NDArray[np.float32]
    """Log-odds of the posteriors of the window [K]."""


@dataclass(frozen=True)
class Bundle:
    """A loaded, checked `.wakeword` file."""

    manifest: Manifest
    verifier: bytes
    golden: Golden


def save_bundle(path: str | os.PathLike[str], bundle: Bundle) -> None:
    """Write the file whole or not at all; the same bundle always gives the same bytes."""
    target = Path(path)
    members = {VERIFIER: bundle.verifier, GOLDEN: _golden_bytes(bundle.golden)}
    manifest = asdict(bundle.manifest) | {"files": {name: _sha256(data) for name, data in members.items()}}
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    partial = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            for name, data in {MANIFEST: text.encode(), **members}.items():
                archive.writestr(zipfile.ZipInfo(name, ZIP_EPOCH), data)
        partial.replace(target)
    except OSError as err:
        raise BundleError(f"cannot write {target}: {err}") from err
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


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
            members = {name: _read_member(archive, name, source) for name in MAX_BYTES}
    except ZIP_FAULTS as err:
        raise BundleError(f"{source}: not a .wakeword file, or damaged ({err})") from err
    manifest, digests = _parse_manifest(members[MANIFEST], source)
    for name, data in members.items():
        if name != MANIFEST and digests.get(name) != _sha256(data):
            raise BundleError(f"{source}: {name} does not match its sha256 in the manifest; copy it again")
    return Bundle(manifest, members[VERIFIER], _parse_golden(members[GOLDEN], manifest, source))


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
    np.savez(buffer, audio=golden.audio, logits=golden.logits)
    return buffer.getvalue()


def _parse_golden(data: bytes, manifest: Manifest, source: Path) -> Golden:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                raise ValueError("it is compressed")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            golden = Golden(arrays["audio"], arrays["logits"])
    except ZIP_FAULTS as err:
        raise BundleError(f"{source}: damaged golden vector ({err})") from err
    length = n_samples(manifest.window) if manifest.input == "mel" else manifest.window
    if golden.audio.dtype != np.int16 or golden.audio.shape != (length,):
        raise BundleError(f"{source}: the golden vector's audio is not one window of int16 mono")
    if golden.logits.dtype != np.float32 or golden.logits.shape != (len(manifest.phrases),):
        raise BundleError(f"{source}: the golden vector does not match the phrases")
    return golden


def _parse_manifest(data: bytes, source: Path) -> tuple[Manifest, Mapping[str, str]]:
    try:
        raw = json.loads(data)
        schema = raw["schema"]
    except (ValueError, KeyError, TypeError, RecursionError) as err:
        raise BundleError(f"{source}: its manifest cannot be read ({err})") from err
    if type(schema) is not int or schema < 1:
        raise BundleError(f"{source}: its manifest cannot be read (schema {schema!r})")
    if schema > SCHEMA:
        raise BundleError(
            f"{source}: made by a newer wakeword (schema {schema}, this one reads up to {SCHEMA}); "
            "upgrade with pip install -U wakeword"
        )
    digests = raw.pop("files", None)
    if not isinstance(digests, dict):
        raise BundleError(f"{source}: its manifest states no sha256 of its files")
    known = {f.name for f in fields(Manifest)}
    if unknown := sorted(set(raw) - known):
        raise BundleError(f"{source}: unknown manifest key {unknown[0]!r}")
    try:
        manifest = _build_manifest(raw)
    except (TypeError, ValueError, KeyError, AttributeError, UsageError) as err:
        raise BundleError(f"{source}: its manifest is not valid ({err})") from err
    return manifest, digests


def _build_manifest(raw: dict[str, Any]) -> Manifest:
    phrases = tuple(raw.pop("phrases"))
    thresholds = {
        phrase: {rate: Threshold(float(t["value"]), bool(t["extrapolated"])) for rate, t in points.items()}
        for phrase, points in raw.pop("thresholds").items()
    }
    manifest = Manifest(
        phrases=phrases, thresholds=thresholds, decision=DecisionConfig(**raw.pop("decision")), **raw
    )
    _check_thresholds(manifest)
    _check_window(manifest)
    _check_types(manifest)
    return manifest


def _check_thresholds(manifest: Manifest) -> None:
    phrases, thresholds = manifest.phrases, manifest.thresholds
    if not phrases or len(set(phrases)) != len(phrases) or set(thresholds) != set(phrases):
        raise ValueError("phrases and thresholds do not match")
    if any(not 0 < t.value <= 1 for points in thresholds.values() for t in points.values()):
        raise ValueError("a threshold lies outside (0, 1]")
    rates = [manifest.default_fa_per_hour, *(rate for points in thresholds.values() for rate in points)]
    if any(not 0 < float(rate) < math.inf for rate in rates):
        raise ValueError("an operating point is not a number of false accepts per hour")


def _check_window(manifest: Manifest) -> None:
    shortest = {"mel": HOP_SAMPLES // FRAME_SAMPLES, "audio": HOP_SAMPLES}.get(manifest.input)
    if shortest is None or type(manifest.window) is not int or manifest.window < shortest:
        raise ValueError(f"input {manifest.input!r} with window {manifest.window!r}")
    if manifest.sample_rate != SAMPLE_RATE or manifest.hop_samples != HOP_SAMPLES:
        raise ValueError(f"{manifest.sample_rate} Hz and hops of {manifest.hop_samples} samples")


def _check_types(manifest: Manifest) -> None:
    texts = (manifest.name, manifest.encoder, manifest.wakeword_version, *manifest.phrases)
    tables = (manifest.training, manifest.results, manifest.licences)
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(t, dict) for t in tables):
        raise ValueError("a text or a table was expected")
