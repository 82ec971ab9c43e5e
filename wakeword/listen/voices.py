"""Whether one of the enrolled voices said a phrase, asked as it fires.

    detector ─ fires ─> the last 1.5 s of the stream ─ encoder ─> nearest enrolled voice ─> Heard, or nothing

Runs within the hop that fired, see docs/text_only.md for its cost; sound that arrives meanwhile waits. The
file of the voices is looked at each time, so that who is deleted is unknown from the next phrase on.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from wakeword.audio import SAMPLE_RATE, Samples
from wakeword.decision import Detection
from wakeword.errors import UsageError, WakewordError
from wakeword.files import Seal, seal_of
from wakeword.listen.settings import SpeakersChoice
from wakeword.speaker import UNKNOWN, SpeakerEncoder, Speakers, Vector, load_speakers, speakers_path

VOICE_S = 1.5
"""Sound that is asked about: the phrase, with little of what came before it."""

log = logging.getLogger(__name__)


class Encoder(Protocol):
    """See `SpeakerEncoder`."""

    def embed(self, samples: Samples) -> Vector:
        """The voice of an utterance."""


class Voices:
    """The enrolled voices of one model; any number of streams may ask."""

    def __init__(self, bundle: Path, choice: SpeakersChoice, encoder: Encoder | None = None) -> None:
        """Load the encoder (DataError where it is missing) and say where nobody is enrolled."""
        self.path = speakers_path(bundle)
        self._accept = choice == "accept"
        self._encoder = encoder or SpeakerEncoder()
        self._encoder.embed(np.zeros(SAMPLE_RATE, dtype=np.float32))  # the first time takes longest
        self._seal: Seal | None = None
        self._speakers: Speakers | None = None
        self._read()

    def ask(self, event: Detection, samples: Samples) -> Detection | None:
        """The event with who said it and how alike; None where only enrolled voices may, and none did.

        `samples` are the newest of the stream [N], as `VOICE_S` says, or fewer.
        """
        self._read()
        name, alike = None, None
        if self._speakers is not None:
            try:
                name, alike = self._speakers.match(self._encoder.embed(samples))
            except UsageError as err:  # too little sound to know a voice by
                log.debug("%s at %.2f s: %s", event.phrase, event.time_s, err)
        if name is None and self._accept:
            log.info("%s at %.2f s: not an enrolled voice, left out", event.phrase, event.time_s)
            return None
        return replace(event, speaker=name or UNKNOWN, similarity=alike)

    def _read(self) -> None:
        """Take the file as it now is; where it is missing or damaged nobody is known, which is said once."""
        if (seal := seal_of(self.path)) == self._seal:
            return
        self._seal = seal
        try:
            self._speakers = load_speakers(self.path)
        except WakewordError as err:
            self._speakers = None
            then = "no phrase is reported" if self._accept else f"every speaker is {UNKNOWN}"
            log.warning("speakers: %s; until then %s", err, then)
        else:
            log.info("enrolled: %s", ", ".join(self._speakers.names))
