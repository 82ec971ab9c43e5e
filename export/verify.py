"""`wakeword verify`: every file of an exported folder over the same audio, beside where it came from."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.description import manifest_of, read_description, write_json
from export.node_host import NodeHost, as_trace, find_node
from export.pack import golden_audio
from export.runners import Variant, bundle_variant, folder_variants, torch_variant
from export.source import open_source
from export.streams import TestStreams
from wakeword.audio import SAMPLE_RATE, Samples, as_float
from wakeword.errors import ExportError
from wakeword.evaluate.score import PhraseTrace, match
from wakeword.evaluate.trace import Trace, trace
from wakeword.manifest import Manifest, Mode
from wakeword.mel import log_mel

GOLDEN_S = 4.0
TIMED_RUNS = 30
SAME_EVENT_S = 0.2
"""Two events of a phrase this near each other are the same."""
VERIFIED = "verify.json"


@dataclass(frozen=True)
class Tolerance:
    """How far a precision may be from the reference."""

    golden: float
    """Largest difference in posterior over the golden sound."""
    mean: float
    """Mean difference in posterior over the hops of the streams that both verifiers heard."""
    events: float
    """Share of the reference's events that differ, one always allowed where it is above 0."""


TOLERANCES = {
    "fp32": Tolerance(1e-3, 1e-4, 0.0),
    "fp16": Tolerance(0.02, 1e-3, 0.01),
    "int8": Tolerance(0.1, 0.01, 0.05),
    "int8-static": Tolerance(0.1, 0.02, 0.08),
}
"""Of streams: about five times the mean that benchmarks/precisions.py finds, and over twice its events."""


@dataclass
class Row:
    """One variant beside the reference."""

    variant: str
    precision: str
    size_bytes: int
    window_ms: float
    golden_max: float = 0.0
    stream_max: float = 0.0
    """Largest difference in posterior over the hops of the streams that both verifiers heard."""
    stream_mean: float = 0.0
    events: int = 0
    events_differ: int = 0
    missed: int = 0
    spoken: int = 0
    false_accepts: int = 0
    hours: float = 0.0
    faults: list[str] = field(default_factory=list)

    def judge(self, reference_events: int) -> None:
        """Note each tolerance that is exceeded."""
        allowed = TOLERANCES[self.precision]
        if not self.golden_max <= allowed.golden:
            self.faults.append(f"posterior off by {self.golden_max:.4f} over the golden sound")
        if not self.stream_mean <= allowed.mean:
            self.faults.append(f"posterior off by {self.stream_mean:.4f} on average over the streams")
        most = max(1.0, allowed.events * reference_events) if allowed.events else 0.0
        if self.events_differ > most:
            self.faults.append(f"{self.events_differ} of {reference_events} events differ")


@dataclass(frozen=True)
class Heard:
    """What a variant said: of the golden sound, and of each stream."""

    golden: npt.NDArray[np.float32]
    streams: list[Trace]


def verify_folder(
    folder: Path,
    model: Path | None = None,
    checkpoint: Path | None = None,
    streams: TestStreams | None = None,
    mode: Mode | None = None,
    npm: Path | None = None,
    only: str = "",
    say: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Compare every variant in a folder, write `verify.json` into it, and return the rows.

    The first row is the reference: the torch net where `model` has its checkpoint, else the first fp32
    file, else the first file. `only` leaves out the files of the folder whose variant ("onnx mel int8") does
    not hold it.
    Rows beyond their tolerance have `faults`.
    """
    description = read_description(folder)
    manifest = manifest_of(description)
    mode = mode or manifest.mode
    variants = _variants(folder, description, manifest, model, checkpoint, only)
    streams = streams or TestStreams.none()
    rows, heard = [], []
    for variant in variants:
        say(f"{variant.name}: {len(streams.streams)} streams, {streams.seconds / 60:.0f} minutes")
        heard.append(_listen(variant, streams, mode))
        rows.append(Row(variant.name, variant.precision, variant.size_bytes, _time(variant)))
    file = _node_file(description)
    name = f"node audio {file['precision']}" if file else ""
    if file and only in name and (node := find_node(npm, folder)):
        say("node")
        window_ms, said = _node(node, folder, description, file, streams, mode)
        rows.append(Row(name, file["precision"], file["bytes"], window_ms))
        heard.append(said)
    for row, said in zip(rows, heard, strict=True):
        _compare(row, said, heard[0], manifest, mode, streams)
    write_json(folder / VERIFIED, {"mode": mode, "rows": [asdict(row) for row in rows], **streams.facts})
    return rows


def _variants(
    folder: Path,
    description: dict[str, Any],
    manifest: Manifest,
    model: Path | None,
    checkpoint: Path | None,
    only: str,
) -> list[Variant]:
    variants = [v for v in folder_variants(folder, description, manifest) if only in v.name]
    if not variants:
        which = f" named like {only!r}" if only else ""
        raise ExportError(
            f"{folder} holds no verifier{which} to run; target {description['target']} is proven otherwise"
        )
    variants.sort(key=lambda v: v.precision != "fp32")
    if model is None:
        return variants
    source = open_source(model, checkpoint)
    if source.bundle.manifest.phrases != manifest.phrases:
        raise ExportError(f"{folder} was not made from {model}: its phrases differ")
    before = [torch_variant(source.bundle, source.net)] if source.has_net else []
    return [*before, bundle_variant(source.bundle), *variants]


def _listen(variant: Variant, streams: TestStreams, mode: Mode) -> Heard:
    golden = variant.scorer(always=True).feed(_golden_sound())
    scorer = variant.scorer(always=mode == "verifier")
    traces = [trace(scorer, stream.blocks()) for stream in streams.streams]
    return Heard(np.stack([posteriors for _, posteriors in golden]), traces)


def _golden_sound() -> Samples:
    return as_float(golden_audio(int(GOLDEN_S * SAMPLE_RATE)))


def _time(variant: Variant) -> float:
    """Median ms of one window of the verifier, on one thread."""
    verifier = variant.verifier()
    window = verifier.manifest.window
    audio = np.resize(_golden_sound(), (window + 2) * 160 if verifier.manifest.input == "mel" else window)
    x = np.ascontiguousarray(log_mel(audio)[:, :window]) if verifier.manifest.input == "mel" else audio
    verifier(x)
    taken = []
    for _ in range(TIMED_RUNS):
        start = time.perf_counter()
        verifier(x)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken)) * 1000


def _node_file(description: dict[str, Any]) -> dict[str, Any] | None:
    """The verifier that node hears with, int8 if there is one; None where it can run none."""
    if not any(f["input"] == "audio" and f["runtime"] == "onnx" for f in description["files"]):
        return None
    files: list[dict[str, Any]] = [
        f for f in description["files"] if f["role"] == "verifier" and f["input"] == "audio"
    ]
    return next((f for f in files if f["precision"] == "int8"), files[0])


def _node(
    node: NodeHost,
    folder: Path,
    description: dict[str, Any],
    file: dict[str, Any],
    streams: TestStreams,
    mode: Mode,
) -> tuple[float, Heard]:
    """Milliseconds a window, and what node says."""

    def run(samples: Samples, mode: str) -> dict[str, Any]:
        rate = description["default_fa_per_hour"]
        return node.run(folder, samples, mode, rate, file["precision"])

    phrases = tuple(description["phrases"])
    golden = run(_golden_sound(), "verifier")
    traces = []
    for stream, hours in zip(streams.streams, streams.hours, strict=True):
        samples = np.concatenate(list(stream.blocks()))
        heard = run(samples, mode)
        traces.append(as_trace(heard, phrases, description["warm_up_hops"], samples, hours))
    return float(golden["ms"]), Heard(np.asarray(golden["posteriors"], dtype=np.float32), traces)


def _compare(
    row: Row, heard: Heard, reference: Heard, manifest: Manifest, mode: Mode, streams: TestStreams
) -> None:
    row.golden_max = float(np.abs(heard.golden - reference.golden).max())
    pairs = list(zip(heard.streams, reference.streams, strict=True))
    off = [_difference(a, b) for a, b in pairs]
    joined = np.concatenate(off) if off else np.zeros(0)
    row.stream_max, row.stream_mean = (
        (float(joined.max()), float(joined.mean())) if len(joined) else (0.0, 0.0)
    )
    n_reference = 0
    for phrase in manifest.phrases:
        threshold = manifest.threshold(phrase, float(manifest.default_fa_per_hour), mode).value
        for (mine, theirs), spoken in zip(pairs, streams.spoken, strict=True):
            fired, expected = (
                PhraseTrace(t, phrase, manifest.decision_of(mode)).events(threshold).tolist()
                for t in (mine, theirs)
            )
            found = match(fired, spoken, phrase)
            row.events += len(fired)
            n_reference += len(expected)
            row.events_differ += _unlike(fired, expected)
            row.missed += len(found.missed)
            row.spoken += len(found.missed) + len(found.hits)
            row.false_accepts += len(found.false_accepts)
    row.hours = sum(t.audible_hours for t in heard.streams)
    row.judge(n_reference)


def _difference(a: Trace, b: Trace) -> npt.NDArray[np.float32]:
    """Differences in posterior on the hops that both verifiers heard [n]."""
    both = a.scores.any(axis=1) & b.scores.any(axis=1)
    return np.asarray(np.abs(a.scores[both] - b.scores[both]).ravel(), dtype=np.float32)


def _unlike(fired: Sequence[float], expected: Sequence[float]) -> int:
    """Events of either that the other lacks."""
    left = list(expected)
    alone = 0
    for time_s in fired:
        near = next((t for t in left if abs(t - time_s) <= SAME_EVENT_S), None)
        if near is None:
            alone += 1
        else:
            left.remove(near)
    return alone + len(left)
