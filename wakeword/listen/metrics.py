"""What a listener does, for Prometheus: counted from the hub's events, told at /metrics."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import wakeword
from wakeword.listen.events import Event, Heard, Lost, Pulse, Reloaded, SourceState
from wakeword.listen.parts import needs

if TYPE_CHECKING:
    from wakeword.listen.listener import Listener

PEAK_S = 60.0
"""Score peaks are the highest of this long: more than the usual time between two scrapes."""
LAG_BUCKETS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0)


def source_of(stream: str) -> str:
    """The kind of a stream: `wyoming 10.0.0.7:4711` -> `wyoming`. A label for each client would never end."""
    return stream.partition(" ")[0] or "unknown"


class Peaks:
    """The highest value of each name over the last minute."""

    def __init__(self, seconds: float = PEAK_S) -> None:
        self._seconds = seconds
        self._recent: dict[str, deque[tuple[float, float]]] = {}

    def add(self, name: str, value: float, now_s: float) -> None:
        """Take a value. Only those that a later one may leave as the highest are kept."""
        recent = self._recent.setdefault(name, deque())
        while recent and recent[-1][1] <= value:
            recent.pop()
        recent.append((now_s, value))
        self._trim(recent, now_s)

    def highest(self, now_s: float) -> dict[str, float]:
        """Each name's highest value; 0 where nothing came for a while."""
        for recent in self._recent.values():
            self._trim(recent, now_s)
        return {name: recent[0][1] if recent else 0.0 for name, recent in self._recent.items()}

    def _trim(self, recent: deque[tuple[float, float]], now_s: float) -> None:
        while recent and now_s - recent[0][0] > self._seconds:
            recent.popleft()


class Metrics:
    """Counts events; used from one thread."""

    def __init__(self, listener: Listener) -> None:
        with needs("prometheus-client", "serve"):
            import prometheus_client as prometheus
        self._listener = listener
        self._peaks = Peaks()
        self.registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=self.registry)
        prometheus.PlatformCollector(registry=self.registry)

        def counter(name: str, text: str, *labels: str) -> Any:
            return prometheus.Counter(f"wakeword_{name}", text, labels, registry=self.registry)

        self._hops = counter("hops", "Hops (of 80 ms) scored, of each model", "source")
        self._verified = counter("verified_hops", "Hops on which a verifier ran", "source")
        self._seconds = counter("audio_seconds", "Sound heard", "source")
        self._cpu = counter("detector_cpu_seconds", "Processor time of the detectors", "source")
        self._lost = counter("lost_audio_seconds", "Sound lost: too slow, or no source", "source")
        self._losses = counter("losses", "Holes in the sound", "source")
        self._reconnects = counter("reconnects", "Times that a source came back", "source")
        self._detections = counter("detections", "Phrases heard", "phrase", "source")
        self._reloads = counter("reloads", "Times that models or settings changed")
        self._lag = prometheus.Histogram(
            "wakeword_lag_seconds", "Sound that waits to be heard", ("source",),
            buckets=LAG_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self._level = prometheus.Gauge(
            "wakeword_level_dbfs", "Level of the newest sound", ("source",), registry=self.registry
        )
        self.registry.register(self)

    def take(self, event: Event) -> None:
        """Count an event."""
        if isinstance(event, Pulse):
            self._pulse(event)
        elif isinstance(event, Heard):
            self._detections.labels(event.detection.phrase, source_of(event.stream)).inc()
        elif isinstance(event, Lost):
            self._losses.labels(source_of(event.stream)).inc()
            self._lost.labels(source_of(event.stream)).inc(event.seconds)
        elif isinstance(event, SourceState):
            if event.state == "listening" and event.returns:
                self._reconnects.labels(source_of(event.stream)).inc()
        elif isinstance(event, Reloaded):
            self._reloads.inc()

    def _pulse(self, pulse: Pulse) -> None:
        source = source_of(pulse.stream)
        self._hops.labels(source).inc(pulse.hops)
        self._verified.labels(source).inc(pulse.verified)
        self._seconds.labels(source).inc(pulse.seconds)
        self._cpu.labels(source).inc(pulse.cpu_s)
        self._lag.labels(source).observe(pulse.lag_s)
        self._level.labels(source).set(pulse.level_dbfs)
        for phrase, score in pulse.scores.items():
            self._peaks.add(phrase, score, time.monotonic())

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)

    def collect(self) -> Iterator[Any]:
        """What is looked up when it is asked for; called by the registry."""
        from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily

        listener = self._listener
        yield from self._by_phrase()
        yield from self._by_part()
        yield GaugeMetricFamily("wakeword_start_time_seconds", "Since when it runs", value=listener.since)
        age_s = time.monotonic() - listener.turned_s
        yield GaugeMetricFamily("wakeword_loop_age_seconds", "Since the loop last turned", value=age_s)
        saving = float(listener.saving)
        yield GaugeMetricFamily("wakeword_saving_audio", "1 where sound is kept on disk", value=saving)
        yield InfoMetricFamily("wakeword", "This program", value={"version": wakeword.__version__})

    def _by_phrase(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        peaks = GaugeMetricFamily(
            "wakeword_score_peak", "Highest score of the last minute", labels=["phrase"]
        )
        for phrase, score in self._peaks.highest(time.monotonic()).items():
            peaks.add_metric([phrase], score)
        thresholds = GaugeMetricFamily("wakeword_threshold", "Score to fire at", labels=["phrase"])
        for phrase, threshold in self._listener.engine.thresholds.items():
            thresholds.add_metric([phrase], threshold)
        yield from (peaks, thresholds)

    def _by_part(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        listener = self._listener
        streams = GaugeMetricFamily("wakeword_streams", "Streams of sound open now", labels=["source"])
        sources = [source_of(name) for name in listener.engine.streams]
        for source in sorted(set(sources)):
            streams.add_metric([source], sources.count(source))
        dropped = CounterMetricFamily(
            "wakeword_events_dropped", "Events that a part was too slow for", labels=["part"]
        )
        lost: Counter[str] = Counter()
        for subscription in listener.hub.subscriptions:
            # As with streams: a client has a subscription of its own, and a name with its address.
            lost[source_of(subscription.name)] += subscription.dropped
        for part, count in lost.items():
            dropped.add_metric([part], count)
        problems = CounterMetricFamily("wakeword_problems", "Things that failed", labels=["where"])
        for where, count in listener.hub.problems.items():
            problems.add_metric([where], count)
        yield from (streams, dropped, problems)
