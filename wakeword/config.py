"""Settings of a training run, read strictly from TOML: an unknown key or a wrong type is an error."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from wakeword.decision import DecisionConfig
from wakeword.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OPERATING_POINTS = (0.1, 0.5, 1.0, 2.0)
"""False accepts per hour for which every bundle stores a threshold."""
DEFAULT_FA_PER_HOUR = 0.5


def _require(config: object, name: str, allowed: bool, what: str) -> None:
    if not allowed:
        raise UsageError(f"{name} is {getattr(config, name)}; it must be {what}")


def _require_at_least(config: object, least: int, *names: str) -> None:
    for name in names:
        _require(config, name, getattr(config, name) >= least, f"{least} or more")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How many windows are made of the recordings."""

    versions: int = 8
    """Augmented windows per clip of a phrase."""
    negatives: int = 12_000
    """Windows of background without a phrase."""
    near: int = 240
    """Clips spoken by machine, per phrase, of what sounds like it but is not; 0 = none."""
    synthetic: int = 300
    """Clips spoken by machine, per phrase: where recordings are few, else for the student alone."""
    minutes: float = 90.0
    """Background made by machine where none is given."""
    broken: int = 2
    """Windows per clip of a phrase in which it breaks off."""
    mining_rounds: int = 2
    """Searches for more background to learn from; none where windows are drawn anew each epoch."""
    mining_pool: int = 12_000
    """Windows of background heard in each."""
    mining_kept: int = 300
    """Of these the hardest, per phrase, that are kept."""
    dev_versions: int = 2
    """Augmented windows per dev clip, for choosing the epoch."""

    def __post_init__(self) -> None:
        _require_at_least(self, 1, "versions", "dev_versions")
        _require_at_least(self, 0, "near", "broken", "synthetic", "mining_rounds")
        _require_at_least(self, 1, "mining_pool", "mining_kept")
        _require(self, "minutes", 1 <= self.minutes < math.inf, "1 or more")
        _require_at_least(self, 4, "negatives")  # a quarter as many are made for dev


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """The new layers."""

    hidden: int = 96
    """Channels."""
    kernel: int = 9
    """Frames (of 40 ms) under each of the two convolutions; the second is dilated by two."""
    dropout: float = 0.2

    def __post_init__(self) -> None:
        _require_at_least(self, 1, "hidden")
        _require(self, "kernel", self.kernel >= 1 and self.kernel % 2 == 1, "odd and positive")
        _require(self, "dropout", 0 <= self.dropout < 1, "in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """How the weights are fitted."""

    epochs: int = 6
    patience: int = 2
    """Epochs without a lower dev loss after which it stops, 0 = never."""
    batch: int = 64
    learning_rate: float = 1e-3
    """Peak rate of the new layers."""
    encoder_rate: float = 3e-5
    """Peak rate of the last encoder block; each deeper block has `layer_decay` times the next one's."""
    layer_decay: float = 0.7
    weight_decay: float = 1e-2
    warmup: float = 0.1
    """Share of the steps over which the rate rises."""
    negative_weight: float = 2.0
    """Weight of a window without the phrase in the loss."""
    averaging: float = 0.99
    """Decay per step of the exponential moving average of the weights; that average is what is kept."""
    top_epochs: int = 1
    """Epochs in which a CPU retrains the last blocks too, after those of the new layers alone."""
    top_learning_rate: float = 3e-4
    """Peak rate of the new layers in these."""
    top_encoder_rate: float = 1e-4
    """Peak rate of the last block in these."""

    def __post_init__(self) -> None:
        _require_at_least(self, 1, "epochs", "batch", "top_epochs")
        _require_at_least(self, 0, "patience")
        rates = ("learning_rate", "encoder_rate", "top_learning_rate", "top_encoder_rate")
        for name in (*rates, "negative_weight"):
            _require(self, name, 0 < getattr(self, name) < math.inf, "positive")
        _require(self, "layer_decay", 0 < self.layer_decay <= 1, "in (0, 1]")
        _require(self, "weight_decay", 0 <= self.weight_decay < math.inf, "0 or more")
        _require(self, "warmup", 0 <= self.warmup < 1, "in [0, 1)")
        _require(self, "averaging", 0 <= self.averaging < 1, "in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class StudentConfig:
    """The student: the small network that hears everything and wakes the verifier."""

    n_features: int = 80
    """Bands of the log-mel it hears."""
    stride: int = 4
    """Frames (of 10 ms) in one step; a hop of 8 frames holds whole steps."""
    channels: int = 64
    kernel: int = 5
    """Steps under each convolution."""
    dilations: tuple[int, ...] = (1, 1, 2, 2, 4)
    """One block each; the last step hears 1 + (kernel - 1) x their sum steps: 1.6 s."""

    def __post_init__(self) -> None:
        _require_at_least(self, 1, "n_features", "stride", "channels", "kernel")
        good = bool(self.dilations) and all(d >= 1 for d in self.dilations)
        _require(self, "dilations", good, "a list of whole numbers from 1 on")


@dataclass(frozen=True, kw_only=True)
class DistillConfig:
    """How the student learns from the verifier."""

    epochs: int = 14
    patience: int = 0
    """Epochs without a lower dev loss after which it stops, 0 = never."""
    batch: int = 128
    learning_rate: float = 2e-3
    """Peak rate."""
    weight_decay: float = 1e-2
    warmup: float = 0.1
    """Share of the steps over which the rate rises."""
    averaging: float = 0.99
    """Decay per step of the exponential moving average of the weights; that average is what is kept."""
    negative_weight: float = 4.0
    """Weight of a window without the phrase in the loss."""
    teacher_share: float = 0.5
    """Share of the verifier's posterior in what the student is to say; the rest is the label."""
    feature_weight: float = 0.0
    """Weight of the verifier's features, which the student is to foretell; 0 = leave them out."""
    background: int = 64
    """Windows of plain background added to each batch; half of them are where the student nearly fired."""
    gain_db: float = 3.0
    """Windows are made louder or softer by up to this much, anew each epoch."""
    mix_share: float = 0.5
    """Share of windows to which another, without a phrase, is added as noise, anew each epoch."""
    min_snr_db: float = 0.0
    """Their level over that noise."""
    max_snr_db: float = 20.0
    style_share: float = 0.5
    """Share of windows whose bands take on, in part, the level and spread of another window's."""
    voice_warp: float = 0.06
    """Bands are spread or squeezed by up to this share, as by another length of vocal tract."""
    tempo_warp: float = 0.12
    """Frames are spread or squeezed by up to this share. The verifier's features are not: foretell none."""
    mask_bands: int = 24
    """Widest stripe of bands hidden in a window, 0 = none."""
    mask_frames: int = 30
    """Longest stretch of frames hidden in a window, 0 = none."""

    def __post_init__(self) -> None:
        _require_at_least(self, 1, "epochs", "batch")
        _require_at_least(self, 0, "patience", "background", "mask_bands", "mask_frames")
        for name in ("learning_rate", "negative_weight"):
            _require(self, name, 0 < getattr(self, name) < math.inf, "positive")
        for name in ("weight_decay", "feature_weight", "gain_db"):
            _require(self, name, 0 <= getattr(self, name) < math.inf, "0 or more")
        for name in ("teacher_share", "mix_share", "style_share"):
            _require(self, name, 0 <= getattr(self, name) <= 1, "in [0, 1]")
        for name in ("voice_warp", "tempo_warp"):
            _require(self, name, 0 <= getattr(self, name) <= 0.5, "in [0, 0.5]")
        _require(
            self, "tempo_warp", not self.tempo_warp or not self.feature_weight, "0 beside feature_weight"
        )
        _require(self, "max_snr_db", self.min_snr_db <= self.max_snr_db < math.inf, "min_snr_db or more")
        for name in ("warmup", "averaging"):
            _require(self, name, 0 <= getattr(self, name) < 1, "in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything about a training run except its recordings."""

    language: str = "en"
    """Of the phrases, such as "en" or "de": what is spoken by machine is spoken in it."""
    encoder: str = "tiny.en"
    blocks: int = 0
    """Encoder blocks kept, counted from the input; 0 = all."""
    tune: str = "auto"
    """auto, head, top-K or all: how much of the encoder is retrained."""
    recogniser: str = "auto"
    """auto, on or off: whether the recogniser that the encoder comes from has a say in the verifier; auto =
    where recordings of a phrase are few. It needs the encoder as it was, and one of its languages."""
    window_s: float = 1.9
    """Seconds of audio under one posterior; the phrase must fit."""
    seed: int = 1
    data: DataConfig = field(default_factory=DataConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    decision: DecisionConfig = field(default_factory=DecisionConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)

    def __post_init__(self) -> None:
        _require_at_least(self, 0, "blocks", "seed")
        _require(self, "recogniser", self.recogniser in ("auto", "on", "off"), "auto, on or off")
        _require(self, "window_s", 0.5 <= self.window_s <= 30, "in [0.5, 30]")


T = TypeVar("T")


def load_config(path: Path, kind: type[T]) -> T:
    """Read a TOML file into a config dataclass; UsageError names the first thing that is wrong."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise UsageError(f"cannot read {path}: {err.strerror}") from err
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise UsageError(f"{path}: not valid TOML ({err})") from err
    return build_config(kind, values, str(path))


def build_config(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """Make a config dataclass from nested tables. `where` begins the error message."""
    hints = get_type_hints(kind)
    names = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(names)):
        raise UsageError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(names)}")
    return kind(**{key: _convert(hints[key], value, f"{where}: {key}") for key, value in values.items()})


def _convert(wanted: Any, value: Any, where: str) -> Any:
    if is_dataclass(wanted) and isinstance(wanted, type):
        if not isinstance(value, Mapping):
            raise UsageError(f"{where} is a table, got {value!r}")
        return build_config(wanted, value, where)
    kind, inner = get_origin(wanted), get_args(wanted)
    if kind is Literal and value not in inner:
        raise UsageError(f"{where} is {value!r}; choose one of {', '.join(map(str, inner))}")
    if kind is Mapping and isinstance(value, Mapping):
        return {key: _convert(inner[1], item, f"{where}: {key}") for key, item in value.items()}
    if kind is tuple and type(value) is list and (is_dataclass(inner[0]) or _all_are(inner[0], value)):
        return tuple(_convert(inner[0], item, f"{where} {i}") for i, item in enumerate(value, 1))
    if wanted is float and type(value) is int:
        return float(value)
    if kind is not Literal and type(value) is not wanted:
        raise UsageError(f"{where} takes {_kind_name(wanted)}, got {value!r}")
    return value


def _all_are(kind: type, values: list[Any]) -> bool:
    return all(type(value) is kind for value in values)


def _kind_name(wanted: Any) -> str:
    """`int`, `a list of int`, `a table`: what a key takes."""
    if get_origin(wanted) is Mapping or is_dataclass(wanted):
        return "a table"
    if get_origin(wanted) is not tuple:
        return str(wanted.__name__)
    item = get_args(wanted)[0]
    return "a list of tables" if is_dataclass(item) else f"a list of {item.__name__}"
