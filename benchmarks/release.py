"""What a release is and installs: built, its metadata checked, installed alone on each Python, and weighed.

    python benchmarks/release.py [--python python3.10 --python python3.13 ...]

Leaves wheel, sdist, SBOM (CycloneDX, of all extras) and the licences of everything installed here in dist/.
`uv audit` looks for known faults of dependencies; it asks a server on the internet, so it is not run here.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from importlib.metadata import Distribution, distributions
from pathlib import Path

from environments import find_uv, run, throwaway
from results import HERE, provenance, update_section

DIST = HERE.parent / "dist"
LIMIT_MB = 120
"""What listening may take on disk, without torch."""
TRIES = (["--version"], ["listen", "--print-config"], ["devices", "--help"], ["info", "--help"])
WEIGHS = """
import json, pathlib, platform, sysconfig
folder = pathlib.Path(sysconfig.get_path("purelib"))
ours = ("pip", "setuptools", "_virtualenv")
parts = {p.name: sum(f.stat().st_size for f in (p, *p.rglob("*")) if f.is_file())
         for p in folder.iterdir() if not p.name.startswith(ours)}
largest = [f"{name} {parts[name] / 1e6:.0f}" for name in sorted(parts, key=parts.get)[::-1][:4]]
print(json.dumps([platform.python_version(), sum(parts.values()), largest]))
"""


def main() -> int:
    """Build, check, install, weigh; 1 where anything is amiss."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", action="append", help="to install on; repeatable [this one]")
    arguments = parser.parse_args()
    wheel, sdist = build()
    rows, amiss = list[str](), list[str]()
    for python in arguments.python or [sys.executable]:
        try:
            version, size, largest = install(python, wheel)
        except RuntimeError as err:
            rows.append(f"| {Path(python).name} | | failed: {err} |")
            amiss.append(python)
            continue
        rows.append(f"| {version} | {size / 1e6:.0f} MB | {', '.join(largest)} |")
        if size > LIMIT_MB * 1e6:
            amiss.append(f"{version}: more than {LIMIT_MB} MB")
    packages = licences(DIST / "licences.md")
    export = [find_uv(), "export", "--quiet", "--project", str(HERE.parent), "--format", "cyclonedx1.5"]
    run([*export, "--all-extras", "--output-file", str(DIST / "sbom.json")])
    parts = len(json.loads((DIST / "sbom.json").read_text(encoding="utf-8"))["components"])
    body = f"""## Release

{provenance(())}

`{wheel.name}` {megabytes(wheel)} MB, `{sdist.name}` {megabytes(sdist)} MB; twine finds nothing amiss in
either. SBOM of all extras: {parts} packages; licences of {packages} installed ones. Installed alone (what
listening needs) in a new environment, where `pip check` and {len(TRIES)} commands end well:

| Python | on disk | most of it, MB |
|---|--:|---|
{chr(10).join(rows)}
"""
    update_section("release", body)
    print(body)
    return 1 if amiss else 0


def megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.2f}"


def build() -> tuple[Path, Path]:
    """Wheel and sdist, from nothing, as twine would take them."""
    shutil.rmtree(DIST, ignore_errors=True)
    run([find_uv(), "build", "--quiet", "--out-dir", str(DIST), str(HERE.parent)])
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    run([find_uv(), "tool", "run", "--quiet", "twine", "check", "--strict", str(wheel), str(sdist)])
    return wheel, sdist


def install(python: str, wheel: Path) -> tuple[str, int, list[str]]:
    """(version, bytes, the largest parts) of an environment with the wheel alone, after trying it."""
    with tempfile.TemporaryDirectory() as folder:
        own = throwaway(Path(folder), python, [str(wheel)])
        run([find_uv(), "pip", "check", "--quiet", "--python", str(own)])
        weighed = json.loads(run([str(own), "-c", WEIGHS]))
        for arguments in TRIES:
            run([str(own.parent / "wakeword"), *arguments])
    version, size, largest = weighed
    return version, size, largest


def licences(path: Path) -> int:
    """List the licence of each package installed here; how many there are."""
    rows = {d.metadata["Name"]: (d.version, licence_of(d)) for d in distributions()}
    lines = [f"| {name} | {version} | {licence} |" for name, (version, licence) in sorted(rows.items())]
    path.write_text("\n".join(["| package | version | licence |", "|---|---|---|", *lines]) + "\n", "utf-8")
    return len(rows)


def licence_of(package: Distribution) -> str:
    """As its metadata says: the expression, the classifiers, or the first line of the free text."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    named = [c.split(" :: ")[-1] for c in metadata.get_all("Classifier", []) if c.startswith("License ::")]
    text = (metadata.get("License") or "").strip().splitlines()
    return ", ".join(named) or (text[0][:60] if text else "not said")


if __name__ == "__main__":
    sys.exit(main())
