"""A listener's own faults, found by a soak: signals in storms, files of one that was killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from wakeword.cli import main
from wakeword.listen.save import Saver
from wakeword.listen.settings import SaveSettings

PARTLY = ".20261125T200949.500Z-hey_nova-1.wav.part"
STORM = """
import signal, time
from wakeword.listen.watch import Reloader

class Nothing:
    class settings:
        class reload:
            watch = False
    reloads = 0
    def reload(self, why):
        self.reloads += 1

listener = Nothing()
reloader = Reloader(listener)
signal.signal(signal.SIGALRM, lambda *_: reloader.ask("signal"))
signal.setitimer(signal.ITIMER_REAL, 2e-5, 2e-5)
for _ in range(100_000):
    reloader.ask("loop")
signal.setitimer(signal.ITIMER_REAL, 0)
time.sleep(0.2)
before = listener.reloads
reloader.ask("last")
time.sleep(0.2)
assert 0 < before < listener.reloads, (before, listener.reloads)
reloader.close()
"""


def test_a_storm_of_signals_stops_nothing() -> None:
    """One that comes while the handler of another runs must not wait for it."""
    done = subprocess.run([sys.executable, "-c", STORM], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_what_a_killed_listener_left_half_written_is_removed(tmp_path: Path) -> None:
    for name in (PARTLY, PARTLY.replace("-1.", "-2."), PARTLY.replace("-1.", "-3."), ".mine.part"):
        (tmp_path / name).write_bytes(b"half")
    for number, ago_s in ((1, 600), (2, -600)):  # the clock may have been set back meanwhile
        when = time.time() - ago_s
        os.utime(tmp_path / PARTLY.replace("-1.", f"-{number}."), (when, when))
    Saver(tmp_path, SaveSettings(folder=str(tmp_path)))
    # The third may be of another listener, which writes it now.
    assert sorted(p.name for p in tmp_path.iterdir()) == [PARTLY.replace("-1.", "-3."), ".mine.part"]


def test_half_written_sound_is_forgotten_too(tmp_path: Path) -> None:
    (tmp_path / PARTLY).write_bytes(b"half")
    assert main(["forget", "--saved", str(tmp_path), "--yes"]) == 0
    assert not list(tmp_path.iterdir())
