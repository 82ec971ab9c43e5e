"""The verifier at run time: one window in, one posterior per phrase out, checked when it is loaded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnxruntime

from wakeword.audio import as_float
from wakeword.bundle import Bundle, Golden
from wakeword.decision import Posteriors
from wakeword.errors import BundleError
from wakeword.graph_check import check_graph
from wakeword.manifest import Manifest
from wakeword.mel import log_mel

GOLDEN_TOLERANCE = 2.0
"""Log-odds by which the golden window may differ between processors: int8 kernels round differently, a wrong
kernel is off by far more. Posteriors at the golden window are far from any threshold."""


def logit(posterior: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Log-odds of posteriors, finite (within ±16) also at 0 and 1."""
    p = np.clip(posterior.astype(np.float64), 1e-7, 1 - 1e-7)
    return np.asarray(np.log(p / (1 - p)), dtype=np.float32)


def make_session(model: bytes | str) -> onnxruntime.InferenceSession:
    """A single-threaded onnxruntime session that does not spin while it waits."""
    onnxruntime.disable_telemetry_events()  # for programs that imported it before wakeword
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False  # it would keep some 10 MB more than a window needs
    session = onnxruntime.InferenceSession(
        model,
        options,
        providers=["CPUExecutionProvider"],
        enable_fallback=0,  # else a model that cannot be read is read twice, and the first failure printed
    )
    # onnxruntime 1.32 keeps the file beside its weights, to make the session anew for other providers.
    session._model_bytes = None
    return session


class Verifier:
    """The verifier network of one bundle; stateless, so many scorers may share it."""

    def __init__(self, bundle: Bundle, source: str = "bundle") -> None:
        """Make the session and check it against the golden vector; BundleError when it differs."""
        self.manifest: Manifest = bundle.manifest
        try:
            check_graph(bundle.verifier)
            self._session = make_session(bundle.verifier)
            logits = self._golden_logits(bundle.golden)
        except Exception as err:  # onnxruntime raises its own, undocumented classes
            reason = next(iter(str(err).splitlines()), type(err).__name__)
            raise BundleError(f"{source}: its verifier does not run ({reason})") from err
        check_golden("verifier", logits, bundle.golden.logits, source)

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


def check_golden(
    model: str, logits: npt.NDArray[np.float32], expected: npt.NDArray[np.float32], source: str
) -> None:
    """Raise BundleError where a model's log-odds for the golden sound [..., K] are not what they must be."""
    if logits.shape != expected.shape:
        raise BundleError(
            f"{source}: its {model} gives scores of shape {list(logits.shape)}, not {list(expected.shape)}: "
            "one for each phrase"
        )
    off = float(np.abs(logits - expected).max())
    if not off <= GOLDEN_TOLERANCE:
        raise BundleError(
            f"{source}: golden vector missed by {off:.2f} log-odds ({model}): this onnxruntime "
            f"({onnxruntime.__version__}) computes wrong scores on this processor; try another version"
        )
