"""Listening from a Python program: `wakeword.listen`."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from wakeword.decision import Detection
from wakeword.errors import UsageError
from wakeword.manifest import Mode

if TYPE_CHECKING:
    from wakeword.listen.listener import Listener
    from wakeword.listen.settings import SpeakersChoice
    from wakeword.listen.sources import Source

QUEUE_EVENTS = 10_000
"""Detections that may wait for the program."""
CLOSE_S = 5.0


def listen(
    *models: str | os.PathLike[str],
    file: str | os.PathLike[str] | None = None,
    device: str | int | None = None,
    fa_per_hour: float | None = None,
    threshold: float | None = None,
    mode: Mode | None = None,
    source: Source | None = None,
    speakers: SpeakersChoice = "off",
) -> Listening:
    """Listen for the phrases of one or more `.wakeword` files, and iterate over what is heard.

    for detection in wakeword.listen("hey_nova.wakeword"):
        print(detection.phrase, detection.score)

    `async for` works the same. Listening goes on in a thread of its own, so that no sound is lost while the
    program does something else; it ends when the loop is left, at `close`, or as a file ends.

    Args:
        models: the bundles.
        file: a recording, or else
        device: a microphone, by its number or a part of its name (None: the default one). It is opened anew
            whenever it was unplugged.
        fa_per_hour: false accepts per hour to run at, an operating point of the bundles (None: the default).
        threshold: a posterior in (0, 1] for all phrases, instead of an operating point.
        mode: cascade, verifier or student (None: cascade where the bundle holds a student, else verifier).
        source: sound of your own, instead of a file or device; see `wakeword.listen.sources.Source`.
        speakers: "report" names the enrolled voice in `detection.speaker`, "accept" leaves out all others.

    Raises BundleError, DataError, UsageError, AudioError or DeviceError at once where it cannot begin.
    """
    from wakeword.listen.listener import Listener
    from wakeword.listen.settings import ListenSettings, MicrophoneSettings, ModelSettings, OutputSettings

    if threshold == 0 or fa_per_hour == 0:
        raise UsageError("a threshold or fa_per_hour of 0 would never fire; give a greater one")
    if sum(x is not None for x in (file, device, source)) > 1:
        raise UsageError("file, device and source exclude each other; give one of them")
    settings = ListenSettings(
        models=tuple(
            ModelSettings(
                path=os.fspath(model),
                mode=mode or "auto",
                fa_per_hour=fa_per_hour or 0.0,
                threshold=threshold or 0.0,
                speakers=speakers,
            )
            for model in models
        ),
        microphone=MicrophoneSettings(device="" if device is None else str(device), wait=False),
        output=OutputSettings(format="none"),
    )
    return Listening(Listener(settings), None if file is None else os.fspath(file), source)


class Listening:
    """Detections as they come: iterate it with `for` or `async for`, in one place; a context manager."""

    def __init__(self, listener: Listener, file: str | None, source: Source | None) -> None:
        """Open the sound and begin to listen."""
        from wakeword.listen.events import Heard
        from wakeword.listen.lasting import LastingMicrophone
        from wakeword.listen.microphone import quiet_portaudio
        from wakeword.listen.sources import FileSource

        self._listener = listener
        self._error: BaseException | None = None
        if source is None and file is not None:
            source = FileSource(file)
        elif source is None:
            with quiet_portaudio():
                source = LastingMicrophone(listener.settings.microphone, listener.hub)
        self._source = source
        self._microphone = source if isinstance(source, LastingMicrophone) else None
        self._events = listener.hub.subscribe("program", Heard, size=QUEUE_EVENTS)
        self._thread = threading.Thread(target=self._listen, name="wakeword", daemon=True)
        self._thread.start()

    @property
    def phrases(self) -> tuple[str, ...]:
        """What is listened for."""
        return self._listener.engine.phrases

    @property
    def dropped(self) -> int:
        """Detections that were lost, because the program did not take them."""
        return self._events.dropped

    def __enter__(self) -> Listening:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Detection]:
        """Detections until the sound ends; AudioError or DeviceError where it breaks."""
        try:
            for event in self._events:
                yield event.detection
            self._raise()
        finally:
            self.close()

    async def __aiter__(self) -> AsyncIterator[Detection]:
        """The same within an event loop."""
        try:
            async for event in self._events:
                yield event.detection
            self._raise()
        finally:
            self.close()

    def close(self) -> None:
        """Stop listening and let go of the microphone. May be called twice."""
        self._listener.stop()
        if self._microphone is not None:
            self._microphone.close()  # wakes the thread; others give their next block soon
        self._thread.join(CLOSE_S)
        self._source.close()

    def _listen(self) -> None:
        try:
            self._listener.run(self._source)
        except BaseException as err:  # raised where the program iterates
            self._error = err
        finally:
            self._events.close()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
