"""Emulated microcontrollers: how a C program is compiled for each and run in QEMU, under a time limit."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wakeword.errors import WakewordError

C_FLAGS = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2")
FREE_FLAGS = (
    *("-ffreestanding", "-fno-tree-loop-distribute-patterns", "-ffunction-sections", "-fdata-sections"),
)
"""No C library is needed, which spares a test machine more than a gigabyte."""
C_DIR = Path(__file__).parent / "c"
FREESTANDING = C_DIR / "proof" / "freestanding"
COMPILE_S = 300.0
ARM, RISCV = "arm-none-eabi-gcc", "riscv64-unknown-elf-gcc"


class ToolchainError(WakewordError):
    """A compiler or emulator that is missing, or that fails."""


@dataclass(frozen=True)
class Core:
    """A processor, the machine of QEMU that has it, and where its memories are."""

    name: str
    compiler: str
    cpu: tuple[str, ...]
    """Flags that choose the processor."""
    emulator: str
    machine: str
    flash: tuple[int, int]
    """Address, bytes."""
    ram: tuple[int, int]
    note: str = ""

    @property
    def tools(self) -> tuple[str, ...]:
        """Programs it takes."""
        return (self.compiler, self.size_tool, self.emulator)

    @property
    def size_tool(self) -> str:
        """Tells the sizes of sections."""
        return self.compiler.replace("-gcc", "-size")


def _arm(name: str, cpu: str, machine: str, flash: tuple[int, int], ram: tuple[int, int]) -> Core:
    return Core(name, ARM, (f"-mcpu={cpu}", "-mthumb"), "qemu-system-arm", machine, flash, ram)


KB = 1024
CORES = {
    core.name: core
    for core in (
        _arm("cortex-m0", "cortex-m0", "microbit", (0, 256 * KB), (0x20000000, 16 * KB)),
        _arm("cortex-m4", "cortex-m4", "mps2-an386", (0, 4096 * KB), (0x20000000, 4096 * KB)),
        _arm("cortex-m55", "cortex-m55", "mps3-an547", (0, 512 * KB), (0x20000000, 512 * KB)),
        Core(
            "rv32imc",
            RISCV,
            (
                "-march=rv32imc",
                "-mabi=ilp32",
                "-mcmodel=medany",
                "-msmall-data-limit=0",
            ),
            "qemu-system-riscv32",
            "virt",
            (0x80000000, 4096 * KB),
            (0x80400000, 4096 * KB),
            "the instruction set of the ESP32-C3",
        ),
    )
}
"""Processors of the proof."""
LINKER_SCRIPT = """\
ENTRY({entry})
MEMORY {{
  FLASH (rx) : ORIGIN = {flash:#x}, LENGTH = {flash_bytes}
  RAM (rwx) : ORIGIN = {ram:#x}, LENGTH = {ram_bytes}
}}
SECTIONS {{
  .text : {{ KEEP(*(.start)) *(.text*) }} > FLASH
  .rodata : {{ *(.rodata*) *(.srodata*) }} > FLASH
  .data : ALIGN(8) {{ data_start = .; *(.data*) *(.sdata*) . = ALIGN(4); data_end = .; }} > RAM AT> FLASH
  data_load = LOADADDR(.data);
  .bss (NOLOAD) : ALIGN(8) {{ bss_start = .; *(.bss*) *(.sbss*) *(COMMON) . = ALIGN(4); bss_end = .; }} > RAM
  __global_pointer$ = data_start + 0x800;
  stack_bottom = ALIGN(bss_end, 8);
  stack_top = {ram:#x} + {stack_end};
  /DISCARD/ : {{ *(.ARM.exidx*) *(.eh_frame*) *(.comment) *(.note*) *(.ARM.attributes) *(.riscv.attributes) }}
}}
"""
MAX_RAM = 256 * KB
"""The stack begins there at the latest: painting it takes emulated time."""


def missing_tools(core: Core) -> list[str]:
    """Programs of a core that are not installed."""
    return [tool for tool in core.tools if shutil.which(tool) is None]


def run_tool(command: Sequence[str], timeout_s: float, cwd: Path | None = None) -> str:
    """Run a program to its end, return what it printed; ToolchainError where it fails or takes too long."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, cwd=cwd, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as err:
        raise ToolchainError(f"{command[0]} was ended after {timeout_s:g} s") from err
    except FileNotFoundError as err:
        raise ToolchainError(
            f"{command[0]} is not installed; see docs/firmware_c.md for the packages"
        ) from err
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise ToolchainError(f"{' '.join(command[:2])} … failed ({done.returncode}): {said}")
    return done.stdout


def compile_objects(
    core: Core, sources: Sequence[Path], includes: Sequence[Path], folder: Path
) -> list[Path]:
    """Compile a library for a core, once for several programs; into a folder."""
    command = [*_compiler(core, includes), "-c", *(str(path.resolve()) for path in sources)]
    run_tool(command, COMPILE_S, folder)
    return [folder / f"{path.stem}.o" for path in sources]


def link(
    core: Core, main: Path, objects: Sequence[Path], includes: Sequence[Path], elf: Path, *flags: str
) -> None:
    """Compile a main program and link it with objects, the start code of a core and what C itself needs."""
    script = elf.with_suffix(".ld")
    script.write_text(
        LINKER_SCRIPT.format(
            entry="start" if core.compiler == RISCV else "start_c",
            flash=core.flash[0],
            flash_bytes=core.flash[1],
            ram=core.ram[0],
            ram_bytes=core.ram[1],
            stack_end=min(core.ram[1], MAX_RAM),
        )
    )
    own = [main, C_DIR / "proof" / "port_bare.c", FREESTANDING / "bytes.c"]
    command = [*_compiler(core, includes), *flags, "-nostdlib", "-Wl,--gc-sections", "-T", str(script)]
    command += [str(path) for path in (*own, *objects)]
    run_tool([*command, "-lgcc", "-o", str(elf)], COMPILE_S)


def _compiler(core: Core, includes: Sequence[Path]) -> list[str]:
    folders = [f"-I{folder.resolve()}" for folder in includes]
    return [core.compiler, *C_FLAGS, *FREE_FLAGS, *core.cpu, *folders, "-isystem", str(FREESTANDING)]


def emulator_command(core: Core, elf: Path, *, count: bool = False, serial: str = "null") -> list[str]:
    """How QEMU runs a program; `count` makes its clock advance one nanosecond an instruction."""
    command = [core.emulator, "-M", core.machine, "-display", "none", "-monitor", "none", "-serial", serial]
    if core.compiler == RISCV:
        command += ["-bios", "none"]
    if count:
        command += ["-icount", "shift=0"]
    return [*command, "-semihosting-config", "enable=on,target=native", "-kernel", str(elf)]


def emulate(core: Core, elf: Path, folder: Path, timeout_s: float) -> None:
    """Run a program in a folder, counting instructions; ToolchainError where it fails or hangs."""
    run_tool(emulator_command(core, elf.resolve(), count=True), timeout_s, folder)


def section_sizes(core: Core, elf: Path) -> dict[str, int]:
    """Bytes of .text, .rodata, .data and .bss of a program."""
    sizes = dict.fromkeys((".text", ".rodata", ".data", ".bss"), 0)
    for line in run_tool([core.size_tool, "-A", str(elf)], timeout_s=30).splitlines():
        name, *rest = line.split() or [""]
        if name in sizes:
            sizes[name] = int(rest[0])
    return sizes
