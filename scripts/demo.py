"""What scripts/demo runs once everything is installed; each step is a command a user could type."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wakeword import cli
from wakeword.clips.dataset import load_background, load_clips
from wakeword.clips.synth import synthesise
from wakeword.clips.synth_background import synthesise_background
from wakeword.evaluate.plan import MixConfig, build_mixed_streams
from wakeword.evaluate.streams import write_mixed

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus" / "index.csv"
PHRASES = ("alexa", "computer", "jarvis", "smart mirror")
DROP_LIST = Path(__file__).with_name("demo_drop.csv")
"""Where its background says "computer"; `wakeword check` found it."""
SPOKEN_PHRASE = "hey nova"
LIVE_PHRASES = 4


@dataclass(frozen=True)
class Recordings:
    """Where the clips and the background of this demo are."""

    phrases: tuple[str, ...]
    clips: Path
    background: Path
    for_training: bool
    """Else the detector is made from the text of the phrase, and these are for judging it."""


def main() -> int:
    """Train, judge, listen; returns the exit code of the first command that fails."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    model = out / "demo.wakeword"
    recordings = Recordings(PHRASES, CORPUS, CORPUS, True) if CORPUS.is_file() else spoken_recordings(out)
    clips, background = str(recordings.clips), str(recordings.background)
    training = ["train", *recordings.phrases, "--out", str(model), "--no-open"]
    if recordings.for_training:
        training += ["--clips", clips, "--background", background, "--drop-list", str(DROP_LIST)]
    judging = ["evaluate", str(model), "--phrases", clips, "--background", background]
    for step in (training, ["info", str(model)], [*judging, "--out", str(out / "report")]):
        if code := run(step):
            return code
    stream = live_stream(recordings, out)
    return run(["listen", str(model), "--file", str(stream)])


def run(arguments: list[str]) -> int:
    """Show and run one command."""
    print(f"\n$ wakeword {subprocess.list2cmdline(arguments)}", flush=True)
    start = time.monotonic()
    code = cli.main(arguments)
    print(f"  ({time.monotonic() - start:.0f} s)", flush=True)
    return code


def spoken_recordings(out: Path) -> Recordings:
    """Clips and background by voices that no training from text hears, where there are no recordings."""
    print(
        f"no recordings at {CORPUS}: a detector from the text of a phrase, judged by other synthetic voices"
    )
    clips, background = out / "clips", out / "background"
    synthesise(SPOKEN_PHRASE, clips, 300, seed=1, splits=("test",))
    synthesise_background(background, minutes=180, seed=1, splits=("test",))
    return Recordings((SPOKEN_PHRASE,), clips / "index.csv", background / "index.csv", False)


def live_stream(recordings: Recordings, out: Path) -> Path:
    """A minute or so of test speech with a few test phrases in it, and what is said when beside it."""
    test = [c for c in load_clips(recordings.clips, recordings.phrases) if c.split == "test"]
    background = [c for c in load_background([recordings.background]) if c.split == "test"]
    rng = np.random.default_rng(3)
    chosen = [test[int(i)] for i in rng.choice(len(test), LIVE_PHRASES, replace=False)]
    speech, noise = (
        [c for c in background if c.kind == "speech"],
        [c for c in background if c.kind != "speech"],
    )
    stream = build_mixed_streams(chosen, speech, noise, MixConfig(snr_db=10.0), seed=3)[0]
    path = out / "stream.wav"
    write_mixed(stream, path)
    print(f"\n{path} ({stream.seconds:.0f} s, 10 dB SNR) says:")
    for spoken in stream.spoken:
        print(f"  {spoken.start_s:6.2f} to {spoken.end_s:6.2f} s  {spoken.phrase}")
    return path


if __name__ == "__main__":
    sys.exit(main())
