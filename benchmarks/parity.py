"""int8 against torch: the same test streams through both, event by event; and the time of one window.

    python benchmarks/parity.py out/demo/demo.wakeword ../shared/corpus/index.csv

Needs the checkpoint that `wakeword train` leaves beside the bundle.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from results import provenance, update_section

from export.graph import verifier_graph
from wakeword.bundle import Bundle, load_bundle
from wakeword.clips.dataset import load_background, load_clips
from wakeword.evaluate.plan import MixConfig, build_mixed_streams
from wakeword.evaluate.run import pick_clips, speech_and_noise
from wakeword.evaluate.score import events
from wakeword.evaluate.trace import Trace, trace
from wakeword.scorer import Scorer
from wakeword.train.fusion import load_verifier
from wakeword.train.model import WakewordNet
from wakeword.verifier import Verifier

CLIPS_PER_PHRASE = 5
SNRS = (None, 10.0)
RUNS = 200


@dataclass(frozen=True)
class TorchVerifier:
    """The net itself in the place of its graph."""

    net: WakewordNet
    bundle: Bundle

    @property
    def manifest(self) -> object:
        return self.bundle.manifest

    def __call__(self, window: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            return torch.sigmoid(self.net(torch.from_numpy(window[None])))[0].numpy()


def main() -> None:
    torch.set_num_threads(1)
    path, corpus = Path(sys.argv[1]), Path(sys.argv[2])
    bundle = load_bundle(path)
    net, _ = load_verifier(path.with_suffix(".checkpoint"))
    lines = [*compare_events(bundle, net, corpus), "", *compare_speed(bundle, net)]
    print("\n".join(lines))
    body = "\n".join(lines)
    update_section("parity", f"## int8 against torch\n\n{provenance()}\n\n```\n{body}\n```")


def compare_events(bundle: Bundle, net: WakewordNet, corpus: Path) -> list[str]:
    """A line for each stream and each event that differs, at the thresholds of the verifier alone."""
    lines = []
    phrases = bundle.manifest.phrases
    clips = [c for c in load_clips(corpus, phrases) if c.split == "test"]
    speech, noise = speech_and_noise([c for c in load_background([corpus]) if c.split == "test"])
    clips = pick_clips(clips, phrases, CLIPS_PER_PHRASE, seed=1)
    total = differing = 0
    for snr in SNRS:
        for stream in build_mixed_streams(clips, speech, noise, MixConfig(snr_db=snr), seed=1):
            int8 = trace(Scorer(Verifier(bundle)), stream.blocks())
            full = trace(Scorer(TorchVerifier(net, bundle)), stream.blocks())  # type: ignore[arg-type]
            found, differ = differences(bundle, int8, full)
            total, differing = total + found, differing + len(differ)
            off = np.abs(int8.scores - full.scores)
            moved = f"posterior off by {off.mean():.5f}, {off.max():.3f} at most"
            lines += [f"{stream.name}: {found} events, {moved}", *(f"  {line}" for line in differ)]
    return [*lines, f"{total} events of torch, {differing} differ in int8"]


def differences(bundle: Bundle, int8: Trace, full: Trace) -> tuple[int, list[str]]:
    """Number of torch's events, and a line for each event that only one of the two has within 0.24 s."""
    total, lines = 0, []
    for phrase in bundle.manifest.phrases:
        threshold = bundle.manifest.threshold(phrase, 0.5, "verifier").value
        a, b = (events(t, phrase, threshold, bundle.manifest.decision) for t in (int8, full))
        total += len(b)
        for name, mine, other in (("int8", a, b), ("torch", b, a)):
            lonely = [t for t in mine if not len(other) or np.abs(other - t).min() > 0.24]
            lines += [f"only {name}: {phrase} at {t:.2f} s" for t in lonely]
    return total, lines


def compare_speed(bundle: Bundle, net: WakewordNet) -> list[str]:
    """Median time of one window, single-threaded, the three taking turns."""
    window = np.random.default_rng(1).normal(-4, 1, (80, bundle.manifest.window)).astype(np.float32)
    fp32 = verifier_graph(net, torch.from_numpy(np.stack([window] * 2)), {}).SerializeToString()
    contestants = {
        "torch": TorchVerifier(net, bundle),
        "onnx fp32": Verifier(replace(bundle, verifier=fp32)),
        "onnx int8": Verifier(bundle),
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(RUNS):
        for name, run in contestants.items():
            start = time.perf_counter()
            run(window)
            times[name].append(time.perf_counter() - start)
    medians = {name: 1000 * float(np.median(t)) for name, t in times.items()}
    return [
        f"{name:10} {ms:6.2f} ms a window, {ms / medians['onnx int8']:.1f} times int8"
        for name, ms in medians.items()
    ]


if __name__ == "__main__":
    main()
