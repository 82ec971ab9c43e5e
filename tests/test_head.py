"""The new layers: pooled softly over time, and aware of the order of sounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny import CONFIG, HEAD, PHRASES, SPEC, sounds, tiny_net

from wakeword.config import HeadConfig
from wakeword.mel import log_mel
from wakeword.train.encoders import ENCODERS
from wakeword.train.head import Head, pool_factor, pool_frames
from wakeword.train.model import WakewordNet, window_columns, window_frames, window_samples
from wakeword.train.speech_bundles import build_bundle
from wakeword.train.whisper import WhisperEncoder

D, K = 12, 3


@pytest.fixture
def head() -> Head:
    torch.manual_seed(1)
    return Head(D, K, HeadConfig(hidden=16, kernel=9, dropout=0.5)).eval()


def test_pool_is_log_mean_exp(head: Head) -> None:
    frames = torch.randn(4, 25, D)
    each = head.frame_logits(frames)
    assert each.shape == (4, 25, K)
    naive = [
        [math.log(sum(math.exp(v) for v in each[b, :, k].tolist()) / 25) for k in range(K)] for b in range(4)
    ]
    np.testing.assert_allclose(head(frames).detach().numpy(), naive, atol=1e-5)


def test_pool_holds_for_great_logits(head: Head) -> None:
    with torch.no_grad():
        head.output.weight.mul_(1e6)
    assert torch.isfinite(head(torch.randn(2, 25, D))).all()


def test_one_output_node_a_phrase(head: Head) -> None:
    """Another node's weights change nothing of a phrase's score."""
    frames = torch.randn(2, 25, D)
    before = head(frames).detach()
    with torch.no_grad():
        head.output.weight[1].zero_()
    after = head(frames).detach()
    assert torch.equal(before[:, [0, 2]], after[:, [0, 2]])
    assert not torch.equal(before[:, 1], after[:, 1])


def test_order_of_sounds_matters(head: Head) -> None:
    frames = torch.randn(1, 25, D)
    assert (head(frames) - head(frames.flip(1))).abs().max() > 1e-4


def test_sees_about_a_second(head: Head) -> None:
    """9 frames, then 9 at twice the spacing: 12 to either side, and no more."""
    frames = torch.randn(1, 61, D, requires_grad=True)
    head.frame_logits(frames)[0, 30].sum().backward()
    assert frames.grad is not None
    seen = torch.nonzero(frames.grad[0].abs().sum(dim=1)).flatten().tolist()
    assert (seen[0], seen[-1]) == (18, 42)


def test_starts_doubtful(head: Head) -> None:
    assert torch.sigmoid(head(torch.randn(16, 25, D))).max() < 0.2


def test_dropout_only_while_training(head: Head) -> None:
    frames = torch.randn(2, 25, D)
    assert torch.equal(head(frames), head(frames))
    head.train()
    assert not torch.equal(head(frames), head(frames))


def test_pool_frames() -> None:
    frames = torch.arange(10.0).reshape(1, 5, 2)
    assert pool_frames(frames, 2).tolist() == [[[1.0, 2.0], [5.0, 6.0]]]
    assert pool_frames(frames, 1) is frames
    assert [pool_factor(hz) for hz in (50.0, 49.9, 25.0, 12.5)] == [2, 2, 1, 1]


def test_window_is_whole_frames_of_the_head() -> None:
    for window_s in (0.5, 1.0, 1.59, 1.9, 2.03):
        frames = window_frames(window_s)
        assert frames % 4 == 0
        assert 0 <= window_s * 100 - frames < 4.5
        assert window_samples(window_s) == (frames - 1) * 160 + 400
    assert window_frames(1.9) == 188


def test_net_from_audio_to_logits() -> None:
    net = tiny_net()
    audio = torch.from_numpy(sounds(2.0)[: window_samples(CONFIG.window_s)][None])
    mel = net.encoder_input(audio)
    assert mel.shape == (1, 80, 100) == (1, 80, window_columns(net.encoder, CONFIG.window_s))
    np.testing.assert_allclose(mel[0].numpy(), log_mel(audio[0].numpy()), atol=0.02)
    assert net.features(mel).shape == (1, 25, SPEC.width)
    assert net(mel).shape == (1, len(PHRASES))


def test_net_on_an_encoder_that_hears_audio() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        encoder = build_bundle(ENCODERS["wav2vec2-base"], 1)
        net = WakewordNet(encoder, PHRASES, HEAD).eval()
    audio = torch.from_numpy(np.stack([sounds(1.0, seed)[: window_samples(1.0)] for seed in range(2)]))
    assert net.encoder_input(audio) is audio
    with torch.inference_mode():
        assert net(audio).shape == (2, len(PHRASES))
    assert window_columns(encoder, 1.0) == 16_240


def test_same_seed_same_net() -> None:
    assert isinstance(tiny_net().encoder, WhisperEncoder)
    one, other = tiny_net().state_dict(), tiny_net().state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
