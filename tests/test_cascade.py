"""The cascade against the student and the verifier, each run over the whole stream."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tiny import PHRASES, sounds
from tiny_cascade import GATES, HANGOVER, cascade_bundle, student_net

import wakeword
from wakeword.audio import HOP_S, Samples
from wakeword.bundle import Bundle, load_bundle, save_bundle
from wakeword.cascade import CascadeScorer, Student, StudentScorer
from wakeword.detector import load_models
from wakeword.errors import BundleError, UsageError
from wakeword.manifest import Mode
from wakeword.mel import log_mel
from wakeword.scorer import Scorer
from wakeword.verifier import Verifier, logit

FIRST_HOP = 13
"""The first with 100 frames, the tiny verifier's window."""


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return cascade_bundle()


@pytest.fixture(scope="module")
def path(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("cascade") / "both.wakeword"
    save_bundle(target, bundle)
    return target


@pytest.fixture(scope="module")
def stream() -> Samples:
    return sounds(12.0, seed=3)


def scores(rows: list[tuple[float, np.ndarray]]) -> np.ndarray:
    return np.stack([row for _, row in rows])


def test_student_scores_are_those_of_torch(bundle: Bundle, stream: Samples) -> None:
    """The first hop holds six frames: two of silence come before."""
    mel = np.concatenate([np.full((80, 2), -10.0, dtype=np.float32), log_mel(stream)], axis=1)
    whole = mel[:, : mel.shape[1] // 8 * 8]
    with torch.inference_mode():
        logits = student_net()(torch.from_numpy(whole[None]))[0][0]
    expected = torch.sigmoid(logits.unflatten(0, (-1, 2)).amax(dim=1)).numpy()
    rows = StudentScorer(Student(bundle)).feed(stream)
    assert [round(t / 0.08) for t, _ in rows] == [*range(FIRST_HOP, len(stream) // 1280 + 1)]
    assert float(np.ptp(expected)) > 0.5
    np.testing.assert_allclose(scores(rows), expected[FIRST_HOP - 1 :], atol=1e-4)


@pytest.mark.parametrize("stride", [2, 3])
def test_between_two_runs_the_verifiers_last_word_stands(
    bundle: Bundle, stream: Samples, stride: int
) -> None:
    every = scores(CascadeScorer(Student(bundle), Verifier(bundle)).feed(stream))
    asked = every.any(axis=1)
    strides = cascade_bundle(stride_hops=stride)
    cascade = CascadeScorer(Student(strides), Verifier(strides))
    expected, ran = np.zeros_like(every), list[int]()
    for h in np.flatnonzero(asked):
        if not ran or h - ran[-1] >= stride:
            ran.append(int(h))
        expected[h] = every[ran[-1]]
    np.testing.assert_array_equal(scores(cascade.feed(stream)), expected)
    assert cascade.verified == len(ran) < asked.sum()


@pytest.mark.parametrize("block", [101, 1280, 4001, 10**9])
def test_the_verifier_runs_where_the_student_suspects(bundle: Bundle, stream: Samples, block: int) -> None:
    """Which hops it runs on, counted by hand; its posteriors there are the verifier's own."""
    student, verifier = Student(bundle), Verifier(bundle)
    always = scores(Scorer(verifier).feed(stream))
    # The student suspects before the window is full, too: its scores from the first hop on.
    mel = np.concatenate([np.full((80, 2), -10.0, dtype=np.float32), log_mel(stream)], axis=1)
    following = student.stream()
    n_hops = len(stream) // 1280
    heard = np.stack([following.feed(mel[:, 8 * h : 8 * h + 8]).copy() for h in range(n_hops)])
    suspected: npt.NDArray[np.bool_] = np.any(heard >= GATES, axis=1)
    asked = np.array([suspected[max(0, h - HANGOVER) : h + 1].any() for h in range(n_hops)])[FIRST_HOP - 1 :]
    cascade = CascadeScorer(student, verifier)
    rows = [row for at in range(0, len(stream), block) for row in cascade.feed(stream[at : at + block])]
    assert 0 < asked.sum() < len(asked)
    np.testing.assert_array_equal(scores(rows)[~asked], 0)
    np.testing.assert_array_equal(scores(rows)[asked], always[asked])
    assert (cascade.hops, cascade.verified) == (n_hops, int(asked.sum()))


def test_a_verifier_of_other_phrases_is_asked_at_the_same_hops(bundle: Bundle, stream: Samples) -> None:
    ours = CascadeScorer(Student(bundle), Verifier(bundle))
    other = replace(bundle.manifest, phrases=("alexa", "hey jarvis"))
    theirs = CascadeScorer(Student(bundle), Verifier(replace(bundle, manifest=other)))
    np.testing.assert_array_equal(scores(theirs.feed(stream)), scores(ours.feed(stream)))
    assert theirs.phrases == other.phrases and theirs.verified == ours.verified > 0


def test_the_students_evidence_adds_to_the_log_odds(bundle: Bundle, stream: Samples) -> None:
    settings = bundle.manifest.student
    assert settings is not None
    weighed = replace(settings, evidence=0.5, evidence_hops=3)
    bundle = replace(bundle, manifest=replace(bundle.manifest, student=weighed))
    student, verifier = Student(bundle), Verifier(bundle)
    always, alone = (scores(s.feed(stream)) for s in (Scorer(verifier), StudentScorer(student)))
    got = scores(CascadeScorer(student, verifier).feed(stream))
    asked = np.flatnonzero(got.any(axis=1))
    asked = asked[asked >= 2]
    highest = np.stack([alone[h - 2 : h + 1].max(axis=0) for h in asked])
    expected = logit(always[asked]) + 0.5 * (logit(highest) - logit(np.array(GATES, dtype=np.float32)))
    assert len(asked) > 10
    np.testing.assert_allclose(logit(got[asked]), expected, atol=0.01)


def test_an_open_gate_is_the_verifier_and_reset_starts_anew(bundle: Bundle, stream: Samples) -> None:
    settings = bundle.manifest.student
    assert settings is not None
    open_gate = replace(settings, gate=dict.fromkeys(PHRASES, 1e-9))
    opened = replace(bundle, manifest=replace(bundle.manifest, student=open_gate))
    cascade = CascadeScorer(Student(opened), Verifier(opened))
    cascade.feed(sounds(2.5, seed=8))
    cascade.reset()
    rows = cascade.feed(stream)
    always = Scorer(Verifier(bundle)).feed(stream)
    assert [t for t, _ in rows] == [t for t, _ in always]
    np.testing.assert_array_equal(scores(rows), scores(always))
    assert cascade.verified == len(rows)


@pytest.mark.parametrize("mode", get_args(Mode))
def test_a_gap_starts_anew_but_time_goes_on(path: Path, stream: Samples, mode: Mode) -> None:
    models = load_models(path, mode)
    fresh, scorer = models.scorer().feed(stream), models.scorer()
    scorer.feed(sounds(2.55, seed=8))
    scorer.skip(24_000)
    rows = scorer.feed(stream)
    assert [t for t, _ in rows] == pytest.approx([t + 2.55 + 1.5 for t, _ in fresh])
    np.testing.assert_array_equal(scores(rows), scores(fresh))
    scorer.reset()
    assert [t for t, _ in scorer.feed(stream)] == [t for t, _ in fresh]


def test_streams_do_not_mix(bundle: Bundle, stream: Samples) -> None:
    student = Student(bundle)
    alone = scores(StudentScorer(student).feed(stream))
    one, other = StudentScorer(student), StudentScorer(student)
    rows = []
    for at in range(0, len(stream), 1280):
        rows += one.feed(stream[at : at + 1280])
        other.feed(stream[::-1][at : at + 1280].copy())
    np.testing.assert_array_equal(scores(rows), alone)


def test_modes(path: Path, tiny_model: Path, stream: Samples) -> None:
    assert wakeword.load(path).mode == "cascade"
    assert wakeword.load(tiny_model).mode == "verifier"
    detectors = {mode: wakeword.load(path, mode=mode) for mode in get_args(Mode)}
    assert {m: d.thresholds for m, d in detectors.items()} == {
        "cascade": (0.6, 0.6),
        "verifier": (0.5, 0.5),
        "student": (0.7, 0.7),
    }
    events = {mode: [(e.phrase, e.time_s) for e in d.feed(stream)] for mode, d in detectors.items()}
    assert len(events["verifier"]) > 0
    assert len(events["student"]) > 0
    assert events["student"] != events["verifier"]
    models = load_models(path)
    assert models.detector(threshold=0.3).feed(stream) == wakeword.load(path, threshold=0.3).feed(stream)
    with pytest.raises(UsageError, match="holds no student, so it cannot run in mode cascade"):
        wakeword.load(tiny_model, mode="cascade")
    with pytest.raises(UsageError, match="no mode 'both'; choose one of cascade, verifier, student"):
        wakeword.load(path, mode="both")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no operating point at 2"):
        wakeword.load(path, fa_per_hour=2, mode="student")


def test_a_student_alone_is_taken_at_its_word(path: Path, stream: Samples) -> None:
    """A posterior of one hop is enough: the student says a phrase once, and a mean would halve it."""
    models = load_models(path, "student")
    time_s, highest = max(((at, float(p[0])) for at, p in models.scorer().feed(stream)), key=lambda x: x[1])
    events = models.detector(threshold=highest).feed(stream)
    fired = [round(e.time_s / HOP_S) for e in events if e.phrase == models.manifest.phrases[0]]
    assert fired == [round(time_s / HOP_S)]


def test_a_bundle_keeps_its_student(path: Path, bundle: Bundle) -> None:
    again = load_bundle(path)
    assert again.manifest == bundle.manifest
    assert again.student == bundle.student
    assert again.golden.student is not None and bundle.golden.student is not None
    np.testing.assert_array_equal(again.golden.student, bundle.golden.student)
    assert again.golden.student.shape == (12, 2)  # 16,240 samples


def test_half_a_student_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    target = tmp_path / "half.wakeword"
    halves = (
        replace(bundle, student=None),
        replace(bundle, golden=replace(bundle.golden, student=None)),
        replace(bundle, manifest=replace(bundle.manifest, student=None)),
    )
    for half in halves:
        save_bundle(target, half)
        with pytest.raises(BundleError, match="the student is only partly there"):
            load_bundle(target)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gate": {"hey nova": 0.5}}, "gate is not one score"),
        ({"gate": {"hey nova": 0.5, "lights on": 1.5}}, "gate is not one score"),
        ({"hangover_hops": -1}, "a hangover of -1 hops"),
        ({"promising": 2.0}, "a promising posterior of 2.0"),
        ({"evidence": -1.0}, "a weight of -1.0 for the student's evidence"),
        ({"evidence_hops": 0}, "the student's evidence of 0 hops"),
        ({"stride_hops": 0}, "a verifier that runs once in 0 hops"),
        ({"thresholds": {"hey nova": {}}}, "phrases and thresholds do not match"),
    ],
)
def test_a_bad_gate_is_refused(
    bundle: Bundle, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    assert bundle.manifest.student is not None
    student = replace(bundle.manifest.student, **change)  # type: ignore[arg-type]
    save_bundle(
        tmp_path / "bad.wakeword", replace(bundle, manifest=replace(bundle.manifest, student=student))
    )
    with pytest.raises(BundleError, match=message):
        load_bundle(tmp_path / "bad.wakeword")


def test_a_student_that_scores_otherwise_is_refused(bundle: Bundle) -> None:
    assert bundle.golden.student is not None
    off = replace(bundle, golden=replace(bundle.golden, student=bundle.golden.student + np.float32(3)))
    with pytest.raises(BundleError, match=r"golden vector missed by 3\.00 log-odds \(student\)"):
        Student(off)
    with pytest.raises(BundleError, match="its student does not run"):
        Student(replace(bundle, student=b"garbage"))
    with pytest.raises(
        BundleError, match=r"its student does not run \(it takes log-mel|its student does not run"
    ):
        Student(replace(bundle, student=bundle.verifier))
