"""Background made by machine: running speech in many voices, coloured noise and something like music."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from wakeword.audio import SAMPLE_RATE, Samples
from wakeword.clips.augment import coloured_noise
from wakeword.clips.dataset import SPLITS, Kind, Split, normalise_phrase
from wakeword.clips.engines import find_voices
from wakeword.clips.spoken import SpokenClip, write_index
from wakeword.clips.synth import MAX_PACE, MIN_PACE, Progress, in_parallel, speak, write_file
from wakeword.clips.variation import become, draw_speaker
from wakeword.clips.voices import Style, Voice, cast
from wakeword.errors import UsageError

SPEECH_SHARE, NOISE_SHARE = 0.7, 0.15
"""Of the background; the rest is music."""
FILE_S = 60.0
MIN_FILES = 6
"""Of each kind of background, so that train, dev and test each have some."""
SPLIT_CYCLE: tuple[Split, ...] = ("train", "dev", "test", "train", "dev", "train")
SENTENCES_AT_ONCE = 6
N_WORDS, N_STRINGS = 8_000, 150
MIN_STRING, MAX_STRING = 5, 12
SLOW_ENGINES = ("piper", "festival")
"""Left out of running speech where others can do it: 8 to 12 times faster than real time is too slow."""
LANGUAGES = ("en", "de", "es")
"""With sentences of their own; others are read the English ones."""


def synthesise_background(
    out_dir: Path,
    minutes: float,
    seed: int = 0,
    progress: Progress | None = None,
    avoid: Sequence[str] = (),
    *,
    language: str = "en",
    engines: Sequence[str] = (),
    splits: Collection[Split] = SPLITS,
) -> list[Path]:
    """Make background without the phrases: out_dir/speech, /noise and /music; return the files.

    They are listed in out_dir/index.csv, which tells train, dev and test apart by voice.

    Args:
        out_dir: Where the folders go.
        minutes: Total length: about 70 % running speech, 15 % coloured noise, 15 % music.
        seed: Decides everything that is drawn.
        progress: Told of each file.
        avoid: Phrases; sentences with a word of theirs (of 4 letters or more) are not spoken.
        language: Such as "en" or "de".
        engines: Which to use; all that are installed and fast unless given.
        splits: Leave out the files that are in no such split.
    """
    if minutes <= 0:
        raise UsageError(f"cannot make {minutes} minutes of background; give more than 0")
    weights = find_voices(language, engines)
    if not engines:
        weights = {v: w for v, w in weights.items() if v.engine not in SLOW_ENGINES} or weights
    tasks: list[Callable[[], SpokenClip]] = []
    shares = (SPEECH_SHARE, NOISE_SHARE, 1 - SPEECH_SHARE - NOISE_SHARE)
    kinds: tuple[Kind, ...] = ("speech", "noise", "music")
    lines = sentences(avoid, language) + strings_of_words(avoid, language, np.random.default_rng([seed, 2]))
    for kind, share in zip(kinds, shares, strict=True):
        seconds = minutes * 60 * share
        n_files = max(round(seconds / FILE_S), MIN_FILES)
        n_samples = int(seconds / n_files * SAMPLE_RATE)
        readers = _readers(weights, n_files, seed)
        for i in (i for i in range(n_files) if _split_of_file(i) in splits):
            voice = readers[i] if kind == "speech" else _nobody(kind, i)
            name = f"{i:03d}-{voice.key}.wav" if kind == "speech" else f"{i:03d}.wav"
            rng = np.random.default_rng([seed, len(kind), ord(kind[0]), i])
            tasks.append(_task(out_dir / kind / name, kind, voice, n_samples, rng, lines))
    clips = in_parallel(tasks, progress)
    write_index(out_dir, clips)
    return [clip.path for clip in clips]


def _readers(weights: dict[Voice, float], n: int, seed: int) -> list[Voice]:
    """Who reads each file: voices of its split, or whoever there is."""
    by_split = {split: {v: w for v, w in weights.items() if v.split == split} for split in SPLITS}
    casts = {
        split: iter(cast(voices or weights, n, np.random.default_rng([seed, 1, len(split)])))
        for split, voices in by_split.items()
    }
    return [next(casts[_split_of_file(i)]) for i in range(n)]


def _split_of_file(i: int) -> Split:
    """Of six files in a row three are train, two dev, for thresholds need hours too, and one test."""
    return SPLIT_CYCLE[i % len(SPLIT_CYCLE)]


def _nobody(kind: str, i: int) -> Voice:
    """Whom a file of noise or music belongs to: a name that falls into its split."""
    names = (Voice("made", kind, "", f"{kind} {i}.{k}") for k in range(1000))
    return next(v for v in names if v.split == _split_of_file(i))


def _task(
    path: Path, kind: Kind, voice: Voice, n_samples: int, rng: np.random.Generator, lines: Sequence[str]
) -> Callable[[], SpokenClip]:
    def make() -> SpokenClip:
        if not path.exists():
            write_file(path, _make(kind, voice, n_samples, rng, lines))
        seconds = float(soundfile.info(path).duration)
        return SpokenClip(path, kind, kind, voice, seconds, 0.0, seconds)

    return make


def _make(
    kind: Kind, voice: Voice, n_samples: int, rng: np.random.Generator, lines: Sequence[str]
) -> Samples:
    if kind == "speech":
        return running_speech(voice, n_samples, rng, lines)
    return noise(n_samples, rng) if kind == "noise" else music(n_samples, rng)


def sentences(avoid: Sequence[str] = (), language: str = "en") -> list[str]:
    """The built-in everyday sentences without the telling words (4 letters or more) of these phrases."""
    banned = _telling_words(avoid)
    name = f"sentences_{language}.txt" if language in LANGUAGES[1:] else "sentences.txt"
    text = resources.files("wakeword.clips").joinpath(name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not _holds(normalise_phrase(line), banned)]


def strings_of_words(avoid: Sequence[str], language: str, rng: np.random.Generator) -> list[str]:
    """Words in a row without sense, as many lines as there are sentences: sounds that no sentence has.

    The frequent words of a language, by `wordfreq`; nothing where that is missing or knows it not.
    """
    try:
        import wordfreq

        words = wordfreq.top_n_list(language, N_WORDS)
    except (ModuleNotFoundError, LookupError, ValueError):
        return []
    banned = _telling_words(avoid)
    known = [word for word in words if len(word) > 2 and word.isalpha() and word not in banned]
    lengths = rng.integers(MIN_STRING, MAX_STRING + 1, size=N_STRINGS)
    drawn = [" ".join(rng.choice(known, size=n, replace=False)).capitalize() + "." for n in lengths]
    return [line for line in drawn if not _holds(normalise_phrase(line), banned)]


def _telling_words(avoid: Sequence[str]) -> set[str]:
    """The phrases and those of their words that have 4 letters or more."""
    phrases = [normalise_phrase(phrase) for phrase in avoid]
    return {w for phrase in phrases for w in (phrase, *phrase.split()) if len(w) > 3 or w == phrase}


def _holds(line: str, words: Iterable[str]) -> bool:
    return any(f" {word} " in f" {line} " for word in words)


def running_speech(voice: Voice, n_samples: int, rng: np.random.Generator, lines: Sequence[str]) -> Samples:
    """One speaker reading sentences in a drawn order [n_samples], changing pace and pitch now and then."""
    pieces: list[Samples] = []
    speaker = draw_speaker(rng)
    while sum(map(len, pieces)) < n_samples:
        text = "\n".join(rng.choice(lines, size=min(SENTENCES_AT_ONCE, len(lines)), replace=False))
        pace = float(np.exp(rng.uniform(np.log(MIN_PACE), np.log(MAX_PACE))))
        spoken = speak(text, voice, Style(pace, float(rng.random()), seed=int(rng.integers(1 << 30))))
        pieces.append(become(spoken, speaker))
    return np.concatenate(pieces)[:n_samples]


def noise(n_samples: int, rng: np.random.Generator) -> Samples:
    """Coloured noise [n_samples] that swells and sinks slowly, as wind, traffic and fans do."""
    colour = coloured_noise(n_samples, rng, rng.uniform(0, 2))
    seconds = np.arange(n_samples) / SAMPLE_RATE
    swell_db = rng.uniform(0, 9) * np.sin(2 * np.pi * (rng.uniform(0.05, 0.5) * seconds + rng.random()))
    return np.asarray(np.clip(colour * 10 ** (swell_db / 20), -1, 1), dtype=np.float32)


CHORDS = ((0, 4, 7), (5, 9, 12), (7, 11, 14), (-3, 0, 4), (2, 5, 9))
"""Semitones above the key note: I, IV, V, vi, ii."""


def music(n_samples: int, rng: np.random.Generator) -> Samples:
    """Something like music [n_samples]: chords with a bass, a melody over them and a beat, -18 dBFS."""
    key_hz = 110 * 2 ** (rng.integers(0, 12) / 12)
    beat = int(SAMPLE_RATE * 60 / rng.uniform(70, 150))
    partials = np.power(rng.uniform(0.1, 0.7), np.arange(6, dtype=np.float64))
    made = np.zeros(n_samples + 4 * beat)
    for bar in range(0, n_samples, 4 * beat):
        chord = CHORDS[int(rng.integers(len(CHORDS)))]
        for semitone in (chord[0] - 12, *chord):
            made[bar : bar + 4 * beat] += _note(key_hz, semitone, 4 * beat, partials)
        for at in range(bar, bar + 4 * beat, beat):
            made[at : at + beat] += 1.5 * _note(key_hz, 12 + int(rng.choice(chord)), beat, partials)
            made[at : at + beat] += _drum(beat, rng)
    made = made[:n_samples]
    return np.asarray(np.clip(made * 0.126 / np.std(made), -1, 1), dtype=np.float32)


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
