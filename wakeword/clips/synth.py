"""Clips of a phrase made by machine, where there are none: many voices, each time said differently.

The voices are those of the engines at hand (`engines`), changed into more speakers (`variation`). Files
that are already there are kept, so a stopped run goes on where it was. Reports never count these clips
as real.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile

from wakeword.audio import SAMPLE_RATE, Samples, level_dbfs, speech_span, write_wav
from wakeword.clips.dataset import SPLITS, Split, normalise_phrase
from wakeword.clips.engines import ENGINES, find_voices
from wakeword.clips.spoken import SpokenClip, known_spans, read_index, write_index
from wakeword.clips.variation import vary
from wakeword.clips.voices import Style, Voice, cast
from wakeword.errors import DataError, UsageError
from wakeword.machine import processors

Progress = Callable[[int, int], None]
"""Called with how many recordings are done and how many there will be."""
T = TypeVar("T")

MIN_PACE, MAX_PACE = 0.75, 1.35
MAX_PAUSE_S = 0.08
P_COMMA = 0.15
"""Of phrases of several words: a comma between them."""
ENDINGS = ("", ".", "!", "?", ",")
"""They shape the melody."""
PAD_SAMPLES = SAMPLE_RATE * 3 // 20
"""150 ms before and after a clip."""
MAX_CARRIER_GAP_S = 0.25
AUDIBLE_DBFS = -50.0
BEFORE = ("okay", "so", "um", "well then", "I said", "and now", "please", "alright", "maybe", "listen")
AFTER = (
    *("turn on the light", "what time is it", "play some music", "stop", "set a timer for ten minutes"),
    *("how is the weather today", "call my sister", "make it louder", "good morning", "open the door"),
)


@dataclass(frozen=True)
class _Order:
    """One clip to be made."""

    path: Path
    text: str
    label: str
    voice: Voice
    seed: tuple[int, ...]
    carriers: float


def speak(text: str, voice: Voice, style: Style | None = None) -> Samples:
    """Say a text in a voice of `find_voices`.

    Punctuation shapes the melody. Raises DataError when the engine is missing, knows no such voice or
    says nothing.
    """
    if voice.engine not in ENGINES:
        raise UsageError(f"no speech engine {voice.engine!r}; choose one of {', '.join(ENGINES)}")
    samples = ENGINES[voice.engine].speak(text, voice, style or Style())
    if level_dbfs(samples) < AUDIBLE_DBFS:
        raise DataError(f"{voice.engine} said {text[:40]!r} with voice {voice.name!r}, but it is silent")
    return samples


def synthesise(
    phrase: str,
    out_dir: Path,
    n: int,
    seed: int = 0,
    progress: Progress | None = None,
    *,
    language: str = "en",
    engines: Sequence[str] = (),
    carriers: float = 0.0,
    splits: Collection[Split] = SPLITS,
) -> list[Path]:
    """Speak a phrase n times, each time differently; return the files, in order.

    They are written as out_dir/<phrase_with_underscores>/<voice>/NNN.wav and listed in out_dir/index.csv,
    which tells train, dev and test apart by voice. Clip NNN is said the same way whatever n is.

    Args:
        phrase: What to say.
        out_dir: Where the clips go; those of other phrases there stay listed.
        n: How many.
        seed: Decides everything but the noise that Piper draws itself.
        progress: Told of each file.
        language: Such as "en" or "de".
        engines: Which to use; all that are installed unless given.
        carriers: Share of clips with other words around the phrase. The index says where the phrase is
            in them; a reader that goes by energy (as training does) takes all the words for the phrase.
        splits: Leave out the clips of n that are in no such split.
    """
    voices = find_voices(language, engines)
    clips = speak_many([phrase], out_dir, n, seed, progress, voices, carriers=carriers, splits=splits)
    write_index(out_dir, clips)
    return [clip.path for clip in clips]


def speak_many(
    texts: Iterable[str],
    out_dir: Path,
    n_per_text: int,
    seed: int = 0,
    progress: Progress | None = None,
    voices: Mapping[Voice, float] | None = None,
    *,
    carriers: float = 0.0,
    splits: Collection[Split] = SPLITS,
) -> list[SpokenClip]:
    """Speak each text n times as `synthesise` does, without an index; return the clips, text by text.

    `voices` is what `find_voices` gives (all English ones unless given), perhaps cut to one split.
    """
    if n_per_text < 1:
        raise UsageError(f"cannot make {n_per_text} clips; give at least 1")
    weights = dict(find_voices() if voices is None else voices)
    orders = [
        order
        for text in texts
        for order in _orders(text, out_dir, n_per_text, seed, weights, carriers)
        if order.voice.split in splits
    ]
    spans = known_spans(read_index(out_dir)) if carriers else {}
    known = [spans.get(order.path.relative_to(out_dir).as_posix()) for order in orders]
    return in_parallel([_maker(order, span) for order, span in zip(orders, known, strict=True)], progress)


def _orders(
    text: str, out_dir: Path, n: int, seed: int, weights: dict[Voice, float], carriers: float
) -> list[_Order]:
    label = normalise_phrase(text)
    folder = out_dir / label.replace(" ", "_")
    number = int.from_bytes(hashlib.sha256(label.encode()).digest()[:4], "big")
    voices = cast(weights, n, np.random.default_rng([seed, number]))
    spoken = " ".join(text.replace("_", " ").split()).rstrip(".,;:!? ")
    return [
        _Order(folder / voice.key / f"{i:03d}.wav", spoken, label, voice, (seed, number, i), carriers)
        for i, voice in enumerate(voices)
    ]


def _maker(order: _Order, span: tuple[float, float] | None) -> Callable[[], SpokenClip]:
    return lambda: _make_clip(order, span)


def _make_clip(order: _Order, span: tuple[float, float] | None) -> SpokenClip:
    """Make one clip, unless it is there (and it is known where in it the phrase is)."""
    if order.path.exists() and (span or not order.carriers):
        try:
            seconds = float(soundfile.info(order.path).duration)
        except (soundfile.LibsndfileError, RuntimeError, OSError):
            seconds = 0.0  # someone else's; `check_clips` says what is wrong with it
        start_s, end_s = span or (0.0, seconds)
    else:
        samples, (start, end) = _speak_phrase(order, np.random.default_rng(order.seed))
        write_file(order.path, samples)
        seconds, start_s, end_s = (n / SAMPLE_RATE for n in (len(samples), start, end))
    return SpokenClip(order.path, order.label, "phrase", order.voice, seconds, start_s, end_s)


def _speak_phrase(order: _Order, rng: np.random.Generator) -> tuple[Samples, tuple[int, int]]:
    """The clip, and where in it the phrase is: first and one-past-last sample."""
    style = Style(
        pace=float(np.exp(rng.uniform(np.log(MIN_PACE), np.log(MAX_PACE)))),
        pitch=float(rng.random()),
        pause_s=float(rng.uniform(0, MAX_PAUSE_S)),
        seed=order.seed[-1],
    )
    joint = ", " if rng.random() < P_COMMA else " "
    text = joint.join(order.text.split()) + str(rng.choice(ENDINGS))
    phrase = speak(text, order.voice, style)
    before, after = _carriers(order, style, rng)
    spoken = vary(np.concatenate([before, phrase, after]), rng)
    grown = len(spoken) / (len(before) + len(phrase) + len(after))
    first, last = speech_span(phrase)
    start, end = (PAD_SAMPLES + round((len(before) + at) * grown) for at in (first, last))
    return np.pad(spoken, PAD_SAMPLES), (start, end)


def _carriers(order: _Order, style: Style, rng: np.random.Generator) -> tuple[Samples, Samples]:
    """What the voice says before and after the phrase; mostly nothing."""
    nothing = np.zeros(0, dtype=np.float32)
    if rng.random() >= order.carriers:
        return nothing, nothing
    gap = np.zeros(int(rng.uniform(0, MAX_CARRIER_GAP_S) * SAMPLE_RATE), dtype=np.float32)
    before, after = (speak(str(rng.choice(words)), order.voice, style) for words in (BEFORE, AFTER))
    which = int(rng.integers(3))
    return (
        np.concatenate([before, gap]) if which != 1 else nothing,
        np.concatenate([gap, after]) if which != 0 else nothing,
    )


def in_parallel(tasks: Sequence[Callable[[], T]], progress: Progress | None = None) -> list[T]:
    """Carry out the tasks in threads, as many as there are cores; return what they give, in order."""
    with ThreadPoolExecutor(processors()) as pool:
        jobs = [pool.submit(task) for task in tasks]
        try:
            for done, job in enumerate(as_completed(jobs), start=1):
                job.result()
                if progress:
                    progress(done, len(jobs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [job.result() for job in jobs]


def write_file(path: Path, samples: Samples) -> None:
    """Write a clip, making the folder it goes to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise DataError(f"cannot make folder {path.parent}: {err}") from err
    write_wav(path, samples)
