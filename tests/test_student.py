"""The student gives the same whether it hears a window or a stream, in torch and as exported."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tiny import sounds

from export.student import check_student, student_graph
from wakeword.config import StudentConfig
from wakeword.errors import ExportError, UsageError
from wakeword.mel import log_mel
from wakeword.train.student import StudentNet, n_parameters

SMALL = StudentConfig(channels=8, kernel=3, dilations=(1, 2, 3))


def make_net(config: StudentConfig = SMALL, seed: int = 1) -> StudentNet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = StudentNet(("hey nova", "lights on"), config).eval()
    torch.nn.init.zeros_(net.output.get_parameter("bias"))
    return net


def hear(net: StudentNet, mel: torch.Tensor, frames: int) -> torch.Tensor:
    states, rows = net.zero_states(len(mel)), []
    for hop in torch.split(mel, frames, dim=2):
        logits, states = net(hop, states)
        rows.append(logits)
    return torch.cat(rows, dim=1)


@pytest.mark.parametrize("frames", [4, 8, 12, 40])
def test_a_stream_gives_what_the_whole_gives(frames: int) -> None:
    net = make_net()
    mel = torch.from_numpy(log_mel(sounds(3.0)))[:, :240].expand(2, -1, -1) - torch.tensor([0.0, 1.0]).view(
        2, 1, 1
    )
    with torch.inference_mode():
        whole, _ = net(mel)
        assert whole.shape == (2, 60, 2)
        assert float(whole.std()) > 0.1
        torch.testing.assert_close(hear(net, mel, frames), whole, rtol=0, atol=2e-5)


def test_it_hears_the_past_alone_and_only_so_far() -> None:
    net = make_net()
    mel = torch.randn(1, 80, 160, generator=torch.Generator().manual_seed(3))
    changed = mel.clone()
    changed[:, :, 80] += 5.0
    with torch.inference_mode():
        differs = (net(mel)[0] != net(changed)[0]).any(dim=2)[0].nonzero()
    reach = 1 + (SMALL.kernel - 1) * sum(SMALL.dilations)
    assert differs.min() == 20
    assert differs.max() == 20 + reach - 1


def test_by_hand() -> None:
    """Against loops over taps, without torch's convolution."""
    net = make_net()
    mel = log_mel(sounds(1.0))[:, :48]
    with torch.inference_mode():
        got = net(torch.from_numpy(mel[None]))[0][0].numpy()
    weights = {name: p.detach().numpy().astype(np.float64) for name, p in net.named_parameters()}
    scaled = (mel.astype(np.float64) + 4) / 4
    x = np.stack(
        [
            np.einsum("omt,mt->o", weights["stem.weight"], scaled[:, 4 * s : 4 * s + 4])
            + weights["stem.bias"]
            for s in range(12)
        ]
    ).clip(0)
    for i, dilation in enumerate(SMALL.dilations):
        y = np.zeros_like(x)
        for s in range(12):
            y[s] = weights[f"blocks.{i}.bias"]
            for tap in range(3):
                at = s - (2 - tap) * dilation
                if at >= 0:
                    y[s] += weights[f"blocks.{i}.weight"][:, :, tap] @ x[at]
        x = x + y.clip(0)
    expected = x @ weights["output.weight"][:, :, 0].T + weights["output.bias"]
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_folded_says_the_same_by_convolutions_alone() -> None:
    net = make_net()
    for norm in net.norms:
        assert isinstance(norm, torch.nn.BatchNorm1d)
        assert norm.running_mean is not None and norm.running_var is not None
        for values in (norm.running_mean, norm.bias.data):
            values.normal_()
        for values in (norm.running_var, norm.weight.data):
            values.uniform_(0.5, 2.0)
    plain = net.folded()
    assert not [m for m in plain.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    mel = torch.from_numpy(log_mel(sounds(1.0))[None, :, :48])
    with torch.inference_mode():
        torch.testing.assert_close(plain(mel)[0], net(mel)[0], rtol=1e-4, atol=1e-4)
        assert float((net.without_norms()(mel)[0] - plain(mel)[0]).abs().max()) > 0.1


def test_another_frontend_and_the_size() -> None:
    config = StudentConfig(n_features=40, stride=3)
    net = StudentNet(("a",), config)
    assert net(torch.zeros(2, 40, 9))[0].shape == (2, 3, 1)
    full = StudentNet(("a", "b", "c", "d"), StudentConfig())
    assert 20_000 <= n_parameters(full) <= 150_000
    assert [tuple(s.shape) for s in full.zero_states(2)] == [
        (2, full.config.channels, n) for n in full.state_steps()
    ]


def test_half_a_step_is_refused() -> None:
    with pytest.raises(UsageError, match="10 frames are no whole number of steps of 4"):
        make_net()(torch.zeros(1, 80, 10))


@pytest.mark.parametrize("config", [SMALL, StudentConfig(), StudentConfig(stride=8, channels=16)])
def test_the_graph_says_what_torch_says(config: StudentConfig) -> None:
    net = make_net(config)
    mel = log_mel(sounds(4.0, seed=5))
    graph = student_graph(net, {"phrases": net.phrases})
    assert check_student(net, graph, mel) < 1e-5
    with torch.inference_mode():
        scores = torch.sigmoid(net(torch.from_numpy(mel[None, :, : mel.shape[1] // 8 * 8]))[0])
    assert float(scores.std()) > 0.02
    names = [i.name for i in graph.graph.input]
    assert names == ["mel", *(f"state_{i}" for i in range(len(config.dilations)))]
    assert [o.name for o in graph.graph.output] == [
        "score", *(f"new_state_{i}" for i in range(len(config.dilations)))
    ]  # fmt: skip
    assert json.loads({p.key: p.value for p in graph.metadata_props}["phrases"]) == list(net.phrases)


def test_a_graph_that_says_something_else_is_refused() -> None:
    net = make_net()
    graph = student_graph(net, {})
    other = student_graph(make_net(seed=2), {})
    mel = log_mel(sounds(2.0))
    assert check_student(net, graph, mel) < 1e-5
    with pytest.raises(ExportError, match=r"differs from torch by 0\.\d+ in score"):
        check_student(net, other, mel)
    with pytest.raises(ExportError, match="hops of 8 frames do not hold whole steps of 3"):
        student_graph(make_net(StudentConfig(stride=3)), {})


def test_every_operator_has_an_int8_form() -> None:
    used = {node.op_type for node in student_graph(make_net(), {}).graph.node}
    assert used == {
        "Transpose",
        "Reshape",
        "Gemm",
        "Relu",
        "Concat",
        "Slice",
        "Gather",
        "Add",
        "ReduceMax",
        "Sigmoid",
    }
