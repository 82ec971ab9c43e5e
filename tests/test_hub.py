"""Publishing never waits; what is lost is counted; a problem is said once."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from wakeword.listen.events import Lost, Problem, Reloaded
from wakeword.listen.hub import Hub


def numbers(*values: int) -> list[Lost]:
    return [Lost("s", float(value)) for value in values]


def test_a_subscriber_gets_the_kinds_it_asked_for() -> None:
    hub = Hub()
    some, every = hub.subscribe("some", Lost), hub.subscribe("every")
    reloaded = Reloaded((), {}, "x")
    for event in (*numbers(1), reloaded):
        hub.publish(event)
    some.close()
    every.close()
    assert list(some) == numbers(1)
    assert list(every) == [*numbers(1), reloaded]
    assert hub.subscriptions == ()


def test_one_that_does_not_keep_up_keeps_the_newest(caplog: pytest.LogCaptureFixture) -> None:
    hub = Hub()
    slow = hub.subscribe("slow one", Lost, size=3)
    for event in numbers(*range(10)):
        hub.publish(event)
    assert (len(slow), slow.dropped) == (3, 7)
    slow.close()
    assert list(slow) == numbers(7, 8, 9)
    assert caplog.messages == ["slow one does not keep up; its oldest events are dropped"]


def test_get_waits_no_longer_than_asked() -> None:
    events = Hub().subscribe("late")
    assert events.get(0.01) is None
    events.close()
    assert events.get() is None


def test_a_thread_that_waits_is_woken() -> None:
    hub, got = Hub(), list[object]()
    events = hub.subscribe("thread", Lost)
    thread = threading.Thread(target=lambda: got.extend(events))
    thread.start()
    for event in numbers(1, 2):
        hub.publish(event)
    events.close()
    thread.join(10)
    assert got == numbers(1, 2)


def test_a_coroutine_is_woken_from_another_thread() -> None:
    hub, got = Hub(), list[object]()

    async def collect() -> None:
        events = hub.subscribe("coroutine", Lost)
        threading.Timer(0.05, publish, [events]).start()
        async for event in events:
            got.append(event)

    def publish(events: object) -> None:
        for event in numbers(*range(100)):
            hub.publish(event)
        events.close()  # type: ignore[attr-defined]

    asyncio.run(asyncio.wait_for(collect(), 10))
    assert got == numbers(*range(100))


def test_publishing_to_an_event_loop_that_has_ended() -> None:
    hub = Hub()
    events = hub.subscribe("gone", Lost)

    async def leave() -> None:
        async for _ in events:
            return

    hub.publish(numbers(1)[0])
    asyncio.run(leave())
    hub.publish(numbers(2)[0])
    events.close()


def test_a_problem_is_counted_each_time_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    hub = Hub()
    events = hub.subscribe("test", Problem)
    hub.solved("mqtt")
    for what in ("refused", "timed out", "refused", "timed out"):
        hub.problem("mqtt", what)
    hub.solved("mqtt", "connected")
    hub.problem("mqtt", "refused")
    events.close()
    assert caplog.messages == ["mqtt: refused", "mqtt: timed out", "mqtt: connected", "mqtt: refused"]
    assert [event.solved for event in events] == [False] * 4 + [True, False]
    assert hub.problems == {"mqtt": 5}


def test_messages_that_change_each_time_do_not_flood(caplog: pytest.LogCaptureFixture) -> None:
    hub = Hub()
    for i in range(100):
        hub.problem("save", f"failure {i}")
    assert len(caplog.messages) == len(hub._said["save"]) == 20  # nor are they kept: clients word some
