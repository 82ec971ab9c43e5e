"""Augmentation against independent measurements of level, ratio, spectrum, place and reverberation."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from wakeword.audio import SAMPLE_RATE, Samples, active_level_dbfs, fft_length, read_audio, read_clip
from wakeword.clips import augment
from wakeword.clips.augment import AugmentConfig, Augmenter
from wakeword.clips.rooms import Room, RoomConfig, draw_room, simulate_room
from wakeword.errors import AudioError, DataError

WINDOW = 32_000


def db(power: float) -> float:
    return float(10 * np.log10(power))


def word(seconds: float = 0.7, before: float = 0.5, after: float = 0.6, level: float = 0.2) -> Samples:
    """A clip: a warble at a known place in faint noise."""
    rng = np.random.default_rng(5)
    n = [round(s * SAMPLE_RATE) for s in (before, seconds, after)]
    samples = 1e-4 * rng.standard_normal(sum(n))
    t = np.arange(n[1]) / SAMPLE_RATE
    samples[n[0] : n[0] + n[1]] += level * np.sin(2 * np.pi * (600 * t + 20 * np.sin(2 * np.pi * 4 * t)))
    return samples.astype(np.float32)


def spectrum_db(samples: Samples, low_hz: float, high_hz: float) -> float:
    power = np.abs(np.fft.rfft(samples.astype(np.float64))) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    return db(power[(hz >= low_hz) & (hz < high_hz)].mean())


def test_gain_and_amplify(rng: np.random.Generator) -> None:
    samples = word()
    np.testing.assert_allclose(augment.amplify(samples, 6.0206), samples * 2, rtol=1e-4)
    gains = [db(np.mean(augment.gain(samples, rng, -6, 3) ** 2) / np.mean(samples**2)) for _ in range(200)]
    assert -6.01 < min(gains) < -5.5 and 2.5 < max(gains) < 3.01


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0, 20.0])
def test_snr_is_what_was_asked_for(rng: np.random.Generator, snr_db: float) -> None:
    clip = word(0.7, 0.65, 0.65)
    noise = augment.coloured_noise(len(clip), rng, 1.0)
    mixed = augment.mix_at_snr(clip, noise, snr_db)
    added = mixed.astype(np.float64) - clip
    spoken = clip[int(0.65 * SAMPLE_RATE) : int(1.35 * SAMPLE_RATE)].astype(np.float64)
    assert db(np.mean(spoken**2)) - db(np.mean(added**2)) == pytest.approx(snr_db, abs=0.3)
    assert np.corrcoef(added, noise)[0, 1] == pytest.approx(1, abs=1e-4)


def test_mixing_silence_and_unequal_lengths() -> None:
    clip = word()
    np.testing.assert_array_equal(augment.mix_at_snr(clip, np.zeros_like(clip), 0.0), clip)
    with pytest.raises(AudioError, match="must be equal"):
        augment.mix_at_snr(clip, clip[1:], 0.0)


@pytest.mark.parametrize(("exponent", "slope"), [(0.0, 0.0), (1.0, -3.01), (2.0, -6.02)])
def test_colour_of_noise(rng: np.random.Generator, exponent: float, slope: float) -> None:
    noise = augment.coloured_noise(20 * SAMPLE_RATE, rng, exponent)
    assert db(np.mean(noise**2)) == pytest.approx(-20, abs=0.1)
    octaves = [spectrum_db(noise, hz, 2 * hz) for hz in (125, 250, 500, 1000, 2000, 4000)]
    np.testing.assert_allclose(np.diff(octaves), slope, atol=0.4)


def test_babble_holds_all_talkers_equally(rng: np.random.Generator) -> None:
    talkers = [augment.amplify(rng.standard_normal(8000, dtype=np.float32), g) for g in (-40, -20, -3)]
    mixed = augment.babble(talkers)
    assert db(np.mean(mixed.astype(np.float64) ** 2)) == pytest.approx(-20, abs=0.3)
    shares = [np.corrcoef(mixed, t)[0, 1] for t in talkers]
    np.testing.assert_allclose(shares, 1 / np.sqrt(3), atol=0.05)
    with pytest.raises(AudioError, match="one length"):
        augment.babble([talkers[0], talkers[1][1:]])


def test_speed_moves_length_and_pitch_together(rng: np.random.Generator) -> None:
    tone = np.sin(2 * np.pi * 500 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    factors = []
    for _ in range(20):
        played = augment.speed(tone, rng, 0.9, 1.1)
        factor = SAMPLE_RATE / len(played)
        peak = np.argmax(np.abs(np.fft.rfft(played * np.hanning(len(played)), 1 << 18)))
        assert peak * SAMPLE_RATE / (1 << 18) == pytest.approx(500 * factor, rel=2e-3)
        factors.append(factor)
    assert 0.9 <= min(factors) < 0.94 and 1.06 < max(factors) <= 1.1001


def test_convolve_is_plain_convolution(rng: np.random.Generator) -> None:
    samples, response = (rng.standard_normal(n, dtype=np.float32) for n in (3001, 517))
    expected = np.convolve(samples.astype(np.float64), response)[:3001]
    np.testing.assert_allclose(augment.convolve(samples, response), expected, atol=1e-3)


@pytest.mark.parametrize("n", [1, 2, 17, 1000, 32000, 40001, 51200])
def test_fast_length(n: int) -> None:
    assert n <= fft_length(n) < 1.35 * n + 1


def test_telephone_band(rng: np.random.Generator) -> None:
    noise = augment.coloured_noise(5 * SAMPLE_RATE, rng, 0.0)
    passed = augment.band_limit(noise)
    kept = [
        spectrum_db(passed, *band) - spectrum_db(noise, *band)
        for band in ((350, 3300), (50, 140), (6800, 8000))
    ]
    assert kept[0] == pytest.approx(0, abs=0.1)
    assert kept[1] < -45 and kept[2] < -45


def test_equaliser_is_gentle_and_varied(rng: np.random.Generator) -> None:
    noise = augment.coloured_noise(2 * SAMPLE_RATE, rng, 0.0)
    tilts = []
    for _ in range(60):
        shaped = augment.equalise(noise, rng, 3.0)
        change = [spectrum_db(shaped, hz, 2 * hz) - spectrum_db(noise, hz, 2 * hz) for hz in (125, 500, 4000)]
        assert max(map(abs, change)) < 3 * 3 + 6 + 0.5
        tilts.append(change[2] - change[0])
    assert min(tilts) < -6 and max(tilts) > 6


def test_hard_clipping(rng: np.random.Generator) -> None:
    tone = np.sin(np.arange(16000) / 5).astype(np.float32)
    cut = augment.clip_hard(tone, rng, 0.5, 0.5)
    np.testing.assert_array_equal(cut, np.clip(tone, -0.5 * tone.max(), 0.5 * tone.max()))


def first_copy(window: Samples, piece: Samples) -> int:
    """Where the piece stands in the window, sample for sample."""
    starts = np.flatnonzero(window[: len(window) - len(piece) + 1] == piece[0])
    return next(int(s) for s in starts if np.array_equal(window[s : s + len(piece)], piece))


def test_place_keeps_the_whole_phrase_at_the_end_drawn(rng: np.random.Generator) -> None:
    clip, afters = word(0.7, 0.5, 0.6), []
    spoken = clip[8000 : 8000 + 11200]
    for _ in range(200):
        window, end = augment.place(clip, WINDOW, rng, min_after_s=0.1, max_after_s=0.5)
        assert window.shape == (WINDOW,) and window.dtype == np.float32
        found = first_copy(window, spoken)
        assert abs(found + len(spoken) - end) <= 400  # the span by energy is in steps of 10 ms
        afters.append((WINDOW - end) / SAMPLE_RATE)
    assert 0.1 <= min(afters) < 0.12 and 0.48 < max(afters) <= 0.5
    assert np.mean(afters) == pytest.approx(0.3, abs=0.03)


def test_place_fills_with_hush_or_background_without_clicks(rng: np.random.Generator) -> None:
    clip = word(0.5, 0.1, 0.1)
    hushes = [augment.place(clip, WINDOW, rng)[0][:8000].astype(np.float64) for _ in range(200)]
    silent = [hush for hush in hushes if not hush.any()]
    assert len(silent) / len(hushes) == pytest.approx(0.25, abs=0.1)
    levels = [db(np.mean(hush**2)) for hush in hushes if hush.any()]
    assert -96 < min(levels) < -90 and -65 < max(levels) < -59
    background = np.full(WINDOW, 0.1, np.float32)
    smooth, _ = augment.place(clip, WINDOW, rng, background=background)
    assert background.min() == background.max() == np.float32(0.1)  # not written to
    np.testing.assert_array_equal(smooth[:8000], background[:8000])
    within = np.abs(np.diff(clip)).max()
    assert np.abs(np.diff(smooth)).max() <= within  # no jump at a splice that the clip has not itself


def test_place_cuts_the_front_of_a_long_phrase(rng: np.random.Generator) -> None:
    clip = word(3.0, 0.2, 0.2)
    window, end = augment.place(clip, WINDOW, rng, min_after_s=0.1, max_after_s=0.5)
    assert WINDOW - end == 1600
    spoken_end = int(3.2 * SAMPLE_RATE)
    lag = np.argmax(np.correlate(window, clip[spoken_end - 16000 : spoken_end], "valid"))
    assert abs(lag + 16000 - end) <= 400


@pytest.mark.parametrize("rt60_s", [0.2, 0.4, 0.8])
def test_room_has_its_reverberation_time_and_ratio(rt60_s: float) -> None:
    room = Room(rt60_s, distance_m=1.5, volume_m3=60)
    times, ratios = [], []
    for seed in range(20):
        response = simulate_room(np.random.default_rng(seed), room).astype(np.float64)
        assert response[0] == 1.0
        tail = response[1:] ** 2
        ratios.append(-db(tail.sum()))
        level = 10 * np.log10(np.cumsum(tail[::-1])[::-1] / tail.sum())  # Schroeder's backward integral
        part = np.flatnonzero((level < -5) & (level > -25))
        times.append(-60 / np.polyfit(part / SAMPLE_RATE, level[part], 1)[0])
    assert np.mean(times) == pytest.approx(rt60_s, rel=0.15)
    critical_m = 0.1 * np.sqrt(2 * 60 / (np.pi * rt60_s))
    np.testing.assert_allclose(ratios, 20 * np.log10(critical_m / 1.5), atol=0.01)


def test_room_reflections_are_sparse_first_and_dense_later(rng: np.random.Generator) -> None:
    response = simulate_room(rng, Room(0.5, 1.0, 100))

    # Filtering spreads each reflection, so count what stands out: kurtosis is 3 for dense noise.
    def kurtosis(x: Samples) -> float:
        return float(np.mean((x - x.mean()) ** 4) / np.var(x) ** 2)

    assert kurtosis(response[1:100]) > 5
    late = response[800:3200] * 10 ** (3 * np.arange(800, 3200) / SAMPLE_RATE / 0.5)
    assert kurtosis(late) < 4


def test_rooms_stay_in_their_ranges(rng: np.random.Generator) -> None:
    config = RoomConfig(0.3, 0.4, 1.0, 2.0, 40, 50)
    rooms = [draw_room(rng, config) for _ in range(100)]
    assert all(0.3 <= r.rt60_s <= 0.4 and 1 <= r.distance_m <= 2 and 40 <= r.volume_m3 <= 50 for r in rooms)


def sources() -> tuple[list[Samples], list[Samples]]:
    rng = np.random.default_rng(9)
    noise = [augment.coloured_noise(40_000, rng, 1.0), augment.coloured_noise(9_000, rng, 0.0)]
    speech = [np.concatenate([word(0.6, 0.1, 0.1, level) for _ in range(6)]) for level in (0.02, 0.1, 0.3)]
    return noise, speech


@pytest.mark.parametrize("kind", ["positive", "positive_clean", "negative"])
def test_windows_are_whole_finite_and_repeatable(kind: str) -> None:
    augmenter = Augmenter(AugmentConfig(), *sources(), WINDOW)

    def make(seed: int) -> Samples:
        rng = np.random.default_rng(seed)
        return augmenter.negative(rng) if kind == "negative" else getattr(augmenter, kind)(word(), rng)

    windows = [make(seed) for seed in range(80)]
    for window in windows:
        assert window.shape == (WINDOW,) and window.dtype == np.float32
        assert np.isfinite(window).all() and np.abs(window).max() <= 1
    assert len({w.tobytes() for w in windows}) == 80
    np.testing.assert_array_equal(make(7), windows[7])


def test_levels_of_positives_spread_over_their_range() -> None:
    augmenter = Augmenter(AugmentConfig(p_clean=1.0), *sources(), WINDOW)
    rng = np.random.default_rng(0)
    levels = [active_level_dbfs(augmenter.positive(word(), rng)) for _ in range(150)]
    assert -46 < min(levels) < -42 and -13 < max(levels) < -9
    own = active_level_dbfs(augmenter.positive_clean(word(level=0.2), rng))
    assert own == pytest.approx(db(0.2**2 / 2), abs=0.5)


def test_share_and_ratios_of_noise_over_positives() -> None:
    """Measured from outside: what is left at the phrase's end gap, against the phrase."""
    config = AugmentConfig(
        p_fill=0,
        p_room=0,
        p_speed=0,
        p_equalise=0,
        p_telephone=0,
        p_overdriven=0,
        p_coloured=1.0,
        p_babble=0,
        max_level_dbfs=-25,
    )
    augmenter = Augmenter(config, *sources(), WINDOW)
    rng, clip, ratios = np.random.default_rng(2), word(), []
    for _ in range(300):
        window = augmenter.positive(clip, rng).astype(np.float64)
        ratios.append(active_level_dbfs(window.astype(np.float32)) - db(np.mean(window[:8000] ** 2) + 1e-12))
    noisy = np.array([r for r in ratios if r < 35])
    expected = 0.82 * 0.9
    assert len(noisy) / 300 == pytest.approx(expected, abs=0.08)
    assert np.median(noisy) == pytest.approx(8.5, abs=2.5)


def test_works_without_any_background() -> None:
    augmenter = Augmenter(AugmentConfig(), [], [], WINDOW)
    rng = np.random.default_rng(0)
    assert all(np.std(augmenter.negative(rng)) > 1e-4 for _ in range(20))
    assert all(np.std(augmenter.positive(word(), rng)) > 1e-4 for _ in range(20))


def test_int16_background_is_the_same_as_float() -> None:
    noise, speech = sources()
    pcm = [np.round(s * 32768).astype(np.int16) for s in speech]
    exact = [s.astype(np.float32) / np.float32(32768) for s in pcm]
    config = AugmentConfig(p_negative_speech=1.0)
    a, b = (Augmenter(config, noise, s, WINDOW).negative(np.random.default_rng(4)) for s in (pcm, exact))
    np.testing.assert_array_equal(a, b)


def test_excerpts_come_from_everywhere_by_length(rng: np.random.Generator) -> None:
    pool = augment._Pool([np.full(n, v, np.float32) for n, v in ((30_000, 0.1), (90_000, 0.2), (100, 0.3))])
    values = [round(float(pool.cut(1000, rng)[0]), 1) for _ in range(1000)]
    assert values.count(0.2) / 1000 == pytest.approx(0.75, abs=0.05)
    assert len(augment._Pool([np.ones(100, np.float32)]).cut(1000, rng)) == 1000


def test_window_that_is_too_short() -> None:
    with pytest.raises(DataError, match="too short"):
        Augmenter(AugmentConfig(), [], [], 4000)


def test_fast_enough_on_real_recordings(corpus: Path) -> None:
    clips = [read_clip(p) for p in sorted((corpus / "phrases" / "jarvis").iterdir())[:10]]
    speech = [read_audio(corpus / "speech" / "librispeech_train_00.opus")]
    noise = [read_audio(corpus / "noise" / "berlin_noise_train_00.opus")]
    augmenter, rng = Augmenter(AugmentConfig(), noise, speech, WINDOW), np.random.default_rng(0)
    times = []
    for i in range(60):
        start = time.process_time()
        augmenter.positive(clips[i % 10], rng)
        augmenter.negative(rng)
        times.append((time.process_time() - start) / 2)
    assert np.median(times) < 0.010  # 1.4 ms where this was written; the rest is room for slow machines
