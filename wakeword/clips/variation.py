"""A few voices become many speakers: men, women and children, by pitch, formants and melody.

Praat does it where it is installed (pitch-synchronous overlap-add, formants by resampling); without it
pitch and formants are moved together, and less far.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from threading import Lock

import numpy as np
import soxr

from wakeword.audio import SAMPLE_RATE, Samples

LOWEST_HZ, HIGHEST_HZ = 60.0, 550.0
PITCH_STEP_S = 0.01
MIN_VOICED_FRAMES = 5
MIN_FORMANTS, MAX_FORMANTS = 0.80, 1.30
"""A voice changed more than that is no longer like a person's."""
MIN_PLAIN, MAX_PLAIN = 0.90, 1.12
"""The same without Praat."""
P_AS_IT_IS = 0.3
"""Clips left in the engine's own voice: whatever changes a voice costs quality."""


@dataclass(frozen=True)
class Speaker:
    """How a speaker sounds."""

    pitch_hz: float
    """Median."""
    formants: float
    """Their frequencies, times a man's: the shorter the vocal tract, the higher."""
    melody: float = 1.0
    """Range of the pitch, times the voice's own."""


@dataclass(frozen=True)
class _Kind:
    share: float
    low_hz: float
    high_hz: float
    formants: float


# Medians over speakers: Hillenbrand et al. 1995 (men, women, children of 10 to 12); children from 4 on
# are above that, as are their formants.
MAN = _Kind(0.40, 85, 160, 1.0)
WOMAN = _Kind(0.40, 160, 260, 1.16)
CHILD = _Kind(0.20, 220, 350, 1.28)
KINDS = (MAN, WOMAN, CHILD)
SPREAD = 0.05
"""Standard deviation of the formants within a kind, as a share."""


_praat_random = Lock()


def draw_speaker(rng: np.random.Generator) -> Speaker:
    """Draw a man, a woman or a child."""
    kind = KINDS[int(rng.choice(len(KINDS), p=[k.share for k in KINDS]))]
    return Speaker(
        pitch_hz=float(np.exp(rng.uniform(np.log(kind.low_hz), np.log(kind.high_hz)))),
        formants=kind.formants * float(np.exp(np.clip(rng.normal(), -2, 2) * SPREAD)),
        melody=float(np.exp(rng.uniform(np.log(0.6), np.log(1.6)))),
    )


def kind_of(pitch_hz: float) -> float:
    """Formants (times a man's) to be expected of a voice of this pitch."""
    return next((k.formants for k in (MAN, WOMAN) if pitch_hz < k.high_hz), CHILD.formants)


def vary(samples: Samples, rng: np.random.Generator) -> Samples:
    """The samples as another speaker would say them, drawn; some stay as they are."""
    speaker = draw_speaker(rng)
    return samples if rng.random() < P_AS_IT_IS else become(samples, speaker)


def become(samples: Samples, speaker: Speaker) -> Samples:
    """The samples in the voice of that speaker, as near as the means at hand get; same level, same pace."""
    if importlib.util.find_spec("parselmouth") is None:
        return _resampled(samples, speaker)
    import parselmouth
    from parselmouth.praat import call, run

    sound = parselmouth.Sound(samples.astype(np.float64), SAMPLE_RATE)
    pitch = sound.to_pitch(PITCH_STEP_S, LOWEST_HZ, HIGHEST_HZ)
    hertz = pitch.selected_array["frequency"]
    if np.count_nonzero(hertz) < MIN_VOICED_FRAMES:
        return samples
    ratio = speaker.formants / kind_of(float(np.median(hertz[hertz > 0])))
    ratio = float(np.clip(ratio, MIN_FORMANTS, MAX_FORMANTS))
    try:
        with _praat_random:  # it draws where unvoiced sound is cut; so that a seed repeats a run
            run("random_initializeWithSeedUnsafelyButPredictably (1)")
            changed = call([sound, pitch], "Change gender", ratio, speaker.pitch_hz, speaker.melody, 1.0)
    except parselmouth.PraatError:
        return samples  # too little voice in it to work on
    values = changed.values[0].astype(np.float32)
    if not np.isfinite(values).all() or not values.any():
        return samples  # creaky voices come out of Praat as nothing
    return _levelled(values, samples)


def _resampled(samples: Samples, speaker: Speaker) -> Samples:
    ratio = float(np.clip(speaker.formants / WOMAN.formants, MIN_PLAIN, MAX_PLAIN))
    return np.asarray(soxr.resample(samples, SAMPLE_RATE * ratio, SAMPLE_RATE), dtype=np.float32)


def _levelled(changed: Samples, like: Samples) -> Samples:
    """At the level of `like`, but within [-1, 1]."""
    wanted, got = float(np.std(like)), float(np.std(changed))
    peak = float(np.abs(changed).max(initial=1e-9))
    return np.asarray(changed * min(wanted / max(got, 1e-9), 0.99 / peak), dtype=np.float32)
