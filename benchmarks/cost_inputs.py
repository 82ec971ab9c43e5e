"""What every system hears: a quiet room, speech, and phrases in speech; all of the corpus's test split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wakeword.audio import HOP_SAMPLES, SAMPLE_RATE, Samples, as_int16, read_audio
from wakeword.clips.augment import amplify, babble, level_rms_dbfs
from wakeword.clips.dataset import Clip, load_background, load_clips
from wakeword.evaluate.plan import MixConfig, build_mixed_streams
from wakeword.evaluate.run import speech_and_noise
from wakeword.evaluate.streams import LEVEL_DBFS

SEED = 1
DENSE_GAP_S = (1.0, 3.0)
TALKERS = 5
SILENCE, SPEECH, DENSE = "silence", "speech", "phrases"

Hops = npt.NDArray[np.int16]


class Corpus:
    """The test split of a manifest."""

    def __init__(self, manifest: Path, phrases: Sequence[str]) -> None:
        self.clips = [c for c in load_clips(manifest, phrases) if c.split == "test"]
        background = [c for c in load_background([manifest]) if c.split == "test"]
        self.speech, self.noise = speech_and_noise(background)


def make_inputs(corpus: Corpus, n_hops: int, folder: Path) -> dict[str, Path]:
    """Write each input as int16 [H, 1280] to a .npy; return where."""
    n_samples = n_hops * HOP_SAMPLES
    inputs = {
        SILENCE: np.random.default_rng(SEED).integers(-1, 2, n_samples).astype(np.int16),
        SPEECH: as_int16(speech_and_babble(corpus.speech, n_samples)),
        DENSE: as_int16(phrases_in_speech(corpus, n_samples)),
    }
    paths = {}
    for name, samples in inputs.items():
        paths[name] = folder / f"{name}.npy"
        np.save(paths[name], samples.reshape(n_hops, HOP_SAMPLES))
    return paths


def speech_and_babble(speech: Sequence[Clip], n_samples: int) -> Samples:
    """Half of it one talker at a time, as on TV, from all sources in turn; half a babble of five."""
    half = n_samples // 2
    sources = sorted({c.source for c in speech})
    share = -(-half // len(sources))
    talking = [_talk([c for c in speech if c.source == s], share, SEED) for s in sources]
    talkers = [_talk(speech, n_samples - half, seed) for seed in range(TALKERS)]
    return np.concatenate([np.concatenate(talking)[:half], _levelled(babble(talkers))])


def phrases_in_speech(corpus: Corpus, n_samples: int) -> Samples:
    """A phrase every few seconds, speech between them."""
    streams = build_mixed_streams(corpus.clips, corpus.speech, [], MixConfig(gap_s=DENSE_GAP_S), SEED)
    blocks, n = list[Samples](), 0
    for stream in streams:
        for block in stream.blocks():
            blocks.append(block)
            n += len(block)
            if n >= n_samples:
                return np.concatenate(blocks)[:n_samples]
    return np.resize(np.concatenate(blocks), n_samples)


def _talk(speech: Sequence[Clip], n_samples: int, seed: int) -> Samples:
    """Recordings in random order, laid end to end, all equally loud."""
    pieces, n = list[Samples](), 0
    order = np.random.default_rng(seed).permutation(len(speech))
    while n < n_samples:
        for i in order:
            # No recording fills all of it.
            piece = read_audio(speech[i].path)[: max(n_samples // 4, SAMPLE_RATE)]
            pieces.append(_levelled(piece))
            n += len(piece)
            if n >= n_samples:
                break
    return np.concatenate(pieces)[:n_samples]


def _levelled(samples: Samples) -> Samples:
    return np.clip(amplify(samples, LEVEL_DBFS - level_rms_dbfs(samples)), -1, 1)
