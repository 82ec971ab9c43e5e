"""Listening from a program."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from local_servers import wait_until
from tiny import sounds

import wakeword
from wakeword.audio import read_audio, write_wav
from wakeword.decision import Detection
from wakeword.errors import AudioError, BundleError, UsageError
from wakeword.listen.sources import Source


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("api") / "sounds.wav"
    write_wav(path, sounds(6.0, seed=3))
    return path


def expected(model: Path, sound: Path) -> list[Detection]:
    detector = wakeword.load(model)
    found = [*detector.feed(read_audio(sound)), *detector.feed(0 * sounds(2.0))]
    assert len(found) > 3
    return found


def test_for(tiny_model: Path, sound: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert list(wakeword.listen(tiny_model, file=sound)) == expected(tiny_model, sound)
    assert capfd.readouterr() == ("", "")


def test_async_for(tiny_model: Path, sound: Path) -> None:
    async def collect() -> list[Detection]:
        return [detection async for detection in wakeword.listen(tiny_model, file=sound)]

    assert asyncio.run(collect()) == expected(tiny_model, sound)


class Endless(Source):
    """The same sound over and over, as fast as it is taken."""

    name = "endless"
    closed = False

    def __iter__(self) -> Any:
        while not self.closed:
            yield sounds(1.0, seed=3)

    def close(self) -> None:
        self.closed = True


def test_leaving_the_loop_ends_it(tiny_model: Path) -> None:
    source = Endless()
    for detection in wakeword.listen(tiny_model, source=source):
        assert detection.phrase in ("hey nova", "lights on")
        break
    wait_until(lambda: source.closed)
    wait_until(lambda: "wakeword" not in [thread.name for thread in threading.enumerate()])


def test_closing_ends_the_loop(tiny_model: Path) -> None:
    with wakeword.listen(tiny_model, source=Endless()) as listening:
        assert listening.phrases == ("hey nova", "lights on")
        threading.Timer(0.3, listening.close).start()
        assert all(isinstance(detection, Detection) for detection in listening)


def test_errors_reach_the_program(tiny_model: Path, tmp_path: Path, sound: Path) -> None:
    with pytest.raises(BundleError, match="no such file"):
        wakeword.listen("none.wakeword")
    with pytest.raises(UsageError, match="no model to listen with"):
        wakeword.listen(file=sound)
    with pytest.raises(UsageError, match="exclude each other"):
        wakeword.listen(tiny_model, file=sound, device="pulse")
    with pytest.raises(UsageError, match="would never fire"):
        wakeword.listen(tiny_model, file=sound, threshold=0)
    (tmp_path / "empty.wav").write_bytes(b"")
    with pytest.raises(AudioError, match="not a readable audio file"):
        wakeword.listen(tiny_model, file=tmp_path / "empty.wav")

    class Broken(Endless):
        def __iter__(self) -> Any:
            yield sounds(1.0)
            raise AudioError("damaged")

    with pytest.raises(AudioError, match="damaged"):
        list(wakeword.listen(tiny_model, source=Broken()))
