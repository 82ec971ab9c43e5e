"""What waits for a slow listener, against a plain account of every frame that was put in."""

from __future__ import annotations

import threading
import time

import numpy as np
import numpy.typing as npt

from wakeword.listen.backlog import Backlog


def block(first: int, n: int) -> npt.NDArray[np.float32]:
    """Frames that carry their own number [n, 1]."""
    return np.arange(first, first + n, dtype=np.float32)[:, None]


def numbers(blocks: list[npt.NDArray[np.float32]]) -> list[int]:
    return [int(x) for x in np.concatenate(blocks)[:, 0]]


def test_nothing_is_lost_while_it_fits() -> None:
    backlog = Backlog(max_frames=10)
    backlog.put(block(0, 4))
    backlog.put(block(4, 6))
    assert len(backlog) == 10
    taken = backlog.take(0)
    assert (taken.lost, numbers(taken.blocks), len(backlog)) == (0, [*range(10)], 0)
    assert backlog.take(0).blocks == []


def test_the_oldest_is_dropped_and_counted() -> None:
    backlog = Backlog(max_frames=10)
    for i in range(100):
        backlog.put(block(3 * i, 3))
        assert len(backlog) <= 10
    taken = backlog.take(0)
    assert numbers(taken.blocks) == [*range(291, 300)]
    assert taken.lost == 291
    assert backlog.take(0).lost == 0


def test_a_block_larger_than_the_backlog_is_kept_alone() -> None:
    backlog = Backlog(max_frames=10)
    backlog.put(block(0, 3))
    backlog.put(block(3, 50))
    taken = backlog.take(0)
    assert (taken.lost, numbers(taken.blocks)) == (3, [*range(3, 53)])


def test_holes_of_the_driver_stay_where_they_were() -> None:
    backlog = Backlog(max_frames=10)
    backlog.put(block(0, 4))
    backlog.put(block(9, 2), lost=5)
    backlog.put(block(11, 2))
    backlog.put(block(20, 1), lost=7)
    taken = [backlog.take(0) for _ in range(4)]
    assert [(t.lost, numbers(t.blocks)) for t in taken[:3]] == [
        (0, [0, 1, 2, 3]),
        (5, [9, 10, 11, 12]),
        (7, [20]),
    ]
    assert taken[3].blocks == []


def test_dropping_over_a_hole_counts_both() -> None:
    backlog = Backlog(max_frames=4)
    backlog.put(block(0, 4))
    backlog.put(block(9, 4), lost=5)
    taken = backlog.take(0)
    assert (taken.lost, numbers(taken.blocks)) == (9, [9, 10, 11, 12])


def test_every_frame_is_heard_or_counted_lost() -> None:
    """Random takes at random times: each frame's own number is its place in the stream."""
    rng, backlog, put, at = np.random.default_rng(3), Backlog(max_frames=50), 0, 0
    for _ in range(2_000):
        n, lost = int(rng.integers(1, 12)), int(rng.integers(1, 9)) * int(rng.random() < 0.05)
        backlog.put(block(put + lost, n), lost)
        put += lost + n
        if rng.random() < 0.2:
            taken = backlog.take(0)
            at += taken.lost
            assert numbers(taken.blocks)[0] == at
            at += len(numbers(taken.blocks))
    while (taken := backlog.take(0)).blocks:
        at += taken.lost + sum(map(len, taken.blocks))
    assert at == put


def test_taking_waits_for_the_other_thread() -> None:
    backlog = Backlog(max_frames=10)
    threading.Timer(0.1, backlog.put, [block(0, 1)]).start()
    assert numbers(backlog.take(5.0).blocks) == [0]
    began = time.monotonic()
    assert backlog.take(0.05).blocks == []
    assert 0.05 <= time.monotonic() - began < 2.0
