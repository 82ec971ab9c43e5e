"""Mutated files into everything that reads one: no crash, no hang, no blow-up, only errors that explain.

    python benchmarks/fuzz.py [--inputs 100000] [--seed 1] [--kind bundle ...]

Each kind of file starts from a good one. A mutation flips bits, cuts, repeats, splices, or puts hostile
numbers and names where numbers and names stand; those of a "resealed" bundle get digests that match, so that
they come as far as onnxruntime. Child processes read them, with 3 GB of memory: one that dies or says nothing
for 20 s is a finding too. Findings are kept in benchmarks/out/fuzz; the exit code is 1 with any.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import multiprocessing
import random
import re
import resource
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from results import OUT, provenance, update_section

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))  # the tests' small networks are the good files

MEMORY = 3 << 30
HANG_S = 20.0
HOSTILE = (
    *(b"0", b"-1", b"1e999", b"NaN", b"9" * 40, b"2147483648", b"-9223372036854775809", b"true", b"null"),
    *(b"[]", b"{}", b'""', b"../../etc/passwd", b"/dev/zero", b"\x00", b"\xff\xfe", b"[" * 200, b"%s%n"),
)
NUMBER = re.compile(rb"-?\d+(\.\d+)?")
Reader = Callable[[Path], object]


@dataclass(frozen=True)
class Kind:
    """One kind of file."""

    name: str
    suffix: str
    good: bytes
    read: Reader
    seal: Callable[[bytes], bytes] = lambda data: data
    """Applied to a mutation last."""


@dataclass
class Tally:
    """What came of the inputs of one kind."""

    inputs: int = 0
    accepted: int = 0
    explained: int = 0
    slowest_s: float = 0.0
    findings: list[str] = field(default_factory=list)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A few changes to a file."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(changed) + 1) if changed else 0
        span = rng.choice((1, 2, 4, 16, 256))
        choice = rng.randrange(8)
        if choice == 0 and changed:
            changed[at % len(changed)] ^= 1 << rng.randrange(8)
        elif choice == 1:
            changed[at : at + span] = bytes([rng.choice((0, 0x7F, 0x80, 0xFF))]) * span
        elif choice == 2:
            del changed[at : at + span]
        elif choice == 3:
            changed[at:at] = changed[at : at + span] * rng.choice((1, 2, 50))
        elif choice == 4:
            del changed[at:]
        elif choice == 5:
            changed[at:at] = rng.randbytes(span)
        elif choice == 6:
            other = rng.randrange(len(changed) + 1)
            changed[at : at + span] = changed[other : other + span]
        else:
            numbers = list(NUMBER.finditer(bytes(changed[:200_000])))
            where = rng.choice(numbers).span() if numbers else (at, at)
            changed[where[0] : where[1]] = rng.choice(HOSTILE)
    return bytes(changed)


def good_files() -> dict[str, bytes]:
    """What is mutated, by name."""
    from tiny import tiny_bundle
    from toy_network import toy_network

    from firmware_bridge.decision import FirmwareRule
    from firmware_bridge.manifest import manifest
    from firmware_bridge.network_file import FirmwareModel, save_model
    from firmware_bridge.tflite import write_tflite
    from wakeword.audio import write_wav
    from wakeword.bundle import save_bundle
    from wakeword.evaluate.trace import Trace

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_bundle(folder / "bundle", tiny_bundle())
        write_wav(folder / "clip.wav", np.sin(np.arange(8_000) / 9).astype(np.float32) * 0.3)
        save_model(folder / "student", FirmwareModel(toy_network(), {}, {}))
        trace = Trace(("a",), np.arange(9) * 0.08, np.zeros((9, 1), np.float32), 0.1, 0.72)
        trace.save(folder / "trace.npz")
        good = {path.name: path.read_bytes() for path in folder.iterdir()}
    rows = "".join(f"{i}.wav,phrase,hey nova,train,g{i},0.{i}\n" for i in range(1, 6))
    good["index.csv"] = f"path,kind,label,split,group,seconds\n{rows}".encode()
    good["student.tflite"] = write_tflite(toy_network())
    described = manifest("hey nova", "x.tflite", FirmwareRule(230, 5), 30_000, "a")
    good["manifest.json"] = json.dumps(described).encode()
    return good


def kinds() -> list[Kind]:
    """Every kind of file that somebody else may have made."""
    from firmware_bridge.checker import check_tflite
    from firmware_bridge.manifest import read_manifest
    from firmware_bridge.network_file import load_model
    from wakeword.audio import read_audio
    from wakeword.bundle import load_bundle
    from wakeword.clips.dataset import load_recordings
    from wakeword.clips.drop import read_drop_list
    from wakeword.config import TrainConfig, load_config
    from wakeword.detector import load_models
    from wakeword.evaluate.trace import load_trace
    from wakeword.listen.settings import ListenSettings

    root, good = HERE.parent, good_files()
    return [
        Kind("bundle", ".wakeword", good["bundle"], load_bundle),
        Kind("bundle, resealed", ".wakeword", good["bundle"], load_models, resealed),
        Kind("recording", ".wav", good["clip.wav"], read_audio),
        Kind("list of recordings", ".csv", good["index.csv"], load_recordings),
        Kind("drop list", ".csv", b"path,start_s,end_s\na.wav,1.5,2\nb.wav,,\n", read_drop_list),
        Kind(
            "training settings",
            ".toml",
            (root / "configs/example.toml").read_bytes(),
            lambda path: load_config(path, TrainConfig),
        ),
        Kind(
            "listener settings",
            ".toml",
            (root / "configs/listen.toml").read_bytes(),
            lambda path: load_config(path, ListenSettings),
        ),
        Kind("trace", ".npz", good["trace.npz"], load_trace),
        Kind("firmware student", ".npz", good["student"], load_model),
        Kind("tflite", ".tflite", good["student.tflite"], lambda path: check_tflite(path.read_bytes())),
        Kind("ESPHome manifest", ".json", good["manifest.json"], read_manifest),
    ]


def resealed(data: bytes) -> bytes:
    """A mutated bundle whose digests fit its members as they are; the input itself where it is no zip."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {}
            for info in archive.infolist():
                with archive.open(info) as member:
                    member._expected_crc = None  # type: ignore[attr-defined]
                    members[info.filename] = member.read()
        manifest = json.loads(members["manifest.json"])
        manifest["files"] = {
            name: hashlib.sha256(content).hexdigest()
            for name, content in members.items()
            if name != "manifest.json"
        }
    except Exception:
        return data
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in (members | {"manifest.json": json.dumps(manifest).encode()}).items():
            archive.writestr(name, content)
    return buffer.getvalue()


def child(name: str, seed: int, first: int, n: int, folder: Path, say: Connection) -> None:
    """Read n inputs of a kind, from `first` on; says before each which it is, after each what came of it."""
    from wakeword.errors import WakewordError

    kind = next(k for k in kinds() if k.name == name)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    path = folder / f"input{kind.suffix}"
    for i in range(first, first + n):
        path.write_bytes(made(kind, seed, i))
        say.send(("begun", i, ""))
        start = time.monotonic()
        try:
            kind.read(path)
            outcome, detail = "accepted", ""
        except WakewordError:
            outcome, detail = "explained", ""
        except BaseException:
            outcome, detail = "finding", traceback.format_exc(limit=-3)
        say.send((outcome, time.monotonic() - start, detail))
    say.send(("end", 0, ""))


def made(kind: Kind, seed: int, i: int) -> bytes:
    """Input i of a kind."""
    return kind.seal(mutate(kind.good, random.Random(f"{kind.name} {seed} {i}")))


def fuzz(kind: Kind, n: int, seed: int, keep: Path) -> Tally:
    """Try n inputs of a kind; what is found is kept as a file each."""
    tally, at = Tally(), 0
    context = multiprocessing.get_context("spawn")
    while at < n:
        mine, theirs = context.Pipe(duplex=False)
        with tempfile.TemporaryDirectory() as folder:
            process = context.Process(target=child, args=(kind.name, seed, at, n - at, Path(folder), theirs))
            process.start()
            theirs.close()
            at = _watch(kind, mine, at, tally, seed, keep)
            process.kill()
            process.join()
    return tally


def _watch(kind: Kind, say: Connection, at: int, tally: Tally, seed: int, keep: Path) -> int:
    """Follow one child to its end; the input to go on from."""
    started = False
    while True:
        try:
            silent = not say.poll(HANG_S if started else 120)
            outcome, value, detail = ("finding", 0.0, "no answer") if silent else say.recv()
        except EOFError:
            silent, outcome, value, detail = True, "finding", 0.0, "the process died"
        if outcome == "end":
            return at
        if outcome == "begun":
            started = True
            continue
        tally.inputs += 1
        tally.slowest_s = max(tally.slowest_s, value)
        if outcome == "finding":
            name = f"{kind.name.replace(' ', '_')}-{seed}-{at}{kind.suffix}"
            keep.mkdir(parents=True, exist_ok=True)
            (keep / name).write_bytes(made(kind, seed, at))
            tally.findings.append(f"{name}: {detail}")
        else:
            setattr(tally, outcome, getattr(tally, outcome) + 1)
        at += 1
        if silent:
            return at


def main() -> int:
    """Fuzz, print, and write the section; 1 where anything was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", action="append", help="only these")
    parser.add_argument("--quiet", action="store_true", help="no section in RESULTS.md")
    args = parser.parse_args()
    known = [kind for kind in kinds() if not args.kind or kind.name in args.kind]
    head = "| file | inputs | read | refused with a reason | slowest | findings |\n|---|--:|--:|--:|--:|--:|"
    rows, findings = [head], list[str]()
    for kind in known:
        t = fuzz(kind, args.inputs // len(known), args.seed, OUT / "fuzz")
        rows.append(
            f"| {kind.name} | {t.inputs:,} | {t.accepted:,} | {t.explained:,} "
            f"| {t.slowest_s:.2f} s | {len(t.findings)} |"
        )
        print(rows[-1], *t.findings[:5], sep="\n", flush=True)
        findings += t.findings
    if not args.quiet:
        body = ["## Mutated files", "", provenance(), "", *rows, ""]
        body += [f"    {line}" for finding in findings[:20] for line in finding.splitlines()]
        update_section("fuzz", "\n".join(body))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
