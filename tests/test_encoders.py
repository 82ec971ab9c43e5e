"""The table of encoders, and choosing from it."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
import torch

from wakeword.errors import EncoderError
from wakeword.train.encoders import ENCODERS, EncoderSpec, build_encoder, load_encoder


@pytest.mark.parametrize("spec", ENCODERS.values(), ids=ENCODERS)
def test_every_entry_says_where_it_comes_from(spec: EncoderSpec) -> None:
    assert ENCODERS[spec.name] is spec
    assert spec.url.startswith("https://")
    assert spec.sha256 is None or (len(spec.sha256) == 64 and spec.sha256 in spec.url)
    assert spec.licence
    assert "hours" in spec.source or spec.family == "embedding"  # its paper does not say
    assert spec.width % spec.heads == 0
    assert spec.sample_rate == 16_000


def test_languages() -> None:
    assert ENCODERS["tiny.en"].languages == ENCODERS["base.en"].languages == ("en",)
    assert len(set(ENCODERS["base"].languages)) == 99


def test_an_entry_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        ENCODERS["tiny.en"].width = 1  # type: ignore[misc]


def test_an_unknown_name_lists_the_choices() -> None:
    with pytest.raises(
        EncoderError, match=r"no encoder 'large'; choose one of tiny\.en, tiny, .*hubert-base"
    ):
        load_encoder("large")


@pytest.mark.parametrize("blocks", [0, -1, 5])
def test_an_impossible_depth_lists_the_choices(blocks: int) -> None:
    for make in (load_encoder, build_encoder):
        with pytest.raises(EncoderError, match=f"has 4 blocks, cannot keep {blocks}; choose 1 to 4"):
            make("tiny.en", blocks)


def test_a_built_encoder_takes_the_state_of_a_loaded_one() -> None:
    loaded, built = load_encoder("tiny.en", 2), build_encoder("tiny.en", 2)
    mel = torch.randn(1, 80, 40, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert (loaded(mel) - built(mel)).abs().max() > 0.1
        built.load_state_dict(loaded.state_dict())
        assert torch.equal(loaded(mel), built(mel))
    assert not loaded.training
    assert (built.n_blocks, built.width, built.frame_hz, built.input) == (2, 384, 50.0, "mel")
