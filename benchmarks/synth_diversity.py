"""How far synthetic clips cover real speakers: benchmarks/synth_diversity.py ../shared/corpus [phrase] [n]

For each real test clip the nearest training clip is looked for, among real ones and among synthetic ones
made in several ways; less far is better, and what real training clips reach is the goal. Two measures: the
voice print of `wakeword.speaker` (1 - cosine) and statistics of the log-mel (mean and spread per band of the
active frames, each in standard deviations over real clips). Detection is measured elsewhere.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np

from wakeword.audio import Samples, frame_levels_dbfs, read_audio, speech_span
from wakeword.clips import synth
from wakeword.clips.dataset import load_clips
from wakeword.mel import log_mel
from wakeword.speaker import SpeakerEncoder


def main() -> None:
    corpus = Path(sys.argv[1])
    phrase = sys.argv[2] if len(sys.argv) > 2 else "computer"
    n = int(sys.argv[3]) if len(sys.argv) > 3 else 100
    clips = load_clips(corpus / "index.csv", [phrase])
    test = [read_audio(c.path) for c in clips if c.split == "test"][:n]
    train = [read_audio(c.path) for c in clips if c.split == "train"][:n]
    made = synthetic(phrase, n)
    encoder = SpeakerEncoder()
    scale = np.stack([statistics(s) for s in train]).std(axis=0) + 1e-6
    wanted_print, wanted_mel = prints(encoder, test), mels(test, scale)
    print(f"{phrase!r}: {len(test)} real test clips; nearest of {n} training clips, median (90th percentile)")
    for name, samples in {"real": train, **made}.items():
        by_print = 1 - (wanted_print @ prints(encoder, samples).T).max(axis=1)
        away = np.linalg.norm(wanted_mel[:, None] - mels(samples, scale)[None], axis=2).min(axis=1)
        away /= np.sqrt(len(scale))
        print(f"  {name:<28} voice print {spread(by_print, 2)}   log-mel {spread(away, 2)}", flush=True)


def synthetic(phrase: str, n: int) -> dict[str, list[Samples]]:
    """Clips of the train voices: all engines changed into speakers, unchanged, and espeak-ng alone."""
    found = synth.find_voices()
    voices = {v: w for v, w in found.items() if v.split == "train"}
    espeak = {v: w for v, w in voices.items() if v.engine == "espeak-ng"}
    made = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, weights, changed in (
            ("all engines, new speakers", voices, True),
            ("all engines as they are", voices, False),
            ("espeak-ng, new speakers", espeak, True),
            ("espeak-ng as it is", espeak, False),
        ):
            with mock.patch.object(synth, "vary", synth.vary if changed else lambda samples, rng: samples):
                spoken = synth.speak_many([phrase], Path(folder) / name, n, 1, voices=weights)
            made[name] = [read_audio(clip.path) for clip in spoken]
    return made


def prints(encoder: SpeakerEncoder, clips: list[Samples]) -> np.ndarray:
    return np.stack([encoder.embed(clip) for clip in clips])


def mels(clips: list[Samples], scale: np.ndarray) -> np.ndarray:
    return np.stack([statistics(clip) for clip in clips]) / scale


def statistics(samples: Samples) -> np.ndarray:
    """Mean and spread of each band over the active frames of the utterance, level taken out [160]."""
    start, end = speech_span(samples)
    mel = log_mel(samples[start:end])
    levels = frame_levels_dbfs(samples[start:end])[: mel.shape[1]]
    active = mel[:, : len(levels)][:, levels > levels.max() - 30]
    mean = active.mean(axis=1)
    return np.concatenate([mean - mean.mean(), active.std(axis=1)])


def spread(values: np.ndarray, digits: int) -> str:
    return f"{np.median(values):.{digits}f} ({np.percentile(values, 90):.{digits}f})"


if __name__ == "__main__":
    main()
