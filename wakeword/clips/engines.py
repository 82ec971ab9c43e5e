"""The speech engines that can speak phrases: which there are, which are installed, what they can say."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wakeword.audio import Samples
from wakeword.clips import engine_neural, engine_programs
from wakeword.clips.voices import Style, Voice
from wakeword.errors import DataError, UsageError


@dataclass(frozen=True)
class EngineSpec:
    """One engine."""

    name: str
    needs: str
    """The program, or the Python package if it ends with "()"."""
    install: str
    licence: str
    about: str
    share: float
    """Of the clips, among the engines at hand: by how human it sounds, how many voices, how fast."""
    voices: Callable[[str], list[Voice]]
    """Voices at hand for a language ("en", "de")."""
    speak: Callable[[str, Voice, Style], Samples]

    @property
    def installed(self) -> bool:
        """Whether the program or package is there."""
        if self.needs.endswith("()"):
            return importlib.util.find_spec(self.needs.removesuffix("()")) is not None
        return shutil.which(self.needs) is not None


ENGINES = {
    spec.name: spec
    for spec in (
        EngineSpec(
            name="piper",
            needs="piper()",
            install="pip install 'wakeword[synth]'",
            licence="GPL-3.0-or-later (program), a licence per voice",
            about="neural; any Piper voice",
            share=0.30,
            voices=engine_neural.piper_voices,
            speak=engine_neural.speak_piper,
        ),
        EngineSpec(
            name="hibari",
            needs="hibari()",
            install="pip install 'wakeword[synth]'",
            licence="Apache-2.0",
            about="neural, fast; one voice inside",
            share=0.20,
            voices=engine_neural.hibari_voices,
            speak=engine_neural.speak_hibari,
        ),
        EngineSpec(
            name="flite",
            needs="flite",
            install="apt-get install -y flite",
            licence="BSD-like (CMU)",
            about="four voices made of recordings",
            share=0.25,
            voices=engine_programs.flite_voices,
            speak=engine_programs.speak_flite,
        ),
        EngineSpec(
            name="festival",
            needs="text2wave",
            install="apt-get install -y festival festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts",
            licence="BSD-like (CSTR, CMU)",
            about="older, slow; three voices made of recordings",
            share=0.05,
            voices=engine_programs.festival_voices,
            speak=engine_programs.speak_festival,
        ),
        EngineSpec(
            name="espeak-ng",
            needs="espeak-ng",
            install="apt-get install -y espeak-ng",
            licence="GPL-3.0-or-later",
            about="by rule: 71 voices, 100 languages, not very human",
            share=0.20,
            voices=engine_programs.espeak_voices,
            speak=engine_programs.speak_espeak,
        ),
    )
}


def find_engines(names: Sequence[str] = ()) -> list[EngineSpec]:
    """The engines named, or all that are installed.

    Raises UsageError for an unknown name, DataError (with what to install) for one that is missing, and
    where there is none at all.
    """
    for name in names:
        if name not in ENGINES:
            raise UsageError(f"no speech engine {name!r}; choose one of {', '.join(ENGINES)}")
    wanted = [ENGINES[name] for name in dict.fromkeys(names)] or list(ENGINES.values())
    missing = [spec for spec in wanted if not spec.installed]
    if names and missing:
        raise DataError("; ".join(f"{spec.name} is not installed; run: {spec.install}" for spec in missing))
    if len(missing) == len(wanted):
        lines = dict.fromkeys(spec.install for spec in wanted)
        raise DataError(f"no speech engine is installed; run one of: {'; '.join(lines)}")
    return [spec for spec in wanted if spec.installed]


def find_voices(language: str = "en", engines: Sequence[str] = ()) -> dict[Voice, float]:
    """Voices at hand for a language, each with its share of the clips.

    `engines` as in `find_engines`. DataError where no engine has a voice for the language.
    """
    specs = find_engines(engines)
    weights: dict[Voice, float] = {}
    for spec in specs:
        voices = spec.voices(language)
        weights |= {voice: spec.share / len(voices) for voice in voices}
    if not weights:
        names = ", ".join(spec.name for spec in specs)
        raise DataError(
            f"no voice for language {language!r} in {names}; "
            "espeak-ng --voices lists what espeak-ng speaks, and Piper has voices to download"
        )
    return weights
