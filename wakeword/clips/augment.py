"""Vary recordings so that a few teach what many would: place, room, noise, voice, microphone, level.

Pure numpy; each function takes samples (float32, mono, 16 kHz) and returns new ones. Whatever is random
is drawn from the generator given, so that a seed repeats a run. `Augmenter` composes them into training
windows: the phrase with its surroundings (`positive`) and background without it (`negative`). Both come
out of the same mill (rooms, noise, levels, splices), so that none of its traces tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import soxr

from wakeword.audio import (
    SAMPLE_RATE,
    Samples,
    active_level_dbfs,
    as_float,
    fft_length,
    speech_span,
)
from wakeword.clips.rooms import RoomConfig, draw_room, simulate_room
from wakeword.errors import AudioError, DataError

FADE_SAMPLES = SAMPLE_RATE // 100
"""10 ms at every splice."""
MIN_HUSH_DBFS, MAX_HUSH_DBFS = -95.0, -60.0
"""Level of the near-silence around a clip: a microphone's own noise."""
P_DIGITAL_SILENCE = 0.25
"""Clips around which there is none at all, as where a file was padded or a microphone gates."""
SILENT_DBFS = -119.0


def level_rms_dbfs(samples: Samples) -> float:
    """Mean level of all the samples in dBFS, floor -120."""
    power = float(np.dot(samples, samples)) / max(len(samples), 1)
    return float(10 * np.log10(max(power, 1e-12)))


def amplify(samples: Samples, gain_db: float) -> Samples:
    """Make samples louder or softer by a fixed gain."""
    return np.asarray(samples * np.float32(10 ** (gain_db / 20)))


def gain(samples: Samples, rng: np.random.Generator, low_db: float = -10.0, high_db: float = 10.0) -> Samples:
    """Make samples louder or softer by a gain drawn evenly from a range."""
    return amplify(samples, rng.uniform(low_db, high_db))


def hush(n_samples: int, rng: np.random.Generator) -> Samples:
    """Near-silence [n_samples]: white noise at -95 to -60 dBFS, or now and then nothing at all."""
    if rng.random() < P_DIGITAL_SILENCE:
        return np.zeros(n_samples, dtype=np.float32)
    level_dbfs = rng.uniform(MIN_HUSH_DBFS, MAX_HUSH_DBFS)
    return amplify(rng.standard_normal(n_samples, dtype=np.float32), level_dbfs)


def coloured_noise(n_samples: int, rng: np.random.Generator, exponent: float) -> Samples:
    """Noise [n_samples] at -20 dBFS whose power falls as 1 / f^exponent: 0 white, 1 pink, 2 brown."""
    n_fft = fft_length(n_samples)
    spectrum = np.fft.rfft(rng.standard_normal(n_fft))
    shape = np.maximum(np.arange(len(spectrum)), 1.0) ** (-exponent / 2)
    shape[: max(1, 20 * n_fft // SAMPLE_RATE)] = 0.0  # below 20 Hz it would only use up the level
    noise = np.fft.irfft(spectrum * shape, n_fft)[:n_samples]
    return (noise * (0.1 / max(float(np.std(noise)), 1e-12))).astype(np.float32)


def babble(excerpts: Sequence[Samples]) -> Samples:
    """Add up talkers [N] each, all equally loud on average; 3 to 8 of them make a babble."""
    if not excerpts or len({len(e) for e in excerpts}) > 1:
        raise AudioError("babble needs excerpts of one length")
    total = np.sum([amplify(e, -20 - level_rms_dbfs(e)) for e in excerpts], axis=0, dtype=np.float32)
    return np.asarray(total / np.float32(np.sqrt(len(excerpts))))


def mix_at_snr(speech: Samples, noise: Samples, snr_db: float, speech_dbfs: float | None = None) -> Samples:
    """Lay noise [N] over speech [N] at a signal-to-noise ratio; not limited to [-1, 1].

    The ratio is of the active speech level (`speech_dbfs`, measured unless given) to the level of the
    whole noise. The speech keeps its level.
    """
    if len(speech) != len(noise):
        raise AudioError(f"speech has {len(speech)} samples, noise has {len(noise)}; they must be equal")
    noise_dbfs = level_rms_dbfs(noise)
    if noise_dbfs <= SILENT_DBFS:
        return speech
    target = active_level_dbfs(speech) if speech_dbfs is None else speech_dbfs
    return np.asarray(speech + amplify(noise, target - snr_db - noise_dbfs))


def speed(samples: Samples, rng: np.random.Generator, low: float = 0.9, high: float = 1.1) -> Samples:
    """Play faster (above 1) or slower, pitch and formants with it: also a smaller or larger talker."""
    factor = rng.uniform(low, high)
    played: Samples = soxr.resample(samples, SAMPLE_RATE * factor, SAMPLE_RATE, quality="MQ")
    return played


def convolve(samples: Samples, response: Samples) -> Samples:
    """Filter with an impulse response, causally; the length stays, so the tail past the end is dropped."""
    n_fft = fft_length(len(samples) + len(response) - 1)
    product = np.fft.rfft(samples, n_fft) * np.fft.rfft(response, n_fft)
    return np.fft.irfft(product, n_fft)[: len(samples)].astype(np.float32)


def _shape_spectrum(
    samples: Samples, gain_db: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
) -> Samples:
    # Zero phase and circular: the gains are smooth, so what wraps round is a few ms of little energy.
    n_fft = fft_length(len(samples))
    spectrum = np.fft.rfft(samples, n_fft)
    hz = np.linspace(1.0, SAMPLE_RATE / 2, len(spectrum))
    return np.fft.irfft(spectrum * 10 ** (gain_db(hz) / 20), n_fft)[: len(samples)].astype(np.float32)


def equalise(samples: Samples, rng: np.random.Generator, max_tilt_db: float = 3.0) -> Samples:
    """Tilt the spectrum about 1 kHz by up to `max_tilt_db` an octave, and lift or dip one broad band."""
    tilt_db = rng.uniform(-max_tilt_db, max_tilt_db)
    centre = np.log2(rng.uniform(200, 5000))
    bump_db = rng.uniform(-6, 6)

    def curve(hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        octaves = np.log2(hz)
        tilted = tilt_db * np.clip(octaves - np.log2(1000), -3, 3)
        return np.asarray(tilted + bump_db * np.exp(-2 * (octaves - centre) ** 2))

    return _shape_spectrum(samples, curve)


def band_limit(samples: Samples, low_hz: float = 300.0, high_hz: float = 3400.0) -> Samples:
    """Keep a band, a telephone line's by default; 48 dB an octave beyond its edges, at most 60 dB."""

    def curve(hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        outside = np.maximum(np.log2(low_hz / hz), np.log2(hz / high_hz))
        return np.asarray(-np.clip(48 * outside, 0, 60))

    return _shape_spectrum(samples, curve)


def clip_hard(samples: Samples, rng: np.random.Generator, low: float = 0.1, high: float = 0.6) -> Samples:
    """Cut everything above a drawn share of the peak, as an overdriven input does."""
    limit = float(np.abs(samples).max(initial=0.0)) * rng.uniform(low, high)
    return np.clip(samples, -limit, limit)


def place(
    clip: Samples,
    window_samples: int,
    rng: np.random.Generator,
    *,
    min_after_s: float = 0.1,
    max_after_s: float = 0.6,
    background: Samples | None = None,
) -> tuple[Samples, int]:
    """Put a clip into a window so that the phrase spoken in it lies wholly inside.

    Args:
        clip: A recording [N] of one utterance.
        window_samples: Length of the window.
        rng: Draws where the phrase ends.
        min_after_s: Least time from the end of the phrase to the end of the window.
        max_after_s: Most such time. A phrase that would not fit is moved later, up to `min_after_s`;
            one longer than the window loses its beginning.
        background: What fills the window before and after the clip [window_samples]; near-silence
            unless given.

    Returns:
        The window [window_samples] and the position in it where the phrase ends.
    """
    start, end = speech_span(clip)
    least, most = (min(int(s * SAMPLE_RATE), window_samples) for s in (min_after_s, max_after_s))
    most = max(least, min(most, window_samples - (end - start)))
    position = window_samples - int(rng.integers(least, most + 1))
    window = (hush(window_samples, rng) if background is None else background).copy()
    # Fades stay off the phrase, but for 2 ms against clicks in a clip that is cut close.
    fades = (int(np.clip(room, FADE_SAMPLES // 5, FADE_SAMPLES)) for room in (start, len(clip) - end))
    _splice(window, clip, position - end, *fades)
    return window, position


def _splice(window: Samples, clip: Samples, offset: int, fade_in: int, fade_out: int) -> None:
    """Lay the clip into the window at `offset` (may be negative), crossfading at the clip's edges."""
    weight = np.ones(len(clip), dtype=np.float32)
    weight[:fade_in] = np.linspace(0, 1, fade_in, dtype=np.float32)
    weight[-fade_out:] *= np.linspace(1, 0, fade_out, dtype=np.float32)
    first, last = max(0, -offset), min(len(clip), len(window) - offset)
    target = window[first + offset : last + offset]
    kept = weight[first:last]
    target *= 1 - kept
    target += clip[first:last] * kept


@dataclass(frozen=True)
class AugmentConfig:
    """How training windows are varied. Probabilities within [0, 1]; ranges are drawn from evenly."""

    p_clean: float = 0.18
    """Positives left as recorded, but for place and level."""
    p_noise: float = 0.9
    """Of the others: noise over everything."""
    p_low_snr: float = 0.2
    """Of the noisy: ratio from `min_snr_db` to `mid_snr_db`; the rest from there to `max_snr_db`."""
    min_snr_db: float = 0.0
    mid_snr_db: float = 5.0
    max_snr_db: float = 20.0
    p_babble: float = 0.4
    """Noise that is several talkers; the rest is recorded noise and music, or coloured noise."""
    p_coloured: float = 0.1
    min_talkers: int = 3
    max_talkers: int = 8
    p_fill: float = 0.5
    """Talk or noise instead of near-silence before and after the clip."""
    min_fill_db: float = -20.0
    """Level of that against the phrase."""
    max_fill_db: float = 0.0
    p_speed: float = 0.5
    min_speed: float = 0.9
    max_speed: float = 1.1
    p_room: float = 0.4
    rooms: RoomConfig = field(default_factory=RoomConfig)
    p_equalise: float = 0.3
    max_tilt_db_per_octave: float = 3.0
    p_telephone: float = 0.04
    p_overdriven: float = 0.04
    min_level_dbfs: float = -45.0
    """Final level of the active speech."""
    max_level_dbfs: float = -10.0
    min_after_s: float = 0.1
    """Time from the end of the phrase to the end of the window."""
    max_after_s: float = 0.6
    p_negative_speech: float = 0.7
    """Negatives cut from speech; the rest from noise and music."""
    p_negative_noise: float = 0.4
    """Negatives with noise over them."""
    p_fragment: float = 0.3
    """Speech negatives that are a short piece placed as a clip is, so that a splice says nothing."""
    min_fragment_s: float = 0.3
    max_fragment_s: float = 1.5


DEFAULT_AUGMENTATION = AugmentConfig()


class _Pool:
    """Recordings to cut excerpts from, each as often as it is long."""

    def __init__(self, recordings: Sequence[npt.NDArray[np.generic]]) -> None:
        self.recordings = [r for r in recordings if len(r)]
        lengths = np.array([len(r) for r in self.recordings], dtype=np.float64)
        self._cumulative = np.cumsum(lengths) / max(lengths.sum(), 1)

    def __bool__(self) -> bool:
        return bool(self.recordings)

    def cut(self, n_samples: int, rng: np.random.Generator) -> Samples:
        """Return an excerpt [n_samples]; recordings that are shorter are repeated."""
        source = self.recordings[int(np.searchsorted(self._cumulative, rng.random(), side="right"))]
        if len(source) <= n_samples:
            source = np.tile(source, n_samples // len(source) + 1)
        start = int(rng.integers(len(source) - n_samples + 1))
        return as_float(source[start : start + n_samples])


class Augmenter:
    """Makes training windows from clips and background.

    Args:
        config: How much of what.
        noise: Recordings of noise and music [N] each, float32 or (half the memory) int16.
        speech: Recordings of speech without the phrases, likewise.
        window_samples: Length of every window.

    Without noise or speech recordings coloured noise takes their place.
    """

    def __init__(
        self,
        config: AugmentConfig,
        noise: Sequence[npt.NDArray[np.generic]],
        speech: Sequence[npt.NDArray[np.generic]],
        window_samples: int,
    ) -> None:
        if window_samples < SAMPLE_RATE // 2:
            raise DataError(f"a window of {window_samples} samples is too short; at least 0.5 s are needed")
        self.config = config
        self.window_samples = window_samples
        self._noise = _Pool(noise)
        self._speech = _Pool(speech)

    def positive_clean(self, clip: Samples, rng: np.random.Generator) -> Samples:
        """Return the clip in near-silence at its own level, only placed. [window_samples]"""
        return np.clip(self._placed(clip, rng, None), -1.0, 1.0)

    def positive(self, clip: Samples, rng: np.random.Generator) -> Samples:
        """Return the clip in one of its many possible guises. [window_samples], within [-1, 1]"""
        config = self.config
        if rng.random() < config.p_clean:
            return self._at_level(self._placed(clip, rng, None), active_level_dbfs(clip), rng)
        voiced = self._varied_voice(clip, rng)
        background = self._fill(active_level_dbfs(voiced), rng) if rng.random() < config.p_fill else None
        return self._through_room(self._placed(voiced, rng, background), config.p_noise, rng)

    def negative(self, rng: np.random.Generator) -> Samples:
        """Return background without a phrase. [window_samples], within [-1, 1]"""
        config = self.config
        if not self._speech or rng.random() >= config.p_negative_speech:
            return self._through_room(self._noise_excerpt(rng), config.p_negative_noise / 2, rng)
        if rng.random() >= config.p_fragment:
            return self._through_room(
                self._speech.cut(self.window_samples, rng), config.p_negative_noise, rng
            )
        seconds = rng.uniform(config.min_fragment_s, config.max_fragment_s)
        piece = self._varied_voice(self._speech.cut(int(seconds * SAMPLE_RATE), rng), rng)
        background = self._fill(active_level_dbfs(piece), rng) if rng.random() < config.p_fill else None
        return self._through_room(self._placed(piece, rng, background), config.p_negative_noise, rng)

    def _placed(self, clip: Samples, rng: np.random.Generator, background: Samples | None) -> Samples:
        after = {"min_after_s": self.config.min_after_s, "max_after_s": self.config.max_after_s}
        return place(clip, self.window_samples, rng, background=background, **after)[0]

    def _varied_voice(self, clip: Samples, rng: np.random.Generator) -> Samples:
        if rng.random() >= self.config.p_speed:
            return clip
        return speed(clip, rng, self.config.min_speed, self.config.max_speed)

    def _fill(self, phrase_dbfs: float, rng: np.random.Generator) -> Samples:
        from_speech = self._speech and rng.random() < 0.7
        filling = self._speech.cut(self.window_samples, rng) if from_speech else self._noise_excerpt(rng)
        relative_db = rng.uniform(self.config.min_fill_db, self.config.max_fill_db)
        return amplify(filling, phrase_dbfs + relative_db - max(active_level_dbfs(filling), -60.0))

    def _noise_excerpt(self, rng: np.random.Generator) -> Samples:
        """Recorded noise or music where there is any, else coloured noise."""
        if not self._noise or rng.random() < self.config.p_coloured:
            return coloured_noise(self.window_samples, rng, rng.uniform(0, 2))
        return self._noise.cut(self.window_samples, rng)

    def _interference(self, rng: np.random.Generator) -> Samples:
        config = self.config
        if not self._speech or rng.random() >= config.p_babble:
            return self._noise_excerpt(rng)
        n_talkers = int(rng.integers(config.min_talkers, config.max_talkers + 1))
        return babble([self._speech.cut(self.window_samples, rng) for _ in range(n_talkers)])

    def _snr_db(self, rng: np.random.Generator) -> float:
        config = self.config
        if rng.random() < config.p_low_snr:
            return rng.uniform(config.min_snr_db, config.mid_snr_db)
        return rng.uniform(config.mid_snr_db, config.max_snr_db)

    def _through_room(self, window: Samples, p_noise: float, rng: np.random.Generator) -> Samples:
        """Everything between the talker and the file: room, noise, microphone, level."""
        config = self.config
        if rng.random() < config.p_room:
            window = convolve(window, simulate_room(rng, draw_room(rng, config.rooms)))
        speech_dbfs = active_level_dbfs(window)
        if rng.random() < p_noise:
            window = mix_at_snr(window, self._interference(rng), self._snr_db(rng), speech_dbfs)
        if rng.random() < config.p_equalise:
            window = equalise(window, rng, config.max_tilt_db_per_octave)
        if rng.random() < config.p_telephone:
            window = band_limit(window)
        if rng.random() < config.p_overdriven:
            window = clip_hard(window, rng)
        return self._at_level(window, speech_dbfs, rng)

    def _at_level(self, window: Samples, speech_dbfs: float, rng: np.random.Generator) -> Samples:
        target = rng.uniform(self.config.min_level_dbfs, self.config.max_level_dbfs)
        return np.clip(amplify(window, target - max(speech_dbfs, -60.0)), -1.0, 1.0)
