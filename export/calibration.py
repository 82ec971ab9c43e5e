"""Windows that static quantisation measures ranges on: phrases and background, dev split, clean and noisy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wakeword.audio import SAMPLE_RATE, Samples
from wakeword.clips.dataset import Clip, load_background, load_clips
from wakeword.errors import DataError
from wakeword.evaluate.plan import MixConfig, build_mixed_streams
from wakeword.evaluate.run import pick_clips, speech_and_noise
from wakeword.evaluate.streams import MixedStream
from wakeword.manifest import Manifest
from wakeword.mel import log_mel, n_samples

CLIPS_PER_PHRASE = 8
SPLIT = "dev"
AFTER_S = 0.1
"""A window of a phrase ends this long after it, as the one does that fires."""
SNR_DB = 10.0


def calibration_windows(
    manifest: Manifest, phrases: Path, background: Sequence[Path], seed: int = 1
) -> npt.NDArray[np.float32]:
    """Verifier inputs [n, 80, T] or [n, N]: of each phrase clip one window, and one of the audio before it.

    Raises DataError where the dev split holds no clips or no background speech.
    """
    clips = [c for c in load_clips(phrases, manifest.phrases) if c.split == SPLIT]
    sounds = [c for c in load_background(background) if c.split == SPLIT]
    if not clips or not sounds:
        raise DataError(
            f"int8-static needs {SPLIT} clips and background; found {len(clips)} and {len(sounds)}"
        )
    chosen = pick_clips(clips, manifest.phrases, CLIPS_PER_PHRASE, seed)
    windows = [w for stream in _streams(chosen, sounds, seed) for w in _windows(stream, manifest)]
    return np.stack(windows)


def _streams(clips: Sequence[Clip], sounds: Sequence[Clip], seed: int) -> list[MixedStream]:
    speech, noise = speech_and_noise(sounds)
    levels = (None, SNR_DB) if noise else (None,)
    return [
        stream
        for level in levels
        for stream in build_mixed_streams(
            clips, speech, noise, MixConfig(snr_db=level, gap_s=(2.0, 4.0)), seed
        )
    ]


def _windows(stream: MixedStream, manifest: Manifest) -> list[npt.NDArray[np.float32]]:
    audio = np.concatenate(list(stream.blocks()))
    length = n_samples(manifest.window) if manifest.input == "mel" else manifest.window
    ends = [
        end
        for spoken in stream.spoken
        for end in (int((spoken.end_s + AFTER_S) * SAMPLE_RATE), int(spoken.start_s * SAMPLE_RATE))
        if length <= end <= len(audio)
    ]
    return [_input(audio[end - length : end], manifest) for end in ends]


def _input(audio: Samples, manifest: Manifest) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(log_mel(audio)) if manifest.input == "mel" else audio
