"""Log-mel and encoder features of every window, computed once and kept on disk.

Windows are rendered once: a head's features are computed from the log-mel that is kept for the student too.
"""

from __future__ import annotations

import json
import logging
import math
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from wakeword.errors import TrainingError
from wakeword.files import ZIP_FAULTS, written_whole
from wakeword.machine import end_with_parent, processors
from wakeword.train.frontend import LogMel
from wakeword.train.run import Progress

BATCH = 32

Computed = Callable[[int], Iterator[npt.NDArray[np.float16]]]
"""From which row on -> blocks of features, in order."""

log = logging.getLogger(__name__)


class Renders(Protocol):
    """N windows: a `WindowSet`, or what stands for one."""

    def __len__(self) -> int:
        """N."""

    def render(self, i: int, epoch: int = 0) -> npt.NDArray[np.float32]:
        """Window i: samples, or log-mel for what takes that."""


class MakesFeatures(Protocol):
    """What windows are turned into features with: `WakewordNet`, or a stand-in with these methods."""

    def encoder_input(self, audio: Tensor) -> Tensor:
        """What `features` takes, from audio [B, N]."""

    def features(self, x: Tensor) -> Tensor:
        """Features [B, ...]."""

    def parameters(self) -> Iterator[Tensor]:
        """Weights, if any; they are on the device to compute on."""

    def eval(self) -> MakesFeatures:
        """The same, without dropout."""


class MelOnly(nn.Module):
    """Stands where `cache_features` expects a net, and gives the log-mel itself."""

    def __init__(self) -> None:
        super().__init__()
        self.log_mel = LogMel()

    def encoder_input(self, audio: Tensor) -> Tensor:
        """Log-mel [B, 80, T] of audio [B, N]."""
        mel: Tensor = self.log_mel(audio)
        return mel

    def features(self, x: Tensor) -> Tensor:
        """The same."""
        return x


class FromKept:
    """A net as `cache_features` takes it, for windows that are kept in the form that its `features` take."""

    def __init__(self, net: MakesFeatures) -> None:
        self.net = net

    def encoder_input(self, x: Tensor) -> Tensor:
        """The same."""
        return x

    def features(self, x: Tensor) -> Tensor:
        """The net's."""
        return self.net.features(x)

    def parameters(self) -> Iterator[Tensor]:
        """The net's."""
        return self.net.parameters()

    def eval(self) -> FromKept:
        """The same, without dropout."""
        self.net.eval()
        return self


class KeptRows:
    """Windows that are there as log-mel [N, 80, T], or as what the first blocks made of it [N, F, D]."""

    def __init__(self, rows: npt.NDArray[np.float16]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def render(self, i: int, epoch: int = 0) -> npt.NDArray[np.float32]:
        """Window i, the same in each epoch."""
        return np.asarray(self._rows[i], dtype=np.float32)


class _Blocks(Dataset[npt.NDArray[np.generic]]):
    """Blocks of windows, made in the loader's worker processes: samples [B, N], or their features [B, F, D].

    On a CPU the encoder runs in the workers too, one thread in each: on few cores that is several times
    as fast as one process with many threads. Blocks are arrays, which go through a pipe: tensors would go
    through /dev/shm, and where that is full (a container has 64 MB) torch loses them and waits for ever.
    """

    def __init__(
        self,
        windows: Renders,
        order: npt.NDArray[np.int64],
        batch: int,
        epoch: int,
        net: MakesFeatures | None,
    ) -> None:
        self._windows, self._epoch, self._net = windows, epoch, net
        self._blocks = [order[i : i + batch] for i in range(0, len(order), batch)]

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, i: int) -> npt.NDArray[np.generic]:
        samples = _rendered(self._windows, self._blocks[i], self._epoch)
        return samples if self._net is None else _features(self._net, torch.from_numpy(samples)).numpy()


def _rendered(windows: Renders, rows: npt.NDArray[np.int64], epoch: int = 0) -> npt.NDArray[np.float32]:
    return np.stack([windows.render(int(w), epoch) for w in rows])


def block_of(net: MakesFeatures, windows: Renders, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
    """Features of these windows, as they are cached [B, F, D]; for a net on the CPU."""
    return _features(net, torch.from_numpy(_rendered(windows, rows))).numpy()


def _features(net: MakesFeatures, samples: Tensor) -> Tensor:
    with torch.inference_mode():
        return net.features(net.encoder_input(samples)).half()


def render_batches(
    windows: Renders, order: npt.NDArray[np.int64], batch: int, epoch: int, net: MakesFeatures | None = None
) -> Iterator[Tensor]:
    """Windows in order, as samples [B, N], or as features [B, F, D] where a net on the CPU is given.

    TrainingError where a worker process is killed.
    """
    blocks = _Blocks(windows, order, batch, epoch, net)
    n_workers = min(processors(), len(blocks))
    loader = iter(
        DataLoader(
            blocks,
            batch_size=None,
            num_workers=n_workers,
            collate_fn=_as_it_is,
            worker_init_fn=_begin_worker,
        )
    )
    while True:
        try:
            block = next(loader)
        except StopIteration:
            return
        except RuntimeError as err:
            if "DataLoader worker (pid" not in str(err):  # a fault within one is another's
                raise
            raise TrainingError(
                "a worker process was killed; short of memory? What is done is kept: go on with --resume"
            ) from err
        yield torch.from_numpy(block)


def _begin_worker(_: int) -> None:
    end_with_parent()


def _as_it_is(block: Any) -> Any:
    return block


def cache_log_mel(
    windows: Renders, path: Path, key: str, progress: Progress, computed: Computed | None = None
) -> npt.NDArray[np.float16]:
    """Log-mel of all windows [N, 80, T], kept in `<path>-mel.npy`; the rest as in `cache_features`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    progress.start(f"log-mel of {path.name} windows", len(windows))
    store = path.with_name(f"{path.name}-mel.npy")
    return cache_features(MelOnly(), windows, store, key, progress.advance, computed)


def cache_encoded(
    net: MakesFeatures,
    windows: Renders,
    path: Path,
    key: str,
    progress: Progress,
    computed: Computed | None = None,
) -> npt.NDArray[np.float16]:
    """Features of all windows [N, F, D], kept in `<path>.npy`; the rest as in `cache_features`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    progress.start(f"features of {path.name} windows", len(windows))
    return cache_features(net, windows, path.with_suffix(".npy"), key, progress.advance, computed)


def cache_features(
    net: MakesFeatures,
    windows: Renders,
    path: Path,
    key: str,
    advance: Callable[[int], None],
    computed: Computed | None = None,
) -> npt.NDArray[np.float16]:
    """Features of all windows [N, F, D], from disk where they are there already.

    `key` names everything they depend on: a cache with another key is made anew; one with the same key that
    is unfinished, or of fewer windows, is gone on with, and of one of more windows the first are taken.
    `advance` is told how many more windows are done.
    `computed` makes the blocks elsewhere; None = here.
    """
    index = path.with_suffix(".json")
    done, digest = _kept(path, index, key, len(windows))
    advance(done)
    store: npt.NDArray[np.float16] | None = None
    try:
        for block in (computed or partial(_computed, net.eval(), windows))(done):
            if store is None:
                store = _open_store(path, (len(windows), *block.shape[1:]), fresh=done == 0)
            store[done : done + len(block)] = block
            done += len(block)
            digest = zlib.crc32(block.tobytes(), digest)
            _note(index, key, done, digest)
            advance(len(block))
    except OSError as err:
        raise TrainingError(f"cannot keep features in {path}: {err}") from err
    features: npt.NDArray[np.float16] = np.load(path, mmap_mode="r")
    return features[: len(windows)]


def _note(index: Path, key: str, rows: int, digest: int) -> None:
    """Say how far the store is, after each block: a run that is killed loses no more than that."""
    with suppress(OSError), written_whole(index) as partial:  # without it they are computed again, no more
        partial.write_text(json.dumps({"key": key, "rows": rows, "crc32": digest}))


def _computed(net: MakesFeatures, windows: Renders, done: int) -> Iterator[npt.NDArray[np.float16]]:
    order = np.arange(done, len(windows))
    device = next(net.parameters(), torch.empty(0)).device
    on_cpu = device.type == "cpu"
    for block in (
        render_batches(windows, order, BATCH, epoch=0, net=net if on_cpu else None) if len(order) else ()
    ):
        yield (block if on_cpu else _features(net, block.to(device)).cpu()).numpy()


def _kept(path: Path, index: Path, key: str, n: int) -> tuple[int, int]:
    """Rows that an earlier run left and their digest; (0, 0) where it was another's, or they are damaged."""
    try:
        state = json.loads(index.read_text())
        rows, digest = int(state["rows"]), int(state["crc32"])
        if state["key"] != key or not path.exists():
            return 0, 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0, 0
    try:
        store = np.load(path, mmap_mode="r")
        good = rows <= len(store) and _digest(store[:rows]) == digest
    except ZIP_FAULTS:
        good = False
    if not good:
        log.warning("%s is damaged; its features are made anew", path)
    return (min(rows, n), digest) if good else (0, 0)


def _digest(rows: npt.NDArray[np.float16]) -> int:
    digest = 0
    for at in range(0, len(rows), BATCH):
        digest = zlib.crc32(rows[at : at + BATCH].tobytes(), digest)
    return digest


def _open_store(path: Path, shape: tuple[int, ...], fresh: bool) -> npt.NDArray[np.float16]:
    if not fresh:
        _lengthen(path, shape)
        return np.lib.format.open_memmap(path, mode="r+")
    store: npt.NDArray[np.float16] = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    # Claims the blocks now: writing to a sparse file on a full disk would end the process with SIGBUS.
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return store


def _lengthen(path: Path, shape: tuple[int, ...]) -> None:
    """Make room for more rows in a file of float16: numpy leaves space in its header for a greater number."""
    with path.open("r+b") as file:
        np.lib.format.read_magic(file)
        old, *_ = np.lib.format.read_array_header_1_0(file)
        begin = file.tell()
        if old[0] >= shape[0]:
            return
        os.posix_fallocate(file.fileno(), 0, begin + 2 * math.prod(shape))
        file.seek(0)
        header = {"descr": "<f2", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        if file.tell() != begin:
            raise TrainingError(f"cannot make room for more rows in {path}: remove it and start over")
