"""Reads Whisper's encoder and decoder from CTranslate2's `model.bin` (binary version 6, float16 or float32).

Little-endian throughout; a string is a uint16 length, then that many bytes ending in NUL:

    uint32 version · string "WhisperSpec" · uint32 revision · uint32 number of variables
    per variable: string name · uint8 rank · uint32 dims[rank] · uint8 type · uint32 bytes · data
    uint32 number of aliases · per alias: string alias · string variable
"""

from __future__ import annotations

import math
import re
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wakeword.errors import EncoderError

BINARY_VERSION = 6
SPEC = "WhisperSpec"
FLOAT_TYPES = {0: "<f4", 4: "<f2"}
"""CTranslate2's type numbers of the unquantised types that numpy has."""

NAMES = {
    "self_attention/layer_norm": "attn_ln",
    "self_attention/linear_0": "attn.qkv",
    "self_attention/linear_1": "attn.out",
    "attention/layer_norm": "cross_attn_ln",
    "attention/linear_0": "cross_attn.query",
    "attention/linear_1": "cross_attn.kv",
    "attention/linear_2": "cross_attn.out",
    "ffn/layer_norm": "mlp_ln",
    "ffn/linear_0": "mlp.0",
    "ffn/linear_1": "mlp.2",
}
DECODER_NAMES = {
    "embeddings.weight": "token_embedding.weight",
    "position_encodings.encodings": "positional_embedding",
    "ln_post.weight": "ln.weight",
    "ln_post.bias": "ln.bias",
}
FUSED = {"qkv": ("query", "key", "value"), "kv": ("key", "value")}
ENDINGS = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}


def read_encoder(path: Path) -> dict[str, Tensor]:
    """Read the encoder's tensors by OpenAI's names; EncoderError for a foreign or damaged file."""
    return _read_part(path, "encoder/")


def read_decoder(path: Path) -> dict[str, Tensor]:
    """Read the text decoder's tensors likewise; the token embedding is its output layer too."""
    found = _read_part(path, "decoder/")
    return {DECODER_NAMES.get(name, name): tensor for name, tensor in found.items()}


def _read_part(path: Path, part: str) -> dict[str, Tensor]:
    try:
        variables = _variables(_Cursor(path), part)
    except (OSError, ValueError, struct.error) as err:
        raise EncoderError(f"{path}: not a readable CTranslate2 Whisper model ({err})") from err
    tensors: dict[str, Tensor] = {}
    for name, tensor in variables.items():
        tensors |= _renamed(name, tensor)
    return tensors


class _Cursor:
    """A place in a file's bytes that cannot run past their end."""

    def __init__(self, path: Path) -> None:
        self._data = memoryview(path.read_bytes())
        self._at = 0

    @property
    def at_end(self) -> bool:
        return self._at == len(self._data)

    def take(self, n_bytes: int) -> memoryview:
        if self._at + n_bytes > len(self._data):
            raise ValueError(f"ends at byte {len(self._data)}, {n_bytes} more expected at {self._at}")
        self._at += n_bytes
        return self._data[self._at - n_bytes : self._at]

    def number(self, kind: str) -> int:
        (value,) = struct.unpack(f"<{kind}", self.take(struct.calcsize(kind)))
        return int(value)

    def string(self) -> str:
        return bytes(self.take(self.number("H"))).rstrip(b"\0").decode("utf-8")


def _variables(file: _Cursor, part: str) -> dict[str, Tensor]:
    version = file.number("I")
    if version != BINARY_VERSION:
        raise ValueError(f"binary version {version}, expected {BINARY_VERSION}")
    if (spec := file.string()) != SPEC:
        raise ValueError(f"holds a {spec!r}, expected {SPEC!r}")
    file.number("I")  # the revision says which decoder options are there
    variables = {}
    for _ in range(file.number("I")):
        name, tensor = _variable(file, part)
        if tensor is not None:
            variables[name.removeprefix(part)] = tensor
    for _ in range(2 * file.number("I")):
        file.string()
    if not file.at_end:
        raise ValueError("goes on after its last part")
    return variables


def _variable(file: _Cursor, part: str) -> tuple[str, Tensor | None]:
    """Name, and the tensor where it is one of that part's weights."""
    name = file.string()
    shape = [file.number("I") for _ in range(file.number("B"))]
    kind = file.number("B")
    data = file.take(file.number("I"))
    if not name.startswith(part) or not shape or name == "encoder/position_encodings/encodings":
        return name, None
    if kind not in FLOAT_TYPES:
        raise ValueError(f"{name} has type {kind}; only unquantised float16 and float32 models are read")
    dtype = np.dtype(FLOAT_TYPES[kind])
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"{name} of shape {shape} holds {len(data)} bytes")
    return name, torch.from_numpy(np.frombuffer(data, dtype=dtype).reshape(shape).copy())


def _renamed(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """One CTranslate2 variable as the tensors of OpenAI's names: query, key and value are fused there."""
    owner, _, ending = name.rpartition("/")
    ending = ENDINGS.get(ending, ending)
    block = re.fullmatch(r"layer_(\d+)/(.+)", owner)
    if block is None:
        return {f"{'ln_post' if owner == 'layer_norm' else owner}.{ending}": tensor}
    prefix = f"blocks.{block[1]}.{NAMES.get(block[2], block[2])}"
    fused = prefix.rpartition(".")[2]
    if fused not in FUSED:
        return {f"{prefix}.{ending}": tensor}
    parts = zip(FUSED[fused], tensor.chunk(len(FUSED[fused])), strict=True)
    split = {f"{prefix.removesuffix(fused)}{part}.{ending}": piece for part, piece in parts}
    if ending == "bias":
        del split[f"{prefix.removesuffix(fused)}key.bias"]  # zeros: Whisper's key has none
    return split
