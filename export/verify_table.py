"""What `wakeword verify` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from export.verify import VERIFIED, Row
from wakeword.errors import ExportError

HEAD = ("variant", "MB", "ms", "golden", "max", "mean", "events", "differ", "missed", "FA/h")


def table(rows: Sequence[Row]) -> str:
    """A line for each variant, the reference first."""
    cells = [HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEAD))]
    lines = [
        "  ".join(_align(c, w, i) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in cells
    ]
    notes = [
        f"reference: {rows[0].variant}. golden, max, mean: difference in posterior from it, over the golden",
        "sound and over the hops of the streams that both verifiers heard; ms: one window, one thread.",
    ]
    return "\n".join([*lines, *notes])


def _cells(row: Row) -> tuple[str, ...]:
    if row.spoken:
        heard = f"{row.missed}/{row.spoken}", f"{row.false_accepts / row.hours:.2f}" if row.hours else "-"
    else:
        heard = "-", "-"
    return (
        row.variant + (" !" if row.faults else ""),
        f"{row.size_bytes / 1e6:.2f}",
        f"{row.window_ms:.2f}",
        f"{row.golden_max:.5f}",
        f"{row.stream_max:.4f}",
        f"{row.stream_mean:.5f}",
        str(row.events),
        str(row.events_differ),
        *heard,
    )


def _align(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column == 0 else cell.rjust(width)


def check_rows(rows: Sequence[Row], folder: Path) -> None:
    """Raise ExportError where a variant is beyond its tolerance."""
    faults = [f"{row.variant}: {fault}" for row in rows for fault in row.faults]
    if faults:
        raise ExportError(
            f"{folder} does not say the same everywhere ({'; '.join(faults)}); nothing was deleted, "
            f"see {folder / VERIFIED}"
        )
