"""The encoder as training hears through it on a CPU: int8, by onnxruntime, in a third of torch's time.

It is the encoder that listens later, so a head that learns from it learns what it will be given.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor, nn

from export.graph import trace_module
from export.quantize import quantize_dynamic_int8
from wakeword.audio import Samples
from wakeword.train.features import MakesFeatures
from wakeword.train.finetune import Kept
from wakeword.train.model import Lower, Upper, WakewordNet
from wakeword.train.policy import Policy
from wakeword.verifier import make_session


class _Features(nn.Module):
    def __init__(self, net: MakesFeatures) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net.features(x)


class QuickFeatures:
    """Makes the features that a net makes, or `Lower` or `Upper` of one, as int8 has them.

    It goes where a net does in `cache_features`; each worker process opens a session of its own.
    """

    def __init__(self, net: MakesFeatures, example: npt.NDArray[np.float32]) -> None:
        """Export what makes the features of `net`, for windows of the shape of `example`."""
        self._net = net
        x = net.encoder_input(torch.from_numpy(example)[None])
        graph = trace_module(_Features(net).eval(), x, "x", "features", dynamic_batch=False)
        self._graph = quantize_dynamic_int8(graph).SerializeToString()
        self._session: onnxruntime.InferenceSession | None = None

    def encoder_input(self, audio: Tensor) -> Tensor:
        """What the encoder takes, from audio [B, N]."""
        return self._net.encoder_input(audio)

    def features(self, x: Tensor) -> Tensor:
        """Features [B, F, D]; window by window, for int8 scales each input as a whole."""
        self._session = self._session or make_session(self._graph)
        rows = [self._session.run(None, {"x": one[None].numpy()})[0] for one in x]
        return torch.cat([torch.from_numpy(row) for row in rows])

    def parameters(self) -> Iterator[Tensor]:
        """None: it computes on the CPU."""
        return iter(())

    def eval(self) -> QuickFeatures:
        """The same: nothing here is for training alone."""
        return self


def quick_kept(net: WakewordNet, policy: Policy, example: Samples) -> Kept | None:
    """What is made of every window once, by int8; None where windows differ in each epoch.

    They do on a GPU, where nothing of the encoder is frozen, and where it does not divide.
    """
    if next(net.parameters()).device.type != "cpu" or policy.stem:
        return None
    if not policy.n_blocks:
        return Kept(QuickFeatures(net, example))
    if not net.encoder.divides:
        return None
    lower, upper = Lower(net, policy.n_blocks), Upper(net, policy.n_blocks)
    with torch.inference_mode():
        given = lower.features(lower.encoder_input(torch.from_numpy(example)[None]))[0].numpy()
    return Kept(QuickFeatures(lower, example), QuickFeatures(upper, given))
