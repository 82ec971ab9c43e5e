"""Distillation: what is cached, what the losses ask for, and that a student learns by them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import CONFIG, PHRASES, sounds, tiny_net
from torch.nn import functional

from wakeword.clips.augment import AugmentConfig, Augmenter
from wakeword.config import DistillConfig, StudentConfig
from wakeword.mel import log_mel
from wakeword.train.distill import (
    Lessons,
    distil,
    make_lessons,
    soft_maximum,
    step_loss,
    stretched,
    teacher_logits,
    vary,
)
from wakeword.train.finetune import Kept
from wakeword.train.model import Lower, Upper, window_samples
from wakeword.train.student import StudentNet
from wakeword.train.windows import WindowSet

SMALL = StudentConfig(channels=16, kernel=3, dilations=(1, 2, 4))
STILL = DistillConfig(
    gain_db=0, mix_share=0, style_share=0, voice_warp=0, tempo_warp=0, mask_bands=0, mask_frames=0
)


class Quiet:
    def start(self, stage: str, total: int) -> None:
        """Nothing is shown."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Nothing is shown."""


def test_lessons_are_what_the_verifier_says(tmp_path: Path) -> None:
    augmenter = Augmenter(AugmentConfig(), [], [sounds(4.0)], window_samples(CONFIG.window_s))
    targets = np.zeros((5, 2), dtype=np.float32)
    targets[0, 1] = 1
    windows = WindowSet((sounds(0.6, seed=3),), np.array([0, -1, -1, -1, -1]), targets, augmenter, 7)
    net = tiny_net()
    lessons = make_lessons(net, windows, tmp_path / "train", "key", Quiet())
    assert sorted(p.name for p in tmp_path.glob("*.npy")) == ["train-mel.npy", "train.npy"]
    assert len(lessons) == 5
    for i in range(5):
        mel = log_mel(windows.render(i))
        np.testing.assert_allclose(lessons.mel[i], mel, atol=5e-3)
        with torch.inference_mode():
            expected = net(torch.from_numpy(mel[None]))[0].numpy()
        np.testing.assert_allclose(lessons.teacher[i], expected, atol=0.3)  # features are kept as float16
    np.testing.assert_array_equal(lessons.targets, targets)
    np.testing.assert_array_equal(teacher_logits(net, lessons.features), lessons.teacher)


def test_lessons_of_retrained_blocks_are_the_same(tmp_path: Path) -> None:
    """By way of what the blocks below said, which is what was kept for retraining."""
    augmenter = Augmenter(AugmentConfig(), [], [sounds(4.0)], window_samples(CONFIG.window_s))
    windows = WindowSet((), np.full(5, -1), np.zeros((5, 2), dtype=np.float32), augmenter, 7)
    net = tiny_net(slope=1.0)
    whole = make_lessons(net, windows, tmp_path / "whole", "key", Quiet())
    parts = make_lessons(net, windows, tmp_path / "parts", "key", Quiet(), Kept(Lower(net, 1), Upper(net, 1)))
    assert np.load(tmp_path / "parts.npy").shape == (5, 2 * whole.features.shape[1], 32)
    np.testing.assert_allclose(parts.features, whole.features, atol=0.02)
    np.testing.assert_array_equal(np.load(tmp_path / "parts-features.npy"), parts.features)
    np.testing.assert_allclose(parts.teacher, whole.teacher, atol=0.05)


def test_the_loss_by_hand() -> None:
    """Two windows of three steps, the last two of which are to speak for the window."""
    logits = torch.tensor([[[1.0], [2.0], [-1.0]], [[0.5], [-3.0], [-2.0]]])
    late = [np.log((np.exp(2) + np.exp(-1)) / 2), np.log((np.exp(-3) + np.exp(-2)) / 2)]
    early = [1.0, 0.5]

    def cross_entropy(logit: float, wanted: float) -> float:
        p = 1 / (1 + np.exp(-logit))
        return float(-wanted * np.log(p) - (1 - wanted) * np.log(1 - p))

    losses = [
        cross_entropy(late[0], 0.9) + 0.5 * cross_entropy(early[0], 0.0),
        cross_entropy(late[1], 0.1) + 0.5 * cross_entropy(early[1], 0.0),
    ]
    got = step_loss(logits, torch.tensor([[0.9], [0.1]]), torch.tensor([1.0, 3.0]), late_steps=2)
    assert float(got) == pytest.approx((losses[0] + 3 * losses[1]) / 4, rel=1e-5)
    np.testing.assert_allclose(soft_maximum(logits[:, 1:])[:, 0], late, rtol=1e-5)


def test_variation_changes_level_alone_when_that_is_asked(rng: np.random.Generator) -> None:
    mel = torch.randn(6, 80, 40)
    targets = torch.zeros(6, 2)
    assert torch.equal(vary(mel, targets, STILL, rng), mel)
    louder = vary(mel, targets, replace(STILL, gain_db=10), rng) - mel
    per_window = louder.mean(dim=(1, 2))
    assert float(per_window.abs().max()) <= 1
    assert float(per_window.std()) > 0.1
    torch.testing.assert_close(louder, per_window.view(-1, 1, 1).expand_as(louder), rtol=0, atol=1e-5)


def test_variation_hides_stripes(rng: np.random.Generator) -> None:
    config = replace(STILL, mask_bands=5, mask_frames=7)
    mel = torch.randn(64, 80, 40) + 20
    hidden = vary(mel, torch.zeros(64, 2), config, rng) == -4
    bands, frames = hidden.all(dim=2).sum(dim=1), hidden.all(dim=1).sum(dim=1)
    assert (int(bands.min()), int(bands.max())) == (0, 5)
    assert (int(frames.min()), int(frames.max())) == (0, 7)
    assert int(hidden.sum()) == int((bands * 40 + frames * 80 - bands * frames).sum())


def test_stretching_spreads_about_the_first_and_mirrors_the_end() -> None:
    ramp, factors = torch.arange(11.0).view(1, 11, 1).repeat(3, 1, 2), np.array([1.0, 1.25, 0.8])
    got = stretched(ramp, 0, factors)[:, :, 0]
    assert torch.equal(stretched(ramp.transpose(1, 2), 1, factors)[:, 0], got)
    torch.testing.assert_close(got[0], torch.arange(11.0))
    torch.testing.assert_close(got[1], torch.arange(11.0) * 0.8)
    torch.testing.assert_close(got[2], torch.tensor([0, 1.25, 2.5, 3.75, 5, 6.25, 7.5, 8.75, 10, 8.75, 7.5]))


def test_variation_by_voice_and_tempo_keeps_the_end_of_the_window(rng: np.random.Generator) -> None:
    config = replace(STILL, voice_warp=0.1, tempo_warp=0.2)
    mel = torch.zeros(64, 80, 40)
    mel[:, 40, 39] = 1  # a peak in the last frame stays there, but moves over the bands
    got = vary(mel, torch.zeros(64, 2), config, rng)
    assert float(got[:, :, 39].sum(dim=1).min()) > 0.8
    peaks = got[:, :, 39].argmax(dim=1)
    assert (int(peaks.min()), int(peaks.max())) == (36, 44)
    mel = torch.zeros(64, 80, 40)
    mel[:, :, 19] = 1
    where = vary(mel, torch.zeros(64, 2), config, rng)[:, 0].argmax(dim=1)
    assert (int(where.min()), int(where.max())) == (15, 23)


def test_variation_by_style_lies_between_two_windows(rng: np.random.Generator) -> None:
    """Each band keeps its course over time, at a level and spread between its own and the other's."""
    mel = torch.randn(2, 80, 400) * torch.tensor([1.0, 3.0]).view(2, 1, 1) + torch.tensor([0.0, 5.0]).view(
        2, 1, 1
    )
    taken = np.zeros(2)
    for _ in range(40):
        got = vary(mel, torch.zeros(2, 2), replace(STILL, style_share=1), rng)
        means, spreads = got.mean(dim=2), got.std(dim=2)
        for one, other in ((0, 1), (1, 0)):
            # A permutation of two may leave both as they are.
            moved = (means[one] - mel[one].mean(dim=1)) / (mel[other].mean(dim=1) - mel[one].mean(dim=1))
            assert float(moved.min()) > -1e-3 and float(moved.max()) < 1 + 1e-3
            assert float(moved.std()) < 1e-3
            wider = (spreads[one] - mel[one].std(dim=1)) / (mel[other].std(dim=1) - mel[one].std(dim=1))
            torch.testing.assert_close(wider, moved, rtol=0, atol=5e-3)
            taken[one] = max(taken[one], float(moved.mean()))
            centred = got[one] - means[one].unsqueeze(1), mel[one] - mel[one].mean(dim=1, keepdim=True)
            assert float(functional.cosine_similarity(*centred).min()) > 0.999
    assert taken.min() > 0.9


def test_variation_adds_windows_without_a_phrase_as_noise(rng: np.random.Generator) -> None:
    """Ten decibels under the phrase, and nothing of what is said in the other phrases."""
    config = replace(STILL, mix_share=1, min_snr_db=10, max_snr_db=10)
    mel = torch.zeros(3, 80, 40)
    mel[0, 3], mel[1, 5], mel[2] = 2.0, 2.0, -1.0
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    got = vary(mel, targets, config, rng)
    for row, band in ((0, 3), (1, 5)):
        assert torch.equal(got[row, band], torch.full((40,), 2.0))
        others = torch.cat([got[row, :band], got[row, band + 1 :]])
        torch.testing.assert_close(others, torch.full_like(others, 1.0))
    torch.testing.assert_close(got[2], torch.full((80, 40), -1.0))


def toy_lessons(n: int, seed: int) -> Lessons:
    """A phrase is a rise from band 20 to band 60 that ends 20 frames before the window does."""
    rng = np.random.default_rng(seed)
    mel = rng.normal(-3, 0.5, (n, 80, 120)).astype(np.float16)
    targets = np.zeros((n, 2), dtype=np.float32)
    for i in range(n):
        kind = int(rng.integers(3))
        for step in range(40):
            band = 20 + step if kind == 0 else 60 - step
            if kind < 2:
                mel[i, band - 2 : band + 3, 60 + step] = 1
        if kind < 2:
            targets[i, kind] = 1
    pooled = mel.astype(np.float32).reshape(n, 80, 30, 4).mean(axis=3).transpose(0, 2, 1)
    teacher = (12 * targets - 6).astype(np.float32)
    return Lessons(mel, targets, teacher, np.ascontiguousarray(pooled[:, :, ::8]).astype(np.float16))


def test_a_student_learns_and_foretells(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = StudentNet(PHRASES, SMALL)
    config = DistillConfig(
        epochs=8, batch=32, learning_rate=1e-2, averaging=0.8, feature_weight=0.3, tempo_warp=0
    )
    train, dev = toy_lessons(256, 1), toy_lessons(64, 2)
    history = distil(net, train, dev, config, tmp_path, "key", 1, Quiet())
    assert len(history.dev_loss) == 8
    assert history.dev_loss[-1] < 0.5 * history.dev_loss[0]
    with torch.inference_mode():
        logits, _ = net(torch.from_numpy(dev.mel.astype(np.float32)))
    found = soft_maximum(logits[:, -20:]) > 0
    assert float((found.numpy() == dev.targets).mean()) > 0.95
    again = StudentNet(PHRASES, SMALL)
    distil(again, train, dev, config, tmp_path, "key", 1, Quiet())  # nothing left to do but to read it
    for a, b in zip(net.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_without_features_and_with_another_stride(tmp_path: Path) -> None:
    net = StudentNet(PHRASES, StudentConfig(channels=8, kernel=3, dilations=(1,), stride=3))
    lessons = toy_lessons(32, 1)
    for weight in (0.0, 0.5):
        config = replace(STILL, epochs=1, batch=16, feature_weight=weight)
        history = distil(net, lessons, lessons, config, tmp_path / str(weight), "key", 1, Quiet())
        assert np.isfinite(history.dev_loss).all()
