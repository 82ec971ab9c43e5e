"""The main job, end to end: recordings to a calibrated bundle, and a bundle to a report.

Like `wakeword.cli` this composes: training, export and judging meet here and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console

from export.pack import Parity, draft_bundle, export_verifier
from export.quick_features import quick_kept
from export.student import EVIDENCE, EVIDENCE_BESIDE_RECOGNISER, add_student
from wakeword.bars import Bars
from wakeword.bundle import Bundle, save_bundle
from wakeword.clips.advice import advise
from wakeword.clips.dataset import normalise_phrase
from wakeword.clips.drop import NOTHING, DropList
from wakeword.clips.gather import TRAIN_AND_DEV, Recordings, gather, read_given
from wakeword.cluster import Cluster, open_cluster
from wakeword.config import TrainConfig, load_config
from wakeword.describe import verdict_line
from wakeword.errors import TrainingError, UsageError
from wakeword.evaluate.gate import Gate
from wakeword.evaluate.operating import Dev, set_operating_points
from wakeword.evaluate.report import write_report
from wakeword.train.decoder import Recogniser
from wakeword.train.distill import distil, make_lessons
from wakeword.train.finetune import Course, Kept, fine_tune
from wakeword.train.fusion import choose_recogniser, known_phrases, with_recogniser
from wakeword.train.material import Sounds, cut_from, windows_of
from wakeword.train.mine import Background, cache_background
from wakeword.train.model import (
    WakewordNet,
    build_net,
    save_net,
    window_columns,
    window_frames,
)
from wakeword.train.policy import Policy, choose_policy
from wakeword.train.ranks import Ranks, join_ranks
from wakeword.train.rounds import with_hard_negatives
from wakeword.train.spread_features import WindowPlan, spread_features
from wakeword.train.student import StudentNet
from wakeword.train.windows import WindowSet

log = logging.getLogger(__name__)
console = Console(stderr=True)
PARITY_WINDOWS = 64
NO_MEMORY = "can't allocate memory|out of memory|bad_alloc|Failed to allocate memory"
"""How torch on CPUs and GPUs and onnxruntime say that there is none left."""
TEXT_DATA = {"versions": 4, "negatives": 4_500, "mining_rounds": 0}
TEXT_EPOCHS = 10
"""At most so much, and so many epochs of the student, where there is not one recording of the phrases."""


@dataclass(frozen=True)
class Request:
    """What `wakeword train` was asked for."""

    phrases: tuple[str, ...]
    clips: Path | None
    """Recordings of them; None = a machine speaks them."""
    background: tuple[Path, ...]
    """Recordings without them; none = a machine makes them."""
    out: Path
    settings: TrainConfig
    device: str = "auto"
    resume: bool = False
    force: bool = False
    """Train on a phrase that is advised against."""
    drop: DropList = NOTHING
    """Recordings, or stretches of them, to leave out."""
    cluster: str | None = None
    """Who makes features and hears dev, as `open_cluster` takes it; None = the processes of this machine."""


def read_settings(config: Path | None, overrides: Mapping[str, Any]) -> TrainConfig:
    """Settings from a TOML file (or the defaults), with what the command line gave on top."""
    settings = load_config(config, TrainConfig) if config else TrainConfig()
    return replace(settings, **{key: value for key, value in overrides.items() if value is not None})


def make_detector(request: Request) -> Bundle | None:
    """Train, export and calibrate a detector, and write it to `request.out`.

    Where torchrun started several processes, the first alone goes on after fine-tuning; None of the others.

    Raises the WakewordError that explains what is wrong with the recordings, the settings or the disk;
    what was computed until then stays in `<out>.work` for `--resume`.
    """
    ranks = join_ranks()
    console.quiet = not ranks.is_first
    with enough_memory(), open_cluster(request.cluster if ranks.is_first else None) as cluster:
        return _make_detector(request, ranks, cluster)


def _make_detector(request: Request, ranks: Ranks, cluster: Cluster | None) -> Bundle | None:
    device = _device(request.device)
    _check_target(request.out)
    given = read_given(request.phrases, request.clips, request.background)
    _check_phrases(request)
    settings = _settings(request)
    with _stage("recordings"), Bars(ranks.is_first) as bars, ranks.first():
        bars.start("recordings", 1)
        made = gather(given, settings.data, settings.language, settings.seed, bars.track)
        recordings = made.without(request.drop)
    _say(recordings)
    workspace = _workspace(request.out, request.resume) if ranks.is_first else _work(request.out)
    with _stage("encoder"):
        net = build_net(recordings.phrases, settings).to(device)
        recogniser = _recogniser(settings, recordings, net)
    policy = _policy(settings, recordings, device, net, bool(recogniser))
    console.print(f"policy: {policy.name} ({policy.reason})")
    with _stage("windows"):
        sounds = {split: Sounds.read(clips, request.drop) for split, clips in recordings.background.items()}
        train, dev = (windows_of(split, recordings, sounds[split], settings) for split in TRAIN_AND_DEV)
    with _stage("fine-tune"), Bars(ranks.is_first) as bars:
        key = _key(settings, recordings, request.drop)
        kept = quick_kept(net, policy, train.render(0))
        if cluster and net.encoder.input == "mel":
            for split, of_split in (("train", train), ("dev", dev)):
                plan = WindowPlan(split, recordings, request.drop, settings)
                frozen = kept.frozen if kept else None
                spread_features(cluster, plan.build, of_split, frozen, workspace / split, key, bars)
        course = Course(settings.optim, workspace, key, settings.seed, bars, kept, ranks)
        train = with_hard_negatives(net, train, dev, policy, settings.data, course)
        history = fine_tune(net, train, dev, policy, course)
        ranks.leave()
    if not ranks.is_first:
        return None
    with _stage("export"):
        windows = _parity_windows(net, dev, settings)
        verifier, told = _with_opinion(net, recogniser, recordings, settings)
        training = {**_training(recordings, settings, policy, history.dev_loss), "recogniser": told}
        _, int8, parity = export_verifier(verifier, windows, {"phrases": net.phrases})
        console.print(_parity_line(parity))
        draft = draft_bundle(verifier, int8, request.out.stem, settings, training)
    if net.encoder.input == "mel":  # what the student hears too
        with _stage("student"), Bars() as bars:
            hours = cache_background(sounds["train"].all(), workspace / "background.f16")
            if kept and policy.n_blocks:  # by the blocks as they are now
                kept = quick_kept(net, policy, train.render(0))
            student = _teach(net, train, dev, hours, settings, workspace, key, bars, kept)
            evidence = EVIDENCE_BESIDE_RECOGNISER if told else EVIDENCE
            draft = add_student(draft, student, np.concatenate(list(windows), axis=1), evidence)
    with _stage("calibrate"):
        heard = Dev.build(recordings.clips["dev"], recordings.background["dev"], settings.seed)
        done = set_operating_points(draft, heard, workspace, cluster)
    if done.gate is not None:
        console.print(_gate_line(done.gate))
    console.print(verdict_line(done.bundle.manifest), soft_wrap=True)
    save_net(net, settings, request.out.with_suffix(".checkpoint"), told)
    save_bundle(request.out, done.bundle)
    write_report(done.result(), report_of(request.out))
    shutil.rmtree(workspace)
    return done.bundle


def _teach(
    net: WakewordNet,
    train: WindowSet,
    dev: WindowSet,
    hours: npt.NDArray[np.float16],
    settings: TrainConfig,
    workspace: Path,
    key: str,
    bars: Bars,
    kept: Kept | None,
) -> StudentNet:
    """A student that has learnt what the verifier says of the same windows, and silence in background."""
    taught, examined = (
        make_lessons(net, windows, workspace / name, key, bars, kept)
        for name, windows in (("train", train), ("dev", dev))
    )
    with torch.random.fork_rng(devices=()):  # its own seed: a resumed run has drawn less before it
        torch.manual_seed(settings.seed)
        student = StudentNet(net.phrases, settings.student)
    background = Background(hours, window_frames(settings.window_s))
    folder = workspace / "student"
    distil(student, taught, examined, settings.distill, folder, key, settings.seed, bars, background)
    return student


def _parity_line(parity: Parity) -> str:
    return (
        f"parity with torch: fp32 within {parity.fp32_max:.1e}, int8 {parity.int8_mean:.4f} on average, "
        f"{parity.int8_max:.3f} at most (posterior, {parity.windows} windows)"
    )


def _gate_line(gate: Gate) -> str:
    recalls = ", ".join(
        f"{share:.1%} of {gate.heard[phrase]} {phrase}" for phrase, share in gate.recall.items()
    )
    return f"gate: wakes the verifier on {gate.share:.2%} of the dev background, keeps {recalls}"


def _device(wanted: str) -> torch.device:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda, but torch finds no CUDA GPU here; use --device cpu or auto")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))  # torchrun's: a GPU for each process


def target_of(phrases: Sequence[str]) -> Path:
    """The bundle's name where none is given: `hey_nova.wakeword`."""
    return Path(re.sub(r"\W+", "_", normalise_phrase(phrases[0])) + ".wakeword")


def report_of(out: Path) -> Path:
    """The folder beside a bundle that its training reports to."""
    return out.with_suffix(".report")


def _check_target(out: Path) -> None:
    if out.suffix != ".wakeword":
        raise UsageError(f"--out {out}: the name of a bundle ends in .wakeword")
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder")
    out.parent.mkdir(parents=True, exist_ok=True)


def _work(out: Path) -> Path:
    return out.with_suffix(".work")


def _workspace(out: Path, resume: bool) -> Path:
    workspace = _work(out)
    if resume and not workspace.is_dir():
        raise TrainingError(f"nothing to resume: there is no {workspace}; leave --resume out to start")
    if not resume and workspace.is_dir():
        log.warning("starting over: %s is of an earlier run (use --resume to go on with it)", workspace)
        shutil.rmtree(workspace)
    workspace.mkdir(exist_ok=True)
    return workspace


def _say(recordings: Recordings) -> None:
    """What the user is to know of the recordings."""
    for fault in recordings.rejected:
        console.print(f"left out: {fault}", style="yellow", soft_wrap=True)
    for note in recordings.notes:
        console.print(note, style="yellow", soft_wrap=True)


def _recogniser(settings: TrainConfig, recordings: Recordings, net: WakewordNet) -> Recogniser | None:
    """The one that is to have a say; the user is told why there is none where one would help."""
    recogniser, without = choose_recogniser(settings, net.encoder, few=bool(recordings.synthetic))
    if without:
        console.print(without, style="yellow", soft_wrap=True)
    return recogniser


def _with_opinion(
    net: WakewordNet, recogniser: Recogniser | None, recordings: Recordings, settings: TrainConfig
) -> tuple[WakewordNet, tuple[str, ...]]:
    """The verifier, and the phrases of which the recogniser has a say in it; the user is told of these."""
    if recogniser is None:
        return net, ()
    told = known_phrases(net, recogniser, recordings.clips["train"], settings.window_s)
    if told:
        console.print(f"the recogniser knows, and has a say of: {', '.join(told)}")
    if strange := [phrase for phrase in net.phrases if phrase not in told]:
        console.print(
            f"the recogniser does not know {', '.join(strange)}: what was learnt decides alone; a phrase of "
            "everyday words needs fewer recordings",
            style="yellow",
            soft_wrap=True,
        )
    return (with_recogniser(net, recogniser, told) if told else net), told


def _check_phrases(request: Request) -> None:
    """Say what is to be said about the phrases; UsageError for one that is no good, unless forced."""
    for phrase in request.phrases:
        for advice in advise(phrase, request.settings.language, request.settings.window_s):
            if advice.severity == "stop" and not request.force:
                raise UsageError(f"{advice.message}; --force trains on it all the same")
            console.print(str(advice), style="" if advice.severity == "note" else "yellow", soft_wrap=True)


def _settings(request: Request) -> TrainConfig:
    """Those asked for; from text alone a smaller run, for synthetic voices have less to teach."""
    settings = request.settings
    if request.clips is not None:
        return settings
    data = replace(
        settings.data, **{k: min(getattr(settings.data, k), most) for k, most in TEXT_DATA.items()}
    )
    distill = replace(settings.distill, epochs=min(settings.distill.epochs, TEXT_EPOCHS))
    return replace(settings, data=data, distill=distill)


def _policy(
    settings: TrainConfig,
    recordings: Recordings,
    device: torch.device,
    net: WakewordNet,
    beside_recogniser: bool,
) -> Policy:
    if beside_recogniser:
        return Policy("head", 0, False, "the recogniser, which has a say, needs the encoder as it is")
    heard = (clip for clip in recordings.clips["train"] if clip.path not in recordings.joined)
    seconds = sum(clip.seconds for clip in heard)
    divides = net.encoder.divides and not recordings.synthetic
    return choose_policy(settings.tune, seconds, device.type, net.encoder.n_blocks, divides)


def _key(settings: TrainConfig, recordings: Recordings, drop: DropList) -> str:
    """Names everything a run's features and weights depend on."""
    text = json.dumps([asdict(settings), recordings.phrases, cut_from(recordings, drop)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _parity_windows(net: WakewordNet, dev: WindowSet, settings: TrainConfig) -> npt.NDArray[np.float32]:
    order = np.random.default_rng(settings.seed).permutation(len(dev))[:PARITY_WINDOWS]
    audio = np.stack([dev.render(int(i)) for i in order])
    with torch.inference_mode():
        x = net.cpu().encoder_input(torch.from_numpy(audio)).numpy()
    return np.ascontiguousarray(x[..., -window_columns(net.encoder, settings.window_s) :])


def _training(
    recordings: Recordings, settings: TrainConfig, policy: Policy, dev_loss: Sequence[float]
) -> dict[str, Any]:
    return {
        "settings": asdict(settings),
        "synthetic_voices": sorted(recordings.synthetic),
        "policy": policy.name,
        "policy_reason": policy.reason,
        "clips": recordings.counts(),
        "background_hours": {
            split: round(sum(c.seconds for c in clips) / 3600, 3)
            for split, clips in recordings.background.items()
        },
        "best_epoch": int(np.argmin(dev_loss)) + 1,
        "dev_loss": round(min(dev_loss), 5),
    }


@contextmanager
def enough_memory() -> Iterator[None]:
    """Around what may need more memory than there is, by numpy, torch or onnxruntime: TrainingError then."""
    try:
        yield
    except Exception as err:
        if not isinstance(err, MemoryError) and not re.search(NO_MEMORY, str(err)):
            raise
        raise TrainingError(
            "out of memory; lower negatives and versions under [data] or the batches, or close other "
            "programs; then go on with --resume"
        ) from err


@contextmanager
def _stage(name: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    console.print(f"[bold]{name}[/] done in {time.monotonic() - start:.1f} s")
