"""Fine-tuning: what is trained, resumed and reproduced."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import CONFIG, tiny_net
from tones import SOUNDS, murmur, padded

from wakeword.audio import as_int16
from wakeword.clips.augment import AugmentConfig, Augmenter
from wakeword.config import OptimConfig
from wakeword.errors import TrainingError
from wakeword.train import checkpoint, finetune
from wakeword.train.checkpoint import load_checkpoint
from wakeword.train.features import cache_features
from wakeword.train.finetune import Course, Kept, fine_tune, weighted_loss
from wakeword.train.model import Lower, Upper, WakewordNet, window_samples
from wakeword.train.policy import Policy, choose_policy
from wakeword.train.run import History, rate_schedule
from wakeword.train.windows import WindowSet

ROOT = Path(__file__).resolve().parents[1]
OPTIM = OptimConfig(epochs=3, batch=16, learning_rate=3e-3, encoder_rate=1e-3, averaging=0.5)
HEAD = choose_policy("head", 0.0, "cpu", 2)
TOP = choose_policy("top-1", 0.0, "cpu", 2)
ALL = choose_policy("all", 0.0, "cpu", 2)


@pytest.fixture(scope="module")
def sets() -> tuple[WindowSet, WindowSet]:
    """Windows to train on and to choose the epoch by: 6 clips of each phrase, 48 windows of background."""
    rng = np.random.default_rng(1)
    clips = tuple(padded(make(1 + i / 20, 1.0), rng) for make in SOUNDS.values() for i in range(6))
    augmenter = Augmenter(
        AugmentConfig(p_clean=1.0), [], [as_int16(murmur(20.0, 7))], window_samples(CONFIG.window_s)
    )
    clip_of = np.concatenate([np.tile(np.arange(12), 2), np.full(48, -1)])
    targets = np.zeros((len(clip_of), 2), dtype=np.float32)
    targets[np.arange(24), clip_of[:24] // 6] = 1
    return tuple(WindowSet(clips, clip_of, targets, augmenter, seed) for seed in (1, 2))  # type: ignore[return-value]


class Quiet:
    """Progress that ends the run after so many epochs, as Ctrl-C would."""

    def __init__(self, epochs: int = 10**9) -> None:
        self.left, self.stages = epochs, list[str]()

    def start(self, stage: str, total: int) -> None:
        self.stages.append(stage)

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.left -= bool(note)
        if self.left <= 0:
            raise KeyboardInterrupt


def tuned(
    sets: tuple[WindowSet, WindowSet],
    folder: Path,
    policy: Policy = HEAD,
    optim: OptimConfig = OPTIM,
    seed: int = 1,
    progress: Quiet | None = None,
    key: str = "key",
    divided: bool = False,
) -> tuple[WakewordNet, History]:
    net = tiny_net(slope=1.0)
    kept = Kept(Lower(net, policy.n_blocks), Upper(net, policy.n_blocks)) if divided else None
    course = Course(optim, folder, key, seed, progress or Quiet(), kept)
    return net, fine_tune(net, *sets, policy, course)


def changed(net: WakewordNet) -> set[str]:
    before = tiny_net(slope=1.0).state_dict()
    return {".".join(n.split(".")[:3]) for n, t in net.state_dict().items() if not torch.equal(t, before[n])}


def identical(a: WakewordNet, b: WakewordNet) -> bool:
    mine, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(mine[n], theirs[n]) for n in mine)


HEAD_PARTS = {f"head.{n}" for n in ("norm", "reduce", "conv1", "conv2", "output")}


@pytest.mark.parametrize(
    ("tune", "encoder"),
    [
        ("head", set[str]()),
        ("top-1", {"encoder.blocks.1", "encoder.ln_post"}),
        ("all", {f"encoder.{n}" for n in ("blocks.0", "blocks.1", "ln_post", "conv1", "conv2")}),
    ],
)
def test_what_is_trained(
    sets: tuple[WindowSet, WindowSet], tmp_path: Path, tune: str, encoder: set[str]
) -> None:
    net, history = tuned(sets, tmp_path, choose_policy(tune, 0.0, "cpu", 2), replace(OPTIM, epochs=1))
    parts = {n.removesuffix(".weight").removesuffix(".bias") for n in changed(net)}
    assert parts == HEAD_PARTS | encoder
    assert len(history.dev_loss) == len(history.train_loss) == 1
    assert not net.training


def test_blocks_retrained_on_what_is_kept_are_those_retrained_on_windows(
    sets: tuple[WindowSet, WindowSet], tmp_path: Path
) -> None:
    """The new layers alone, then the block: in an epoch of each, whose windows are those that are kept."""
    head = replace(OPTIM, epochs=1)
    top = replace(head, learning_rate=OPTIM.top_learning_rate, encoder_rate=OPTIM.top_encoder_rate)
    rendered, _ = tuned(sets, tmp_path / "head", HEAD, head)
    before = rendered.encoder.state_dict()["blocks.1.mlp.2.weight"].clone()
    history = fine_tune(rendered, *sets, TOP, Course(top, tmp_path / "rendered", "key", 1, Quiet()))
    kept, its_history = tuned(sets, tmp_path / "kept", TOP, head, divided=True)
    assert np.load(tmp_path / "kept" / "train.npy").shape == (len(sets[0]), 50, 32)
    assert changed(kept) == changed(rendered)
    assert its_history.dev_loss == pytest.approx(history.dev_loss, rel=0.01)
    mine, theirs = (net.encoder.state_dict()["blocks.1.mlp.2.weight"] for net in (kept, rendered))
    # AdamW's first steps are as long for small gradients as for large ones: rounding turns some about.
    assert (mine - theirs).norm() < 0.5 * (theirs - before).norm()


def test_it_learns(sets: tuple[WindowSet, WindowSet], tmp_path: Path) -> None:
    net, history = tuned(sets, tmp_path, optim=replace(OPTIM, epochs=12, learning_rate=3e-2))
    assert min(history.dev_loss) < 0.6 * history.dev_loss[0]
    with torch.inference_mode():
        audio = torch.from_numpy(np.stack([sets[1].render(i) for i in range(len(sets[1]))]))
        logits = net(net.encoder_input(audio))
    loss = weighted_loss(logits, torch.from_numpy(sets[1].targets), OPTIM.negative_weight)
    assert float(loss) == pytest.approx(min(history.dev_loss), abs=2e-3)


@pytest.mark.parametrize("policy", [HEAD, ALL], ids=["head", "all"])
def test_windows_for_the_student_alone_teach_the_verifier_nothing(
    sets: tuple[WindowSet, WindowSet], tmp_path: Path, policy: Policy
) -> None:
    train, dev = sets
    n = len(train.clips)
    more = replace(
        train,
        clips=(*train.clips, train.clips[0]),
        clip_of=np.append(train.clip_of, [n, n]),
        targets=np.concatenate([train.targets, np.ones((2, 2), dtype=np.float32)]),
        extra=frozenset({n}),
    )
    with_them, _ = tuned((more, dev), tmp_path / "more", policy)
    without, _ = tuned(sets, tmp_path / "without", policy)
    assert identical(with_them, without)


@pytest.mark.parametrize(
    ("policy", "divided"), [(HEAD, False), (TOP, True), (ALL, False)], ids=["head", "top", "all"]
)
def test_resumed_equals_uninterrupted(
    sets: tuple[WindowSet, WindowSet], tmp_path: Path, policy: Policy, divided: bool
) -> None:
    whole, history = tuned(sets, tmp_path / "whole", policy, divided=divided)
    with pytest.raises(KeyboardInterrupt):
        tuned(sets, tmp_path / "parts", policy, progress=Quiet(epochs=2), divided=divided)
    _, meta = load_checkpoint(tmp_path / "parts" / "checkpoint")
    assert meta["epoch"] == 2
    resumed, its_history = tuned(sets, tmp_path / "parts", policy, divided=divided)
    assert identical(whole, resumed)
    assert its_history == history


def test_resumed_after_an_epoch_broken_off(
    sets: tuple[WindowSet, WindowSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = tuned(sets, tmp_path / "whole")
    steps = iter(range(8))  # 5 of them in the first epoch

    def interrupted(*args: object) -> torch.Tensor:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return weighted_loss(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(finetune, "weighted_loss", interrupted)
        tuned(sets, tmp_path / "parts")
    assert identical(whole, tuned(sets, tmp_path / "parts")[0])


def test_seed_decides(sets: tuple[WindowSet, WindowSet], tmp_path: Path) -> None:
    one, again, other = (tuned(sets, tmp_path / n, seed=s)[0] for n, s in (("a", 1), ("b", 1), ("c", 2)))
    assert identical(one, again)
    assert not identical(one, other)


def test_another_run_starts_over(sets: tuple[WindowSet, WindowSet], tmp_path: Path) -> None:
    tuned(sets, tmp_path, seed=2, key="other settings")
    assert identical(tuned(sets, tmp_path)[0], tuned(sets, tmp_path / "fresh")[0])


def test_finished_run_is_not_trained_further(sets: tuple[WindowSet, WindowSet], tmp_path: Path) -> None:
    first, history = tuned(sets, tmp_path)
    again, its_history = tuned(sets, tmp_path)
    assert identical(first, again)
    assert its_history == history


def test_damaged_checkpoint_is_named(sets: tuple[WindowSet, WindowSet], tmp_path: Path) -> None:
    tuned(sets, tmp_path)
    path = tmp_path / "checkpoint" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(TrainingError, match="damaged checkpoint"):
        tuned(sets, tmp_path)


def test_divergence_is_an_error(sets: tuple[WindowSet, WindowSet], tmp_path: Path) -> None:
    train, dev = sets
    broken = replace(train, targets=np.full_like(train.targets, np.nan))
    with pytest.raises(TrainingError, match="the loss became nan in epoch 1; lower"):
        tuned((broken, dev), tmp_path / "train")
    broken = replace(dev, targets=np.full_like(dev.targets, np.inf))
    with pytest.raises(TrainingError, match=r"the loss became -?(nan|inf) in epoch 1; lower"):
        tuned((train, broken), tmp_path / "dev")
    assert not list(tmp_path.glob("*/checkpoint/weights*"))


def test_great_rate_diverges(sets: tuple[WindowSet, WindowSet], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf) in epoch 1; lower"):
        tuned(sets, tmp_path, optim=replace(OPTIM, learning_rate=1e30, warmup=0.0))


def test_full_disk_leaves_the_epoch_before(
    sets: tuple[WindowSet, WindowSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = tuned(sets, tmp_path / "whole")
    real, saves = checkpoint.save_file, iter([True])

    def full_from_the_second_on(*args: object, **more: object) -> None:
        if not next(saves, False):
            raise OSError(28, "No space left on device")
        real(*args, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(TrainingError, match="No space left on device"):
        patch.setattr(checkpoint, "save_file", full_from_the_second_on)
        tuned(sets, tmp_path / "parts")
    _, meta = load_checkpoint(tmp_path / "parts" / "checkpoint")
    assert meta["epoch"] == 1
    assert identical(whole, tuned(sets, tmp_path / "parts")[0])


def test_features_are_kept_and_gone_on_with(sets: tuple[WindowSet, WindowSet], tmp_path: Path) -> None:
    net, path = tiny_net(slope=1.0), tmp_path / "train.npy"
    path.parent.mkdir(exist_ok=True)

    def stop(n: int) -> None:
        if n:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache_features(net, sets[0], path, "key", stop)
    told: list[int] = []
    got = cache_features(net, sets[0], path, "key", told.append)
    assert told == [32, 32, 8]  # the first 32 were there
    with torch.inference_mode():
        audio = torch.from_numpy(np.stack([sets[0].render(i) for i in range(len(sets[0]))]))
        expected = net.features(net.encoder_input(audio)).numpy()
    np.testing.assert_allclose(got, expected, atol=2e-3, rtol=1e-3)
    told.clear()
    cache_features(net, sets[0], path, "key", told.append)
    assert told == [72]
    told.clear()
    cache_features(net, sets[0], path, "another key", told.append)
    assert told == [0, 32, 32, 8]


def test_features_on_a_full_disk(
    sets: tuple[WindowSet, WindowSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(TrainingError, match=r"cannot keep features in .*No space left on device"):
        tuned(sets, tmp_path)


def test_loss_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [2.0, -1.0]])
    targets = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    negative = 2 * math.log(2)
    positive = math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))
    assert float(weighted_loss(logits, targets, 3.0)) == pytest.approx((3 * negative + positive) / 4)


def test_rate_by_hand() -> None:
    got = [rate_schedule(p, 0.2) for p in (0, 0.1, 0.2, 0.6, 1.0)]
    assert got == pytest.approx([0, 0.5, 1, 0.5, 0])
    assert rate_schedule(0.0, 0.0) == 1.0
