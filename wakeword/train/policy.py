"""How much of the encoder is retrained, by how much there is to learn from."""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import nn

from wakeword.errors import UsageError
from wakeword.train.encoders import Encoder

TOP_SECONDS = 1_800.0
"""Seconds of positive audio from which the last blocks are worth retraining."""
ALL_SECONDS = 7_200.0


@dataclass(frozen=True)
class Policy:
    """Which encoder blocks are retrained, and why."""

    name: str
    """head, top-K or all."""
    n_blocks: int
    """Retrained blocks, counted from the output."""
    stem: bool
    """Whether what comes before the blocks is retrained too."""
    reason: str


def choose_policy(tune: str, positive_s: float, device: str, n_blocks: int) -> Policy:
    """Turn `auto`, `head`, `top-K` or `all` into a policy for an encoder of `n_blocks` blocks.

    `positive_s` is the audio of the phrases in seconds, augmentation not counted.
    """
    if tune == "auto":
        return _auto(positive_s, device, n_blocks)
    reason = f"asked for with tune = {tune!r}"
    if tune == "head":
        return Policy("head", 0, False, reason)
    if tune == "all":
        return Policy("all", n_blocks, True, reason)
    top = re.fullmatch(r"top-([1-9]\d*)", tune)
    if top is None or int(top[1]) > n_blocks:
        raise UsageError(f"tune {tune!r}; choose auto, head, all, or top-1 to top-{n_blocks}")
    return Policy(tune, int(top[1]), False, reason)


def _auto(positive_s: float, device: str, n_blocks: int) -> Policy:
    found = f"{positive_s:.0f} s of the phrases"
    if positive_s < TOP_SECONDS:
        return Policy("head", 0, False, f"{found}: little, so only the new layers are trained")
    if device == "cpu":
        return Policy("head", 0, False, f"{found}, but no GPU: only the new layers are trained")
    if positive_s < ALL_SECONDS:
        return Policy("top-2", min(2, n_blocks), False, f"{found}: the last blocks are retrained too")
    return Policy("all", n_blocks, True, f"{found}: enough to retrain the whole encoder")


def apply_policy(encoder: Encoder, policy: Policy) -> None:
    """Freeze the encoder but for what the policy retrains."""
    encoder.requires_grad_(False)
    for layer in _retrained(encoder, policy):
        layer.requires_grad_(True)
    if policy.stem:
        encoder.requires_grad_(True)


def _retrained(encoder: Encoder, policy: Policy) -> list[nn.Module]:
    layers = list(encoder.layers())
    return layers[len(layers) - policy.n_blocks :]


def parameter_groups(
    encoder: Encoder, policy: Policy, peak_rate: float, layer_decay: float
) -> list[dict[str, object]]:
    """Optimizer groups of the retrained encoder weights, the rate falling with depth.

    The last block gets `peak_rate`; each block nearer the input, and the stem after them, `layer_decay`
    times the rate of the one above it (Howard & Ruder 2018, https://arxiv.org/abs/1801.06146).
    """
    groups: list[dict[str, object]] = []
    rate, seen = peak_rate, set()
    for layer in reversed(_retrained(encoder, policy)):
        parameters = list(layer.parameters())
        seen |= {id(p) for p in parameters}
        groups.append({"params": parameters, "lr": rate})
        rate *= layer_decay
    if rest := [p for p in encoder.parameters() if p.requires_grad and id(p) not in seen]:
        groups.append({"params": rest, "lr": rate})
    return groups
