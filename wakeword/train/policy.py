"""How much of the encoder is retrained, by how much there is to learn from."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from wakeword.errors import UsageError
from wakeword.train.encoders import Encoder

TOP_SECONDS = 100.0
"""Seconds of positive audio from which the last two blocks are worth retraining, where that is cheap: ten
clips of four phrases; benchmarks/transfer.py has not measured less."""
ALL_SECONDS = 7_200.0
"""More than was ever measured: up to 2,400 s, all of the encoder did no better than the last two blocks, and
some runs worse."""


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


HEAD = Policy("head", 0, False, "only the new layers are trained")


def choose_policy(tune: str, positive_s: float, device: str, n_blocks: int, divides: bool = False) -> Policy:
    """Turn `auto`, `head`, `top-K` or `all` into a policy for an encoder of `n_blocks` blocks.

    `positive_s` is the audio of the phrases in seconds, augmentation not counted. Where the encoder `divides`
    a CPU is quick enough to retrain its last blocks.
    """
    if tune == "auto":
        return _auto(positive_s, device, n_blocks, divides)
    reason = f"asked for with tune = {tune!r}"
    if tune == "head":
        return replace(HEAD, reason=reason)
    if tune == "all":
        return Policy("all", n_blocks, True, reason)
    top = re.fullmatch(r"top-([1-9]\d*)", tune)
    if top is None or int(top[1]) > n_blocks:
        raise UsageError(f"tune {tune!r}; choose auto, head, all, or top-1 to top-{n_blocks}")
    return Policy(tune, int(top[1]), False, reason)


def _auto(positive_s: float, device: str, n_blocks: int, divides: bool) -> Policy:
    found = f"{positive_s:.0f} s of the phrases"
    if positive_s < TOP_SECONDS:
        return replace(HEAD, reason=f"{found}: little, so {HEAD.reason}")
    if device == "cpu" and not divides:
        return replace(HEAD, reason=f"{found}, but no GPU: {HEAD.reason}")
    if positive_s < ALL_SECONDS or device == "cpu":
        return Policy("top-2", min(2, n_blocks), False, f"{found}: the last blocks are retrained too")
    return Policy("all", n_blocks, True, f"{found}: enough to retrain the whole encoder")


def apply_policy(encoder: Encoder, policy: Policy) -> None:
    """Freeze the encoder but for what the policy retrains: its last blocks and all that follows them."""
    encoder.requires_grad_(policy.n_blocks > 0)
    for layer in encoder.layers()[: encoder.n_blocks - policy.n_blocks]:
        layer.requires_grad_(False)
    if not policy.stem:
        for parameter in encoder.stem():
            parameter.requires_grad_(False)


def parameter_groups(encoder: Encoder, peak_rate: float, layer_decay: float) -> list[dict[str, Any]]:
    """Optimizer groups of the encoder weights that are not frozen, the rate falling with depth.

    What follows the last block gets `peak_rate`, and so does that block; each block nearer the input, and
    the stem after them, `layer_decay` times the rate of the one above it
    (Howard & Ruder 2018, https://arxiv.org/abs/1801.06146).
    """
    in_layers = [list(layer.parameters()) for layer in encoder.layers()]
    known = {id(p) for part in (encoder.stem(), *in_layers) for p in part}
    after = [p for p in encoder.parameters() if id(p) not in known]
    depths = [*reversed(in_layers[:-1]), encoder.stem()]
    parts = [after + in_layers[-1], *depths]
    groups = [
        {"params": [p for p in part if p.requires_grad], "lr": peak_rate * layer_decay**depth}
        for depth, part in enumerate(parts)
    ]
    return [group for group in groups if group["params"]]
