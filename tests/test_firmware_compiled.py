"""The compiled network says what the reference says, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest
from toy_network import toy_features, toy_network

from firmware_bridge import compiled
from firmware_bridge.compiled import CompiledNet, quick_posteriors
from firmware_bridge.judge import reference_posteriors


@pytest.mark.skipif(compiled.shutil.which(compiled.COMPILER) is None, reason="gcc is not installed")
@pytest.mark.parametrize("seed", [1, 2])
def test_compiled_equals_the_reference(seed: int) -> None:
    net = toy_network(seed)
    run, reference = CompiledNet(net), reference_posteriors(net)
    for n_frames in (400, 301, 2, 0):  # each call begins anew, half a step at the end is left out
        features = toy_features(n_frames, seed)
        np.testing.assert_array_equal(run(features), reference(features))
    assert len(set(run(toy_features(400, seed)).tolist())) > 5


def test_numpy_where_there_is_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "COMPILER", "no-such-compiler")
    net, features = toy_network(3), toy_features(90, 3)
    np.testing.assert_array_equal(quick_posteriors(net)(features), reference_posteriors(net)(features))
