"""Speech programs that are called once per text: espeak-ng, flite and festival."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import soxr

from wakeword.audio import SAMPLE_RATE, Samples, as_float, mix_down
from wakeword.clips.voices import Style, Voice
from wakeword.errors import DataError

ACCENTS = (
    "en-us",
    "en",  # British; "en-gb" is the same, but espeak-ng 1.51 ignores variants of it
    "en-gb-x-rp",
    "en-gb-scotland",
    "en-029",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
)
# The variants of espeak-ng that a speech recogniser understands; no robots, whispers or croaks.
VARIANTS = (
    *("f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8"),
    *("adam", "Alex", "Alicia", "Andrea", "Andy", "Annie", "antonio", "aunty", "belinda", "benjamin"),
    *("boris", "david", "Denis", "Diogo", "ed", "edward", "Gene", "Gene2", "gustave", "Henrique"),
    *("Hugo", "iven", "iven2", "iven3", "iven4", "john", "Lee", "linda", "marcelo", "Marco", "Mario"),
    *("max", "michel", "miguel", "mike", "Michael", "Nguyen", "norbert", "pablo", "paul", "pedro"),
    *("quincy", "rob", "robert", "sandro", "shelby", "steph", "steph2", "steph3", "travis", "victor"),
    *("anika", "grandma", "grandpa", "klatt", "klatt2", "klatt3", "klatt4"),
)
ESPEAK_RATE = 165
"""Words per minute at pace 1."""
MIN_RATE, MAX_RATE = 80, 450
MIN_PITCH, MAX_PITCH = 20, 80
"""The part of espeak-ng's scale of 0 to 99 that sounds human."""
GAP_S = 0.01
WAV_HEADER_BYTES = 44
TIMEOUT_S = 60

FLITE_VOICES = ("kal16", "awb", "rms", "slt")
FESTIVAL_VOICES = {"kal_diphone": "kal", "ked_diphone": "ked", "cmu_us_slt_arctic_hts": "slt"}


def run_program(command: Sequence[str], text: str, voice: Voice) -> bytes:
    """Give a program the text on its standard input; return what it writes to its standard output."""
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=TIMEOUT_S)
    except FileNotFoundError as err:
        raise DataError(f"{voice.engine} is not installed; run: apt-get install -y {voice.engine}") from err
    except (subprocess.TimeoutExpired, OSError) as err:
        raise DataError(f"{voice.engine} failed: {err}") from err
    if done.returncode:
        raise _cannot_say(text, voice, done.stderr)
    return done.stdout


def _cannot_say(text: str, voice: Voice, stderr: bytes = b"") -> DataError:
    reason = " ".join(stderr.decode(errors="replace").split()) or "no audio came out"
    return DataError(f"{voice.engine} could not say {text[:40]!r} with voice {voice.name!r}: {reason}")


def to_16_khz(samples: Samples, rate: int) -> Samples:
    """What an engine made, at our rate."""
    resampled = samples if rate == SAMPLE_RATE else soxr.resample(samples, rate, SAMPLE_RATE, quality="HQ")
    return np.asarray(np.clip(resampled, -1.0, 1.0), dtype=np.float32)


def espeak_voices(language: str) -> list[Voice]:
    """Each variant once, with one accent of the language: a variant is a throat."""
    accents = ACCENTS if language == "en" else _espeak_accents(language)
    if not accents:
        return []
    names = [(f"{accents[i % len(accents)]}", variant) for i, variant in enumerate(VARIANTS)]
    return [Voice("espeak-ng", f"{a}+{v}", a, f"espeak {v}") for a, v in names]


@lru_cache
def _espeak_accents(language: str) -> tuple[str, ...]:
    """What espeak-ng itself speaks of a language; the MBROLA voices need another program."""
    table = run_program(["espeak-ng", f"--voices={language}"], "", Voice("espeak-ng", language, language, ""))
    rows = [line.split() for line in table.decode(errors="replace").splitlines()[1:]]
    names = dict.fromkeys(row[1] for row in rows if "mb/" not in " ".join(row) and "!v/" not in " ".join(row))
    return tuple(name for name in names if name.split("-")[0] == language.split("-")[0])


def speak_espeak(text: str, voice: Voice, style: Style) -> Samples:
    """Speak with espeak-ng; its voice obeys pace, pitch and pauses."""
    rate = int(np.clip(style.pace * ESPEAK_RATE, MIN_RATE, MAX_RATE))
    pitch = round(MIN_PITCH + style.pitch * (MAX_PITCH - MIN_PITCH))
    options = ["-v", voice.name, "-s", str(rate), "-p", str(pitch), "-g", str(round(style.pause_s / GAP_S))]
    data = run_program(["espeak-ng", "--stdin", "--stdout", "-b", "1", "-z", *options], text, voice)
    if len(data) <= WAV_HEADER_BYTES:
        raise _cannot_say(text, voice)
    # A WAV on a pipe: its header cannot know the length and claims 2 GB.
    whole = len(data) - (len(data) - WAV_HEADER_BYTES) % 2
    samples = as_float(np.frombuffer(data[WAV_HEADER_BYTES:whole], dtype="<i2").astype(np.int16))
    return to_16_khz(samples, int.from_bytes(data[24:28], "little"))


def flite_voices(language: str) -> list[Voice]:
    """The four of flite that have 16 kHz."""
    if language != "en":
        return []
    return [Voice("flite", name, "en-us", name.removesuffix("16"), "flite") for name in FLITE_VOICES]


def speak_flite(text: str, voice: Voice, style: Style) -> Samples:
    """Speak with flite; its voice obeys the pace."""
    options = ["-voice", voice.name, "--setf", f"duration_stretch={1 / style.pace:.3f}"]
    return _through_file(["flite", *options, "-f", "-"], text, voice, "-o")


@lru_cache
def festival_voices(language: str) -> list[Voice]:
    """The English voices that are in festival's folder."""
    folders = Path("/usr/share/festival/voices"), Path("/usr/local/share/festival/voices")
    there = {path.name for folder in folders for path in folder.glob("*/*")}
    if language != "en":
        return []
    return [
        Voice("festival", name, "en-us", throat, "festival")
        for name, throat in FESTIVAL_VOICES.items()
        if name in there
    ]


def speak_festival(text: str, voice: Voice, style: Style) -> Samples:
    """Speak with festival; its voice obeys the pace."""
    stretch = f"(Parameter.set 'Duration_Stretch {1 / style.pace:.3f})"
    return _through_file(["text2wave", "-eval", f"(voice_{voice.name})", "-eval", stretch], text, voice, "-o")


def _through_file(command: Sequence[str], text: str, voice: Voice, out_option: str) -> Samples:
    """Run a program that writes its WAV to a file."""
    with tempfile.TemporaryDirectory(prefix="wakeword") as folder:
        path = Path(folder) / "spoken.wav"
        run_program([*command, out_option, str(path)], text, voice)
        try:
            samples, rate = soundfile.read(path, dtype="float32")
        except (soundfile.LibsndfileError, OSError) as err:
            raise _cannot_say(text, voice) from err
    if not len(samples):
        raise _cannot_say(text, voice)
    return to_16_khz(mix_down(samples), rate)
