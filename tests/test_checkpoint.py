"""Checkpoints survive the round trip; a failed write leaves the one before."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError

from wakeword.errors import TrainingError
from wakeword.train import checkpoint
from wakeword.train.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint

META = {"epoch": 3, "history": {"dev_loss": [0.5, 0.25]}, "key": "abc"}


def tensors(seed: int = 1) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {"a/b": torch.randn(3, 4, generator=draw), "c": torch.tensor(7), "half": torch.ones(2).half()}


def same(folder: Path, expected: dict[str, torch.Tensor]) -> bool:
    got, meta = load_checkpoint(folder)
    equal = all(torch.equal(got[n], t) and got[n].dtype == t.dtype for n, t in expected.items())
    return got.keys() == expected.keys() and equal and meta == META


def test_round_trip(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "checkpoint"
    assert not has_checkpoint(folder)
    save_checkpoint(folder, tensors(), META)
    assert has_checkpoint(folder)
    assert same(folder, tensors())
    assert json.loads((folder / "model.json").read_text()) == META
    assert sorted(p.name for p in folder.iterdir()) == ["model.json", "weights.safetensors"]


def test_transposed_and_trained_tensors(tmp_path: Path) -> None:
    matrix = torch.arange(6.0).reshape(2, 3).requires_grad_()
    save_checkpoint(tmp_path, {"t": matrix.t()}, META)
    assert same(tmp_path, {"t": matrix.detach().t()})


def fail_to_save(folder: Path, seed: int) -> None:
    with pytest.raises(TrainingError, match=r"cannot write a checkpoint to .*No space left"):
        save_checkpoint(folder, tensors(seed), META)
    assert not list(folder.glob(".*"))


def test_full_disk_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(error: Exception):  # type: ignore[no-untyped-def]
        def save(contents: object, path: Path, metadata: object) -> None:
            path.write_bytes(b"half of it")
            raise error

        return save

    save_checkpoint(tmp_path, tensors(1), META)
    for error in (OSError(28, "No space left on device"), SafetensorError("No space left on device")):
        monkeypatch.setattr(checkpoint, "save_file", full(error))
        fail_to_save(tmp_path, 2)
        assert same(tmp_path, tensors(1))


def test_failed_rename_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    save_checkpoint(tmp_path, tensors(1), META)
    monkeypatch.setattr(Path, "replace", full)
    fail_to_save(tmp_path, 2)
    assert same(tmp_path, tensors(1))


def test_a_real_full_disk(tmp_path: Path) -> None:
    """/dev/full takes nothing; as a symbolic link it stands where the partial file would."""
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("no /dev/full on this system")
    save_checkpoint(tmp_path, tensors(1), META)
    (tmp_path / ".weights.safetensors.part").symlink_to("/dev/full")
    try:
        save_checkpoint(tmp_path, tensors(2), META)
    except TrainingError:
        assert same(tmp_path, tensors(1))
    else:
        assert same(tmp_path, tensors(2))  # written elsewhere and renamed: the link never mattered


def test_path_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_text("in the way")
    with pytest.raises(TrainingError, match="cannot write a checkpoint"):
        save_checkpoint(tmp_path / "checkpoint", tensors(), META)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no checkpoint in"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("damage", ["empty", "cut", "garbage", "foreign", "no json"])
def test_damaged(tmp_path: Path, damage: str) -> None:
    save_checkpoint(tmp_path, tensors(), META)
    path = tmp_path / "weights.safetensors"
    content = {
        "empty": b"",
        "cut": path.read_bytes()[:-3],
        "garbage": b"garbage" * 100,
        "foreign": safetensors.torch.save({"a": torch.ones(2)}),
        "no json": safetensors.torch.save({"a": torch.ones(2)}, {"model": "{"}),
    }
    path.write_bytes(content[damage])
    with pytest.raises(TrainingError, match=r"damaged checkpoint .*; delete .* to start anew") as caught:
        load_checkpoint(tmp_path)
    assert "\n" not in str(caught.value)
