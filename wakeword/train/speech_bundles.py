"""torchaudio's pretrained speech models behind the same interface: wav2vec 2.0, HuBERT, WavLM, Emformer.

All of them hear the waveform. What they give is the output of the last block kept, without whatever
projection follows for recognition: that is the layer that gets replaced. (torchaudio has no types: its
modules are `Any` here.)
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from wakeword.audio import SAMPLE_RATE
from wakeword.errors import EncoderError, ExportError
from wakeword.mel import N_BINS, N_FFT
from wakeword.train.encoders import Encoder, EncoderSpec
from wakeword.train.frontend import MelPower

FACTORIES: Mapping[str, Callable[[], Any]] = {
    "wav2vec2-base": torchaudio.models.wav2vec2_base,
    "wav2vec2-asr-base-960h": torchaudio.models.wav2vec2_base,
    "hubert-base": torchaudio.models.hubert_base,
    "wavlm-base-plus": torchaudio.models.wavlm_base,
}
"""The architecture of each model that is a torchaudio Wav2Vec2Model."""

EMFORMER_GAIN = 32_767.0**2
"""torchaudio trained Emformer on power of 16-bit samples."""
EMFORMER_SYMBOLS = 4_097
EMFORMER_FILES = ("emformer_rnnt_base_librispeech.pt", "global_stats_rnnt_librispeech.json")


class Wav2Vec2Encoder(Encoder):
    """A torchaudio Wav2Vec2Model (wav2vec 2.0, HuBERT or WavLM) cut to its first blocks."""

    input = "audio"
    model: Any

    def __init__(self, spec: EncoderSpec, model: Any, n_blocks: int) -> None:
        """Take over `model`, a torchaudio.models.Wav2Vec2Model; its recognition output is dropped."""
        transformer = model.encoder.transformer
        super().__init__(spec, n_blocks, transformer.pos_conv_embed.embed_dim)
        model.aux = None
        transformer.layers = transformer.layers[:n_blocks]
        # The weight norm is folded in, so that the exported graph holds a plain convolution.
        parametrize.remove_parametrizations(transformer.pos_conv_embed.conv, "weight")
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Audio [B, N] with N >= 400 -> [B, F, D], a frame every 320 samples."""
        with _PlainAttention() if torch.compiler.is_exporting() else nullcontext():
            outputs, _ = self.model.extract_features(x)
        last: Tensor = outputs[-1]
        return last

    def stem(self) -> list[nn.Parameter]:
        """Convolutions over the waveform, their projection, and the position convolution."""
        in_blocks = {id(p) for layer in self.layers() for p in layer.parameters()}
        return [p for p in self.parameters() if id(p) not in in_blocks]

    def layers(self) -> Sequence[nn.Module]:
        """The transformer blocks, in order."""
        return list(self.model.encoder.transformer.layers)


class _PlainAttention(TorchFunctionMode):
    """Attention in its elementary operations, for export.

    torch 2.11 traces WavLM's masked attention with the memory layout of the fused CPU kernel, then cannot
    take it apart for ONNX ("Cannot view a tensor with shape ...").
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        query, key, value = args
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
        mask = (kwargs or {}).get("attn_mask")
        return (scores if mask is None else scores + mask).softmax(dim=-1) @ value


class EmformerEncoder(Encoder):
    """The transcriber of a torchaudio Emformer RNN-T.

    It works by segments of 160 ms that see 1.2 s back and 40 ms ahead.
    """

    input = "audio"
    input_linear: nn.Linear
    time_reduction: Any
    transformer: Any
    mean: Tensor
    inverse_std: Tensor

    def __init__(
        self, spec: EncoderSpec, transcriber: Any, n_blocks: int, mean: Tensor, inverse_std: Tensor
    ) -> None:
        """Take over `transcriber` of a torchaudio.models.RNNT; `mean`, `inverse_std` scale its bands [M]."""
        super().__init__(spec, n_blocks, transcriber.output_linear.in_features)
        fbanks = torchaudio.functional.melscale_fbanks(N_BINS, 0.0, SAMPLE_RATE / 2, len(mean), SAMPLE_RATE)
        self.power = MelPower(fbanks)
        self.register_buffer("mean", mean)
        self.register_buffer("inverse_std", inverse_std)
        self.input_linear = transcriber.input_linear
        self.time_reduction = transcriber.time_reduction
        self.transformer = transcriber.transformer
        self.transformer.emformer_layers = self.transformer.emformer_layers[:n_blocks]

    def features(self, audio: Tensor) -> Tensor:
        """torchaudio's features of audio [B, N] with N >= 480, before padding. -> [B, 1 + N // 160, M]."""
        centred = functional.pad(audio, (N_FFT // 2, N_FFT // 2), mode="reflect")
        power = self.power(centred) * EMFORMER_GAIN
        scaled = torch.where(power > math.e, power.clamp(min=math.e).log(), power / math.e)
        return (scaled - self.mean) * self.inverse_std

    def forward(self, x: Tensor) -> Tensor:
        """Audio [B, N] with N >= 480 -> [B, F, D], a frame every 640 samples."""
        if torch.compiler.is_exporting() and not isinstance(x.shape[1], int):
            raise ExportError(
                "Emformer masks its segments by a loop: export it with a fixed number of samples"
            )
        stride = self.time_reduction.stride
        ahead = self.transformer.right_context_length * stride
        features = functional.pad(self.features(x), (0, 0, 0, ahead))
        # One length for all windows, as a constant: torchaudio asks for its value.
        lengths = torch.tensor([features.shape[1] - ahead], device=x.device)
        reduced, lengths = self.time_reduction(self.input_linear(features), lengths)
        frames: Tensor = self.transformer(reduced, lengths)[0]
        return frames

    def stem(self) -> list[nn.Parameter]:
        """The projection of the features."""
        return list(self.input_linear.parameters())

    def layers(self) -> Sequence[nn.Module]:
        """The Emformer blocks, in order."""
        return list(self.transformer.emformer_layers)


def build_bundle(spec: EncoderSpec, n_blocks: int) -> Encoder:
    """The network of a torchaudio bundle with random weights."""
    if spec.name in FACTORIES:
        return Wav2Vec2Encoder(spec, FACTORIES[spec.name](), n_blocks)
    transcriber = torchaudio.models.emformer_rnnt_base(num_symbols=EMFORMER_SYMBOLS).transcriber
    return EmformerEncoder(spec, transcriber, n_blocks, torch.zeros(spec.n_mels), torch.ones(spec.n_mels))


def load_bundle(spec: EncoderSpec, n_blocks: int, weights: Path | None = None) -> Encoder:
    """A torchaudio bundle with its pretrained weights, by torchaudio's own loader (which downloads once).

    `weights` names the bundle's file fetched by other means; for Emformer, the folder that holds
    `emformer_rnnt_base_librispeech.pt` and `global_stats_rnnt_librispeech.json`.
    """
    if weights is not None:
        return _load_file(spec, n_blocks, weights)
    bundle = getattr(torchaudio.pipelines, spec.name.upper().replace("-", "_"))
    try:
        if spec.name in FACTORIES:
            return Wav2Vec2Encoder(spec, bundle.get_model(), n_blocks)
        stats = next(m for m in bundle.get_feature_extractor().modules() if hasattr(m, "invstddev"))
        transcriber = bundle.get_decoder().model.transcriber
    except (OSError, RuntimeError) as err:
        raise EncoderError(
            f"no weights for {spec.name}: torchaudio could not fetch {spec.url} ({err}). Instead: fetch that "
            "file elsewhere and name its path"
        ) from err
    return EmformerEncoder(spec, transcriber, n_blocks, stats.mean, stats.invstddev)


def _load_file(spec: EncoderSpec, n_blocks: int, path: Path) -> Encoder:
    """Weights from files that the publisher serves, read without running any code they may hold."""
    try:
        if spec.name in FACTORIES:
            model = FACTORIES[spec.name]()
            state = torch.load(path, map_location="cpu", weights_only=True)
            model.load_state_dict({name: t for name, t in state.items() if not name.startswith("aux.")})
            return Wav2Vec2Encoder(spec, model, n_blocks)
        stats = json.loads((path / EMFORMER_FILES[1]).read_text(encoding="utf-8"))
        mean, inverse_std = torch.tensor(stats["mean"]), torch.tensor(stats["invstddev"])
        model = torchaudio.models.emformer_rnnt_base(num_symbols=EMFORMER_SYMBOLS)
        model.load_state_dict(torch.load(path / EMFORMER_FILES[0], map_location="cpu", weights_only=True))
    except Exception as err:  # torch.load raises whatever the damage provokes
        line = (str(err).splitlines() or [type(err).__name__])[0]
        raise EncoderError(f"{path}: not the weights of {spec.name} ({line})") from err
    return EmformerEncoder(spec, model.transcriber, n_blocks, mean, inverse_std)
