"""Recordings made by machine, where there are none: phrases and background from the espeak-ng program.

`synthesise` speaks a phrase in many voices; `synthesise_background` makes running speech, coloured noise
and something like music. Both write folders that `wakeword.clips.dataset` reads, keep files that are
already there (a stopped run goes on where it was), and depend on nothing but their seed. Synthetic voices
are good for a demonstration and a start; real voices are better, and reports never count these as real.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr

from wakeword.audio import SAMPLE_RATE, Samples, as_float, write_wav
from wakeword.clips.augment import coloured_noise
from wakeword.clips.dataset import normalise_phrase
from wakeword.errors import DataError, UsageError

Progress = Callable[[int, int], None]
"""Called with how many recordings are done and how many there will be."""

ENGINES = ("espeak-ng",)
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
VOICES = tuple(f"{ACCENTS[i % len(ACCENTS)]}+{variant}" for i, variant in enumerate(VARIANTS))
"""Each variant once, with one accent: a variant is a throat, and no throat may be in two splits."""

MIN_RATE, MAX_RATE = 120, 210
"""Words per minute."""
MIN_PITCH, MAX_PITCH = 20, 80
"""espeak-ng's scale of 0 to 99."""
MAX_GAP = 8
"""Pause between words, in espeak-ng's units of about 10 ms."""
PAD_SAMPLES = SAMPLE_RATE * 3 // 20
"""150 ms before and after a spoken phrase."""
WAV_HEADER_BYTES = 44
SPEAK_TIMEOUT_S = 60

SPEECH_SHARE, NOISE_SHARE = 0.7, 0.15
"""Of the background; the rest is music."""
FILE_S = 60.0
MIN_FILES = 6
"""Of each kind of background, so that train, dev and test each have some."""


def engines() -> list[str]:
    """Speech programs that are installed."""
    return [engine for engine in ENGINES if shutil.which(engine)]


def speak(
    text: str, voice: str, rate: int, pitch: int, engine: str = "espeak-ng", *, gap: int = 0
) -> Samples:
    """Speak a text.

    Args:
        text: What to say; punctuation shapes the melody.
        voice: Accent and variant as espeak-ng names them, such as "en-us+f3".
        rate: Words per minute, 80 to 450.
        pitch: 0 to 99.
        engine: Which program speaks.
        gap: Pause between words, in units of about 10 ms.

    Raises DataError when the program is missing, knows no such voice or says nothing.
    """
    if engine not in ENGINES:
        raise UsageError(f"no speech engine {engine!r}; choose one of {', '.join(ENGINES)}")
    options = ["-v", voice, "-s", str(rate), "-p", str(pitch), "-g", str(gap)]
    command = [engine, "--stdin", "--stdout", "-b", "1", "-z", *options]
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=SPEAK_TIMEOUT_S)
    except FileNotFoundError as err:
        raise DataError(f"{engine} is not installed; run: apt-get install -y {engine}") from err
    except (subprocess.TimeoutExpired, OSError) as err:
        raise DataError(f"{engine} failed: {err}") from err
    if done.returncode or len(done.stdout) <= WAV_HEADER_BYTES:
        reason = " ".join(done.stderr.decode(errors="replace").split()) or "no audio came out"
        raise DataError(f"{engine} could not say {text[:40]!r} with voice {voice!r}: {reason}")
    return _from_wav(done.stdout)


def _from_wav(data: bytes) -> Samples:
    """Read 16-bit mono WAV from a pipe, whose header cannot know the length and claims 2 GB."""
    rate = int.from_bytes(data[24:28], "little")
    whole = len(data) - (len(data) - WAV_HEADER_BYTES) % 2
    samples = as_float(np.frombuffer(data[WAV_HEADER_BYTES:whole], dtype="<i2").astype(np.int16))
    resampled = soxr.resample(samples, rate, SAMPLE_RATE, quality="HQ")
    return np.asarray(np.clip(resampled, -1.0, 1.0), dtype=np.float32)


def synthesise(
    phrase: str, out_dir: Path, n: int, seed: int = 0, progress: Progress | None = None
) -> list[Path]:
    """Speak a phrase n times, each time differently; return the files, in order.

    They are written as out_dir/<phrase_with_underscores>/<voice>/NNN.wav, so that voices are the groups
    that keep train, dev and test apart. Clip NNN is the same whatever n is.
    """
    if n < 1:
        raise UsageError(f"cannot make {n} clips; give at least 1")
    text = normalise_phrase(phrase)
    voices = np.random.default_rng(seed).permutation(VOICES)
    folder = out_dir / text.replace(" ", "_")
    paths = [folder / str(voices[i % len(voices)]) / f"{i:03d}.wav" for i in range(n)]

    def task(i: int) -> Callable[[], Samples]:
        return lambda: _speak_phrase(text, str(voices[i % len(voices)]), np.random.default_rng([seed, i]))

    _make_files(((path, task(i)) for i, path in enumerate(paths)), progress)
    return paths


def _speak_phrase(phrase: str, voice: str, rng: np.random.Generator) -> Samples:
    words = phrase.split()
    comma = rng.random() < 0.15
    text = (", " if comma else " ").join(words) + str(rng.choice(["", ".", "!", "?", ","]))
    rate, pitch = rng.integers(MIN_RATE, MAX_RATE + 1), rng.integers(MIN_PITCH, MAX_PITCH + 1)
    spoken = speak(text, voice, int(rate), int(pitch), gap=int(rng.integers(0, MAX_GAP + 1)))
    return np.pad(spoken, PAD_SAMPLES)


def synthesise_background(
    out_dir: Path,
    minutes: float,
    seed: int = 0,
    progress: Progress | None = None,
    avoid: Sequence[str] = (),
) -> list[Path]:
    """Make background without the phrases: out_dir/speech, /noise and /music; return the files.

    Args:
        out_dir: Where the folders go.
        minutes: Total length: about 70 % running speech, 15 % coloured noise, 15 % music.
        seed: Decides everything that is drawn.
        progress: Told of each file.
        avoid: Phrases; sentences with a word of theirs (of 4 letters or more) are not spoken.

    Each file holds one voice, so that train, dev and test, which share no file, share no voice.
    """
    if minutes <= 0:
        raise UsageError(f"cannot make {minutes} minutes of background; give more than 0")
    lines = _sentences(avoid)
    voices = [str(v) for v in np.random.default_rng([seed, 1]).permutation(VOICES)]
    shares = (SPEECH_SHARE, NOISE_SHARE, 1 - SPEECH_SHARE - NOISE_SHARE)
    tasks: list[tuple[Path, Callable[[], Samples]]] = []
    for kind, share in zip(("speech", "noise", "music"), shares, strict=True):
        seconds = minutes * 60 * share
        n_files = int(np.clip(round(seconds / FILE_S), MIN_FILES, len(voices)))
        n_samples = int(seconds / n_files * SAMPLE_RATE)
        for i in range(n_files):
            name = voices[i] if kind == "speech" else f"{i:03d}"
            rng = np.random.default_rng([seed, len(kind), ord(kind[0]), i])
            tasks.append((out_dir / kind / f"{name}.wav", _maker(kind, n_samples, rng, name, lines)))
    _make_files(tasks, progress)
    return [path for path, _ in tasks]


def _maker(
    kind: str, n_samples: int, rng: np.random.Generator, voice: str, lines: Sequence[str]
) -> Callable[[], Samples]:
    if kind == "speech":
        return lambda: _running_speech(voice, n_samples, rng, lines)
    return (lambda: _noise(n_samples, rng)) if kind == "noise" else (lambda: _music(n_samples, rng))


def _make_files(tasks: Iterable[tuple[Path, Callable[[], Samples]]], progress: Progress | None) -> None:
    """Write what each task makes to its path, in threads; paths that exist are kept."""
    todo = list(tasks)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(_make_file, path, make) for path, make in todo]
        try:
            for done, job in enumerate(as_completed(jobs), start=1):
                job.result()
                if progress:
                    progress(done, len(jobs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _make_file(path: Path, make: Callable[[], Samples]) -> None:
    if path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise DataError(f"cannot make folder {path.parent}: {err}") from err
    write_wav(path, make())


def _sentences(avoid: Sequence[str]) -> list[str]:
    """The built-in everyday sentences without the telling words (4 letters or more) of these phrases."""
    phrases = [normalise_phrase(phrase) for phrase in avoid]
    banned = {
        word for phrase in phrases for word in (phrase, *phrase.split()) if len(word) > 3 or word == phrase
    }
    text = resources.files("wakeword.clips").joinpath("sentences.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not _holds(normalise_phrase(line), banned)]


def _holds(line: str, words: Iterable[str]) -> bool:
    return any(f" {word} " in f" {line} " for word in words)


def _running_speech(voice: str, n_samples: int, rng: np.random.Generator, lines: Sequence[str]) -> Samples:
    """One voice reading sentences in a drawn order [n_samples], changing pace and pitch now and then."""
    pieces: list[Samples] = []
    while sum(map(len, pieces)) < n_samples:
        text = "\n".join(rng.choice(lines, size=6, replace=False))
        rate, pitch = rng.integers(MIN_RATE, MAX_RATE + 1), rng.integers(MIN_PITCH, MAX_PITCH + 1)
        pieces.append(speak(text, voice, int(rate), int(pitch)))
    return np.concatenate(pieces)[:n_samples]


def _noise(n_samples: int, rng: np.random.Generator) -> Samples:
    """Coloured noise [n_samples] that swells and sinks slowly, as wind, traffic and fans do."""
    colour = coloured_noise(n_samples, rng, rng.uniform(0, 2))
    seconds = np.arange(n_samples) / SAMPLE_RATE
    swell_db = rng.uniform(0, 9) * np.sin(2 * np.pi * (rng.uniform(0.05, 0.5) * seconds + rng.random()))
    return np.asarray(np.clip(colour * 10 ** (swell_db / 20), -1, 1), dtype=np.float32)


CHORDS = ((0, 4, 7), (5, 9, 12), (7, 11, 14), (-3, 0, 4), (2, 5, 9))
"""Semitones above the key note: I, IV, V, vi, ii."""


def _music(n_samples: int, rng: np.random.Generator) -> Samples:
    """Something like music [n_samples]: chords with a bass, a melody over them and a beat, -18 dBFS."""
    key_hz = 110 * 2 ** (rng.integers(0, 12) / 12)
    beat = int(SAMPLE_RATE * 60 / rng.uniform(70, 150))
    partials = np.power(rng.uniform(0.1, 0.7), np.arange(6, dtype=np.float64))
    music = np.zeros(n_samples + 4 * beat)
    for bar in range(0, n_samples, 4 * beat):
        chord = CHORDS[int(rng.integers(len(CHORDS)))]
        for semitone in (chord[0] - 12, *chord):
            music[bar : bar + 4 * beat] += _note(key_hz, semitone, 4 * beat, partials)
        for at in range(bar, bar + 4 * beat, beat):
            music[at : at + beat] += 1.5 * _note(key_hz, 12 + int(rng.choice(chord)), beat, partials)
            music[at : at + beat] += _drum(beat, rng)
    music = music[:n_samples]
    return np.asarray(np.clip(music * 0.126 / np.std(music), -1, 1), dtype=np.float32)


def _note(
    key_hz: float, semitone: int, n_samples: int, partials: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """A plucked tone [n_samples] with the given strengths of its partials."""
    hz = key_hz * 2 ** (semitone / 12) * np.arange(1, len(partials) + 1)
    seconds = np.arange(n_samples) / SAMPLE_RATE
    audible = partials * (hz < SAMPLE_RATE / 2)
    wave = audible @ np.sin(2 * np.pi * hz[:, None] * seconds)
    attack = np.minimum(seconds / 0.01, 1)
    return np.asarray(wave * attack * np.exp(-2 * seconds))


def _drum(n_samples: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    decay = np.exp(-np.arange(n_samples) / SAMPLE_RATE * 40)
    return np.asarray(rng.standard_normal(n_samples) * decay * 0.5)
