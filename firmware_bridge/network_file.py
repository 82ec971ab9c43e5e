"""What `wakeword firmware train` leaves for `build`: a quantised network and where it fires, one `.npz`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.decision import FirmwareRule
from firmware_bridge.network import Add, Block, Conv, Quantisation, QuantisedNet
from wakeword.errors import BundleError, ExportError
from wakeword.files import ZIP_FAULTS, load_arrays, written_whole

FORMAT = 1
MAX_BYTES = 16 << 20
"""Of a student, unpacked: most take 60 KB."""
SUFFIX = ".npz"


@dataclass(frozen=True)
class Point:
    """Where a model fires, and what that cost on dev."""

    rule: FirmwareRule
    false_accepts: int
    """Counted on the dev background."""
    hours: float
    """Of dev background."""
    misses: Mapping[str, float]
    """Share of dev phrases missed, by condition."""


@dataclass(frozen=True)
class FirmwareModel:
    """A network for one phrase with its operating points."""

    net: QuantisedNet
    points: Mapping[str, Point]
    """By wanted false accepts per hour, as text: "0.5"."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """What it was made of, for people."""

    def point(self, fa_per_hour: float) -> Point:
        """The operating point for a rate; ExportError names those there are."""
        key = f"{fa_per_hour:g}"
        if key not in self.points:
            known = ", ".join(self.points)
            raise ExportError(f"no cutoff was chosen for {key} false accepts per hour; there are {known}")
        return self.points[key]


def slug(phrase: str) -> str:
    """A phrase as the name of a file: lower case, digits and underscores."""
    return "_".join("".join(c if c.isalnum() else " " for c in phrase.lower()).split())


def save_model(path: Path, model: FirmwareModel) -> None:
    """Write it whole, or not at all."""
    arrays, convs = dict[str, npt.NDArray[Any]](), list[dict[str, Any]]()
    for i, conv in enumerate((*model.net.convs, model.net.output)):
        arrays |= {f"{name}_{i}": getattr(conv, name) for name in ("weights", "bias", "weight_scales")}
        fields = ("kind", "relu", "dilation", "stride")
        convs.append({name: getattr(conv, name) for name in fields} | _ends(conv))
    text = {
        "format": FORMAT,
        "phrase": model.net.phrase,
        "stride": model.net.stride,
        "convs": convs,
        "blocks": [{"convs": len(b.convs), "sum": asdict(b.add.output)} for b in model.net.blocks],
        "points": {key: asdict(point) for key, point in model.points.items()},
        "training": dict(model.training),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, model=np.asarray(json.dumps(text)), **arrays)  # type: ignore[arg-type]
    except OSError as err:
        raise ExportError(f"cannot write {path}: {err.strerror or err}") from err


def _ends(conv: Conv) -> dict[str, Any]:
    return {"input": asdict(conv.input), "output": asdict(conv.output)}


def load_model(path: str | os.PathLike[str]) -> FirmwareModel:
    """Read what `save_model` wrote; BundleError for anything else."""
    try:
        with load_arrays(path, MAX_BYTES) as arrays:
            text = json.loads(str(arrays["model"]))
            if text["format"] != FORMAT:
                raise BundleError(f"{path}: of format {text['format']}, this version reads {FORMAT}")
            return _model(text, arrays)
    except FileNotFoundError as err:
        raise BundleError(f"no microcontroller student at {path}; make one: wakeword firmware train") from err
    except (*ZIP_FAULTS, AttributeError, ExportError) as err:
        raise BundleError(f"{path}: not a microcontroller student, or damaged ({err})") from err


def _model(text: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> FirmwareModel:
    convs = iter([_conv(entry, i, arrays) for i, entry in enumerate(text["convs"])])
    stem, blocks = next(convs), list[Block]()
    x = stem.output
    for entry in text["blocks"]:
        parts = tuple(next(convs) for _ in range(entry["convs"]))
        blocks.append(Block(parts, Add(x, parts[-1].output, Quantisation(**entry["sum"]))))
        x = blocks[-1].add.output
    net = QuantisedNet(text["phrase"], text["stride"], stem, tuple(blocks), _last(convs))
    points = {key: _point(entry) for key, entry in text["points"].items()}
    return FirmwareModel(net, points, text["training"])


def _last(convs: Iterable[Conv]) -> Conv:
    (output,) = convs
    return output


def _conv(entry: Mapping[str, Any], i: int, arrays: Mapping[str, npt.NDArray[Any]]) -> Conv:
    weights, bias, scales = (arrays[f"{name}_{i}"] for name in ("weights", "bias", "weight_scales"))
    if [a.dtype.name for a in (weights, bias, scales)] != ["int8", "int32", "float32"]:
        raise ValueError(f"convolution {i} holds {weights.dtype}, {bias.dtype} and {scales.dtype}")
    ends = {name: Quantisation(**entry[name]) for name in ("input", "output")}
    return Conv(
        entry["kind"],
        weights,
        bias,
        scales,
        relu=entry["relu"],
        dilation=entry["dilation"],
        stride=entry["stride"],
        **ends,
    )


def _point(entry: Mapping[str, Any]) -> Point:
    return Point(FirmwareRule(**entry["rule"]), entry["false_accepts"], entry["hours"], entry["misses"])
