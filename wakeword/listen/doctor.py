"""What could keep a listener from working on this computer, each finding with its remedy.

Checks of the machine, of the microphone and of models; each is a function that returns findings and raises
nothing. `examine` runs them all.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias

from wakeword.listen.settings import WebSettings
from wakeword.machine import processors
from wakeword.manifest import Mode

Status: TypeAlias = Literal["ok", "warn", "fail"]
DEFAULT_PORTS = {"Wyoming": 10400, "web page": WebSettings().port}
"""What `wakeword listen` serves on where nothing else is said."""
SERVE_PACKAGES = {
    "aiohttp": "the web page and /metrics",
    "paho.mqtt": "MQTT",
    "prometheus_client": "/metrics",
    "watchfiles": "hot reload",
    "wyoming": "Home Assistant over Wyoming",
    "zeroconf": "discovery by Home Assistant",
}
CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    check: str
    """What was looked at, in a word or two."""
    status: Status
    text: str
    """What was found."""
    fix: str = ""
    """What to do about it; empty where all is well."""


def examine(
    models: Sequence[Path], device: str | int | None, listen_s: float, mode: Mode | None = None
) -> Iterator[Finding]:
    """Run every check, one after the other; a finding is yielded when it is there.

    Args:
        models: bundles to load, check and time.
        device: microphone to listen to, see `find_device`; None = the default one.
        listen_s: seconds of sound to judge; 0 = this computer needs no microphone.
        mode: how the models would listen.
    """
    from wakeword.listen import doctor_models, doctor_sound

    yield check_python()
    yield check_onnxruntime(_installed("onnxruntime"), platform.machine())
    yield check_processor(_processor_flags(), platform.machine(), processors())
    if listen_s > 0:
        yield from doctor_sound.check_sound(device, listen_s)
    for path in models:
        yield from doctor_models.check_model(path, mode)
    yield check_extras(_importable)
    for name, port in DEFAULT_PORTS.items():
        yield check_port(name, port)


def check_python() -> Finding:
    """Which Python and wakeword run, and where."""
    import wakeword

    text = f"wakeword {wakeword.__version__}, Python {platform.python_version()}, {platform.platform()}"
    if sys.maxsize < 2**32:
        fix = "onnxruntime has no 32-bit wheels: install a 64-bit system (Raspberry Pi OS 64-bit)"
        return Finding("python", "fail", f"{text}: 32 bits", fix)
    return Finding("python", "ok", text)


def check_onnxruntime(found: str | None, machine: str) -> Finding:
    """Versions of onnxruntime that are known to be wrong, by processor."""
    name = "onnxruntime"
    upgrade = "pip install -U 'onnxruntime>=1.20,!=1.27.0'"
    if found is None:
        return Finding(name, "fail", "not installed", upgrade)
    if found == "1.27.0":
        wrong = machine.lower() in ("aarch64", "arm64")
        text = f"{found} computes wrong convolutions on arm64" + ("" if wrong else "; this is not arm64")
        return Finding(name, "fail" if wrong else "warn", text, upgrade)
    if _number(found) < (1, 20):
        return Finding(name, "warn", f"{found} is older than what wakeword is tested with", upgrade)
    return Finding(name, "ok", found)


def check_processor(flags: frozenset[str], machine: str, n_cores: int) -> Finding:
    """Whether the processor has the instructions that int8 models are fast with. `flags` may be unknown."""
    kind = machine.lower()
    fast = _fast_flags(kind)
    has = [flag for flag in fast if flag in flags]
    text = f"{machine}, {n_cores} core{'s' if n_cores > 1 else ''}"
    if not flags or not fast:
        return Finding("processor", "ok", f"{text}, instructions unknown")
    if fast[0] not in flags:
        fix = f"models run, but slowly: use --mode student, or a processor with {fast[0]}"
        return Finding("processor", "warn", f"{text}, without {fast[0]}", fix)
    return Finding("processor", "ok", f"{text}, {', '.join(has)}")


def check_extras(importable: Callable[[str], bool]) -> Finding:
    """Whether the packages that only the servers need are there."""
    missing = [f"{name.partition('.')[0]} ({use})" for name, use in SERVE_PACKAGES.items()
               if not importable(name)]  # fmt: skip
    if missing:
        text = f"not installed: {', '.join(missing)}"
        return Finding("servers", "warn", text, "pip install 'wakeword[serve]', if you want them")
    return Finding("servers", "ok", "packages for Wyoming, MQTT, web page and metrics are installed")


def check_port(name: str, port: int, host: str = "127.0.0.1") -> Finding:
    """Whether a port that a server would take is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as err:
            fix = f"is wakeword running already? Else see `ss -ltnp 'sport = :{port}'`, or choose another"
            return Finding("port", "warn", f"{port} ({name}) on {host}: {err.strerror}", fix)
    return Finding("port", "ok", f"{port} ({name}) on {host} is free")


def failed(findings: Iterable[Finding]) -> bool:
    """Whether something must be mended before listening can work."""
    return any(finding.status == "fail" for finding in findings)


def as_json(findings: Sequence[Finding]) -> str:
    """One JSON object: whether all is well, and the findings in order."""
    return json.dumps({"ok": not failed(findings), "findings": [asdict(f) for f in findings]}, indent=1)


def _fast_flags(kind: str) -> tuple[str, ...]:
    """Instructions that matter, the one that should be there first."""
    if kind in ("x86_64", "amd64"):
        return "avx2", "avx512_vnni", "avx_vnni"
    return ("asimddp", "i8mm") if kind in ("aarch64", "arm64") else ()


def _processor_flags() -> frozenset[str]:
    """Names of the processor's instruction sets, as Linux tells them; elsewhere none."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    found = [line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))]
    return frozenset(" ".join(found[:1]).split())


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _importable(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdecimal())
