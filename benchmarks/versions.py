"""The same answer everywhere: the runtime of other versions beside this one's, event for event.

    python benchmarks/versions.py out/demo/demo.wakeword RECORDING [--python python3.12 ...]

Each combination is installed from PyPI into a throwaway environment, with a wheel of this tree and nothing
else, and hears RECORDING in every mode. Answers are compared with those of the first row. A combination that
cannot be installed is named with the reason.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from environments import find_uv, run, throwaway
from results import HERE, provenance, update_section

from export.verify import TOLERANCES

VERSIONS = (("1.20.0", "1.26.4"), ("1.20.0", ""), ("1.24.1", ""), ("", "1.26.4"), ("", ""))
"""Of onnxruntime and numpy; empty: the newest."""
TOLERANCE = TOLERANCES["int8"].mean
"""Of posteriors, on average: int8 kernels of other versions may round otherwise."""
HEARS = """
import importlib.metadata, json, platform, sys
import numpy, wakeword
from wakeword.audio import read_audio
from wakeword.detector import load_models
model, recording, out = sys.argv[1:]
samples, said = read_audio(recording), {}
for mode in ("cascade", "verifier", "student"):
    models = load_models(model, mode)
    said[mode] = numpy.stack([posteriors for _, posteriors in models.scorer().feed(samples)])
    said[mode + " events"] = [f"{e.phrase} {e.time_s:.2f}" for e in models.detector().feed(samples)]
numpy.savez(out, **said)
version = importlib.metadata.version
print(json.dumps([platform.python_version(), version("onnxruntime"), version("numpy")]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--python", action="append", help="another Python; repeatable [this one alone]")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run([find_uv(), "build", "--quiet", "--wheel", "--out-dir", str(folder), str(HERE.parent)])
        (wheel,) = folder.glob("*.whl")
        rows = list[dict[str, Any]]()
        for python in arguments.python or [sys.executable]:
            for onnxruntime, numpy in VERSIONS:
                packages = [str(wheel), pin("onnxruntime", onnxruntime), pin("numpy", numpy)]
                rows.append(answer(python, packages, folder, arguments))
                print(rows[-1]["name"], rows[-1].get("fault", "heard"), flush=True)
    heard = [row for row in rows if "said" in row]
    if not heard:
        raise SystemExit("no combination could be installed")
    for row in heard:
        compare(row, heard[0])
    body = "\n".join(table(rows, heard[0]))
    update_section("versions", f"## Versions\n\n{provenance()}\n\n{body}")
    print(body)
    if any(row.get("differs") for row in heard):
        raise SystemExit("answers differ")


def pin(package: str, version: str) -> str:
    return f"{package}=={version}" if version else package


def answer(python: str, packages: list[str], folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """What one combination says, or why it cannot."""
    name, out = " ".join(packages[1:]), folder / "said.npz"
    paths = [str(arguments.model.resolve()), str(arguments.recording.resolve()), str(out)]
    try:
        versions = json.loads(run([str(throwaway(folder, python, packages)), "-c", HEARS, *paths]))
    except RuntimeError as err:
        return {"name": f"{python} {name}", "fault": str(err)}
    with np.load(out) as said:
        return {"name": name, "versions": versions, "said": {key: said[key] for key in said.files}}


def compare(row: dict[str, Any], first: dict[str, Any]) -> None:
    """Note the largest difference in posterior, and each list of events that differs."""
    said, wanted = row["said"], first["said"]
    modes = [key for key in said if not key.endswith("events")]
    off = [np.abs(said[mode] - wanted[mode]) for mode in modes]
    row["largest"], row["mean"] = max(float(o.max()) for o in off), max(float(o.mean()) for o in off)
    row["differs"] = [
        mode for mode in modes if list(said[f"{mode} events"]) != list(wanted[f"{mode} events"])
    ]
    if row["mean"] > TOLERANCE:
        row["differs"].append(f"posteriors by more than {TOLERANCE:g} on average")


def table(rows: list[dict[str, Any]], first: dict[str, Any]) -> list[str]:
    """Markdown."""
    events = {mode: len(first["said"][f"{mode} events"]) for mode in ("cascade", "verifier", "student")}
    lines = [
        f"Events in the recording: {', '.join(f'{n} by {mode}' for mode, n in events.items())}.",
        "",
        "| Python | onnxruntime | numpy | posterior off, mean | max | events differ |",
        "|---|---|---|--:|--:|---|",
    ]
    for row in rows:
        if "fault" in row:
            lines.append(f"| | | | | | {row['name']}: {row['fault']} |")
            continue
        cells = [
            *row["versions"],
            f"{row['mean']:.5f}",
            f"{row['largest']:.3f}",
            ", ".join(row["differs"]) or "none",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
