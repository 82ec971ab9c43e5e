"""A voice changed into another speaker: pitch and formants move as asked for, level and pace do not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from wakeword.audio import SAMPLE_RATE, Samples
from wakeword.clips import variation
from wakeword.clips.variation import Speaker, become, draw_speaker

parselmouth = pytest.importorskip("parselmouth")


def vowel(pitch_hz: float = 120, formants_hz: tuple[float, ...] = (700, 1200, 2500)) -> Samples:
    """A second of "ah": pulses through resonances."""
    pulses = np.zeros(SAMPLE_RATE)
    pulses[:: round(SAMPLE_RATE / pitch_hz)] = 1
    for hz in formants_hz:
        radius, angle = np.exp(-np.pi * 80 / SAMPLE_RATE), 2 * np.pi * hz / SAMPLE_RATE
        pulses = lfilter([1], [1, -2 * radius * np.cos(angle), radius**2], pulses)
    return np.asarray(0.3 * pulses / np.abs(pulses).max(), dtype=np.float32)


def pitch_of(samples: Samples) -> float:
    hertz = parselmouth.Sound(samples.astype(float), SAMPLE_RATE).to_pitch().selected_array["frequency"]
    return float(np.median(hertz[hertz > 0]))


def centre_hz(samples: Samples) -> float:
    """Where the spectrum's middle of energy above 500 Hz lies."""
    power = np.abs(np.fft.rfft(samples)) ** 2
    hertz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    return float(np.average(hertz[hertz > 500], weights=power[hertz > 500]))


def test_a_man_becomes_a_child() -> None:
    man = vowel()
    child = become(man, Speaker(pitch_hz=280, formants=1.28))
    assert pitch_of(child) == pytest.approx(280, rel=0.05)
    assert centre_hz(child) / centre_hz(man) == pytest.approx(1.28, rel=0.1)
    assert len(child) == pytest.approx(len(man), rel=0.02)
    assert np.std(child) == pytest.approx(np.std(man), rel=0.1)


def test_pitch_alone() -> None:
    man = vowel()
    other = become(man, Speaker(pitch_hz=150, formants=1.0))
    assert pitch_of(other) == pytest.approx(150, rel=0.05)
    assert centre_hz(other) / centre_hz(man) == pytest.approx(1, abs=0.05)


def test_what_has_no_voice_stays(rng: np.random.Generator) -> None:
    hiss = rng.standard_normal(4000).astype(np.float32) * np.float32(0.05)
    assert np.std(become(hiss, Speaker(200, 1.1))) == pytest.approx(np.std(hiss), rel=0.2)
    silence = np.zeros(4000, np.float32)
    assert become(silence, Speaker(200, 1.1)) is silence


def test_without_praat_pitch_and_formants_move_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variation.importlib.util, "find_spec", lambda name: None)
    man = vowel()
    smaller = become(man, Speaker(pitch_hz=280, formants=1.28))
    assert pitch_of(smaller) / pitch_of(man) == pytest.approx(1.28 / 1.16, rel=0.03)


def test_drawn_speakers_are_men_women_and_children(rng: np.random.Generator) -> None:
    speakers = [draw_speaker(rng) for _ in range(500)]
    pitches = np.array([s.pitch_hz for s in speakers])
    assert np.mean(pitches < 160) == pytest.approx(0.4, abs=0.07)
    assert pitches.min() > 80 and pitches.max() < 360
    assert np.corrcoef(pitches, [s.formants for s in speakers])[0, 1] > 0.7


def test_a_voice_that_praat_makes_silent_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """As espeak-ng's creaky "quincy" became in one of twenty clips."""
    from parselmouth import praat

    said, call = vowel(), praat.call

    def silence(what: object, command: str, *more: object) -> object:
        return parselmouth.Sound(np.zeros(100)) if command == "Change gender" else call(what, command, *more)

    monkeypatch.setattr(praat, "call", silence)
    assert become(said, Speaker(pitch_hz=280, formants=1.28)) is said
