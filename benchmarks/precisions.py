"""Every precision of an exported verifier beside torch: size, time of a window, misses, false accepts.

    python benchmarks/precisions.py out/demo/demo.wakeword ../shared/corpus/index.csv [--max-clips N]
                                [--minutes M] [--only mel]

One run, one thread, the test split at 10 dB. Needs the checkpoint that `wakeword train` leaves beside it.
onnxruntime offers no switch for VNNI or AMX: what the processor has is stated in the first line.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from results import provenance, update_section

from export.options import Options
from export.streams import build_test_streams
from export.targets import export_model
from export.verify import Row, verify_folder
from wakeword.bundle import load_bundle

EXTENSIONS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--max-clips", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=1000)
    parser.add_argument("--only", default="", help="files whose name holds this")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    corpus, phrases = arguments.corpus, load_bundle(arguments.model).manifest.phrases
    streams = build_test_streams(
        phrases, corpus, [corpus], "test", 10.0, arguments.max_clips, arguments.minutes, seed=1
    )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "onnx"
        export_model(arguments.model, "onnx", out, options=Options(phrases=corpus, background=(corpus,)))
        rows = verify_folder(out, arguments.model, streams=streams, only=arguments.only, say=print)
    update_section("export", f"## Export\n\n{provenance()}\n\n{table(rows)}")


def table(rows: list[Row]) -> str:
    fp32 = next(row.window_ms for row in rows if row.variant == "onnx mel fp32")
    lines = [
        f"Processor extensions: {', '.join(extensions()) or 'none of ' + ', '.join(EXTENSIONS)}. "
        f"{rows[0].spoken} test phrases at 10 dB; differences are from {rows[0].variant}.",
        "",
        "| variant | MB | ms a window | speed, fp32 = 1 | posterior off, mean | max | events differ | missed "
        "| FA/h |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        speed = fp32 / row.window_ms
        accepts = row.false_accepts / row.hours if row.hours else float("nan")
        lines.append(
            f"| {row.variant} | {row.size_bytes / 1e6:.2f} | {row.window_ms:.2f} | {speed:.2f} | "
            f"{row.stream_mean:.5f} | {row.stream_max:.3f} | {row.events_differ} of {row.events} | "
            f"{row.missed} of {row.spoken} | {accepts:.2f} |"
        )
    return "\n".join(lines)


def extensions() -> list[str]:
    """Those of the processor that onnxruntime's int8 kernels use."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return []
    line = next((x for x in text.splitlines() if x.startswith(("flags", "Features"))), "")
    return [name for name in EXTENSIONS if name in line.split()]


if __name__ == "__main__":
    main()
