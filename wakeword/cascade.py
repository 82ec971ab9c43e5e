"""The student hears every hop; the verifier only what the student suspects.

    hop ─> log-mel ─┬─> student ─ score >= gate? ─ no ──────────> 0
                    │                             `─ yes, or within the hangover ─> verifier ─> its posterior
                    └─> window of the verifier ───────────────────────────────────────^

The student's score peaks for a hop or two as a phrase ends, when the verifier's posterior has mostly risen
already. So the verifier goes on for a few hops after a suspicion, unless it finds nothing promising: most
suspicions cost one run of it. A window spans two seconds, so every second hop is enough; what it said stands
in the hop between.

What the student heard is evidence too, and it errs elsewhere than the verifier. The posterior of a cascade is
both together, as experts whose log-odds add up:

    log-odds = verifier's + evidence x (the student's highest of the last hops - those of its gate)
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt
import onnxruntime

from wakeword.audio import FRAME_SAMPLES, HOP_SAMPLES, Samples, as_float
from wakeword.bundle import Bundle
from wakeword.decision import Posteriors
from wakeword.errors import BundleError
from wakeword.graph_check import check_graph
from wakeword.manifest import Manifest, StudentManifest
from wakeword.mel import N_MELS, POWER_FLOOR, Mel, StreamingLogMel
from wakeword.scorer import HopScorer, Scorer
from wakeword.verifier import Verifier, check_golden, logit, make_session

HOP_FRAMES = HOP_SAMPLES // FRAME_SAMPLES
SILENCE = np.float32(np.log10(POWER_FLOOR))
"""Log-mel of digital silence: what the student takes to be before the first sample."""


class Student:
    """The student network of one bundle: shared weights; each stream's memory is a `StudentStream`."""

    def __init__(self, bundle: Bundle, source: str = "bundle") -> None:
        """Make the session and check it against the golden vector; BundleError when it differs."""
        if bundle.student is None or bundle.manifest.student is None or bundle.golden.student is None:
            raise BundleError(f"{source}: holds no student")
        self.manifest: Manifest = bundle.manifest
        self.settings: StudentManifest = bundle.manifest.student
        try:
            check_graph(bundle.student)
            self.session = make_session(bundle.student)
            scores = golden_scores(StudentStream(self.session), bundle.golden.audio)
        except Exception as err:  # onnxruntime raises its own, undocumented classes
            reason = next(iter(str(err).splitlines()), type(err).__name__)
            raise BundleError(f"{source}: its student does not run ({reason})") from err
        check_golden("student", logit(scores), bundle.golden.student, source)

    def stream(self) -> StudentStream:
        """The student at the start of a stream."""
        return StudentStream(self.session)


class StudentStream:
    """The student following one stream. Its memory is bound to the session once: a hop allocates nothing."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._binding = session.io_binding()
        arrays = {i.name: np.zeros(i.shape, dtype=np.float32) for i in session.get_inputs()}
        self._mel = arrays["mel"][0]
        self._states = [array for name, array in arrays.items() if name != "mel"]
        self._score = np.zeros(session.get_outputs()[0].shape, dtype=np.float32)
        if self._mel.shape != (N_MELS, HOP_FRAMES):
            raise ValueError(f"it takes log-mel of shape {list(self._mel.shape)} each hop")
        values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}
        for name, value in values.items():
            self._binding.bind_ortvalue_input(name, value)
        # A new state may take the place of the old: the graph has copied that before it writes this.
        for output in session.get_outputs()[1:]:
            self._binding.bind_ortvalue_output(output.name, values[output.name.removeprefix("new_")])
        score = onnxruntime.OrtValue.ortvalue_from_numpy(self._score)
        self._binding.bind_ortvalue_output("score", score)

    def reset(self) -> None:
        """Forget all audio."""
        for state in self._states:
            state.fill(0)

    def feed(self, mel: Mel) -> Posteriors:
        """Scores [K] after the frames [80, 8] of the next hop (6 in the first); valid until the one after."""
        missing = HOP_FRAMES - mel.shape[1]
        self._mel[:, missing:] = mel
        self._mel[:, :missing] = SILENCE
        self._session.run_with_iobinding(self._binding)
        return np.asarray(self._score[0])


def golden_scores(stream: StudentStream, audio: npt.NDArray[np.int16]) -> Posteriors:
    """What a student says of a sound, hop by hop from its start [H, K]."""
    mel = StreamingLogMel()
    hops = as_float(audio[: len(audio) // HOP_SAMPLES * HOP_SAMPLES]).reshape(-1, HOP_SAMPLES)
    return np.stack([stream.feed(mel.feed(hop)).copy() for hop in hops])


class StudentScorer(HopScorer):
    """The student alone, for the smallest machines."""

    def __init__(self, student: Student) -> None:
        super().__init__(student.manifest)
        self._student = student.stream()
        self._mel = StreamingLogMel()

    def reset(self) -> None:
        """Forget all audio; time starts at 0 again."""
        super().reset()
        self._mel.reset()
        self._student.reset()

    def _score(self, hop: Samples) -> Posteriors | None:
        scores = self._student.feed(self._mel.feed(hop))
        return scores.copy() if self._warm else None


class CascadeScorer(Scorer):
    """Posterior 0 where the student suspects nothing, the verifier's where it does.

    The two may know different phrases where the student's evidence has no weight.
    """

    def __init__(self, student: Student, verifier: Verifier) -> None:
        super().__init__(verifier)
        settings = student.settings
        self._student = student.stream()
        self._gate = [settings.gate[phrase] for phrase in student.manifest.phrases]
        self._hangover = settings.hangover_hops
        self._promising = settings.promising
        self._nothing = np.zeros(len(self.phrases), dtype=np.float32)
        self._nothing.setflags(write=False)
        self._stride = settings.stride_hops
        self._evidence = settings.evidence
        self._heard = deque[list[float]](maxlen=settings.evidence_hops)
        self._said = self._nothing
        self._asking = self._resting = 0
        self.verified = 0
        """Hops on which the verifier ran, since the last reset."""

    def reset(self) -> None:
        """Forget all audio; time starts at 0 again."""
        super().reset()
        self._student.reset()
        self._heard.clear()
        self._said = self._nothing
        self._asking = self._resting = self.verified = 0

    def _score(self, hop: Samples) -> Posteriors | None:
        mel = self._mel.feed(hop)
        self._window.push(mel if self._takes_mel else hop[None])
        scores = self._student.feed(mel).tolist()
        self._heard.append(scores)
        if any(score >= gate for score, gate in zip(scores, self._gate, strict=True)):
            self._asking = self._hangover + 1
        asked, self._asking = self._asking > 0, max(0, self._asking - 1)
        self._resting = max(0, self._resting - 1)
        if not self._warm:
            return None
        if asked and not self._resting:
            self._said = self._verify()
        return self._said if asked else self._nothing

    def _verify(self) -> Posteriors:
        self.verified += 1
        self._resting = self._stride
        posteriors = self._ask()
        if max(posteriors.tolist()) < self._promising:
            self._asking = 0
        return self._with_evidence(posteriors) if self._evidence else posteriors

    def _with_evidence(self, posteriors: Posteriors) -> Posteriors:
        highest = np.asarray(self._heard, dtype=np.float32).max(axis=0)
        more = logit(highest) - logit(np.asarray(self._gate, dtype=np.float32))
        log_odds = logit(posteriors) + np.float64(self._evidence) * more
        return np.asarray(1 / (1 + np.exp(-log_odds)), dtype=np.float32)
