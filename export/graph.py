"""A trained net as an ONNX graph: posteriors from log-mel (for our runtime) or from audio (for any host)."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping

import onnx
import torch
from torch import Tensor, nn

from export.builder import OPSET
from export.quantize import SCOPES
from export.unfold import unfold_convolutions
from wakeword.train.model import WakewordNet


class _Posteriors(nn.Module):
    """The net as its hosts see it. x [B, 80, T] or [B, N] -> posterior [B, K]."""

    def __init__(self, net: WakewordNet, portable: bool) -> None:
        super().__init__()
        self.net, self.portable = net, portable

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.net(self.net.encoder_input(x) if self.portable else x))


def verifier_graph(
    net: WakewordNet, example: Tensor, metadata: Mapping[str, object], portable: bool = False
) -> onnx.ModelProto:
    """Export the verifier.

    Args:
        net: the trained net; exported in evaluation mode.
        example: an input [B, 80, T] or [B, N] with B of 2 or more; the batch stays dynamic, the window fixed,
            so that everything that depends on its length alone is computed here and not at every hop.
        metadata: stored in the file, each value as JSON.
        portable: take `audio` [B, N] and compute the log-mel inside the graph.
    """
    name = "audio" if portable or net.encoder.input == "audio" else "mel"
    graph = trace_module(_Posteriors(net, portable).eval().cpu(), example, name, "posterior")
    onnx.helper.set_model_props(graph, {key: json.dumps(value) for key, value in metadata.items()})
    onnx.checker.check_model(graph, full_check=True)
    return graph


def trace_module(
    module: nn.Module, example: Tensor, name: str, output: str, dynamic_batch: bool = True
) -> onnx.ModelProto:
    """A module of one input and one output as a graph; all sizes but perhaps the batch's are fixed."""
    shape = {0: torch.export.Dim("batch")} if dynamic_batch else {}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # torch 2.11 warns about its own internals while it traces.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            unfold_convolutions(module),
            (example,),
            input_names=[name],
            output_names=[output],
            dynamic_shapes=(shape,),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return _without_notes(program.model_proto)


def _without_notes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop what the exporter notes of each node, this machine's source paths among it; keep module names."""
    for node in model.graph.node:
        kept = [entry for entry in node.metadata_props if entry.key == SCOPES]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    for part in (model.graph, *model.graph.input, *model.graph.output, *model.graph.value_info):
        del part.metadata_props[:]
    return model
