"""A listener: models, hub, sources and parts in one object, which runs until it is stopped."""

from __future__ import annotations

import gc
import logging
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from wakeword.audio import SAMPLE_RATE
from wakeword.config import load_config
from wakeword.errors import UsageError, WakewordError
from wakeword.listen.engine import Engine
from wakeword.listen.events import MICROPHONE, Reloaded
from wakeword.listen.hub import Hub
from wakeword.listen.lasting import LastingMicrophone
from wakeword.listen.loaded import Loaded, load_model
from wakeword.listen.parts import Parts
from wakeword.listen.settings import ListenSettings, PointSettings
from wakeword.listen.settings_text import write_point
from wakeword.listen.sources import Gap, Source
from wakeword.machine import give_back_memory

log = logging.getLogger(__name__)

TAIL_SAMPLES = 2 * SAMPLE_RATE
"""Silence after sound that ends, so that a phrase at its very end is heard out."""
GIVE_BACK_S = 60.0
"""Loading and hearing leave some 12 MB unused, and each minute of suspicions 5."""


class Listener:
    """Listens with some models, tells its parts, and takes other models and settings while it runs.

    listener = Listener(load_config(path, ListenSettings), path)
    listener.run(source)
    """

    def __init__(self, settings: ListenSettings, config: Path | None = None, ui: bool = False) -> None:
        """Load the models; WakewordError for one that cannot be loaded.

        Args:
            settings: what to do.
            config: the file they are from, which is read anew by `reload`; None = there is none.
            ui: show the live view in the terminal.
        """
        self.settings, self.config, self.ui = settings, config, ui
        self.folder = config.parent if config else Path()
        """What relative paths of the settings are relative to."""
        self.hub = Hub()
        self.engine = Engine(self.hub, self._load(settings, ()), settings.clip)
        self.parts = Parts(self)
        self.since = time.time()
        self.turned_s = time.monotonic()
        """When the loop last turned (monotonic clock): at a block of sound, or at a try to get a source."""
        self._given_back_s = -GIVE_BACK_S
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._source: Source | None = None
        self._reloading = threading.Lock()

    @property
    def saving(self) -> bool:
        """True where sound is kept as files: whatever shows a state must show this."""
        return bool(self.settings.save.folder)

    def reload(self, why: str) -> bool:
        """Take the models and settings as their files now are; False, and a `Problem`, where they are bad.

        Loads in the calling thread, beside the sound; the streams change over between two hops.
        """
        with self._reloading:
            try:
                settings = load_config(self.config, ListenSettings) if self.config else self.settings
                self._take(settings, self._load(settings, self.engine.loaded), why)
            except WakewordError as err:
                self.hub.problem("reload", f"refused, going on as before: {err}")
                return False
            finally:
                gc.collect()  # what the old models leave may refer to itself
                give_back_memory()
            return True

    def tune(self, phrase: str, fa_per_hour: float) -> None:
        """Let a phrase run at another operating point, and write that to the config file if there is one.

        UsageError for a phrase or an operating point that there is not; see `Loaded.rates`.
        """
        places = [i for i, one in enumerate(self.engine.loaded) if phrase in one.phrases]
        if not places:
            raise UsageError(f"no phrase {phrase!r}; choose from {', '.join(self.engine.phrases)}")
        for i in places:
            rates = self.engine.loaded[i].rates(phrase)
            if fa_per_hour not in rates:
                known = ", ".join(f"{rate:g}" for rate in rates)
                raise UsageError(f"no operating point at {fa_per_hour:g} per hour; choose one of {known}")
        if self.config:
            write_point(self.config, places, phrase, fa_per_hour)
        else:
            self.settings = _with_point(self.settings, places, phrase, fa_per_hour)
        self.reload(f"{phrase} at {fa_per_hour:g} false accepts per hour")

    def fail(self, err: BaseException) -> None:
        """End `run` with this error, from any thread."""
        self._failure = err
        self.stop()

    def stop(self) -> None:
        """Let `run` end, from any thread."""
        self._stopping.set()

    @property
    def stopping(self) -> threading.Event:
        """Set once `stop` was called."""
        return self._stopping

    def run(self, source: Source | None) -> float:
        """Listen until the source ends or `stop` is called (no source: until that); return seconds heard.

        Ends with what was given to `fail`, with the source's own errors, and at once where a part cannot be:
        UsageError for its settings, NotInstalledError.
        """
        self._source = source
        try:
            self.parts.adapt(strict=True)
            seconds = self._idle() if source is None else self._listen(source)
        finally:
            self.parts.close()
        if self._failure is not None:
            raise self._failure
        return seconds

    def _idle(self) -> float:
        while not self._stopping.wait(1.0):
            self._turned()
        return 0.0

    def _turned(self) -> None:
        """Note that the loop turned, and give back memory where it is time to."""
        self.turned_s = time.monotonic()
        if self.turned_s - self._given_back_s >= GIVE_BACK_S:
            self._given_back_s = self.turned_s
            give_back_memory()

    def _listen(self, source: Source) -> float:
        stream = self.engine.open(MICROPHONE, source.name)
        n_samples = 0
        try:
            for block in source:
                self._turned()
                if self._stopping.is_set():
                    break
                if isinstance(block, Gap):
                    stream.skip(block.n_samples)
                else:
                    stream.feed(block, source.lag_s)
                    n_samples += len(block)
            else:
                stream.feed(np.zeros(TAIL_SAMPLES, dtype=np.float32))
        finally:
            stream.close()
        return n_samples / SAMPLE_RATE

    def _load(self, settings: ListenSettings, known: tuple[Loaded, ...]) -> list[Loaded]:
        return [load_model(model, self.folder, known) for model in settings.models]

    def _take(self, settings: ListenSettings, loaded: list[Loaded], why: str) -> None:
        self.engine.swap(loaded)
        before, self.settings = self.settings, settings
        if isinstance(self._source, LastingMicrophone) and settings.microphone != before.microphone:
            self._source.change(settings.microphone)
        self.parts.adapt()
        self.hub.solved("reload", "taken")
        fires = ", ".join(f"{phrase} at {value:.3g}" for phrase, value in self.engine.thresholds.items())
        log.info("reloaded (%s): %s", why, fires)
        self.hub.publish(Reloaded(self.engine.phrases, self.engine.thresholds, why))


def _with_point(settings: ListenSettings, places: list[int], phrase: str, rate: float) -> ListenSettings:
    models = list(settings.models)
    for i in places:
        phrases = {**models[i].phrases, phrase: PointSettings(fa_per_hour=rate)}
        models[i] = replace(models[i], phrases=phrases)
    return replace(settings, models=tuple(models))
