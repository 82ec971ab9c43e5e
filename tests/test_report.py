from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from wakeword.audio import HOP_S, SAMPLE_RATE, Samples, write_wav
from wakeword.bundle import Bundle, Golden, Manifest, Threshold, save_bundle
from wakeword.clips.dataset import Clip, Kind
from wakeword.decision import Decision, DecisionConfig
from wakeword.errors import BundleError, DataError
from wakeword.evaluate.judge import judge
from wakeword.evaluate.report import percent, score_text, write_report
from wakeword.evaluate.result import EvaluationResult
from wakeword.evaluate.run import evaluate, listen, pick_clips
from wakeword.mel import mel_filters, n_samples

PHRASES = ("high <tone>", "low tone")
TONES_HZ = {"high <tone>": 4000.0, "low tone": 2000.0}
DECISION = DecisionConfig(smoothing_hops=1)


class ToneScorer:
    """Posterior of a phrase = 0.99 times the share of the hop's power within 100 Hz of its tone."""

    phrases = PHRASES

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.pending, self.hops = np.zeros(0, dtype=np.float32), 0

    def feed(self, samples: Samples) -> list[tuple[float, np.ndarray]]:
        self.pending = np.concatenate([self.pending, samples])
        rows = []
        while len(self.pending) >= 1280:
            self.hops += 1
            rows.append((self.hops * HOP_S, self.score(self.pending[:1280])))
            self.pending = self.pending[1280:]
        return rows

    def score(self, hop: Samples) -> np.ndarray:
        power = np.abs(np.fft.rfft(hop * np.hanning(1280))) ** 2 + 1e-9
        hz = np.fft.rfftfreq(1280, 1 / SAMPLE_RATE)
        shares = [0.99 * power[np.abs(hz - tone) < 100].sum() / power.sum() for tone in TONES_HZ.values()]
        return np.asarray(shares, dtype=np.float32)


def tone(hz: float, seconds: float, amplitude: float = 0.3) -> Samples:
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (amplitude * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def make_clip(
    folder: Path, name: str, kind: Kind, samples: Samples, label: str = "", source: str = "a"
) -> Clip:
    write_wav(folder / f"{name}.wav", samples)
    seconds = len(samples) / SAMPLE_RATE
    return Clip(folder / f"{name}.wav", kind, label, "test", f"voice {name[-1]}", seconds, "en", "", source)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Five of each tone; the last "low tone" is at another pitch and cannot be heard."""
    folder, quiet = tmp_path_factory.mktemp("phrases"), np.zeros(4000, dtype=np.float32)
    found = []
    for label, hz in TONES_HZ.items():
        for i in range(5):
            pitch = 3000.0 if (label, i) == ("low tone", 4) else hz
            samples = np.concatenate([quiet, tone(pitch, 0.6), quiet])
            found.append(make_clip(folder, f"{label[:3]}{i}", "phrase", samples, label))
    return found


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, clips: list[Clip]) -> EvaluationResult:
    folder, rng = tmp_path_factory.mktemp("background"), np.random.default_rng(0)
    speech = make_clip(folder, "speech", "speech", tone(300.0, 20.0))
    # Twice 0.3 s of the low tone where nobody said it; the rest is white, hence wideband.
    hiss = (0.05 * rng.normal(size=30 * SAMPLE_RATE)).astype(np.float32)
    for at_s in (10, 20):
        hiss[at_s * SAMPLE_RATE :][: round(0.3 * SAMPLE_RATE)] = tone(2000.0, 0.3)
    noise = make_clip(folder, "hiss", "noise", hiss, source="b")
    heard = listen(ToneScorer, clips, [speech], [noise], [None, 20.0], 1, 1, False)
    thresholds = {p: {"0.5": Threshold(0.9, True), "1": Threshold(0.5, False)} for p in PHRASES}
    manifest = Manifest(
        name="tones", phrases=PHRASES, input="mel", window=1, thresholds=thresholds,
        default_fa_per_hour="0.5", decision=DECISION,
    )  # fmt: skip
    return judge(heard, manifest)


def test_counts_are_the_ones_put_in(result: EvaluationResult) -> None:
    high, low = result.headline()
    assert (high.misses["clean"].missed, high.misses["clean"].spoken) == (0, 5)
    assert (low.misses["clean"].missed, low.misses["clean"].spoken) == (1, 5)
    assert (high.false_accepts.count, low.false_accepts.count) == (0, 2)
    assert low.false_accepts.hours == pytest.approx(50 / 3600, rel=1e-3)
    assert low.mixed_false_accepts["clean"].count == 0
    assert result.mean_miss_rate("clean") == pytest.approx(0.1)
    assert high.extrapolated and not result.headline(1.0)[0].extrapolated


def test_tables_agree_with_the_headline(result: EvaluationResult) -> None:
    by_source = {s.source: s for s in result.by_source}
    assert by_source["b"].by_phrase == {"high <tone>": 0, "low tone": 2}
    assert (by_source["a"].band, by_source["b"].band) == ("narrow-band", "wideband")
    assert {n.noise for n in result.by_noise} == {"babble", "noise"}
    assert sum(n.misses.spoken for n in result.by_noise) == 10
    assert [e.phrase for e in result.worst_misses] == ["low tone"]
    assert result.worst_false_accepts[0].phrase == "low tone"
    clean = {row.phrase: row for row in result.latencies if row.condition == "clean"}
    # The tone fills the first hops after its start, 0.6 s before its end.
    assert -0.62 < clean["high <tone>"].median_s < -0.4
    assert sum(result.histograms[0].spoken["clean"]) == 5


def test_at_equal_rates_the_threshold_is_above_the_false_accepts(result: EvaluationResult) -> None:
    rows = {(r.phrase, r.wanted_fa_per_hour): r for r in result.at_rate}
    row = rows["low tone", 0.5]
    assert row.false_accepts.count == 0  # a minute of audio cannot show 0.5 per hour
    assert row.extrapolated_misses is not None


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.audio = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name in ("src", "href", "xlink:href") and value:
                self.links.append(value)
        self.audio += tag == "audio"


def test_report_is_one_page_that_loads_nothing(tmp_path: Path, result: EvaluationResult) -> None:
    path = write_report(result, tmp_path / "new" / "report")
    assert sorted(p.name for p in path.parent.iterdir()) == ["report.html", "report.json"]
    text = path.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith(("data:audio/", "#")) for link in page.links)
    assert page.audio == len(result.worst_misses) + len(result.worst_false_accepts)
    assert "high <tone>" not in re.sub(r"<!--.*?-->", "", text, flags=re.S)
    assert "high &lt;tone&gt;" in text
    assert text.count("<svg") == 2
    assert write_report(result, tmp_path / "again").read_text(encoding="utf-8") == text


def test_report_json_holds_the_numbers(tmp_path: Path, result: EvaluationResult) -> None:
    write_report(result, tmp_path)
    data = json.loads((tmp_path / "report.json").read_text())
    row = next(r for r in data["at_threshold"] if r["phrase"] == "low tone")
    assert row["misses"]["clean"]["missed"] == 1
    assert row["misses"]["clean"]["rate"] == pytest.approx(0.2)
    assert row["misses"]["clean"]["interval"]["high"] == pytest.approx(0.6245, abs=1e-3)  # Wilson, 1 of 5
    assert row["false_accepts"]["count"] == 2
    assert "audio" not in data["worst_misses"][0]


def test_where_no_report_can_be_written(tmp_path: Path, result: EvaluationResult) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot write the report"):
        write_report(result, tmp_path / "file")


def test_no_misses_no_noise_still_a_page(tmp_path: Path, result: EvaluationResult) -> None:
    bare = replace(result, worst_misses=(), by_noise=(), latencies=())
    assert "No phrase was missed" in write_report(bare, tmp_path).read_text(encoding="utf-8")


def test_the_judge_counts_what_a_detector_emits(clips: list[Clip], tmp_path: Path) -> None:
    speech = make_clip(tmp_path, "speech", "speech", tone(2000.0, 30.0, 0.1))
    heard = listen(ToneScorer, clips, [speech], [], [None], 1, 3, False)
    emitted = 0
    for stream, _ in heard.mixed["clean"]:
        scorer, decision = ToneScorer(), Decision(PHRASES, (0.9, 0.9), DECISION)
        rows = [row for block in stream.blocks(1234) for row in scorer.feed(block)]
        emitted += len([d for t, p in rows for d in decision.update(p, t)])
    thresholds = {p: {"1": Threshold(0.9, False)} for p in PHRASES}
    manifest = Manifest(
        name="t", phrases=PHRASES, input="mel", window=1, thresholds=thresholds, default_fa_per_hour="1",
        decision=DECISION,
    )  # fmt: skip
    rows = judge(heard, manifest).headline()
    hits = sum(r.misses["clean"].spoken - r.misses["clean"].missed for r in rows)
    assert hits + sum(r.mixed_false_accepts["clean"].count for r in rows) == emitted > 10


def test_clips_are_picked_by_seed(clips: list[Clip]) -> None:
    few = pick_clips(clips, PHRASES, 2, seed=1)
    assert [c.label for c in few] == ["high <tone>"] * 2 + ["low tone"] * 2
    assert few == pick_clips(list(reversed(clips)), PHRASES, 2, seed=1)
    assert len(pick_clips(clips, PHRASES, None, seed=1)) == 10
    with pytest.raises(DataError, match="phrases found: high <tone>, low tone"):
        pick_clips(clips, ["alexa"], None, seed=1)


def test_numbers_in_words() -> None:
    assert [percent(x) for x in (0.0, 0.0036, 0.0449, 0.12, 1.0, float("nan"))] == [
        "0 %", "0.36 %", "4.5 %", "12 %", "100 %", "–",
    ]  # fmt: skip
    assert [score_text(x) for x in (0.5, 0.998812, 0.00213, 1.0)] == ["0.50", "0.9988", "0.0021", "1.0000000"]


def tone_bundle(path: Path) -> Path:
    """A bundle whose verifier compares the mel bands at each tone with all bands, over 0.4 s."""
    onnx = pytest.importorskip("onnx")
    h, window = onnx.helper, 40
    weights = np.full((80, 2), -1 / 80, dtype=np.float32)
    for k, hz in enumerate(TONES_HZ.values()):
        weights[int(mel_filters()[:, round(hz / 40)].argmax()), k] += 1
    constants = {"w": 3 * weights, "b": np.full(2, -6, dtype=np.float32), "axes": np.asarray([2])}
    graph = h.make_graph(
        [
            h.make_node("ReduceMean", ["mel", "axes"], ["bands"], keepdims=0),
            h.make_node("Gemm", ["bands", "w", "b"], ["logits"]),
            h.make_node("Sigmoid", ["logits"], ["posterior"]),
        ],
        "tones",
        [h.make_tensor_value_info("mel", onnx.TensorProto.FLOAT, ["B", 80, "T"])],
        [h.make_tensor_value_info("posterior", onnx.TensorProto.FLOAT, ["B", 2])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = [h.make_opsetid("", 18)]
    verifier = h.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    audio = np.zeros(n_samples(window), dtype=np.int16)
    # Silence is the floor in every band: each tone's band less the mean of all is 0.
    golden = Golden(audio, np.full(2, -6, dtype=np.float32))
    thresholds = {p: {"1": Threshold(0.5, False)} for p in PHRASES}
    manifest = Manifest(
        name="tones", phrases=PHRASES, input="mel", window=window, thresholds=thresholds,
        default_fa_per_hour="1", decision=DECISION,
    )  # fmt: skip
    save_bundle(path, Bundle(manifest, verifier, golden))
    return path


def test_evaluate_from_bundle_to_report(tmp_path: Path, clips: list[Clip]) -> None:
    path = tone_bundle(tmp_path / "tones.wakeword")
    speech = make_clip(tmp_path, "speech", "speech", tone(300.0, 20.0))
    runs = [
        evaluate(path, clips, [speech], [], tmp_path / f"out{n}", (None,), n, max_phrases=3, progress=False)
        for n in (1, 2)
    ]
    assert (tmp_path / "out2" / "report.html").is_file()
    for a, b in zip(runs[0].at_threshold, runs[1].at_threshold, strict=True):
        assert a == b
        assert a.misses["clean"].spoken == 3
    assert runs[0].headline()[0].misses["clean"].missed == 0
    with pytest.raises(BundleError, match="no such file"):
        evaluate(tmp_path / "absent.wakeword", clips, [speech], [], tmp_path / "x", progress=False)
