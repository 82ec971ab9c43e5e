"""How well voices are told apart: python benchmarks/speakers.py ../shared/corpus [clips]

Prints equal error rates: halves of LibriSpeech utterances (same day, same microphone: the easy case), and
people of whom five clips of a phrase are enrolled against everyone else who says it (real use; the corpus'
speakers are inferred by voice, so that some of the errors are its own).
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from itertools import groupby
from pathlib import Path

import numpy as np

from wakeword.audio import FRAME_SAMPLES, SAMPLE_RATE, Samples, frame_levels_dbfs, read_audio
from wakeword.clips.dataset import Clip, load_recordings
from wakeword.speaker import SpeakerEncoder, mean_voice

HALF_S = 3.0
N_UTTERANCES = 30
N_ENROLLED = 5


def main() -> None:
    corpus, most = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    encoder = SpeakerEncoder()
    clips = load_recordings(corpus / "index.csv", [])
    halves(encoder, [c.path for c in clips if c.source == "librispeech" and c.split != "train"])
    for split in ("dev", "test"):
        phrases(
            encoder,
            [c for c in clips if c.split == split and c.source == "picovoice" and c.label][:most],
            split,
        )


def halves(encoder: SpeakerEncoder, paths: list[Path]) -> None:
    """LibriSpeech: 3 s against another 3 s of the same utterance, and of all others."""
    length = int(HALF_S * SAMPLE_RATE)
    spoken = [u for path in paths for u in utterances(read_audio(path)) if len(u) >= 2 * length][
        :N_UTTERANCES
    ]
    first = np.stack([encoder.embed(u[:length]) for u in spoken])
    second = np.stack([encoder.embed(u[length : 2 * length]) for u in spoken])
    alike, same = first @ second.T, np.eye(len(spoken), dtype=bool)
    report(f"LibriSpeech, {len(spoken)} utterances, {HALF_S:g} s halves", alike[same], alike[~same])


def utterances(samples: Samples) -> list[Samples]:
    """The clips that a speech file of the corpus was laid together from: digital silence parts them."""
    quiet = frame_levels_dbfs(samples) < -85
    runs = [(is_quiet, len(list(run))) for is_quiet, run in groupby(quiet)]
    found, at, start = [], 0, 0
    for is_quiet, n in runs:
        if is_quiet and n >= 18:
            found.append(samples[start * FRAME_SAMPLES : at * FRAME_SAMPLES])
            start = at + n
        at += n
    return [*found, samples[start * FRAME_SAMPLES :]]


def phrases(encoder: SpeakerEncoder, clips: list[Clip], split: str) -> None:
    """Five clips of a person enrolled, the person's others and everyone else's against them."""
    start = time.process_time()
    vectors = {clip.path: encoder.embed(read_audio(clip.path)) for clip in clips}
    per_clip_ms = (time.process_time() - start) / len(clips) * 1e3
    people: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for clip in clips:
        people[clip.label, clip.group].append(clip)
    own, others = [], []
    for (label, group), mine in people.items():
        if len(mine) <= N_ENROLLED:
            continue
        voice = mean_voice(np.stack([vectors[c.path] for c in mine[:N_ENROLLED]]))
        own += [float(voice @ vectors[c.path]) for c in mine[N_ENROLLED:]]
        others += [float(voice @ vectors[c.path]) for c in clips if c.label == label and c.group != group]
    report(f"phrases, {split}, {N_ENROLLED} clips enrolled", np.array(own), np.array(others))
    print(f"  {per_clip_ms:.0f} ms of processor a clip")


def report(what: str, own: np.ndarray, others: np.ndarray) -> None:
    if not len(own) or not len(others):
        print(f"{what}: too few clips")
        return
    at = np.sort(np.concatenate([own, others]))
    missed = np.searchsorted(np.sort(own), at) / len(own)
    accepted = 1 - np.searchsorted(np.sort(others), at) / len(others)
    best = int(np.argmin(np.abs(missed - accepted)))
    print(
        f"{what}: equal error {100 * (missed[best] + accepted[best]) / 2:.1f} % at {at[best]:.2f}"
        f" ({len(own)} own: {own.mean():.2f} +- {own.std():.2f},"
        f" {len(others)} others: {others.mean():.2f} +- {others.std():.2f})"
    )


if __name__ == "__main__":
    main()
