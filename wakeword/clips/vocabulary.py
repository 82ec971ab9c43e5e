"""Words of a language with their phonemes: where phrases that sound alike are looked for.

The words are those of PyPI's `wordfreq` (the most frequent first; code Apache-2.0, data CC-BY-SA-4.0, some
40 languages; extra `synth`). Without it English falls back on the few hundred words of our own sentences.
Their phonemes take espeak-ng some ten seconds, once: they are kept in the cache folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path

from wakeword.cache import cache_dir
from wakeword.clips.phonemes import Phonemes, Spoken, phonemes
from wakeword.errors import DataError
from wakeword.machine import processors

log = logging.getLogger(__name__)

SIZE = 20_000
"""Most frequent words taken."""
MIN_LETTERS = 2
BATCH = 2_000
"""Words given to espeak-ng at once."""


@dataclass(frozen=True)
class Vocabulary:
    """Words of a language and how they sound, the most frequent first."""

    words: tuple[str, ...]
    phonemes: tuple[Phonemes, ...]

    @cached_property
    def spoken(self) -> Spoken:
        """Ready to be compared with a phrase."""
        return Spoken(self.phonemes)


@lru_cache(maxsize=8)
def vocabulary(voice: str = "en-us", size: int = SIZE) -> Vocabulary:
    """The words of a language as an espeak-ng voice speaks them.

    Raises DataError where there is no word list of the language.
    """
    known = _pronunciations(voice, size)
    return Vocabulary(tuple(known), tuple(known.values()))


def _pronunciations(voice: str, size: int) -> dict[str, Phonemes]:
    words = _words(voice.partition("-")[0], size)
    path = cache_dir() / f"phonemes-{voice}-{_fingerprint(words)}.json"
    with suppress(OSError, ValueError, AttributeError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {word: tuple(sounds) for word, sounds in kept.items()}
    log.info("pronouncing %d words, once", len(words))
    spoken = {word: sounds for word, sounds in _pronounce(words, voice).items() if sounds}
    _keep(path, {word: "".join(sounds) for word, sounds in spoken.items()})
    return spoken


def _words(language: str, size: int) -> list[str]:
    try:
        import wordfreq
    except ModuleNotFoundError:
        return _own_words(language)
    try:
        found = wordfreq.top_n_list(language, size)
    except LookupError as err:
        raise DataError(f"no list of words for language {language!r} in wordfreq") from err
    return [word for word in found if word.isalpha() and len(word) >= MIN_LETTERS]


def _own_words(language: str) -> list[str]:
    if language != "en":
        raise DataError(f"no list of words for language {language!r}; run: pip install 'wakeword[synth]'")
    log.warning("near phrases come from few words; for many run: pip install 'wakeword[synth]'")
    text = resources.files("wakeword.clips").joinpath("sentences.txt").read_text(encoding="utf-8")
    words = {"".join(c for c in word if c.isalpha()).lower() for word in text.split()}
    return sorted(word for word in words if len(word) >= MIN_LETTERS)


def _fingerprint(words: list[str]) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]


def _pronounce(words: list[str], voice: str) -> dict[str, Phonemes]:
    batches = [words[i : i + BATCH] for i in range(0, len(words), BATCH)]
    with ThreadPoolExecutor(processors()) as pool:
        spoken = list(pool.map(lambda batch: phonemes(batch, voice), batches))
    return dict(zip(words, (sounds for batch in spoken for sounds in batch), strict=True))


def _keep(path: Path, values: dict[str, str]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
        partial.replace(path)
    except OSError as err:
        log.warning("cannot keep pronunciations in %s: %s", path, err)
