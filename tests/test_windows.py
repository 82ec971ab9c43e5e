"""Windows: phrases, what is near to them, background, and phrases that break off."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import sounds

from wakeword.audio import SAMPLE_RATE, speech_span, write_wav
from wakeword.clips.augment import AugmentConfig, Augmenter
from wakeword.clips.dataset import Clip
from wakeword.train.windows import WindowSet, plan_windows

WINDOW = 2 * SAMPLE_RATE
PLAIN = AugmentConfig(p_clean=1.0)
"""Phrases are only placed and levelled, so that their length can be measured."""


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> WindowSet:
    folder = tmp_path_factory.mktemp("clips")
    clips = []
    for i, label in enumerate(("hey nova", "lights on", "")):
        path = folder / f"{i}.wav"
        tone = np.sin(2 * np.pi * 300 * (i + 1) * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
        write_wav(path, (0.3 * tone).astype(np.float32))
        kind = "phrase" if label else "speech"
        clips.append(Clip(path, kind, label, "train", str(i), 1.0, "en", "", ""))
    augmenter = Augmenter(PLAIN, [], [sounds(20.0)], WINDOW)
    return plan_windows(
        clips[:2],
        ("hey nova", "lights on"),
        augmenter,
        versions=3,
        negatives=4,
        seed=1,
        near=clips[2:],
        broken=2,
    )


def test_only_whole_phrases_are_positive(windows: WindowSet) -> None:
    assert windows.clip_of.tolist() == [0, 1, 0, 1, 0, 1, 2, -1, -1, -1, -1, 0, 1, 0, 1]
    assert windows.targets[:6].tolist() == [[1, 0], [0, 1]] * 3
    assert not windows.targets[6:].any()


def test_broken_phrases_are_shorter(windows: WindowSet) -> None:
    def seconds(i: int) -> float:
        start, end = speech_span(windows.render(i))
        return (end - start) / SAMPLE_RATE

    assert all(seconds(i) == pytest.approx(1.0, abs=0.05) for i in range(6))
    assert all(0.2 < seconds(i) < 0.75 for i in range(len(windows) - windows.n_broken, len(windows)))


def test_near_clips_are_placed_like_phrases(windows: WindowSet) -> None:
    spectrum = np.abs(np.fft.rfft(windows.render(6)))
    assert np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE)[spectrum.argmax()] == pytest.approx(900, abs=5)


def test_render_depends_on_seed_epoch_and_number_alone(windows: WindowSet) -> None:
    for i in (0, 6, 8, 14):
        np.testing.assert_array_equal(windows.render(i, 1), windows.render(i, 1))
        assert not np.array_equal(windows.render(i, 1), windows.render(i, 2))


def test_mined_windows_come_after_all_others_and_change_none(windows: WindowSet) -> None:
    pool = windows.pool(10, 3)
    assert len(pool) == 3
    more = windows.with_mined(pool.numbers[[0, 2]]).with_mined(np.array([40]))
    assert (len(more), more.mined) == (len(windows) + 3, (10, 12, 40))
    for i in range(len(windows)):
        np.testing.assert_array_equal(more.render(i), windows.render(i))
    for i, epoch in ((15, 0), (15, 1)):
        np.testing.assert_array_equal(more.render(i, epoch), pool.render(0))
    np.testing.assert_array_equal(more.render(16), pool.render(2))
    np.testing.assert_array_equal(more.render(17), windows.from_pool(40))
    assert not np.array_equal(pool.render(0), windows.render(10))
    assert not more.targets[15:].any()
    assert more.rows().tolist() == list(range(18))
