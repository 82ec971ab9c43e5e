"""From sound to a quantised student of one phrase, and where it fires; small and random, but all of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import sounds
from toy_network import toy_features, toy_network

from firmware_bridge.aware import AwareStudent
from firmware_bridge.decision import FirmwareRule, PosteriorTrace
from firmware_bridge.esphome import build_esphome
from firmware_bridge.judge import Run, false_accepts, outcome, reference_posteriors
from firmware_bridge.micro import MicroFeatures, micro_features
from firmware_bridge.micro_student import Depthwise, MicroStudent, as_mel, from_mel, warm_features
from firmware_bridge.network_file import FirmwareModel, Point
from firmware_bridge.operating import choose_points, cutoff_for
from firmware_bridge.quantize import quantise
from firmware_bridge.reference import ReferenceNet
from firmware_bridge.tflite import write_tflite
from firmware_bridge.train import (
    AWARE,
    TOGETHER,
    Material,
    cut_out,
    of_phrase,
    spread_posteriors,
    teach_aware,
    teach_together,
)
from wakeword.audio import as_int16
from wakeword.errors import DataError, UsageError
from wakeword.evaluate.streams import Spoken
from wakeword.train.distill import Lessons
from wakeword.train.mine import Background
from wakeword.train.student import n_parameters

PHRASES = ("hey nova", "lights on")


@pytest.mark.parametrize("block", [1, 159, 160, 4001])
def test_features_do_not_depend_on_the_blocks(block: int) -> None:
    audio = sounds(0.5)
    stream = MicroFeatures()
    parts = [stream.feed(audio[i : i + block]) for i in range(0, len(audio), block)]
    np.testing.assert_array_equal(np.concatenate(parts), micro_features(as_int16(audio)))


def test_features_survive_the_students_scale() -> None:
    features = np.arange(-128, 128, dtype=np.int8)
    np.testing.assert_array_equal(from_mel(as_mel(features).astype(np.float16)), features)


def test_a_window_is_heard_warm() -> None:
    audio = sounds(3.0)
    warm = warm_features(audio[-16_000:])
    assert len(warm) == 98
    cold = micro_features(audio[-16_000:])
    stream = micro_features(audio)[-98:]
    difference = [np.abs(x[:30].astype(int) - stream[:30]).mean() for x in (warm, cold)]
    assert difference[0] < difference[1], "nearer to what a stream hears than a front end just switched on"


def random_student(phrases: tuple[str, ...] = PHRASES) -> MicroStudent:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        student = MicroStudent(phrases)
    with torch.no_grad():
        student.output.weight.mul_(2)
        student.output.get_parameter("bias").zero_()
    return student.eval()


def windows(n: int = 24) -> np.ndarray:
    features = micro_features(sounds(1.86 + 0.5 * n, seed=4))
    return np.stack([features[50 * i : 50 * i + 183] for i in range(n)])


def test_int8_says_what_float_says() -> None:
    student, heard = random_student(), windows()
    net = quantise(student, "lights on", heard)
    assert net.n_parameters <= 60_000
    assert len(write_tflite(net)) <= 60_000
    with torch.inference_mode():
        logits, _ = student(torch.from_numpy(as_mel(heard[0])).T[None])
    expected = torch.sigmoid(logits[0, :, 1]).numpy()
    posteriors = ReferenceNet(net).feed(heard[0]) / 256
    assert expected.std() > 0.02
    assert np.abs(posteriors - expected).mean() < 0.03


def lessons(n: int, seed: int) -> Lessons:
    rng = np.random.default_rng(seed)
    heard = as_mel(windows(n)).transpose(0, 2, 1).astype(np.float16)
    targets = np.eye(2, 3, dtype=np.float32)[:, :2][rng.integers(0, 2, n)]
    targets[: n // 2] = 0
    teacher = (targets * 12 - 6).astype(np.float32)
    return Lessons(heard, targets, teacher, rng.standard_normal((n, 46, 8)).astype(np.float16))


class Quiet:
    def start(self, stage: str, total: int) -> None: ...

    def advance(self, steps: int = 1, note: str = "") -> None: ...


def test_taught_together_and_cut_out(tmp_path: Path) -> None:
    background = Background(as_mel(micro_features(sounds(8.0))).astype(np.float16), 183)
    material = Material(PHRASES, lessons(24, 1), lessons(8, 2), background)
    quick = {"epochs": 1, "batch": 8, "background": 4}
    together = teach_together(material, replace(TOGETHER, **quick), tmp_path / "all", "k", 1, Quiet())
    again = teach_together(material, replace(TOGETHER, **quick), tmp_path / "all", "k", 1, Quiet())
    torch.testing.assert_close(again.state_dict(), together.state_dict())  # from its checkpoint
    alone = cut_out(together, "lights on")
    assert alone.phrases == ("lights on",)
    heard = torch.from_numpy(material.train.mel[:3].astype(np.float32))[:, :, :183]
    torch.testing.assert_close(alone(heard)[0][..., 0], together(heard)[0][..., 1])
    assert n_parameters(alone) == n_parameters(together) - together.config.channels - 1
    with pytest.raises(UsageError, match="hey nova, lights on"):
        cut_out(together, "computer")
    before = alone.folded().state_dict()
    aware = teach_aware(alone, material, replace(AWARE, **quick), tmp_path / "aware", "k", 1, Quiet())
    assert type(aware) is MicroStudent and aware.phrases == ("lights on",)
    assert not torch.equal(before["stem.weight"], aware.state_dict()["stem.weight"])


@pytest.mark.parametrize(("louder", "flattened"), [(30.0, True), (0.01, False)], ids=["too sure", "unsure"])
def test_posteriors_are_spread_between_background_and_phrase(louder: float, flattened: bool) -> None:
    """About ten stretches of background an hour exceed a half; no order changes, nothing is made surer."""
    student = random_student(PHRASES[:1]).eval()
    with torch.no_grad():
        student.output.weight.mul_(louder)
        student.output.get_parameter("bias").add_(2.0)
    murmur = np.random.default_rng(4).normal(-4, 0.05, (120_000, 40)).astype(np.float16)
    background, heard = Background(murmur, 192), lessons(24, 1)
    one = Lessons(heard.mel, heard.targets[:, :1], heard.teacher[:, :1], heard.features)
    before = background.logits(student)[:, 0]
    after = background.logits(spread_posteriors(student, Material(PHRASES[:1], one, one, background)))[:, 0]
    slope, offset = np.polyfit(before.astype(np.float64), after, 1)
    np.testing.assert_allclose(after, slope * before + offset, atol=1e-3)
    assert (0 < slope < 0.9) if flattened else slope == pytest.approx(1, abs=1e-3)
    stretches = after[: len(after) // 66 * 66].reshape(-1, 66).max(axis=1)
    assert (stretches >= -1e-5).sum() == round(10 * len(before) * 0.03 / 3600)


def test_rounding_in_training_is_that_of_the_integers() -> None:
    student, heard = random_student(), windows()
    aware, net = AwareStudent(student, heard), quantise(student, "lights on", heard)
    last = net.blocks[-1].add.output
    integers = ReferenceNet(net).hidden(heard[0].reshape(-1, 3, 40))
    expected = (integers.T.astype(np.float32) - last.zero_point) * last.scale
    mel = torch.from_numpy(as_mel(heard[0])).T[None]
    with torch.inference_mode():
        off = [
            np.abs(model.hidden(mel, model.zero_states(1))[0][0].numpy() - expected).mean()
            for model in (aware, student)
        ]
    assert off[0] < 0.5 * last.scale and off[0] < 0.7 * off[1]
    torch.testing.assert_close(aware.without_rounding().state_dict(), student.folded().state_dict())


def test_windows_of_one_phrase() -> None:
    given = lessons(24, 1)
    one = of_phrase(given, 1, 1.0, np.random.default_rng(1))
    has = given.targets[:, 1].sum()
    assert (one.targets.shape, one.targets.sum()) == ((2 * has, 1), has)
    assert one.teacher.shape == (2 * has, 1)


def run(posteriors: np.ndarray, hours: float, spoken: tuple[Spoken, ...] = ()) -> Run:
    return Run(PosteriorTrace(posteriors.astype(np.uint8)), hours, spoken)


def background_with(peaks: list[int]) -> np.ndarray:
    """Two hours of quiet with plateaus of these heights, 20 steps long and a minute apart."""
    posteriors = np.zeros(2 * 120_000)
    for i, peak in enumerate(peaks):
        posteriors[2_000 * (i + 1) : 2_000 * (i + 1) + 20] = peak
    return posteriors


def test_the_cutoff_allows_what_was_asked_for() -> None:
    negative = [run(background_with([60, 90, 120, 150, 180, 210]), 2.0)]
    for rate, events in ((0.5, 1), (1.0, 2), (2.0, 4)):
        cutoff = cutoff_for(negative, 5, rate)
        assert false_accepts(negative, FirmwareRule(cutoff, 5)) == events
        assert false_accepts(negative, FirmwareRule(cutoff - 1, 5)) == events + 1
    assert cutoff_for(negative, 5, 0.1) >= 210  # less than one in the hours there are


def test_points_prefer_the_window_that_hears_the_phrase() -> None:
    spoken = tuple(Spoken("p", at, at + 0.5, Path("x"), "g") for at in (60.0, 120.0))
    said = np.zeros(6_000)
    said[2_010:2_016] = said[4_010:4_016] = 230  # shorter than the longest window
    negative = [run(background_with([200, 100, 100, 90, 80]), 2.0)]
    points = choose_points({"clean": [run(said, 0.05, spoken)]}, negative, "p", (0.5, 1.0))
    assert points["0.5"].rule.window <= 5
    assert points["0.5"].misses == {"clean": 0.0}
    assert points["0.5"].rule.cutoff >= points["1"].rule.cutoff
    result = outcome([run(said, 0.05, spoken)], "p", points["0.5"].rule)
    assert max(result.latencies_s) < 1.0


def test_too_little_background_is_refused() -> None:
    with pytest.raises(DataError, match="at least 10 minutes"):
        choose_points({}, [run(np.zeros(100), 0.1)], "p", (0.5,))


def test_esphomes_own_runtime_agrees(tmp_path: Path) -> None:
    """Its kernels round in their own way: a few steps of 255 either side."""
    micro = pytest.importorskip("pymicro_wakeword")
    net, features = toy_network(5), toy_features(300, 5)
    build_esphome(FirmwareModel(net, {"0.5": Point(FirmwareRule(200, 1), 0, 1.0, {})}), tmp_path, 0.5)
    model = micro.MicroWakeWord.from_config(tmp_path / "toy_phrase.json")
    real = (features.astype(float) + 128) * model.input_scale
    said = [model.process_streaming_prob(row.reshape(1, 1, -1)) for row in real][2::3]
    ours = reference_posteriors(net)(features)
    assert len(set(ours.tolist())) > 5
    assert np.abs(np.array(said) * 256 - ours).max() <= 10
    assert json.loads((tmp_path / "toy_phrase.json").read_text())["wake_word"] == "toy phrase"


@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_a_depthwise_convolution_is_torchs(dilation: int) -> None:
    ours = Depthwise(5, 5, 7, dilation=dilation, groups=5)
    theirs = torch.nn.Conv1d(5, 5, 7, dilation=dilation, groups=5)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 5, 30)
    torch.testing.assert_close(ours(x), theirs(x))
