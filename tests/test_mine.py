"""Mining: what scores highest in hours of background is found and shown again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import PHRASES, sounds

from wakeword.audio import as_int16
from wakeword.config import StudentConfig
from wakeword.errors import DataError, TrainingError
from wakeword.mel import log_mel
from wakeword.train import mine
from wakeword.train.mine import Background, cache_background
from wakeword.train.student import StudentNet

FRAMES = 100


def loud_is_a_phrase() -> StudentNet:
    """A student whose first phrase is loud low bands and whose second is loud high bands, at once."""
    net = StudentNet(PHRASES, StudentConfig(channels=2, kernel=1, dilations=(1,))).without_norms()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net.stem.weight[0, :40] = 0.01
        net.stem.weight[1, 40:] = 0.01
        net.output.weight[:, :, 0] = torch.eye(2)
    return net.train()


def quiet_but_for(n: int, peaks: dict[int, int]) -> np.ndarray:
    """Frames [n, 80] at -4, with 4 loud frames in the bands of phrase `peaks[at]`."""
    mel = np.full((n, 80), -4, dtype=np.float16)
    for at, phrase in peaks.items():
        mel[at : at + 4, 40 * phrase : 40 * phrase + 40] = 2
    return mel


def test_log_mel_of_all_recordings(tmp_path: Path) -> None:
    recordings = [as_int16(sounds(1.3, seed=s)) for s in (1, 2)]
    got = cache_background(recordings, tmp_path / "b.f16")
    expected = [log_mel((r / 32_768).astype(np.float32)).T for r in recordings]
    np.testing.assert_allclose(got, np.concatenate(expected), atol=5e-3)
    with pytest.raises(TrainingError, match="cannot keep log-mel in"):
        cache_background(recordings, tmp_path / "nowhere" / "b.f16")


def test_windows_drawn_evenly_before_mining(rng: np.random.Generator) -> None:
    mel = np.repeat(np.arange(1_000, dtype=np.float16)[:, None], 80, axis=1)
    drawn = Background(mel, FRAMES).draw(500, rng)
    assert drawn.shape == (500, 80, FRAMES)
    starts = drawn[:, 0, 0]
    torch.testing.assert_close(drawn[:, 7], starts[:, None] + torch.arange(FRAMES), rtol=0, atol=0)
    assert 0 <= float(starts.min()) < 50
    assert 850 < float(starts.max()) < 900


def test_what_fires_is_found(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    """Two loud places, one for each phrase; every mined window ends a little after one of them."""
    monkeypatch.setattr(mine, "HARDEST", 1)
    monkeypatch.setattr(mine, "PIECE_STEPS", 64)
    peaks = {1_200: 0, 3_000: 1}
    student = loud_is_a_phrase()
    background = Background(quiet_but_for(5_002, peaks), FRAMES)
    background.mine(student)
    assert student.training
    drawn = background.draw(64, rng)
    loud = drawn[:32].amax(dim=1) > 0
    assert loud.any(dim=1).all()
    last = FRAMES - 1 - loud.flip(1).int().argmax(dim=1)
    assert int(last.min()) > 20
    assert int(last.max()) < FRAMES
    of_first = (drawn[:32, :40].amax(dim=(1, 2)) > 0).float().mean()
    assert 0.2 < float(of_first) < 0.8


def test_too_little_background() -> None:
    with pytest.raises(DataError, match="100 frames of background are less than one window of 100"):
        Background(np.zeros((100, 80), dtype=np.float16), FRAMES)
