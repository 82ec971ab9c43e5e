"""Shows that a C library computes what the network does, from PCM to event, byte by byte, on every processor.

    numpy int8 == TensorFlow Lite Micro in Python == C on this computer (also with sanitizers)
        == Cortex-M0, M4, M55 and RV32IMC, emulated by QEMU

What cannot be run here (a compiler is missing, say) is skipped, and said so.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from firmware_bridge import qemu
from firmware_bridge.emit_c import Build, check_source, read_build
from firmware_bridge.proof_audio import Pcm
from firmware_bridge.proof_reference import RECORD_BYTES, Expected, UInt8, expect, tflm_scores
from firmware_bridge.qemu import C_DIR, C_FLAGS, CORES, Core, ToolchainError

HOST_TIMEOUT_S, CORE_TIMEOUT_S = 300.0, 600.0
SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
FLASH_BUDGET, RAM_BUDGET = 100 * 1024, 40 * 1024
"""Bytes on a Cortex-M4, frontend included."""
BUDGET_CORE = "cortex-m4"


@dataclass(frozen=True)
class Cost:
    """What the library takes on a processor."""

    text: int
    """Bytes of code."""
    rodata: int
    """Bytes of weights and tables, in flash."""
    data: int
    bss: int
    stack: int
    """Most bytes of stack in use, the proof's own program included."""
    instructions_per_slice: int
    """Counted by QEMU, for 10 ms of sound on average: a proxy, for QEMU does not know cycles."""
    most_instructions: int
    """In one call: the one that completes a step."""

    @property
    def flash(self) -> int:
        """Bytes of flash."""
        return self.text + self.rodata + self.data

    @property
    def ram(self) -> int:
        """Bytes of RAM."""
        return self.data + self.bss + self.stack

    def load(self, megahertz: int) -> float:
        """Share of a processor [0, 1], if it runs one instruction a cycle."""
        return 100 * self.instructions_per_slice / (megahertz * 1e6)


@dataclass(frozen=True)
class Outcome:
    """How one runtime did."""

    name: str
    differing: int | None
    """Bytes other than expected; None = not run."""
    why_not: str = ""
    note: str = ""
    cost: Cost | None = None


@dataclass(frozen=True)
class Proof:
    """All outcomes for one library and some audio."""

    build: Build
    audio: tuple[tuple[str, float], ...]
    """Names and seconds."""
    expected: Expected
    outcomes: tuple[Outcome, ...]

    @property
    def differing(self) -> int:
        """Bytes that differ, over all that ran."""
        return sum(outcome.differing or 0 for outcome in self.outcomes)

    @property
    def over_budget(self) -> bool:
        """Whether it takes more than it may on a Cortex-M4; False where that was not run."""
        cost = next((o.cost for o in self.outcomes if o.name == BUDGET_CORE), None)
        return cost is not None and (cost.flash > FLASH_BUDGET or cost.ram > RAM_BUDGET)


def prove(
    folder: Path,
    audio: Sequence[tuple[str, Pcm]],
    say: Callable[[str], None] = lambda _: None,
    cores: Sequence[str] | None = None,
) -> Proof:
    """Run a library here and on the named cores (None = all) on some 16 kHz audio, piece after piece.

    Raises BundleError where the library was tampered with, ToolchainError where a program of the proof
    crashes (with a sanitizer: where it found an error) or hangs.
    """
    build = read_build(folder)
    check_source(build)
    pcm = np.concatenate([samples for _, samples in audio])
    say("numpy int8 …")
    expected = expect(build.c_model, pcm)
    with tempfile.TemporaryDirectory() as work:
        outcomes = tuple(_outcomes(build, expected, pcm, Path(work), say, CORES if cores is None else cores))
    seconds = tuple((name, len(samples) / 16000) for name, samples in audio)
    return Proof(build, seconds, expected, outcomes)


def _outcomes(
    build: Build,
    expected: Expected,
    pcm: Pcm,
    work: Path,
    say: Callable[[str], None],
    cores: Iterable[str],
) -> Iterator[Outcome]:
    n_bytes = expected.records.size
    yield Outcome("numpy int8", 0, note=f"the reference: {n_bytes:,} bytes")
    say("TensorFlow Lite Micro …")
    yield _tflm(build, expected)
    for name, flags in (("host C", ()), ("host C, ASan and UBSan", SANITIZERS)):
        say(f"{name} …")
        yield _host(build, expected, pcm, _folder(work, name), name, flags)
    for core in (CORES[name] for name in cores):
        say(f"{core.name} …")
        yield _core(build, expected, pcm, _folder(work, core.name), core)


def _folder(work: Path, name: str) -> Path:
    folder = work / name.replace(" ", "_")
    folder.mkdir()
    return folder


def _tflm(build: Build, expected: Expected) -> Outcome:
    name = "TensorFlow Lite Micro"
    try:
        scores = tflm_scores(build.c_model.net, expected.features)
    except ModuleNotFoundError as err:
        return Outcome(name, None, f"{err.name} is not installed")
    return Outcome(name, _different(scores, expected.scores), note="scores only: its input are the features")


def _host(build: Build, expected: Expected, pcm: Pcm, work: Path, name: str, flags: Sequence[str]) -> Outcome:
    if shutil.which("gcc") is None:
        return Outcome(name, None, "gcc is not installed")
    program = work / "trace"
    proof = C_DIR / "proof"
    sources = [*map(str, build.sources), str(proof / "trace.c"), str(proof / "port_host.c")]
    includes = [f"-I{build.folder / 'src'}", f"-I{proof}"]
    qemu.run_tool(["gcc", *C_FLAGS, *flags, *includes, *sources, "-o", str(program)], HOST_TIMEOUT_S)
    pcm.tofile(work / "input.s16")
    qemu.run_tool([str(program)], HOST_TIMEOUT_S, work)
    return Outcome(name, _compare(work, expected))


def _core(build: Build, expected: Expected, pcm: Pcm, work: Path, core: Core) -> Outcome:
    if missing := qemu.missing_tools(core):
        return Outcome(core.name, None, f"{', '.join(missing)} not installed")
    if why_not := _does_not_fit(build, core):
        return Outcome(core.name, None, why_not)
    proof, includes = C_DIR / "proof", [build.folder / "src", C_DIR / "proof"]
    objects = qemu.compile_objects(core, build.sources, includes, work)
    qemu.link(core, proof / "trace.c", objects, includes, work / "trace.elf")
    pcm.tofile(work / "input.s16")
    qemu.emulate(core, work / "trace.elf", work, CORE_TIMEOUT_S)
    sizes = []
    for elf, parts, flags in (
        (work / "with.elf", objects, ("-DWITH_LIBRARY",)),
        (work / "without.elf", [], ()),
    ):
        qemu.link(core, proof / "size.c", parts, includes, elf, *flags)
        sizes.append(qemu.section_sizes(core, elf))
    cost = _cost(work, {section: n - sizes[1][section] for section, n in sizes[0].items()})
    note = f"QEMU {core.machine}" + (f", {core.note}" if core.note else "")
    return Outcome(core.name, _compare(work, expected), note=note, cost=cost)


def _does_not_fit(build: Build, core: Core) -> str:
    ram = build.c_model.ring_bytes + 6 * qemu.KB  # frontend, block of sound, stack
    flash = build.c_model.net.n_parameters + 24 * qemu.KB
    if ram > core.ram[1] or flash > core.flash[1]:
        has = f"{core.flash[1] // qemu.KB} KB flash, {core.ram[1] // qemu.KB} KB RAM"
        return f"does not fit into {core.machine} ({has})"
    return ""


def _cost(work: Path, sizes: dict[str, int]) -> Cost:
    n_slices, ticks, most, ticks_40000, stack, _, _ = np.fromfile(work / "report.bin", dtype="<u4").tolist()
    per_tick = 40_000 / ticks_40000
    return Cost(
        sizes[".text"],
        sizes[".rodata"],
        sizes[".data"],
        sizes[".bss"],
        stack,
        round(ticks * per_tick / max(n_slices, 1)),
        round(most * per_tick),
    )


def _compare(work: Path, expected: Expected) -> int:
    got = np.fromfile(work / "output.bin", dtype=np.uint8)
    if len(got) % RECORD_BYTES:
        raise ToolchainError(f"the program wrote {len(got)} bytes, which are no whole records")
    return _different(got, expected.records.ravel())


def _different(got: UInt8, want: UInt8) -> int:
    """Bytes that differ, those included that only one of the two has."""
    n = min(len(got), len(want))
    return int((got[:n] != want[:n]).sum()) + max(len(got), len(want)) - n
