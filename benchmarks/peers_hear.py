"""One system of peers.py hears the streams; what it said of each is kept, so that a run can be gone on with.

    python benchmarks/peers_hear.py SYSTEM BUNDLE PLAN FOLDER PROCESSES

The peers have an environment of their own, so this is a program of its own. PLAN is a JSON file; 0
processes are one for each core.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from peers_scorers import maker_of
from subset import shortened

from wakeword.clips.dataset import load_background, load_clips
from wakeword.evaluate.plan import MixConfig, build_mixed_streams, build_negative_streams
from wakeword.evaluate.recordings import snr_of
from wakeword.evaluate.run import pick_clips, speech_and_noise
from wakeword.evaluate.streams import MixedStream, NegativeStream
from wakeword.evaluate.trace import ScoresAudio, Trace, load_trace, trace_all

NEGATIVE = "negative"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which streams are heard."""

    corpus: str
    phrases: Sequence[str]
    """Spoken in the mixed streams."""
    snrs: Sequence[str] = ("clean", "10")
    split: str = "test"
    max_clips: int | None = None
    """Of each phrase; None = all."""
    hours: float | None = None
    """Of background without the phrases; None = all."""
    seed: int = 1

    def streams(self) -> dict[str, list[MixedStream] | list[NegativeStream]]:
        """Condition -> its streams; the same wherever this runs."""
        corpus = Path(self.corpus)
        clips = [c for c in load_clips(corpus, self.phrases) if c.split == self.split]
        chosen = pick_clips(clips, self.phrases, self.max_clips, self.seed)
        background = [c for c in load_background([corpus]) if c.split == self.split]
        speech, noise = speech_and_noise(background)
        found: dict[str, list[MixedStream] | list[NegativeStream]] = {
            NEGATIVE: build_negative_streams(shortened(background, self.hours, self.seed))
        }
        for text in self.snrs:
            snr = snr_of(text)
            name = "clean" if snr is None else f"{snr:g} dB"
            found[name] = build_mixed_streams(chosen, speech, noise, MixConfig(snr_db=snr), self.seed)
        return found


def hear_all(
    make_scorer: Callable[[], ScoresAudio],
    streams: dict[str, list[MixedStream] | list[NegativeStream]],
    folder: Path,
    processes: int | None = None,
) -> dict[str, list[Trace]]:
    """Traces of every condition's streams, from `folder` where they are there already."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for condition, part in streams.items():
        paths = [folder / f"{condition.replace(' ', '')}-{i}.npz" for i in range(len(part))]
        missing = [i for i, path in enumerate(paths) if not path.exists()]
        if missing:
            label = f"{folder.name}: {condition}"
            heard = trace_all(make_scorer, [part[i] for i in missing], processes, label)
            for i, trace in zip(missing, heard, strict=True):
                trace.save(paths[i])
        found[condition] = [load_trace(path) for path in paths]
    return found


def main() -> None:
    system, bundle, plan, folder, processes = sys.argv[1:]
    streams = Plan(**json.loads(Path(plan).read_text(encoding="utf-8"))).streams()
    hear_all(maker_of(system, Path(bundle)), streams, Path(folder), int(processes) or None)


if __name__ == "__main__":
    main()
