"""The detector on a real, if small and random, verifier: the stream against the whole, and bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import PHRASES, sounds

import wakeword
from wakeword import Detection, Detector
from wakeword.audio import HOP_SAMPLES, SAMPLE_RATE, Samples, as_int16
from wakeword.bundle import Bundle, Golden, load_bundle, save_bundle
from wakeword.detector import choose_thresholds
from wakeword.errors import AudioError, BundleError, UsageError
from wakeword.mel import log_mel
from wakeword.scorer import Scorer
from wakeword.verifier import Verifier, logit, make_session

WINDOW_FRAMES = 100
FIRST_HOP = 13
"""The hop with which 100 whole frames are there: 13 x 1,280 >= 99 x 160 + 400."""
BLOCKS = (1, 159, 1_280, 4_001, 10**9)


@pytest.fixture(scope="module")
def bundle(tiny_model: Path) -> Bundle:
    return load_bundle(tiny_model)


@pytest.fixture(scope="module")
def verifier(bundle: Bundle) -> Verifier:
    return Verifier(bundle)


@pytest.fixture(scope="module")
def stream() -> Samples:
    return sounds(12.0, seed=3)


def feed(detector: Detector, samples: np.ndarray, block: int = 10**9) -> list[Detection]:
    return [e for i in range(0, len(samples), block) for e in detector.feed(samples[i : i + block])]


@pytest.fixture(scope="module")
def expected(tiny_model: Path, stream: Samples) -> list[Detection]:
    events = wakeword.load(tiny_model).feed(stream)
    assert {event.phrase for event in events} == set(PHRASES)  # or the tests here would show nothing
    return events


@pytest.mark.parametrize("block", BLOCKS)
def test_same_events_for_any_blocks(
    tiny_model: Path, stream: Samples, expected: list[Detection], block: int
) -> None:
    assert feed(wakeword.load(tiny_model), stream, block) == expected


def test_same_events_for_random_blocks_and_empty_ones(
    tiny_model: Path, stream: Samples, expected: list[Detection], rng: np.random.Generator
) -> None:
    detector, at, events = wakeword.load(tiny_model), 0, list[Detection]()
    while at < len(stream):
        n = int(rng.integers(0, 3_000))
        events += detector.feed(stream[at : at + n])
        at += n
    assert events == expected


@pytest.mark.parametrize("block", [997, 10**9])
def test_same_events_for_int16_and_float(tiny_model: Path, stream: Samples, block: int) -> None:
    whole_numbers = as_int16(stream)
    as_floats = whole_numbers.astype(np.float32) / 32_768
    got = feed(wakeword.load(tiny_model), whole_numbers, block)
    assert got == feed(wakeword.load(tiny_model), as_floats, block) != []


def test_scores_equal_a_batch(bundle: Bundle, verifier: Verifier, stream: Samples) -> None:
    """Windows cut by hand out of the log-mel of the whole, straight through onnxruntime."""
    mel = log_mel(stream)
    ends = [1 + (hop * HOP_SAMPLES - 400) // 160 for hop in range(FIRST_HOP, len(stream) // HOP_SAMPLES + 1)]
    windows = [np.ascontiguousarray(mel[:, end - WINDOW_FRAMES : end]) for end in ends]
    session = make_session(bundle.verifier)
    batch = np.concatenate([session.run(None, {"mel": window[None]})[0] for window in windows])
    rows = Scorer(verifier).feed(stream)
    assert [round(time_s * SAMPLE_RATE) for time_s, _ in rows] == [
        hop * HOP_SAMPLES for hop in range(FIRST_HOP, FIRST_HOP + len(batch))
    ]
    off = np.abs(np.stack([posterior for _, posterior in rows]) - batch)
    # Where a rounded activation sits on the edge between two int8 steps, the last bit of the mel decides.
    assert np.median(off) < 1e-6
    assert off.max() < 0.03


def test_events_are_the_decision_on_the_scores(
    verifier: Verifier, stream: Samples, expected: list[Detection]
) -> None:
    """Smoothing over two hops, 0.5 s refractory, re-arm below 0.45, counted here once more by hand."""
    rows = Scorer(verifier).feed(stream)
    events, armed, silent_until = [], [True, True], [0.0, 0.0]
    for i, (time_s, posterior) in enumerate(rows):
        before = rows[i - 1][1] if i else posterior
        for k in range(2):
            score = (float(posterior[k]) + float(before[k])) / 2
            if not armed[k]:
                armed[k] = score < 0.9 * 0.5
            elif score >= 0.5 and time_s >= silent_until[k]:
                events.append((PHRASES[k], time_s))
                armed[k], silent_until[k] = False, time_s + 0.5
    assert [(event.phrase, event.time_s) for event in expected] == events


def test_no_score_before_a_full_window(verifier: Verifier, stream: Samples) -> None:
    scorer = Scorer(verifier)
    n = FIRST_HOP * HOP_SAMPLES
    assert scorer.feed(stream[: n - 1]) == []
    ((time_s, posterior),) = scorer.feed(stream[n - 1 : n])
    assert time_s == pytest.approx(FIRST_HOP * 0.08)
    assert posterior.shape == (2,)


def test_reset_starts_anew(tiny_model: Path, stream: Samples, expected: list[Detection]) -> None:
    detector = wakeword.load(tiny_model)
    detector.feed(sounds(3.3, seed=9))
    detector.reset()
    assert detector.feed(stream) == expected


@pytest.mark.parametrize("lost", [0, 1, 12_345, 10 * SAMPLE_RATE])
def test_a_gap_starts_anew_but_time_goes_on(
    tiny_model: Path, stream: Samples, expected: list[Detection], lost: int
) -> None:
    """After a gap the events are those of a fresh detector, later by all that came before."""
    detector, before = wakeword.load(tiny_model), sounds(3.3, seed=9)
    detector.feed(before)
    detector.skip(lost)
    detector.feed(stream[:5_000])
    detector.skip(0)
    heard = detector.feed(stream)
    at_s = (len(before) + lost + 5_000) / SAMPLE_RATE
    assert [event.phrase for event in heard] == [event.phrase for event in expected]
    assert [event.time_s for event in heard] == pytest.approx([at_s + event.time_s for event in expected])
    assert [event.score for event in heard] == [event.score for event in expected]
    detector.reset()
    assert detector.feed(stream) == expected


def test_a_negative_gap_is_refused(tiny_model: Path) -> None:
    with pytest.raises(UsageError, match="cannot skip -1 samples"):
        wakeword.load(tiny_model).skip(-1)


def test_silence_is_silence(tiny_model: Path) -> None:
    """Nothing random fills the start: two runs over silence score the same, bit by bit."""
    silence = np.zeros(3 * SAMPLE_RATE, dtype=np.float32)
    runs = [Scorer(Verifier(load_bundle(tiny_model))).feed(silence) for _ in range(2)]
    scores = [np.stack([posterior for _, posterior in rows]) for rows in runs]
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], np.tile(scores[0][:1], (len(scores[0]), 1)))


def test_detectors_share_a_verifier(verifier: Verifier, stream: Samples, expected: list[Detection]) -> None:
    one, other = Detector(verifier, (0.5, 0.5)), Detector(verifier, (0.5, 0.5))
    events = []
    for i in range(0, len(stream), 1_000):
        events += one.feed(stream[i : i + 1_000])
        other.feed(-stream[::-1][i : i + 700])
    assert events == expected


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros(1_280),
        np.zeros((1_280, 2), dtype=np.float32),
        np.zeros(1_280, dtype=np.int32),
        np.full(1_280, np.nan, dtype=np.float32),
        np.full(1_280, np.inf, dtype=np.float32),
    ],
    ids=["float64", "stereo", "int32", "nan", "inf"],
)
def test_bad_samples_are_refused_and_forgotten(
    tiny_model: Path, stream: Samples, expected: list[Detection], bad: np.ndarray
) -> None:
    detector = wakeword.load(tiny_model)
    events = detector.feed(stream[:50_000])
    with pytest.raises(AudioError):
        detector.feed(bad)
    assert events + detector.feed(stream[50_000:]) == expected


def test_thresholds(tiny_model: Path, bundle: Bundle) -> None:
    assert wakeword.load(tiny_model).thresholds == (0.5, 0.5)
    assert wakeword.load(tiny_model, fa_per_hour=2).thresholds == (0.25, 0.25)
    assert wakeword.load(tiny_model, threshold=0.125).thresholds == (0.125, 0.125)
    assert wakeword.load(tiny_model).phrases == PHRASES
    with pytest.raises(UsageError, match=r"no operating point at 3 .*choose one of 0\.5, 2"):
        wakeword.load(tiny_model, fa_per_hour=3)
    for threshold in (0.0, 2.0, float("nan")):
        with pytest.raises(UsageError, match="threshold"):
            wakeword.load(tiny_model, threshold=threshold)
    with pytest.raises(UsageError, match="2 phrases but 1"):
        Detector(Verifier(bundle), choose_thresholds(bundle.manifest)[:1])


def test_missed_golden_vector(bundle: Bundle, tmp_path: Path) -> None:
    off = replace(bundle, golden=Golden(bundle.golden.audio, bundle.golden.logits + np.float32(2.5)))
    save_bundle(tmp_path / "off.wakeword", off)
    with pytest.raises(BundleError, match=r"off\.wakeword: golden vector missed by 2\.5"):
        wakeword.load(tmp_path / "off.wakeword")
    nan = replace(bundle, golden=Golden(bundle.golden.audio, np.full(2, np.nan, dtype=np.float32)))
    with pytest.raises(BundleError, match="golden vector missed"):
        Verifier(nan)


@pytest.mark.parametrize("garbage", [b"", b"garbage", b"\x08\x07", bytes(1_000)])
def test_verifier_that_is_none(bundle: Bundle, garbage: bytes) -> None:
    with pytest.raises(BundleError, match="its verifier does not run") as caught:
        Verifier(replace(bundle, verifier=garbage), "m.wakeword")
    assert "\n" not in str(caught.value)


def onnx_model(inputs: str, shape: list[int], op: str = "ReduceMean") -> bytes:
    onnx = pytest.importorskip("onnx")
    h, f32 = onnx.helper, onnx.TensorProto.FLOAT
    graph = h.make_graph(
        [h.make_node(op, [inputs, "axes"], ["posterior"], keepdims=0)],
        "g",
        [h.make_tensor_value_info(inputs, f32, ["B", 80, "T"])],
        [h.make_tensor_value_info("posterior", f32, None)],
        [onnx.numpy_helper.from_array(np.asarray(shape, dtype=np.int64), "axes")],
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (onnx_model("sound", [2]), "does not run"),  # another input
        (onnx_model("mel", [1]), r"scores of shape \[100\]"),  # [B, T] instead of [B, K]
        (onnx_model("mel", [1, 2]), r"scores of shape \[\]"),  # one number
    ],
)
def test_verifier_of_another_shape(bundle: Bundle, model: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        Verifier(replace(bundle, verifier=model))


def test_log_odds() -> None:
    got = logit(np.array([0, 0.5, 0.9, 1], dtype=np.float32))
    np.testing.assert_allclose(got, [-16.118, 0, 2.1972, 16.118], atol=1e-3)
