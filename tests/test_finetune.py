"""Fine-tuning: what is trained, resumed and reproduced; and the whole way from clips to a detector."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import CONFIG, tiny_net
from tones import SOUNDS, murmur, padded, write_recordings

import wakeword
from wakeword.audio import SAMPLE_RATE, as_int16
from wakeword.cli import main
from wakeword.clips.augment import AugmentConfig, Augmenter
from wakeword.config import OptimConfig
from wakeword.errors import TrainingError
from wakeword.manifest import Mode
from wakeword.train import checkpoint, finetune
from wakeword.train.checkpoint import load_checkpoint
from wakeword.train.encoders import load_encoder
from wakeword.train.features import cache_features
from wakeword.train.finetune import Kept, fine_tune, weighted_loss
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
    return net, fine_tune(net, *sets, policy, optim, folder, key, seed, progress or Quiet(), kept)


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
    history = fine_tune(rendered, *sets, TOP, top, tmp_path / "rendered", "key", 1, Quiet())
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


# From here on: the whole way, by command, on the first block of the real encoder.

SETTINGS = """
blocks = 1
window_s = 1.2
[data]
versions = 4
negatives = 160
mining_pool = 40
mining_kept = 4
near = 0
synthetic = 0
dev_versions = 2
[head]
hidden = 32
[optim]
epochs = 8
batch = 32
learning_rate = 5e-3
averaging = 0.8
[distill]
epochs = 15
batch = 32
learning_rate = 5e-3
averaging = 0.8
"""


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`clips/<phrase>/<speaker>/x.wav`, `background/speech` and `settings.toml`."""
    folder = tmp_path_factory.mktemp("recordings")
    write_recordings(folder)
    (folder / "settings.toml").write_text(SETTINGS)
    return folder


def train_args(recordings: Path, out: Path, *more: str, tune: str = "head") -> list[str]:
    data = ["--clips", str(recordings / "clips"), "--background", str(recordings / "background")]
    how = ["--config", str(recordings / "settings.toml"), "--tune", tune, "--device", "cpu"]
    return ["train", *SOUNDS, *data, *how, "--out", str(out), *more]


@pytest.fixture(scope="module")
def model(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "sounds.wakeword"
    assert main(train_args(recordings, out)) == 0
    return out


def test_train_makes_a_detector(model: Path) -> None:
    report = model.with_suffix(".report")
    assert sorted(model.parent.iterdir()) == [model.with_suffix(".checkpoint"), report, model]
    assert "on these very recordings (dev)" in (report / "report.html").read_text()
    manifest = wakeword.load(model).manifest
    assert manifest.phrases == tuple(SOUNDS)
    assert manifest.training["policy"] == "head"
    assert set(manifest.thresholds["three beeps"]) == {"0.1", "0.5", "1", "2"}
    points = manifest.thresholds["three beeps"]
    values = [points[rate].value for rate in ("0.1", "0.5", "1", "2")]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("mode", ["cascade", "verifier"])
def test_it_detects_in_a_stream_and_not_in_background(model: Path, mode: Mode) -> None:
    detector = wakeword.load(model, threshold=0.5, mode=mode)
    stream = 0.3 * murmur(30.0, seed=999)
    starts = {4.0: "rising tone", 11.0: "three beeps", 18.0: "three beeps", 25.0: "rising tone"}
    for start_s, phrase in starts.items():
        clip = SOUNDS[phrase](1.03, 1.0)
        stream[int(start_s * SAMPLE_RATE) :][: len(clip)] += clip
    events = detector.feed(stream)
    assert [event.phrase for event in events] == list(starts.values())
    assert all(0 < event.time_s - start_s < 1.5 for event, start_s in zip(events, starts, strict=True))
    detector.reset()
    assert detector.feed(murmur(60.0, seed=555)) == []


def test_resume_without_anything_to_resume(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(train_args(recordings, tmp_path / "m.wakeword", "--resume")) == 1
    assert "nothing to resume" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_unknown_tune(recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(train_args(recordings, tmp_path / "m.wakeword", "--tune", "top-9")) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("wakeword: tune 'top-9'; choose auto")


def test_ctrl_c_leaves_a_run_to_resume(recordings: Path, tmp_path: Path) -> None:
    """The signal goes to the whole process group, workers too, as a terminal sends it."""
    out = tmp_path / "m.wakeword"
    process = subprocess.Popen(
        [sys.executable, "-m", "wakeword", *train_args(recordings, out, tune="top-1")],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not (tmp_path / "m.work" / "train.npy").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    out_text, err_text = process.communicate(timeout=120)
    assert process.returncode == 1
    assert out_text == ""
    assert "Traceback" not in err_text
    assert err_text.splitlines()[-1].startswith("wakeword: interrupted")
    assert not out.exists()
    assert (tmp_path / "m.work" / "train.npy").is_file()
    assert main(train_args(recordings, out, "--resume", tune="top-1")) == 0
    assert wakeword.load(out).manifest.training["policy"] == "top-1"
    tensors, _ = load_checkpoint(out.with_suffix(".checkpoint"))
    pretrained = load_encoder("tiny.en", 1).state_dict()
    retrained = {n for n in pretrained if f"encoder.{n}" in tensors}
    assert "blocks.0.attn.query.weight" in retrained and "conv1.weight" not in retrained
    assert not torch.equal(tensors["encoder.blocks.0.mlp.0.weight"], pretrained["blocks.0.mlp.0.weight"])
