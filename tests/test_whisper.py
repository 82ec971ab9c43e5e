"""Our Whisper encoder against CTranslate2's own, on real speech, and against its exported graph."""

from __future__ import annotations

from pathlib import Path

import ctranslate2
import numpy as np
import pytest
import torch
from faster_whisper.feature_extractor import FeatureExtractor
from test_frontend import export

from wakeword.audio import SAMPLE_RATE, Samples, read_audio
from wakeword.mel import log_mel
from wakeword.train import whisper
from wakeword.train.encoders import Encoder, load_encoder
from wakeword.train.frontend import normalise
from wakeword.train.weights import packaged_model

Array = np.ndarray


@pytest.fixture(scope="module")
def tiny() -> Encoder:
    return load_encoder("tiny.en")


@pytest.fixture(scope="module")
def whisper_mel(corpus: Path) -> torch.Tensor:
    """30 s of speech as Whisper's own frontend sees it [1, 80, 3000]."""
    samples = read_audio(corpus / "speech" / "librispeech_dev_00.opus")[: 30 * SAMPLE_RATE]
    mel = FeatureExtractor(feature_size=80)(samples)[:, :3_000]
    return torch.from_numpy(np.ascontiguousarray(mel, dtype=np.float32)[None])


@pytest.fixture(scope="module")
def reference(whisper_mel: torch.Tensor) -> Array:
    """What CTranslate2 computes from the same file in float32 [1500, 384]; standard deviation 1.27."""
    path = packaged_model()
    assert path is not None
    model = ctranslate2.models.Whisper(str(path.parent), compute_type="float32", intra_threads=1)
    return np.array(model.encode(ctranslate2.StorageView.from_array(whisper_mel.numpy())))[0]


def encode(encoder: Encoder, normalised: torch.Tensor) -> Array:
    assert isinstance(encoder, whisper.WhisperEncoder)
    with torch.no_grad():
        return encoder.encode_normalised(normalised)[0].numpy()


def test_equals_ctranslate2_with_its_position_table(
    tiny: Encoder, whisper_mel: torch.Tensor, reference: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file stores the table as float16; given that one, only rounding is left (measured: 1.2e-4)."""
    table = stored_positions()
    monkeypatch.setattr(whisper, "sinusoids", lambda n_positions, width, device: table[:n_positions])
    assert np.abs(encode(tiny, whisper_mel) - reference).max() < 5e-4


def test_equals_ctranslate2_with_the_computed_table(
    tiny: Encoder, whisper_mel: torch.Tensor, reference: Array
) -> None:
    """Computing the table in float32 moves one value in 60,000 by more than 0.01, none by more than 0.062."""
    difference = np.abs(encode(tiny, whisper_mel) - reference)
    assert difference.max() < 0.08
    assert difference.mean() < 5e-4


def test_positions_are_those_in_the_file() -> None:
    computed = whisper.sinusoids(1_500, 384, torch.device("cpu"))
    assert (computed - stored_positions()).abs().max() < 5e-4  # half a step of float16 near 1


def stored_positions() -> torch.Tensor:
    """`encoder/position_encodings/encodings` of the packaged file, found by its name."""
    path = packaged_model()
    assert path is not None
    data = path.read_bytes()
    name = b"encoder/position_encodings/encodings\0"
    start = data.index(name) + len(name) + 1 + 2 * 4 + 1 + 4  # rank, dims, type, bytes
    table = np.frombuffer(data, "<f2", count=1_500 * 384, offset=start).reshape(1_500, 384)
    return torch.from_numpy(table.astype(np.float32))


@pytest.mark.parametrize(
    ("n_frames", "expected"), [(1, 1), (2, 1), (3, 2), (187, 94), (200, 100), (3_001, 1_501)]
)
def test_any_window_length(tiny: Encoder, n_frames: int, expected: int) -> None:
    with torch.no_grad():
        assert tiny(torch.zeros(2, 80, n_frames)).shape == (2, expected, 384)


def test_takes_unnormalised_mel_and_scales_each_window_by_itself(tiny: Encoder, speech: Samples) -> None:
    loud, quiet = (torch.from_numpy(log_mel(part)) for part in (speech[:32_000], speech[:32_000] * 0.01))
    with torch.no_grad():
        together = tiny(torch.stack([loud, quiet]))
        alone = encode(tiny, normalise(quiet[None]))
    np.testing.assert_allclose(together[1].numpy(), alone, atol=1e-4)
    assert (together[0] - together[1]).abs().max() > 0.1  # Whisper hears level; nothing here hides it


@pytest.mark.parametrize("n_blocks", [1, 3])
def test_a_cut_encoder_is_the_first_blocks_and_the_closing_norm(tiny: Encoder, n_blocks: int) -> None:
    mel = torch.randn(1, 80, 50, generator=torch.Generator().manual_seed(1))
    seen: list[torch.Tensor] = []
    hook = tiny.layers()[n_blocks - 1].register_forward_hook(lambda module, inputs, out: seen.append(out))
    with torch.no_grad():
        tiny(mel)
        cut = load_encoder("tiny.en", n_blocks)
        assert len(cut.layers()) == cut.n_blocks == n_blocks
        assert torch.equal(cut(mel), tiny.get_submodule("ln_post")(seen[0]))
    hook.remove()


@pytest.mark.parametrize("top", [0, 1, 3, 4])
def test_it_divides_below_its_last_blocks(tiny: Encoder, top: int) -> None:
    mel = torch.randn(2, 80, 50, generator=torch.Generator().manual_seed(1))
    assert tiny.divides
    with torch.no_grad():
        below = tiny.below(mel, top)
        assert torch.equal(tiny.above(below, top), tiny(mel))
    assert below.shape == (2, 25, 384)


def test_stem_and_layers_leave_only_the_closing_norm() -> None:
    encoder = load_encoder("tiny.en", 2)
    counted = {id(p) for p in encoder.stem()} | {
        id(p) for layer in encoder.layers() for p in layer.parameters()
    }
    rest = [name for name, p in encoder.named_parameters() if id(p) not in counted]
    assert rest == ["ln_post.weight", "ln_post.bias"]
    assert len(encoder.stem()) == 4


def test_gradient_reaches_only_the_layers_that_ask() -> None:
    encoder = load_encoder("tiny.en", 2).requires_grad_(False)
    encoder.layers()[-1].requires_grad_(True)
    encoder(torch.randn(1, 80, 20)).sum().backward()
    touched = {name.split(".")[1] for name, p in encoder.named_parameters() if p.grad is not None}
    assert touched == {"1"}


def test_exported_graph_computes_the_same(speech: Samples, tmp_path: Path) -> None:
    encoder = load_encoder("tiny.en", 1)
    session = export(encoder, torch.randn(2, 80, 100), tmp_path / "encoder.onnx")
    mel = log_mel(speech)
    for columns in (slice(0, 100), slice(0, 187), slice(300, 700)):
        batch = np.stack([mel[:, columns], mel[:, columns] - 1, mel[::-1, columns]])
        (got,) = session.run(None, {"x": batch})
        with torch.no_grad():
            expected = encoder(torch.from_numpy(batch)).numpy()
        np.testing.assert_allclose(got, expected, atol=2e-4, rtol=0)
