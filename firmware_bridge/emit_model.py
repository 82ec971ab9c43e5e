"""A quantised network and its rule as C: `ww_model.c` and `ww_model.h`, constants only.

The zero point of each convolution's input is taken off its bias here, so that the kernels multiply weights by
the rows as they lie in memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from firmware_bridge.decision import FirmwareRule
from firmware_bridge.fixed_point import Scaling
from firmware_bridge.frontend_tables import c_array
from firmware_bridge.network import Add, Conv, QuantisedNet
from wakeword.errors import ExportError

SPECTRUM_BYTES = 1024
"""The frontend's scratch, which the network works in, too: three rows of its widest layer."""


@dataclass(frozen=True)
class CModel:
    """What is generated for a phrase."""

    net: QuantisedNet
    rule: FirmwareRule
    command: str
    """How it was made, for the head of the files."""

    @property
    def sha256(self) -> str:
        """Of everything in the model that computes: two models of one digest give the same events."""
        return hashlib.sha256(_body(self).encode()).hexdigest()

    @property
    def n_rings(self) -> int:
        """Convolutions that remember; the stem always counts."""
        return 1 + sum(conv.rows > 1 for conv in self.net.convs[1:])

    @property
    def ring_bytes(self) -> int:
        """All rows that are remembered, with those that come in."""
        stem, *rest = self.net.convs
        return stem.rows * stem.n_in + sum(conv.rows * conv.n_in for conv in rest if conv.rows > 1)

    @property
    def widest(self) -> int:
        """Most channels between two layers."""
        return max(conv.n_out for conv in self.net.convs)


def render_header(model: CModel) -> str:
    """`ww_model.h`: the model and the memory it takes."""
    phrase = model.net.phrase
    return f"""{_head(model)}
#ifndef WW_MODEL_H
#define WW_MODEL_H

#include "ww.h"

#ifdef __cplusplus
extern "C" {{
#endif

#define WW_MODEL_PHRASE {c_string(phrase)}
#define WW_MODEL_SHA256 "{model.sha256}"
#define WW_MODEL_MACS {model.net.macs} /* multiplications by a weight in each step of 30 ms */

extern const ww_model ww_wakeword;

/* Memory for ww_open. */
typedef struct {{
    ww_state state;
    union ww_scratch scratch;
    uint8_t rings[{model.n_rings + model.ring_bytes}];
}} ww_memory;

#ifdef __cplusplus
}}
#endif

#endif
"""


def render_source(model: CModel) -> str:
    """`ww_model.c`: weights and tables."""
    check_limits(model)
    digest = bytes.fromhex(model.sha256)[:8]
    net = model.net
    fields = (
        f"{net.stride}, {len(net.blocks)}, {model.n_rings}, {model.widest}, {model.ring_bytes}, "
        "&stem, blocks, &output, sigmoid"
    )
    return f"""{_head(model)}
#include "ww_model.h"

{_body(model)}
const ww_model ww_wakeword = {{
    WW_MODEL_FORMAT,
    WW_MODEL_PHRASE,
    {{{", ".join(f"0x{byte:02x}" for byte in digest)}}},
    {model.rule.cutoff},
    {model.rule.window},
    {{{fields}}},
}};
"""


def check_limits(model: CModel) -> None:
    """Raise ExportError where a number does not fit into the C structures or into 32 bits."""
    net = model.net
    if model.rule.stride != net.stride:
        raise ExportError(f"the rule is for stride {model.rule.stride}, the network has {net.stride}")
    for conv in (*net.convs, net.output):
        sizes = (conv.taps, conv.dilation, conv.rows, conv.n_in, conv.n_out)
        if max(sizes) > 255:
            raise ExportError(
                f"a convolution of {sizes}: taps, dilation, rows, channels are at most 255 in C"
            )
        taps = conv.weights.astype(np.int64)
        taps = taps if conv.kind == "depthwise" else taps.reshape(conv.n_out, -1).T
        largest = np.abs(folded_bias(conv)) + 128 * np.abs(taps).sum(axis=0)
        shifts = np.array([max(scaling.shift, 0) for scaling in conv.fixed_point])
        if (largest * 2.0**shifts >= 2**31).any():
            raise ExportError("a sum of the network does not fit into 32 bits")
    if model.ring_bytes > 65535 or 3 * model.widest > SPECTRUM_BYTES:
        raise ExportError(f"a network that remembers {model.ring_bytes} bytes, {model.widest} channels wide")


def folded_bias(conv: Conv) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The bias without the input's zero point: bias - zero point x sum of the weights. int64 [out]"""
    axes = 0 if conv.kind == "depthwise" else (1, 2)
    sums: np.ndarray[tuple[int], np.dtype[np.int64]] = conv.weights.astype(np.int64).sum(axis=axes)
    return conv.bias.astype(np.int64) - conv.input.zero_point * sums


def c_string(text: str) -> str:
    """A C string literal; other than ASCII as octal escapes, which no digit behind can lengthen."""
    plain = "".join(chr(b) if 32 <= b < 127 and b not in b'"\\?' else f"\\{b:03o}" for b in text.encode())
    return f'"{plain}"'


def _head(model: CModel) -> str:
    what = json.dumps({"phrase": model.net.phrase, "command": model.command}, ensure_ascii=True)
    what = what.replace("*/", "* /").replace("/*", "/ *")
    return f"/* GENERATED by wakeword: do not edit.\n * {what}\n * model SHA-256 {model.sha256} */"


def _body(model: CModel) -> str:
    net = model.net
    parts = [*_layer("stem", (net.stem,)), *_blocks(net), *_layer("output", (net.output,))]
    parts.append("static " + c_array("uint8_t sigmoid[256]", net.sigmoid))
    parts.append(f"/* cutoff {model.rule.cutoff}, window {model.rule.window} */\n")
    return "\n".join(parts)


def _blocks(net: QuantisedNet) -> Iterator[str]:
    for i, block in enumerate(net.blocks):
        yield from _layer(f"block{i}", block.convs)
    entries = [
        f"{{block{i}, {len(block.convs)}, {_add(block.add)}}}" for i, block in enumerate(net.blocks)
    ] or ["{0, 0, {0, 0, 0, {0, 0}, {0, 0}, {0, 0}}}"]
    yield "static " + c_array("ww_block blocks[]", entries)


def _layer(name: str, convs: tuple[Conv, ...]) -> Iterator[str]:
    for j, conv in enumerate(convs):
        own = f"{name}_{j}"
        yield "static " + c_array(f"int8_t {own}_weights[{conv.weights.size}]", conv.weights.ravel())
        yield "static " + c_array(f"int32_t {own}_bias[{conv.n_out}]", folded_bias(conv))
        scalings = conv.fixed_point
        yield "static " + c_array(
            f"int32_t {own}_multiplier[{conv.n_out}]", (scaling.multiplier for scaling in scalings)
        )
        yield "static " + c_array(
            f"int8_t {own}_shift[{conv.n_out}]", (scaling.shift for scaling in scalings)
        )
    entries = [_conv(f"{name}_{j}", conv) for j, conv in enumerate(convs)]
    single = name in ("stem", "output")
    if single:
        yield f"static const ww_conv {name} =\n    {entries[0]};\n"
    else:
        yield "static " + c_array(f"ww_conv {name}[{len(convs)}]", entries)


def _conv(own: str, conv: Conv) -> str:
    kind = "WW_DEPTHWISE" if conv.kind == "depthwise" else "WW_DENSE"
    sizes = f"{conv.taps}, {conv.dilation}, {conv.rows}, {conv.n_in}, {conv.n_out}"
    zeros = f"{conv.input.zero_point}, {conv.output.zero_point}, {conv.lowest}"
    return f"{{{kind}, {sizes}, {zeros}, {own}_weights, {own}_bias, {own}_multiplier, {own}_shift}}"


def _add(add: Add) -> str:
    numbers = ", ".join(_scaling(s) for s in (add.numbers.a, add.numbers.b, add.numbers.output))
    return f"{{{add.a.zero_point}, {add.b.zero_point}, {add.output.zero_point}, {numbers}}}"


def _scaling(scaling: Scaling) -> str:
    return f"{{{scaling.multiplier}, {scaling.shift}}}"
