"""What the accuracy benchmarks compute themselves: which hops are asked, which rows drawn, who is ahead."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from wakeword.clips.dataset import Clip
from wakeword.decision import DecisionConfig
from wakeword.evaluate.streams import MixedStream, NegativeStream, Spoken
from wakeword.evaluate.trace import Trace

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
HOP_S = 0.08
SPOKEN_S = (5.0, 15.0, 25.0)


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def load(name: str) -> ModuleType:
        return pytest.importorskip(name)

    return load


def mixed() -> MixedStream:
    spoken = tuple(Spoken("alexa", at, at + 0.5, Path(f"{at}.ogg"), f"person {at}") for at in SPOKEN_S)
    return MixedStream("mixed", (), 30 * 16_000, spoken)


def trace(peaks: dict[float, float], seconds: float, hours: float) -> Trace:
    """A trace that is 0.01 but for these (time, score)."""
    times = np.arange(1, round(seconds / HOP_S) + 1) * HOP_S
    scores = np.full((len(times), 1), 0.01, dtype=np.float32)
    for at, score in peaks.items():
        scores[np.searchsorted(times, at)] = score
    return Trace(("alexa",), times, scores, hours, seconds)


def test_misses_at_the_threshold_that_allows_so_many_false_accepts(benchmark: Any) -> None:
    report = benchmark("peers_report")
    hits = {5.4: 0.9, 15.4: 0.7, 25.4: 0.4}
    background = {10.0: 0.8, 20.0: 0.5, 30.0: 0.2}
    traces = {"negative": [trace(background, 60.0, 2.0)], "clean": [trace(hits, 30.0, 0.01)]}
    heard = report.Heard("our cascade", DecisionConfig(smoothing_hops=1), traces, {"alexa": {"0.5": 0.75}})
    cells, curves = report.judge_system(heard, {"clean": [mixed()]}, "alexa")
    at = {(c.fa_per_hour, c.chosen_on): c for c in cells}
    assert at[0.1, "test"].misses.missed == 2  # none of 2 h: over 0.8
    assert at[0.5, "test"].misses.missed == 1  # one: between 0.8 and 0.5
    assert at[1.0, "test"].misses.missed == 0  # two: between 0.5 and 0.2
    assert (at[0.5, "dev"].misses.missed, at[0.5, "dev"].false_accepts.count) == (2, 1)
    assert {c.fa_per_hour for c in cells if c.chosen_on == "tail"} == {0.1}
    assert min(point.missed for point in curves[0].points) == 0


def test_says_where_a_peer_is_ahead(benchmark: Any) -> None:
    report = benchmark("peers_report")
    background = [trace({10.0: 0.5, 20.0: 0.4, 30.0: 0.3}, 60.0, 20.0)]
    cells = []
    for system, heard in (("our cascade", {5.4: 0.9}), ("openWakeWord 0.4.0", {5.4: 0.9, 15.4: 0.9})):
        traces = {"negative": background, "clean": [trace(heard, 30.0, 0.01)]}
        one = report.Heard(system, DecisionConfig(smoothing_hops=1), traces, {})
        cells += report.judge_system(one, {"clean": [mixed()]}, "alexa")[0]
    text = report.winners(cells, ["clean"])
    assert "fewer in 0" in text and "more in 4" in text and "openWakeWord 0.4.0 at 0.5 FA/h, clean" in text
    assert "67 % (" in report.table(cells, ["clean"])


def test_mixed_streams_are_asked_only_where_an_event_would_be_a_hit(benchmark: Any) -> None:
    cached = benchmark("cached_streams")
    mel = np.zeros((3_000, 80), dtype=np.float16)
    everywhere = cached.hops_asked(cached.Heard(NegativeStream("n", (), 30 * 16_000), mel, 0.0), 188, 3)
    assert everywhere[0] * 8 - 2 >= 188 and everywhere[-1] * HOP_S <= 30
    assert set(np.diff(everywhere)) == {3}
    asked = np.asarray(cached.hops_asked(cached.Heard(mixed(), mel, 0.0), 188, 3)) * HOP_S
    near = [any(at <= t <= at + 1.5 for at in SPOKEN_S) for t in asked]
    assert all(near) and len(asked) >= 3 * 5
    assert set(np.round(asked / HOP_S).astype(int)) <= set(everywhere)


def test_a_cell_draws_its_clips_and_their_windows(benchmark: Any) -> None:
    cells, data = benchmark("transfer_cells"), benchmark("transfer_data")
    clips = [
        Clip(Path(f"{phrase}{i}.ogg"), "phrase", phrase, "train", "g", 1.0, "", "", "")
        for phrase in data.PHRASES
        for i in range(5)
    ]
    clip_of = np.concatenate([np.tile(np.arange(20), 3), np.full(7, -1)])
    windows = data.Windows(np.zeros((67, 80, 4), np.float16), np.zeros((67, 4), np.float32), clip_of, clips)
    rows = cells.rows_of(cells.Cell(2, versions=2, negatives=4), windows)
    drawn, counts = np.unique(clip_of[rows], return_counts=True)
    assert drawn[0] == -1 and counts[0] == 4
    assert len(drawn) == 1 + 4 * 2 and set(counts[1:]) == {2}
    assert {clips[i].label for i in drawn[1:]} == set(data.PHRASES)
    assert len(cells.rows_of(cells.Cell(0), windows)) == 67
    other = cells.rows_of(cells.Cell(2, versions=2, negatives=4, seed=2), windows)
    assert set(clip_of[other]) != set(clip_of[rows])


def test_all_depths_are_what_encoders_cut_there_give(benchmark: Any) -> None:
    data, torch = benchmark("transfer_data"), pytest.importorskip("torch")
    from wakeword.train.encoders import build_encoder
    from wakeword.train.head import pool_frames

    torch.manual_seed(1)
    whole, cut = build_encoder("tiny.en", 2).eval(), build_encoder("tiny.en", 1).eval()
    cut.load_state_dict({name: whole.state_dict()[name] for name in cut.state_dict()})
    mel = torch.randn(1, 80, 40)
    with torch.inference_mode():
        found = data.AllDepths(whole).features(mel)
        wanted = torch.stack([pool_frames(encoder(mel), 2) for encoder in (cut, whole)], dim=1)
    torch.testing.assert_close(found, wanted)


def test_a_student_at_once_says_what_its_graph_says_hop_by_hop(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, torch = benchmark("ingredients_cells"), pytest.importorskip("torch")
    from export.student import student_graph
    from wakeword.audio import as_float
    from wakeword.cascade import StudentStream, golden_scores
    from wakeword.config import StudentConfig
    from wakeword.mel import log_mel
    from wakeword.train.student import StudentNet
    from wakeword.verifier import make_session

    torch.manual_seed(1)
    student = StudentNet(("a", "b"), StudentConfig(channels=8)).eval()
    torch.nn.init.zeros_(student.output.bias)  # scores that vary
    audio = np.random.default_rng(1).integers(-3000, 3000, 40 * 1280).astype(np.int16)
    audio[20_000:30_000] //= 50
    session = make_session(student_graph(student, {}).SerializeToString())
    monkeypatch.setattr(cells, "PIECE_HOPS", 7)
    found = cells.hop_scores(student, log_mel(as_float(audio)).T)
    np.testing.assert_allclose(found, golden_scores(StudentStream(session), audio), atol=1e-4)
    assert found.std() > 0.01


def test_each_recipe_of_the_ladder_adds_one_thing(benchmark: Any) -> None:
    cells = benchmark("ingredients_cells")
    for before, after in zip(cells.LADDER, cells.LADDER[1:], strict=False):
        differ = [f for f in vars(before) if f != "name" and getattr(before, f) != getattr(after, f)]
        assert len(differ) == 1 and getattr(after, differ[0]) is True
    assert cells.LADDER[-1] == cells.Recipe(cells.LADDER[-1].name)
    assert len({cells.Cell(r, 1, 6).name() for r in cells.RECIPES}) == len(cells.RECIPES)
    assert cells.distill_config(cells.Recipe("full"), 8) == cells.DistillConfig(epochs=8)


def test_each_augmentation_recipe_changes_one_thing(benchmark: Any) -> None:
    cells = benchmark("augmentation_cells")
    of_two = {"no noise laid over", "no other levels", "speeds from 0.8 to 1.2"}
    for recipe in (*cells.SWITCHED_OFF, *cells.ADDED):
        product, config = vars(cells.AS_TRAINED.config), vars(recipe.config)
        differ = [f for f in product if product[f] != config[f]] + ["on_mel"] * (recipe.on_mel is not None)
        assert len(differ) == 1 + (recipe.name in of_two), recipe.name
    assert len({cells.Cell(r, 1).name() for r in cells.RECIPES}) == len(cells.RECIPES)


def test_hidden_stripes_leave_the_rest(benchmark: Any) -> None:
    cells = benchmark("augmentation_cells")
    rng = np.random.default_rng(1)
    mel = rng.standard_normal((80, 188)).astype(np.float32)
    hidden = [cells.with_stripes(mel, rng) != mel for _ in range(50)]
    bands, frames = (np.array([h.all(axis=axis).sum() for h in hidden]) for axis in (1, 0))
    assert 15 < bands.max() <= cells.STUDENT.mask_bands and 20 < frames.max() <= cells.STUDENT.mask_frames
    assert all(h.sum() == b * 188 + f * 80 - b * f for h, b, f in zip(hidden, bands, frames, strict=True))
