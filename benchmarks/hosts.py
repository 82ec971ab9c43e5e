"""One test stream through three hosts: Python's listener, node, and the exported page in a real Chromium.

    python benchmarks/hosts.py out/demo/demo.wakeword ../shared/corpus/index.csv [--seconds 300]

Phrases of the test split in background at 10 dB, as a 16-bit WAV. The page hears it by Chromium's fake
microphone, in real time. When that begins is Chromium's affair: the page keeps what it heard, and its clock
is set by where that lies in the stream; its hops then begin elsewhere in the sound. Events agree where their
phrases do, in order, and their times as far as `wakeword verify` asks; the largest difference is shown.
"""

from __future__ import annotations

import argparse
import queue
import sys
import tempfile
from pathlib import Path

import numpy as np
from results import provenance, update_section

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "tests"))  # the browser as the tests drive it
from browser import browse, find_chromium, microphone_of

from export.description import read_description
from export.node_host import find_node
from export.options import Options
from export.targets import export_model
from export.verify import SAME_EVENT_S
from wakeword.audio import HOP_SAMPLES, SAMPLE_RATE, Samples, as_float, as_int16, read_audio, write_wav
from wakeword.clips.dataset import load_background, load_clips
from wakeword.detector import Detector, load_models
from wakeword.evaluate.plan import MixConfig, build_mixed_streams
from wakeword.evaluate.run import pick_clips, speech_and_noise
from wakeword.manifest import Manifest

Events = list[tuple[str, float]]
SNR_DB = 10.0
LEAD_S = 4.0
"""Silence before the stream: Chromium may lose the beginning of a fake microphone."""
START_S = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--npm", type=Path, default=Path("node_modules"))
    args = parser.parse_args()
    node = find_node(args.npm, args.npm)
    if node is None or find_chromium() is None:
        raise SystemExit(f"needs node, onnxruntime-node and onnxruntime-web in {args.npm}, and chromium")
    models = load_models(args.model, "cascade")
    with tempfile.TemporaryDirectory() as temporary:
        wav, site = Path(temporary) / "stream.wav", Path(temporary) / "site"
        write_wav(wav, build_stream(args.corpus, models.manifest, args.seconds))
        samples = read_audio(wav)
        python = listen(args.model, samples)
        export_model(args.model, "web", site, None, Options(npm=args.npm))
        rate = read_description(site)["default_fa_per_hour"]
        by_node = node.run(site, samples, "cascade", rate, "int8")["events"]
        hops = len(samples) // HOP_SAMPLES
        print(f"{len(python)} events of Python, {len(by_node)} of node", flush=True)
        timeout_s = 3 * args.seconds + START_S
        try:
            query, microphone = "record=1&mode=cascade", microphone_of(wav)
            heard = browse(site, Path(temporary) / "profile", query, hops, microphone, timeout_s)
        except queue.Empty:
            raise SystemExit(
                f"the page did not hear {hops} hops in {timeout_s:g} s; is a core free?"
            ) from None
    if heard["error"]:
        raise SystemExit(f"the page: {heard['error']}")
    page_samples = np.asarray(heard["samples"], dtype=np.float32)
    late_s = lag(samples, page_samples) / SAMPLE_RATE
    page = [(phrase, at - late_s) for phrase, at in pairs(heard["events"])]
    again = listen(args.model, page_samples)
    rows = [
        ("node, the same samples", pairs(by_node), python),
        ("page, its own samples", pairs(heard["events"]), again),
        (f"page, clock set by {late_s:+.2f} s", page, python),
    ]
    report(rows, len(python), args.seconds)


def build_stream(corpus: Path, manifest: Manifest, seconds: float) -> Samples:
    """Silence, then test phrases in background; as much as was asked for."""
    clips = [c for c in load_clips(corpus, manifest.phrases) if c.split == "test"]
    sounds = [c for c in load_background([corpus]) if c.split == "test"]
    speech, noise = speech_and_noise(sounds)
    chosen = pick_clips(clips, manifest.phrases, max(2, int(seconds / 12)), 1)
    config = MixConfig(snr_db=SNR_DB, gap_s=(2.0, 6.0))
    streams = build_mixed_streams(chosen, speech, noise, config, 1)
    mixed = np.concatenate([b for s in streams for b in s.blocks()])[: int(seconds * SAMPLE_RATE)]
    lead = np.zeros(int(LEAD_S * SAMPLE_RATE), dtype=np.float32)
    return as_float(as_int16(np.concatenate([lead, mixed])))


def listen(model: Path, samples: Samples) -> Events:
    """What `wakeword listen` would say of them, at the model's own thresholds."""
    models = load_models(model, "cascade")
    manifest = models.manifest
    rate = float(manifest.default_fa_per_hour)
    detector = Detector(models, [manifest.threshold(p, rate, "cascade").value for p in manifest.phrases])
    return [(e.phrase, e.time_s) for e in detector.feed(samples)]


def pairs(events: list[dict[str, object]]) -> Events:
    """JavaScript's events."""
    return [(str(e["phrase"]), float(str(e["time_s"]))) for e in events]


def lag(stream: Samples, heard: Samples) -> int:
    """Samples by which the page heard the stream late (negative: it missed so many)."""
    size = 1 << (len(stream) + len(heard)).bit_length()
    product = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(stream, size)), size)
    at = int(product.argmax())
    return at if at < size // 2 else at - size


def unlike(mine: Events, theirs: Events) -> list[str]:
    """A line for each place where the lists differ."""
    if [p for p, _ in mine] != [p for p, _ in theirs]:
        return [f"{mine} but Python {theirs}"]
    return [
        f"{phrase} at {a:.2f} s but Python at {b:.2f} s"
        for (phrase, a), (_, b) in zip(mine, theirs, strict=True)
        if abs(a - b) > SAME_EVENT_S
    ]


def report(rows: list[tuple[str, Events, Events]], n_python: int, seconds: float) -> None:
    """Print, write the section, and exit with 1 where a host differs."""
    lines = [
        f"{seconds:g} s of test phrases in background at {SNR_DB:g} dB, mode cascade, {n_python} events of "
        "Python's listener (log-mel in, int8). The page's hops begin where Chromium's microphone does.",
        "",
        "| host | events | Python | largest difference, ms | differ |",
        "|---|--:|--:|--:|---|",
    ]
    faults = []
    for name, mine, theirs in rows:
        found = unlike(mine, theirs)
        apart = [abs(a - b) for (_, a), (_, b) in zip(mine, theirs, strict=False)]
        worst = f"{1000 * max(apart, default=0):.0f}" if len(mine) == len(theirs) else "-"
        lines.append(f"| {name} | {len(mine)} | {len(theirs)} | {worst} | {'; '.join(found) or 'none'} |")
        faults += found
    print("\n".join(lines))
    update_section("hosts", f"## Browser and node\n\n{provenance()}\n\n" + "\n".join(lines))
    if faults:
        raise SystemExit(f"{len(faults)} differences")


if __name__ == "__main__":
    main()
