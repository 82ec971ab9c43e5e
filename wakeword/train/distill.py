"""Teach the student what the verifier knows.

Both meet the same windows. The student learns the label and the verifier's posterior (which tells a near
miss from noise), and along the way to name the verifier's features of a sound a little after it: what a
recogniser finds worth noting in speech is most of what a wake word is made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from wakeword.audio import FRAME_SAMPLES, SAMPLE_RATE
from wakeword.clips.augment import DEFAULT_AUGMENTATION
from wakeword.config import DistillConfig
from wakeword.train.features import (
    BATCH,
    FromKept,
    KeptRows,
    cache_encoded,
    cache_log_mel,
)
from wakeword.train.finetune import Kept, cache_above, window_weights
from wakeword.train.head import HEAD_HZ
from wakeword.train.mine import Background
from wakeword.train.model import WakewordNet
from wakeword.train.pieces import Pieces
from wakeword.train.run import History, Progress, Run
from wakeword.train.student import MEL_SHIFT, StudentNet
from wakeword.train.windows import WindowSet

FEATURE_DELAY_S = 0.16
"""How long after a sound the student is to name its features: the verifier knew what comes after."""
LATE_S = DEFAULT_AUGMENTATION.max_after_s + 0.2
"""A phrase ends within this last part of its window; whatever fires earlier has not heard it out."""
EARLY_WEIGHT = 0.5
STYLE_BETA = 0.3
"""Of the beta distribution of how much of its own style a window keeps: mostly nearly all or nothing."""


@dataclass(frozen=True)
class Lessons:
    """N windows with what the verifier says of them."""

    mel: npt.NDArray[np.float16]
    """What the student hears [N, M, T]."""
    targets: npt.NDArray[np.float32]
    """1 where the window holds the phrase [N, K]."""
    teacher: npt.NDArray[np.float32]
    """The verifier's logits [N, K]."""
    features: npt.NDArray[np.float16]
    """The verifier's features at 25 Hz [N, F, D]."""

    def __len__(self) -> int:
        return len(self.targets)

    def without_features(self) -> Lessons:
        """For a student that foretells none: they are not even read."""
        return replace(self, features=self.features[:, :0])

    def batch(
        self, rows: npt.NDArray[np.int64], device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(mel, targets, teacher, features) of these windows."""
        parts = (self.mel, self.targets, self.teacher, self.features)
        mel, targets, teacher, features = (torch.from_numpy(part[rows]).to(device).float() for part in parts)
        return mel, targets, teacher, features


def make_lessons(
    net: WakewordNet,
    windows: WindowSet,
    path: Path,
    key: str,
    progress: Progress,
    kept: Kept | None = None,
) -> Lessons:
    """Listen to all windows with the verifier and keep what the student needs.

    `path`, `key` and `kept` are as for `fine_tune`, whose caches are used here: `<path>-mel.npy` is the
    log-mel, `<path>.npy` what `kept.frozen` makes of it (None = the net's features).
    """
    kept = kept or Kept(net)
    mel = cache_log_mel(windows, path, key, progress)
    features = cache_encoded(FromKept(kept.frozen), KeptRows(mel), path, key, progress)
    if kept.above:
        features = cache_above(kept.above, features, path, key, progress)
    return Lessons(mel, windows.targets, teacher_logits(net, features), features)


def teacher_logits(net: WakewordNet, features: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """The verifier's logits of cached features [N, F, D] -> [N, K]."""
    device = next(net.head.parameters()).device
    net.eval()
    with torch.inference_mode():
        rows = [
            net.head(torch.from_numpy(features[i : i + BATCH].astype(np.float32)).to(device)).cpu()
            for i in range(0, len(features), BATCH)
        ]
    return np.concatenate(rows)


class _Pupil(nn.Module):
    """The student with what only its training needs."""

    def __init__(self, student: StudentNet, width: int, config: DistillConfig) -> None:
        super().__init__()
        self.student, self.config = student, config
        self.foretell = nn.Conv1d(student.config.channels, width, 1) if config.feature_weight else None
        self.steps_per_s = SAMPLE_RATE / FRAME_SAMPLES / student.config.stride

    def loss(self, mel: Tensor, targets: Tensor, teacher: Tensor, features: Tensor) -> Tensor:
        """Mean loss of a batch; see `Lessons` for the shapes. `mel` may hold more windows: background."""
        mel = mel[:, :, mel.shape[2] % self.student.config.stride :]
        hidden, _ = self.student.hidden(mel, self.student.zero_states(len(mel)))
        logits, n = self.student.output(hidden).transpose(1, 2), len(targets)
        late = round(LATE_S * self.steps_per_s)
        share = self.config.teacher_share
        wanted = share * torch.sigmoid(teacher) + (1 - share) * targets
        weights = window_weights(targets, self.config.negative_weight)
        loss = step_loss(logits[:n], wanted, weights, late)
        if len(mel) > n:
            none = logits.new_zeros(len(mel) - n, wanted.shape[1])
            loss = loss + step_loss(logits[n:], none, none.new_ones(len(none)), late)
        if self.foretell is None:
            return loss
        return loss + self.config.feature_weight * self._feature_loss(hidden[:n], features)

    def _feature_loss(self, hidden: Tensor, features: Tensor) -> Tensor:
        assert self.foretell is not None
        target = functional.layer_norm(features, features.shape[2:])
        # The last step knows the window's end; counted from there, rates that differ stay in step.
        shift = FEATURE_DELAY_S * HEAD_HZ
        ages = torch.arange(hidden.shape[2], device=hidden.device) * (HEAD_HZ / self.steps_per_s)
        at = (target.shape[1] - 1 - shift - ages).round().long()
        at = at[at >= 0]
        said = self.foretell(hidden.flip(2)[:, :, : len(at)]).transpose(1, 2)
        return functional.mse_loss(said, target[:, at])


def step_loss(logits: Tensor, wanted: Tensor, weights: Tensor, late_steps: int) -> Tensor:
    """Cross-entropy of windows from the logits of their steps.

    The last `late_steps` together (log-mean-exp: a soft maximum) are to say `wanted`; none before may fire,
    for there the phrase is not over. logits [B, S, K], wanted [B, K], weights [B] -> scalar.
    """
    late, early = logits[:, -late_steps:], logits[:, :-late_steps]
    losses = _cross_entropy(soft_maximum(late), wanted)
    if early.shape[1]:
        losses = losses + EARLY_WEIGHT * _cross_entropy(soft_maximum(early), torch.zeros_like(wanted))
    return (losses * weights).sum() / weights.sum()


def soft_maximum(logits: Tensor) -> Tensor:
    """Log-mean-exp over steps. [B, S, K] -> [B, K]."""
    peak = logits.amax(dim=1, keepdim=True)
    return (peak + (logits - peak).exp().mean(dim=1, keepdim=True).log()).squeeze(1)


def _cross_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum(dim=1)


def vary(mel: Tensor, targets: Tensor, config: DistillConfig, rng: np.random.Generator) -> Tensor:
    """Windows [B, M, T] by other voices, over other channels, in more noise, with stripes hidden.

    `targets` [n, K] are of the first n windows; the others hold no phrase. The noise is such a window:
    power adds up, and of two powers the larger is most of the sum. The verifier heard the window without it,
    so the student learns to hear through noise.
    """
    batch, bands, frames = mel.shape
    if config.voice_warp:
        mel = stretched(mel, 0, rng.uniform(1 - config.voice_warp, 1 + config.voice_warp, batch))
    if config.tempo_warp:  # about the window's end, near which the phrase ends
        factors = rng.uniform(1 - config.tempo_warp, 1 + config.tempo_warp, batch)
        mel = stretched(mel, 1, factors, about_end=True)
    if config.style_share:
        mel = _restyled(mel, config.style_share, rng)
    gains = torch.from_numpy(rng.uniform(-config.gain_db, config.gain_db, batch).astype(np.float32)) / 10
    varied = _in_noise(mel, targets, config, rng).add_(gains.to(mel.device).view(-1, 1, 1))
    in_bands = torch.from_numpy(_stripes(batch, bands, config.mask_bands, rng)).unsqueeze(2)
    in_frames = torch.from_numpy(_stripes(batch, frames, config.mask_frames, rng)).unsqueeze(1)
    # What the student takes as zero.
    return varied.masked_fill_((in_bands | in_frames).to(mel.device), -MEL_SHIFT)


def stretched(x: Tensor, axis: int, factors: npt.NDArray[np.float64], about_end: bool = False) -> Tensor:
    """Windows [B, M, T] spread along M (`axis` 0) or T (1) about the first or the last, each by its factor.

    What is lacking at the other end mirrors it.
    """
    n = x.shape[1 + axis]
    at = np.arange(n) / factors[:, None]
    at = np.clip((n - 1) - np.abs((n - 1) - at), 0, n - 1)
    if about_end:
        at = (n - 1) - at[:, ::-1]
    low = np.minimum(at.astype(np.int64), n - 2)
    shares = torch.from_numpy((at - low).astype(np.float32)).to(x.device).unsqueeze(2 - axis)
    indices = torch.from_numpy(low).to(x.device)
    if x.is_cuda:
        wide = indices.unsqueeze(2 - axis).expand_as(x)
        return torch.lerp(x.gather(1 + axis, wide), x.gather(1 + axis, wide + 1), shares)
    # Window by window: a gather of them all at once takes six times as long on a CPU.
    return torch.stack(
        [
            torch.lerp(window.index_select(axis, index), window.index_select(axis, index + 1), share)
            for window, index, share in zip(x, indices, shares, strict=True)
        ]
    )


def _restyled(mel: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """A share of the windows with the mean and spread of each band drawn towards another window's.

    MixStyle (Zhou et al. 2021, https://arxiv.org/abs/2104.02008), over bands: they carry most of what tells
    one voice, microphone or room from another.
    """
    batch = len(mel)
    kept = np.where(rng.random(batch) < share, rng.beta(STYLE_BETA, STYLE_BETA, batch), 1.0)
    own = torch.from_numpy(kept.astype(np.float32)).to(mel.device).view(-1, 1, 1)
    other = torch.from_numpy(rng.permutation(batch)).to(mel.device)
    mean = mel.mean(dim=2, keepdim=True)
    power = torch.linalg.vector_norm(mel, dim=2, keepdim=True).square() / mel.shape[2]
    spread = (power - mean.square()).clamp_min(1e-6).sqrt()
    factor = own + (1 - own) * spread[other] / spread
    return torch.addcmul(own * mean + (1 - own) * mean[other] - mean * factor, mel, factor)


def _in_noise(mel: Tensor, targets: Tensor, config: DistillConfig, rng: np.random.Generator) -> Tensor:
    silent = np.ones(len(mel), dtype=bool)
    silent[: len(targets)] = ~targets.any(dim=1).cpu().numpy()
    noises = np.flatnonzero(silent)
    noisy = np.flatnonzero(rng.random(len(mel)) < config.mix_share)
    if not len(noises) or not len(noisy):
        return mel.clone()
    levels = loudness(mel)
    partners = torch.from_numpy(rng.choice(noises, len(noisy)))
    rows = torch.from_numpy(noisy)
    snr_db = rng.uniform(config.min_snr_db, config.max_snr_db, len(noisy)).astype(np.float32)
    shift = levels[rows] - levels[partners] - torch.from_numpy(snr_db / 10).to(mel.device)
    mixed = mel.clone()
    mixed[rows] = torch.maximum(mel[rows], mel[partners] + shift.view(-1, 1, 1))
    return mixed


def loudness(mel: Tensor) -> Tensor:
    """log10 of the power that the loudest tenth of a window's frames exceed. [B, M, T] -> [B]."""
    power: Tensor = mel.amax(dim=1).quantile(0.9, dim=1)
    return power


def _stripes(batch: int, length: int, widest: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """One stripe of up to `widest` in each row [B, length]."""
    widths = rng.integers(0, min(widest, length) + 1, batch)
    starts = rng.integers(0, length - widths + 1)
    at = np.arange(length)
    return (at >= starts[:, None]) & (at < (starts + widths)[:, None])


def distil(
    student: StudentNet,
    train: Lessons,
    dev: Lessons,
    config: DistillConfig,
    folder: Path,
    key: str,
    seed: int,
    progress: Progress,
    background: Background | None = None,
) -> History:
    """Train the student in place, where it is; it ends with the averaged weights of the best epoch.

    `background` is what the student may hear nothing in; what it does hear there is mined anew each epoch.
    `folder` takes the checkpoint; `key` names everything the run depends on. Raises TrainingError when the
    loss diverges or the disk is full.
    """
    device = student.output.weight.device
    if not config.feature_weight:
        train, dev = train.without_features(), dev.without_features()
    torch.manual_seed(seed)
    pupil = _Pupil(student, train.features.shape[2], config).to(device)
    groups = [{"params": list(pupil.parameters()), "lr": config.learning_rate}]
    run = Run(pupil, groups, config, len(train), folder, key, seed)

    def losses(order: npt.NDArray[np.int64], epoch: int) -> Iterator[Tensor]:
        rngs = np.random.default_rng([seed, epoch, 1]).spawn(len(pieces))
        if background and epoch:
            background.mine(student)
        for at in range(0, len(order), config.batch):
            rows = np.array_split(order[at : at + config.batch], len(pieces))
            yield pieces.loss(partial(loss_of_rows, rows, rngs), [len(part) for part in rows])

    def loss_of_rows(
        rows: Sequence[npt.NDArray[np.int64]], rngs: Sequence[np.random.Generator], pupil: _Pupil, i: int
    ) -> Tensor:
        mel, targets, *taught = train.batch(rows[i], device)
        n = (config.background + i) // len(pieces)  # over all pieces as many as asked for
        if background and n:
            mel = torch.cat([mel, background.draw(n, rngs[i]).to(device)])
        return pupil.loss(vary(mel, targets, config, rngs[i]), targets, *taught)

    def dev_losses() -> Iterator[tuple[Tensor, float]]:
        for at in range(0, len(dev), config.batch):
            mel, targets, *taught = dev.batch(np.arange(at, min(at + config.batch, len(dev))), device)
            weight = float(window_weights(targets, config.negative_weight).sum())
            yield pupil.loss(mel, targets, *taught), weight

    with Pieces(pupil) as pieces:
        return run.fit("teach the student", losses, dev_losses, progress)
