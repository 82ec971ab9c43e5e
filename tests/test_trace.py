from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from cluster_work import Noise

from wakeword.audio import HOP_S, HOP_SAMPLES, SAMPLE_RATE, Samples
from wakeword.errors import DataError, WakewordError
from wakeword.evaluate.trace import load_trace, trace, trace_all


class Loudness:
    """A scorer whose posterior is the hop's mean magnitude, after a warm-up of two hops."""

    phrases = ("loud", "quiet")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.pending, self.hops = np.zeros(0, dtype=np.float32), 0

    def feed(self, samples: Samples) -> list[tuple[float, np.ndarray]]:
        self.pending = np.concatenate([self.pending, samples])
        rows = []
        while len(self.pending) >= HOP_SAMPLES:
            level = float(np.abs(self.pending[:HOP_SAMPLES]).mean())
            self.pending = self.pending[HOP_SAMPLES:]
            self.hops += 1
            if self.hops > 2:
                rows.append((self.hops * HOP_S, np.asarray([level, 1 - level], dtype=np.float32)))
        return rows


@dataclass(frozen=True)
class Broken(Noise):
    def blocks(self) -> Iterator[Samples]:
        raise DataError("this stream cannot be read")
        yield


def test_trace_by_hand() -> None:
    second = np.full(SAMPLE_RATE, 0.25, dtype=np.float32)
    silence = np.zeros(SAMPLE_RATE, dtype=np.float32)
    whisper = np.full(1600, 10 ** (-72 / 20), dtype=np.float32)
    got = trace(Loudness(), [second, silence, whisper, second[:777]])
    assert got.phrases == ("loud", "quiet")
    assert got.seconds == pytest.approx(2.1 + 777 / SAMPLE_RATE)
    # Silence and what is below -70 dBFS are not audible; 777 samples hold four whole frames of 10 ms.
    assert got.audible_hours * 3600 == pytest.approx(1.04)
    assert len(got.times_s) == int((2 * SAMPLE_RATE + 1600 + 777) // HOP_SAMPLES) - 2
    np.testing.assert_allclose(got.times_s[:2], [0.24, 0.32])
    assert got.scores[0].tolist() == [0.25, 0.75]


@pytest.mark.parametrize("block", [1, 333, 1280, 50_000])
def test_block_size_changes_nothing(rng: np.random.Generator, block: int) -> None:
    audio = rng.uniform(-1, 1, 20_000).astype(np.float32)
    whole = trace(Loudness(), [audio])
    cut = trace(Loudness(), [audio[i : i + block] for i in range(0, len(audio), block)])
    np.testing.assert_array_equal(cut.scores, whole.scores)
    assert cut.audible_hours == whole.audible_hours


def test_save_and_load(tmp_path: Path) -> None:
    got = trace(Loudness(), Noise(1, 2.0).blocks())
    got.save(tmp_path / "t.npz")
    back = load_trace(tmp_path / "t.npz")
    assert (back.phrases, back.audible_hours, back.seconds) == (got.phrases, got.audible_hours, got.seconds)
    np.testing.assert_array_equal(back.scores, got.scores)
    np.testing.assert_array_equal(back.times_s, got.times_s)
    assert [p.name for p in tmp_path.iterdir()] == ["t.npz"]
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="not a saved trace"):
        load_trace(tmp_path / "bad.npz")


def test_processes_change_nothing() -> None:
    streams = [Noise(seed, 0.5 + seed) for seed in range(3)]
    alone = trace_all(Loudness, streams, processes=1, progress=False)
    pool = trace_all(Loudness, streams, processes=2, progress=False)
    for a, b in zip(alone, pool, strict=True):
        np.testing.assert_array_equal(a.scores, b.scores)
        assert a.seconds == b.seconds
    assert [t.seconds for t in pool] == pytest.approx([0.5, 1.5, 2.5])


def fail() -> Loudness:
    raise WakewordError("no such bundle")


def test_errors_in_workers_arrive() -> None:
    with pytest.raises(DataError, match="this stream cannot be read"):
        trace_all(Loudness, [Broken(0, 1.0), Noise(1, 1.0)], processes=2, progress=False)
    with pytest.raises(WakewordError, match="no such bundle"):
        trace_all(fail, [Noise(0, 1.0), Noise(1, 1.0)], processes=2, progress=False)
