"""The same answer everywhere: the runtime of other versions beside this one's, event for event.

    python benchmarks/versions.py out/demo/demo.wakeword RECORDING [--python python3.12 ...]
                                  [--processor Haswell --processor Nehalem]

Each combination is installed from PyPI into a throwaway environment, with a wheel of this tree and nothing
else, and hears RECORDING in every mode; the oldest and the newest with two threads, too. Answers are compared
with those of the first row. A combination that cannot be installed is named with the reason.

onnxruntime has no setting that leaves an instruction set out. `--processor` runs the newest on another
processor, emulated by qemu-x86_64 (apt install qemu-user): Haswell has AVX2 but no AVX-512, Nehalem no AVX.
It is over a hundred times slower, so the cascade and the student alone listen there, for half a minute.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from environments import find_uv, run, throwaway
from results import HERE, provenance, update_section

from export.verify import TOLERANCES

VERSIONS = (("1.20.0", "1.26.4"), ("1.20.0", ""), ("1.24.1", ""), ("", "1.26.4"), ("", ""))
"""Of onnxruntime and numpy; empty: the newest."""
ENDS = (VERSIONS[0], VERSIONS[-1])
"""Those tried with each further Python."""
THREADS = (1, 2)
"""Of an operation, in onnxruntime; a listener takes one."""
INSTEAD = {"onnxruntime==1.20.0": "onnxruntime==1.20.1", "numpy==1.26.4": "numpy==2.1.0"}
"""The oldest that there is for a Python to which that version never came."""
MODES = ("cascade", "student", "verifier")
QUICK_MODES = MODES[:2]
QUICK_S = 30
TOLERANCE = TOLERANCES["int8"].mean
"""Of posteriors, on average: int8 kernels of other versions may round otherwise."""
HEARS = """
import importlib.metadata, json, platform, sys
import numpy, onnxruntime, wakeword
threads = int(sys.argv[4])
real = onnxruntime.InferenceSession
def session(model, options, **more):
    options.intra_op_num_threads = threads
    return real(model, options, **more)
onnxruntime.InferenceSession = session
from wakeword.audio import read_audio
from wakeword.decision import Decision
from wakeword.detector import choose_thresholds, load_models
model, recording, out = sys.argv[1:4]
samples, said = read_audio(recording)[: int(sys.argv[5]) * 16_000], {}
for mode in sys.argv[6:]:
    models = load_models(model, mode)
    manifest = models.manifest
    rows = models.scorer().feed(samples)
    decision = Decision(
        manifest.phrases, choose_thresholds(manifest, mode=models.mode), manifest.decision_of(models.mode)
    )
    events = [e for time_s, posteriors in rows for e in decision.update(posteriors, time_s)]
    said[mode] = numpy.stack([posteriors for _, posteriors in rows])
    said[mode + " times"] = [time_s for time_s, _ in rows]
    said[mode + " events"] = [f"{e.phrase} {e.time_s:.2f}" for e in events]
numpy.savez(out, **said)
version = importlib.metadata.version
print(json.dumps([platform.python_version(), version("onnxruntime"), version("numpy"), threads]))
"""


@dataclass(frozen=True)
class Tried:
    """How one environment listens."""

    threads: int
    processor: str = ""
    """Emulated; empty: this machine's own."""

    @property
    def emulator(self) -> list[str]:
        """The command before that of Python."""
        return ["qemu-x86_64", "-cpu", self.processor] if self.processor else []

    @property
    def modes(self) -> tuple[str, ...]:
        """Who listens."""
        return QUICK_MODES if self.processor else MODES

    @property
    def seconds(self) -> int:
        """Of the recording, from its start."""
        return QUICK_S if self.processor else 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--python", action="append", help="another Python; repeatable")
    parser.add_argument("--processor", action="append", help="one that qemu-x86_64 knows; repeatable")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # A training may write a new one meanwhile.
        arguments.model = Path(shutil.copy(arguments.model, folder))
        run([find_uv(), "build", "--quiet", "--wheel", "--out-dir", str(folder), str(HERE.parent)])
        (wheel,) = folder.glob("*.whl")
        rows = list[dict[str, Any]]()
        for python, versions in combinations(arguments.python or []):
            packages = [str(wheel), pin("onnxruntime", versions[0]), pin("numpy", versions[1])]
            threads = THREADS if python == sys.executable and versions in ENDS else THREADS[:1]
            tried = [Tried(n) for n in threads]
            if (python, versions) == (sys.executable, VERSIONS[-1]):
                tried += [Tried(1, name) for name in arguments.processor or []]
            rows += answers(python, packages, tried, folder, arguments)
            print(rows[-1]["name"], rows[-1].get("fault", "heard"), flush=True)
    heard = [row for row in rows if "said" in row]
    if not heard:
        raise SystemExit("no combination could be installed")
    for row in heard:
        compare(row, heard[0])
    body = "\n".join(
        [*table(rows, heard[0]), "", f"Instruction sets of this processor: {instruction_sets()}."]
    )
    update_section("versions", f"## Versions\n\n{provenance()}\n\n{body}")
    print(body)
    if any(row.get("differs") for row in heard):
        raise SystemExit("answers differ")


def combinations(pythons: Sequence[str]) -> list[tuple[str, tuple[str, str]]]:
    """(Python, versions): all with this Python, the oldest and the newest with each other."""
    return [(sys.executable, versions) for versions in VERSIONS] + list(itertools.product(pythons, ENDS))


def pin(package: str, version: str) -> str:
    return f"{package}=={version}" if version else package


def answers(
    python: str, packages: list[str], tries: Sequence[Tried], folder: Path, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """What one combination says each time, or why it cannot."""
    name, rows = f"{Path(python).name} {' '.join(packages[1:])}", list[dict[str, Any]]()
    try:
        try:
            environment = throwaway(folder, python, packages)
        except RuntimeError:
            environment = throwaway(folder, python, [INSTEAD.get(p, p) for p in packages])
        for tried in tries:
            out = folder / "said.npz"
            paths = [str(arguments.model.resolve()), str(arguments.recording.resolve()), str(out)]
            script = ["-c", HEARS, *paths, str(tried.threads), str(tried.seconds), *tried.modes]
            versions = json.loads(run([*tried.emulator, str(environment), *script]))
            with np.load(out) as said:
                answer = {k: said[k] for k in said.files}
            rows.append({"name": name, "versions": versions, "on": tried.processor, "said": answer})
    except RuntimeError as err:
        rows.append({"name": name, "fault": str(err)})
    return rows


def instruction_sets() -> str:
    """What onnxruntime chooses its kernels by."""
    flags = next(
        line.split() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")
    )
    known = ("avx", "avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8")
    return ", ".join(f"{name} {'yes' if name in flags else 'no'}" for name in known)


def compare(row: dict[str, Any], first: dict[str, Any]) -> None:
    """Note the largest difference in posterior, and each list of events that differs."""
    said, wanted = row["said"], first["said"]
    modes = [mode for mode in MODES if mode in said]
    off = [np.abs(said[mode] - wanted[mode][: len(said[mode])]) for mode in modes]
    row["largest"], row["mean"] = max(float(o.max()) for o in off), max(float(o.mean()) for o in off)
    row["differs"] = [
        mode
        for mode in modes
        if list(said[f"{mode} events"]) != events_until(wanted, mode, said[f"{mode} times"][-1])
    ]
    if row["mean"] > TOLERANCE:
        row["differs"].append(f"posteriors by more than {TOLERANCE:g} on average")


def events_until(said: dict[str, Any], mode: str, end_s: float) -> list[str]:
    """Those of a mode up to that time."""
    return [event for event in said[f"{mode} events"] if float(event.rpartition(" ")[2]) <= end_s + 0.01]


def table(rows: list[dict[str, Any]], first: dict[str, Any]) -> list[str]:
    """Markdown."""
    events = {mode: len(first["said"][f"{mode} events"]) for mode in MODES}
    lines = [
        f"Events in the recording: {', '.join(f'{n} by {mode}' for mode, n in events.items())}.",
        "",
        "| Python | onnxruntime | numpy | threads | processor | posterior off, mean | max | events differ |",
        "|---|---|---|--:|---|--:|--:|---|",
    ]
    for row in rows:
        if "fault" in row:
            lines.append(f"| | | | | | | | {row['name']}: {row['fault']} |")
            continue
        cells = [
            *map(str, row["versions"]),
            row["on"] or "this",
            f"{row['mean']:.5f}",
            f"{row['largest']:.3f}",
            ", ".join(row["differs"]) or "none",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
