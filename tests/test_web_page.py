"""The live page in a real Chromium."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Chromium
from tiny import PHRASES
from web_site import SOUND, Site, a_site

from wakeword.listen.events import MICROPHONE


@pytest.fixture(scope="module")
def site(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with a_site(tiny_model, tmp_path_factory.mktemp("site")) as one:
        yield one


def test_the_page_in_a_real_browser(site: Site, tmp_path: Path) -> None:
    stop = threading.Event()

    def play() -> None:
        stream = site.listener.engine.open(MICROPHONE, "USB Microphone")
        while not stop.is_set():
            for i in range(0, len(SOUND), 3200):
                site.listener.turned_s = time.monotonic()
                stream.feed(SOUND[i : i + 3200])
                time.sleep(0.2)
        stream.close()

    async def look() -> None:
        async with Chromium() as page:
            await page.open(f"{site.address}/")
            await page.wait_for("document.querySelectorAll('#detections .play:not([hidden])').length > 1")
            assert await page.evaluate("document.getElementById('status').textContent") == "listening"
            assert await page.evaluate("document.getElementById('source').textContent") == (
                "microphone: USB Microphone"
            )
            assert await page.evaluate(
                "[...document.querySelectorAll('.phrase strong')].map((e) => e.textContent)"
            ) == list(PHRASES)
            await page.wait_for("document.getElementById('level').style.transform.match(/0[.]\\d/)")
            await page.wait_for(f"({COLOURED_PIXELS}) > 100")  # a line was drawn
            assert await page.evaluate(f"({PLAYS})()") > 0.5
            await page.evaluate(f"({MOVE_SLIDER})()")
            await page.wait_for("document.querySelector('.rate-text').textContent.startsWith('2 false')")
            await page.wait_for("document.querySelector('.phrase input').disabled === false")
            assert site.listener.engine.thresholds["hey nova"] == 0.25
            await page.screenshot(tmp_path / "page.png")
            # This test reads the canvas back, which the page itself never does.
            assert [m for m in page.messages if "willReadFrequently" not in m] == []

    playing = threading.Thread(target=play)
    playing.start()
    try:
        asyncio.run(look())
    finally:
        stop.set()
        playing.join()
    shot = (tmp_path / "page.png").read_bytes()
    assert shot.startswith(b"\x89PNG") and len(shot) > 20_000


COLOURED_PIXELS = """(() => {
  const canvas = document.querySelector('canvas');
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let n = 0;
  for (let i = 0; i < data.length; i += 4) n += data[i + 3] > 0 && data[i + 2] > data[i] + 60;
  return n;
})()"""
PLAYS = """async () => {
  const audio = new Audio((await (await fetch('api/state')).json()).detections
    .filter((d) => d.has_clip).map((d) => `api/clip/${d.number}.wav`).pop());
  await audio.play();
  return audio.duration;
}"""
MOVE_SLIDER = """() => {
  const slider = document.querySelector('.phrase input');
  slider.value = 1;
  slider.dispatchEvent(new Event('input'));
  slider.dispatchEvent(new Event('change'));
}"""
