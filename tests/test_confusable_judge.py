"""Accept rates of near phrases: a detector of tones, and recordings that hold them or do not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_report import DECISION, PHRASES, ToneScorer, make_clip, tone, tone_bundle

from wakeword.bundle import Manifest, Threshold
from wakeword.clips.confusable_clips import ConfusableClip
from wakeword.clips.dataset import Clip
from wakeword.evaluate.confusable import count_confusables, hear_confusables
from wakeword.evaluate.intervals import wilson
from wakeword.evaluate.report import confusable_section
from wakeword.evaluate.result import ConfusableResult
from wakeword.evaluate.run import evaluate
from wakeword.evaluate.summary import summary

MANIFEST = Manifest(
    name="tones", phrases=PHRASES, input="mel", window=1, decision=DECISION, default_fa_per_hour="0.5",
    thresholds={p: {"0.5": Threshold(0.9, True), "1": Threshold(0.5, False)} for p in PHRASES},
)  # fmt: skip


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return make_clip(tmp_path_factory.mktemp("speech"), "speech", "speech", tone(300.0, 20.0))


@pytest.fixture(scope="module")
def confusables(tmp_path_factory: pytest.TempPathFactory) -> list[ConfusableClip]:
    """Parts (3 kHz) are nothing to the detector; of the near ones two in five sound like the high tone."""
    folder, quiet = tmp_path_factory.mktemp("near"), np.zeros(4000, dtype=np.float32)
    found = []
    for kind, pitches in (("near", (4000, 3000, 4000, 3000, 1000)), ("part", (3000,) * 4), ("tv", (1500,))):
        for i, hz in enumerate(pitches):
            samples = np.concatenate([quiet, tone(float(hz), 0.5), quiet])
            clip = make_clip(folder, f"{kind}{i}", "speech", samples)
            text = "" if kind == "tv" else f"{kind} <{hz}>"
            found.append(ConfusableClip(clip, PHRASES[i % 2], kind, text, 0.2, i == 2 and kind == "near"))
    return found


@pytest.fixture(scope="module")
def result(confusables: list[ConfusableClip], speech: Clip) -> ConfusableResult:
    return count_confusables(hear_confusables(ToneScorer, confusables, [speech], MANIFEST, 1, 1, False))


def test_every_kind_is_counted(result: ConfusableResult) -> None:
    near, part, tv = result.by_kind[1], result.by_kind[0], result.by_kind[2]
    assert [row.kind for row in result.by_kind] == ["part", "near", "tv"]
    assert (near.accepted, near.spoken, near.held_out) == (2, 5, (1, 1))
    assert near.interval == wilson(2, 5) and near.rate == pytest.approx(0.4)
    assert (part.accepted, part.spoken, tv.accepted, tv.spoken) == (0, 4, 0, 1)
    assert (result.total.accepted, result.total.spoken) == (2, 10)
    assert near.by_phrase == {PHRASES[0]: (2, 3), PHRASES[1]: (0, 2)}


def test_what_was_accepted_is_named_and_heard(result: ConfusableResult) -> None:
    [text] = result.texts
    assert (text.text, text.kind, text.phrase, text.accepted, text.spoken) == (
        "near <4000>", "near", "high <tone>", 2, 2,
    )  # fmt: skip
    first = result.excerpts[0]
    assert first.phrase == "high <tone>" and first.title.startswith("near <4000>") and first.score > 0.9
    assert 1.5 < len(first.audio) / 16_000 < 2.5


def test_section_of_the_report(result: ConfusableResult) -> None:
    text = confusable_section(result)
    assert "2 of 5" in text and "near &lt;4000&gt;" in text and "near <4000>" not in text
    assert text.count("<audio") == len(result.excerpts) == 5
    assert "--confusables" in confusable_section(None)


def test_evaluate_adds_them_to_report_and_summary(
    tmp_path: Path, confusables: list[ConfusableClip], speech: Clip
) -> None:
    phrase = make_clip(tmp_path, "said1", "phrase", tone(4000.0, 0.6), "high <tone>")
    bundle = tone_bundle(tmp_path / "tones.wakeword")
    out = tmp_path / "out"
    found = evaluate(bundle, [phrase], [speech], [], out, (None,), 1, progress=False, confusables=confusables)
    data = json.loads((out / "report.json").read_text())["confusables"]
    assert [row["kind"] for row in data["by_kind"]] == ["part", "near", "tv"]
    assert data["total"]["spoken"] == 10 and data["by_kind"][1]["rate"] == pytest.approx(0.4)
    assert "audio" not in data["excerpts"][0]
    assert "Nearest to being taken for a phrase" in (out / "report.html").read_text()
    assert "near phrases accepted" in summary(found)
    assert "near phrases" not in summary(replace(found, confusables=None))
