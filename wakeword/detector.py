"""The detector a listener runs: audio in, events out.

`Scorer` turns audio into one posterior per phrase and 80 ms hop; `Detector` adds the decision. The
judges of `wakeword.evaluate` use the same two objects.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from wakeword.audio import HOP_S, HOP_SAMPLES, Samples, as_float
from wakeword.bundle import Bundle, Golden, Manifest, load_bundle
from wakeword.decision import Decision, Detection, Posteriors
from wakeword.errors import BundleError
from wakeword.mel import N_MELS, StreamingLogMel, log_mel

GOLDEN_TOLERANCE = 2.0
"""Log-odds by which the golden window may differ between processors: int8 kernels round differently, a wrong
kernel is off by far more. Posteriors at the golden window are far from any threshold."""


def logit(posterior: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Log-odds of posteriors, finite (within ±16) also at 0 and 1."""
    p = np.clip(posterior.astype(np.float64), 1e-7, 1 - 1e-7)
    return np.asarray(np.log(p / (1 - p)), dtype=np.float32)


def make_session(model: bytes | str) -> onnxruntime.InferenceSession:
    """A single-threaded onnxruntime session that does not spin while it waits."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class Verifier:
    """The verifier network of one bundle; stateless, so many scorers may share it."""

    def __init__(self, bundle: Bundle, source: str = "bundle") -> None:
        """Make the session and check it against the golden vector; BundleError when it differs."""
        self.manifest: Manifest = bundle.manifest
        try:
            self._session = make_session(bundle.verifier)
            logits = self._golden_logits(bundle.golden)
        except Exception as err:  # onnxruntime raises its own, undocumented classes
            reason = next(iter(str(err).splitlines()), type(err).__name__)
            raise BundleError(f"{source}: its verifier does not run ({reason})") from err
        if logits.shape != bundle.golden.logits.shape:
            raise BundleError(
                f"{source}: its verifier gives scores of shape {list(logits.shape)}, not one for each of "
                f"{', '.join(self.manifest.phrases)}"
            )
        off = float(np.abs(logits - bundle.golden.logits).max())
        if not off <= GOLDEN_TOLERANCE:
            raise BundleError(
                f"{source}: golden vector missed by {off:.2f} log-odds: this onnxruntime "
                f"({onnxruntime.__version__}) computes wrong scores on this processor; try another version"
            )

    def __call__(self, window: npt.NDArray[np.float32]) -> Posteriors:
        """Posteriors [K] of one window: log-mel [80, T] or samples [N], as the manifest's `input` says."""
        (posterior,) = self._session.run(None, {self.manifest.input: window[None]})
        return np.asarray(posterior[0], dtype=np.float32)

    def _golden_logits(self, golden: Golden) -> npt.NDArray[np.float32]:
        return logit(self(golden_window(self.manifest.input, self.manifest.window, golden)))


def golden_window(kind: str, window: int, golden: Golden) -> npt.NDArray[np.float32]:
    """The golden sound as a verifier takes it: log-mel [80, T] or samples [N]."""
    audio = as_float(golden.audio)
    return np.ascontiguousarray(log_mel(audio)[:, -window:]) if kind == "mel" else audio[-window:]


class _Window:
    """The last `width` columns of a growing array [R, t], in one contiguous block of memory."""

    def __init__(self, rows: int, width: int) -> None:
        self._block = np.zeros((rows, 2 * width), dtype=np.float32)
        self._width = width
        self.reset()

    def reset(self) -> None:
        self._end = 0
        self.seen = 0

    def push(self, columns: npt.NDArray[np.float32]) -> None:
        n = columns.shape[1]
        if self._end + n > self._block.shape[1]:
            keep = min(self._end, self._width)
            self._block[:, :keep] = self._block[:, self._end - keep : self._end].copy()
            self._end = keep
        self._block[:, self._end : self._end + n] = columns
        self._end += n
        self.seen += n

    @property
    def full(self) -> bool:
        return self.seen >= self._width

    def latest(self) -> npt.NDArray[np.float32]:
        return np.ascontiguousarray(self._block[:, self._end - self._width : self._end])


class Scorer:
    """Posteriors of a stream: one row per 80 ms hop, from the first full window of real audio on."""

    def __init__(self, verifier: Verifier) -> None:
        manifest = verifier.manifest
        self.phrases = manifest.phrases
        self._verifier = verifier
        self._takes_mel = manifest.input == "mel"
        self._mel = StreamingLogMel()
        self._window = _Window(N_MELS if self._takes_mel else 1, manifest.window)
        self.reset()

    def reset(self) -> None:
        """Forget all audio; time starts at 0 again."""
        self._mel.reset()
        self._window.reset()
        self._pending: Samples = np.zeros(0, dtype=np.float32)
        self._hops = 0

    def feed(self, samples: npt.NDArray[np.generic]) -> list[tuple[float, Posteriors]]:
        """Take any number of samples; return (time at the end of the hop in s, posteriors [K]) per hop."""
        self._pending = np.concatenate([self._pending, as_float(samples)])
        n_hops = len(self._pending) // HOP_SAMPLES
        hops = self._pending[: n_hops * HOP_SAMPLES].reshape(n_hops, HOP_SAMPLES)
        self._pending = self._pending[n_hops * HOP_SAMPLES :].copy()
        scored = [self._score(hop) for hop in hops]
        return [row for row in scored if row is not None]

    def _score(self, hop: Samples) -> tuple[float, Posteriors] | None:
        self._hops += 1
        self._window.push(self._mel.feed(hop) if self._takes_mel else hop[None])
        if not self._window.full:
            return None
        window = self._window.latest()
        return self._hops * HOP_S, self._verifier(window if self._takes_mel else window[0])


class Detector:
    """Finds its phrases in a stream of audio. One per stream; the verifier may be shared."""

    def __init__(self, verifier: Verifier, thresholds: Sequence[float]) -> None:
        self.manifest = verifier.manifest
        self._scorer = Scorer(verifier)
        self._decision = Decision(self.phrases, thresholds, self.manifest.decision)

    @property
    def phrases(self) -> tuple[str, ...]:
        """What it listens for."""
        return self.manifest.phrases

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The posterior at which each phrase fires."""
        return self._decision.thresholds

    def reset(self) -> None:
        """Forget all audio and events; time starts at 0 again."""
        self._scorer.reset()
        self._decision.reset()

    def feed(self, samples: npt.NDArray[np.generic]) -> list[Detection]:
        """Take mono 16 kHz int16 or float32 samples [N] of any number; return the events in them.

        The events do not depend on how the stream is cut into blocks. AudioError for other types or NaN.
        """
        rows = self._scorer.feed(samples)
        return [event for time_s, posteriors in rows for event in self._decision.update(posteriors, time_s)]


def load(
    path: str | os.PathLike[str], fa_per_hour: float | None = None, threshold: float | None = None
) -> Detector:
    """Make a detector from a `.wakeword` file.

    Args:
        path: the bundle.
        fa_per_hour: false accepts per hour to run at, an operating point of the bundle (None: its default).
        threshold: a posterior in (0, 1] for all phrases, instead of an operating point.

    Raises BundleError for a damaged or foreign file, UsageError for an operating point it does not have.
    """
    verifier = Verifier(load_bundle(path), str(Path(path)))
    return Detector(verifier, choose_thresholds(verifier.manifest, fa_per_hour, threshold))


def choose_thresholds(
    manifest: Manifest, fa_per_hour: float | None = None, threshold: float | None = None
) -> tuple[float, ...]:
    """One threshold per phrase; see `load`."""
    if threshold is not None:
        return (threshold,) * len(manifest.phrases)
    rate = float(manifest.default_fa_per_hour) if fa_per_hour is None else fa_per_hour
    return tuple(manifest.threshold(phrase, rate).value for phrase in manifest.phrases)
