"""How much of the encoder is retrained, and at what rates."""

from __future__ import annotations

import pytest
import torch
from tiny import SPEC

from wakeword.errors import UsageError
from wakeword.train.encoders import ENCODERS, Encoder
from wakeword.train.policy import (
    ALL_SECONDS,
    TOP_SECONDS,
    Policy,
    apply_policy,
    choose_policy,
    parameter_groups,
)
from wakeword.train.speech_bundles import build_bundle
from wakeword.train.whisper import WhisperEncoder


@pytest.fixture
def encoder() -> Encoder:
    return WhisperEncoder(SPEC, 2)


@pytest.mark.parametrize(
    ("seconds", "device", "divides", "name", "n_blocks"),
    [
        (10.0, "cpu", True, "head", 0),
        (10.0, "cuda", True, "head", 0),
        (TOP_SECONDS, "cpu", False, "head", 0),
        (TOP_SECONDS, "cpu", True, "top-2", 2),
        (TOP_SECONDS, "cuda", False, "top-2", 2),
        (ALL_SECONDS - 1, "cuda", True, "top-2", 2),
        (ALL_SECONDS, "cuda", True, "all", 4),
        (ALL_SECONDS, "cpu", False, "head", 0),
        (ALL_SECONDS, "cpu", True, "top-2", 2),
    ],
)
def test_auto(seconds: float, device: str, divides: bool, name: str, n_blocks: int) -> None:
    policy = choose_policy("auto", seconds, device, 4, divides)
    assert (policy.name, policy.n_blocks, policy.stem) == (name, n_blocks, name == "all")
    assert f"{seconds:.0f} s of the phrases" in policy.reason


def test_auto_of_a_shallow_encoder() -> None:
    assert choose_policy("auto", TOP_SECONDS, "cuda", 1).n_blocks == 1


def test_what_is_asked_for_is_done() -> None:
    got = [choose_policy(tune, 1e9, "cpu", 4) for tune in ("head", "top-1", "top-4", "all")]
    assert [(p.name, p.n_blocks, p.stem) for p in got] == [
        ("head", 0, False), ("top-1", 1, False), ("top-4", 4, False), ("all", 4, True),
    ]  # fmt: skip
    assert got[1].reason == "asked for with tune = 'top-1'"


@pytest.mark.parametrize(
    "tune", ["", "Head", "top", "top-0", "top-5", "top--1", "top-1.5", "some", "top-1\n"]
)
def test_unknown(tune: str) -> None:
    with pytest.raises(UsageError, match="choose auto, head, all, or top-1 to top-4"):
        choose_policy(tune, 10.0, "cpu", 4)


def trained(encoder: Encoder) -> set[str]:
    """First two parts of the names of what is not frozen."""
    return {".".join(n.split(".")[:2]) for n, p in encoder.named_parameters() if p.requires_grad}


AFTER = {"ln_post.weight", "ln_post.bias"}
STEM = {"conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias"}


@pytest.mark.parametrize(
    ("tune", "expected"),
    [
        ("head", set[str]()),
        ("top-1", {"blocks.1"} | AFTER),
        ("top-2", {"blocks.0", "blocks.1"} | AFTER),
        ("all", {"blocks.0", "blocks.1"} | AFTER | STEM),
    ],
)
def test_what_is_retrained(encoder: Encoder, tune: str, expected: set[str]) -> None:
    policy = choose_policy(tune, 0.0, "cpu", 2)
    apply_policy(encoder, choose_policy("all", 0.0, "cpu", 2))  # whatever was set before
    apply_policy(encoder, policy)
    assert trained(encoder) == expected
    groups = parameter_groups(encoder, 1.0, 0.5)
    grouped = [p for group in groups for p in group["params"]]
    assert len({id(p) for p in grouped}) == len(grouped)
    assert {id(p) for p in grouped} == {id(p) for p in encoder.parameters() if p.requires_grad}


def test_rates_fall_with_depth(encoder: Encoder) -> None:
    apply_policy(encoder, Policy("all", 2, True, ""))
    names = {id(p): name for name, p in encoder.named_parameters()}
    rates = {
        names[id(p)]: group["lr"] for group in parameter_groups(encoder, 1e-3, 0.5) for p in group["params"]
    }
    assert rates["ln_post.weight"] == rates["blocks.1.mlp.0.weight"] == pytest.approx(1e-3)
    assert rates["blocks.0.attn.query.weight"] == pytest.approx(5e-4)
    assert rates["conv1.weight"] == rates["conv2.bias"] == pytest.approx(2.5e-4)


def test_policies_fit_the_other_family() -> None:
    with torch.random.fork_rng():
        encoder = build_bundle(ENCODERS["wav2vec2-base"], 2)
    apply_policy(encoder, choose_policy("top-1", 0.0, "cpu", 2))
    assert not any(p.requires_grad for p in encoder.stem())
    first, last = encoder.layers()
    assert not any(p.requires_grad for p in first.parameters())
    assert all(p.requires_grad for p in last.parameters())
    groups = parameter_groups(encoder, 1.0, 0.5)
    assert [group["lr"] for group in groups] == [1.0]
