"""The sparse pass of the verifier: each row is the full pass' own, or 0 where nothing is heard around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import sounds

from wakeword.evaluate import sparse as room
from wakeword.evaluate.run import bundle_scorer
from wakeword.evaluate.sparse import STRIDE, sparse_scorer
from wakeword.evaluate.trace import trace


def test_rows_are_those_of_the_full_pass_where_anything_is_heard(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = [np.zeros(48_000, dtype=np.float32), sounds(30.0), np.zeros(32_000, dtype=np.float32)]
    full = trace(bundle_scorer(tiny_model, "verifier"), stream)
    anything = float(np.median(full.scores))  # the random net is never as quiet as a trained one
    monkeypatch.setattr(room, "ANYTHING", anything)
    scorer = sparse_scorer(tiny_model)
    for _ in range(2):  # a reset forgets all
        sparse = trace(scorer, stream)
        np.testing.assert_array_equal(sparse.times_s, full.times_s)
        n = len(full.scores) // STRIDE * STRIDE
        asked = full.scores[:n].reshape(-1, STRIDE, 2)
        highest = asked[:, -1].max(axis=1)
        heard = np.maximum(highest, [0, *highest[:-1]]) >= anything
        expected = np.where(heard[:, None, None], asked, 0)
        expected[:, -1] = asked[:, -1]
        np.testing.assert_array_equal(sparse.scores[:n], expected.reshape(n, 2))
        assert not sparse.scores[n:].any()
        assert 0 < heard.mean() < 1
