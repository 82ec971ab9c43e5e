"""Streams on shared models: the events of a detector of one's own, however they are fed and reloaded."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import sounds

import wakeword
from wakeword.audio import SAMPLE_RATE, Samples
from wakeword.decision import Detection
from wakeword.errors import AudioError, UsageError
from wakeword.listen.engine import Engine
from wakeword.listen.events import Clip, Heard, Lost, Pulse, SourceState
from wakeword.listen.history import History
from wakeword.listen.hub import Hub
from wakeword.listen.loaded import Loaded, load_model
from wakeword.listen.settings import ClipSettings, ModelSettings, PointSettings

SOUND = sounds(14.0, seed=5)


@pytest.fixture(scope="module")
def loaded(tiny_model: Path) -> Loaded:
    return load_model(ModelSettings(path=str(tiny_model)), Path())


@pytest.fixture(scope="module")
def expected(tiny_model: Path) -> list[Detection]:
    found = wakeword.load(tiny_model).feed(SOUND)
    assert len(found) > 5
    return found


def blocks(sound: Samples, n: int) -> list[Samples]:
    return [sound[i : i + n] for i in range(0, len(sound), n)]


def exact(event: Detection) -> Detection:
    """The time is counted from the last reload: the same but for the last bit."""
    return replace(event, time_s=round(event.time_s, 6))


@pytest.mark.parametrize("n", [160, 1_280, 4_001, len(SOUND)])
def test_a_stream_hears_what_a_detector_hears(loaded: Loaded, expected: list[Detection], n: int) -> None:
    stream = Engine(Hub(), [loaded]).open("test")
    heard = [event for block in blocks(SOUND, n) for event in stream.feed(block)]
    assert [event.detection for event in heard] == expected
    assert [event.number for event in heard] == list(range(1, len(heard) + 1))


@pytest.mark.parametrize("every_s", [0.3, 1.0, 3.1])
def test_reloads_change_nothing(loaded: Loaded, expected: list[Detection], every_s: float) -> None:
    """The same model once more, at odd moments: no event is lost, none comes twice."""
    engine = Engine(Hub(), [loaded])
    stream = engine.open("test")
    heard, reloads = [], 0
    for block in blocks(SOUND, 1_000):
        if stream.time_s >= (reloads + 1) * every_s:
            engine.swap([replace(loaded)])
            reloads += 1
        heard += stream.feed(block)
    assert reloads >= 4
    assert [exact(event.detection) for event in heard] == [exact(event) for event in expected]


def test_reload_after_a_gap(loaded: Loaded, tiny_model: Path) -> None:
    detector, engine = wakeword.load(tiny_model), Engine(Hub(), [loaded])
    stream = engine.open("test")
    heard, expected = [], []
    for i, block in enumerate(blocks(SOUND, 30_001)):
        heard += stream.feed(block)
        expected += detector.feed(block)
        stream.skip(12_345)
        detector.skip(12_345)
        if i % 2:
            engine.swap([replace(loaded)])
    assert [exact(event.detection) for event in heard] == [exact(event) for event in expected] != []


def test_new_thresholds_count_from_the_next_hop(tiny_model: Path) -> None:
    engine = Engine(Hub(), [load_model(ModelSettings(path=str(tiny_model), threshold=1.0), Path())])
    stream = engine.open("test")
    half = len(SOUND) // 2
    assert not stream.feed(SOUND[:half])
    engine.swap([load_model(ModelSettings(path=str(tiny_model), threshold=0.5), Path(), engine.loaded)])
    heard = stream.feed(SOUND[half:])
    assert heard and all(event.detection.time_s > half / SAMPLE_RATE - 0.4 for event in heard)


def test_unchanged_files_share_their_networks(tiny_model: Path, loaded: Loaded) -> None:
    other = load_model(ModelSettings(path=str(tiny_model), fa_per_hour=2.0), Path(), [loaded])
    assert other.models is loaded.models
    assert other.thresholds == (0.25, 0.25) != loaded.thresholds


def test_points_of_single_phrases(tiny_model: Path) -> None:
    points = {"hey nova": PointSettings(threshold=0.9), "lights on": PointSettings(fa_per_hour=2.0)}
    one = load_model(ModelSettings(path=str(tiny_model), phrases=points), Path())
    assert one.thresholds == (0.9, 0.25)
    assert one.rates("hey nova") == {0.5: 0.5, 2.0: 0.25}
    with pytest.raises(UsageError, match="has no phrase 'nova'; its phrases are hey nova, lights on"):
        load_model(ModelSettings(path=str(tiny_model), phrases={"nova": PointSettings()}), Path())


def test_wanted_phrases_only(loaded: Loaded, expected: list[Detection]) -> None:
    engine = Engine(Hub(), [loaded])
    stream = engine.open("test", wanted=["lights on"])
    heard = [event.detection for event in stream.feed(SOUND)]
    assert heard == [event for event in expected if event.phrase == "lights on"] != []
    with pytest.raises(UsageError, match="no phrase 'x'; choose from hey nova, lights on"):
        stream.want(["x"])
    with pytest.raises(UsageError, match="'test' is open already"):
        engine.open("test")
    stream.close()
    engine.open("test").close()


def test_what_is_published(loaded: Loaded, expected: list[Detection]) -> None:
    hub = Hub()
    engine = Engine(hub, [loaded], ClipSettings(pre_s=1.0, post_s=0.5))
    events = hub.subscribe("test", size=10_000)
    stream = engine.open("test", "a test")
    for block in blocks(SOUND, 700):
        stream.feed(block, lag_s=0.25)
    stream.close()
    stream.close()
    events.close()
    got = list(events)
    heard = [event for event in got if isinstance(event, Heard)]
    assert [event.detection for event in heard] == expected
    clips = [event for event in got if isinstance(event, Clip)]
    assert [clip.heard for clip in clips] == heard
    for clip in clips:
        start = round(clip.begins_s * SAMPLE_RATE)
        np.testing.assert_array_equal(clip.samples, SOUND[start : start + len(clip.samples)])
        assert clip.begins_s == max(0, round(clip.heard.detection.time_s - 1.0, 6))
    assert clips[2].seconds == 1.5
    pulses = [event for event in got if isinstance(event, Pulse)]
    n_hops = len(SOUND) // 1_280
    assert n_hops - 3 < sum(pulse.hops for pulse in pulses) <= n_hops
    assert sum(pulse.verified for pulse in pulses) > n_hops - 20  # all but those before the first window
    assert max(pulse.scores.get("hey nova", 0) for pulse in pulses) >= 0.5
    assert all(pulse.lag_s == 0.25 and pulse.level_dbfs < pulse.peak_dbfs + 0.01 for pulse in pulses)
    assert max(pulse.level_dbfs for pulse in pulses) == pytest.approx(-8, abs=6)
    states = [event for event in got if isinstance(event, SourceState)]
    assert [(s.state, s.what) for s in states] == [("listening", "a test"), ("ended", "a test")]


def test_lost_sound_is_told(loaded: Loaded) -> None:
    hub = Hub()
    events = hub.subscribe("test", Lost)
    stream = Engine(hub, [loaded]).open("test")
    stream.feed(SOUND[:2_000])
    stream.skip(8_000)
    events.close()
    assert list(events) == [Lost("test", 0.5)]
    assert stream.time_s == 10_000 / SAMPLE_RATE


def test_bad_samples_leave_a_stream_as_it_was(loaded: Loaded, expected: list[Detection]) -> None:
    stream = Engine(Hub(), [loaded]).open("test")
    heard = stream.feed(SOUND[:50_000])
    for bad in (
        np.full(100, np.nan, np.float32),
        np.zeros((2, 100), np.float32),
        np.full(9, 99.0, np.float32),
    ):
        with pytest.raises(AudioError):
            stream.feed(bad)
    heard += stream.feed(SOUND[50_000:])
    assert [event.detection for event in heard] == expected


def test_streams_in_threads_do_not_mix(loaded: Loaded, tiny_model: Path) -> None:
    engine, heard = Engine(Hub(), [loaded]), dict[int, list[Detection]]()

    def listen(seed: int) -> None:
        stream = engine.open(f"stream {seed}")
        found = [e.detection for block in blocks(sounds(4.0, seed), 1_280) for e in stream.feed(block)]
        heard[seed] = found
        stream.close()

    threads = [threading.Thread(target=listen, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert heard == {seed: wakeword.load(tiny_model).feed(sounds(4.0, seed)) for seed in range(4)}
    assert not engine.streams


def test_no_models() -> None:
    with pytest.raises(UsageError, match="no model to listen with"):
        Engine(Hub(), [])


def test_history_keeps_the_newest_on_whole_hops(rng: np.random.Generator) -> None:
    sound = rng.standard_normal(100_000).astype(np.float32)
    history, n = History(16_000), 0
    while n < len(sound):
        block = sound[n : n + min(int(rng.integers(1, 1_281)), history.until_hop())]
        history.append(block)
        n += len(block)
        first, kept = history.cut(0, n)
        assert first % 1_280 == 0
        assert len(kept) >= min(n, 16_000)
        np.testing.assert_array_equal(kept, sound[first:n])
    assert history.cut(n - 100, n + 100)[1].tolist() == sound[-100:].tolist()
    history.restart(200_000)
    assert history.cut(0, 300_000) == (200_000, pytest.approx(np.zeros(0)))
