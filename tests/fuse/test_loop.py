from __future__ import annotations

import os
import types
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pyfuse3
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from casfs.fuse.loop import _Poller, use_lean_loop

LIMIT_S = 60  # what takes longer hangs


@pytest.fixture
def primitives() -> Iterator[types.SimpleNamespace]:
    """What pyfuse3 would use."""
    before = pyfuse3.trio  # type: ignore[attr-defined]
    use_lean_loop()
    try:
        yield pyfuse3.trio  # type: ignore[attr-defined]
    finally:
        pyfuse3.trio = before  # type: ignore[attr-defined]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    yield reader, writer
    os.close(reader)
    os.close(writer)


@asynccontextmanager
async def _soon_done() -> AsyncIterator[trio.Nursery]:
    """A nursery whose tasks end: one that waits for a turn that never comes is a failure, not a test that hangs."""
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            yield nursery


async def test_one_task_at_a_time_holds_the_lock(primitives: types.SimpleNamespace):
    lock = primitives.Lock()
    inside = 0
    rounds = 0

    async def work() -> None:
        nonlocal inside, rounds
        for _ in range(20):
            async with lock:
                inside += 1
                await trio.lowlevel.checkpoint()
                assert inside == 1
                inside -= 1
                rounds += 1

    async with _soon_done() as nursery:
        for _ in range(5):
            nursery.start_soon(work)
    assert rounds == 100


async def test_those_who_wait_get_the_lock_in_the_order_in_which_they_came(primitives: types.SimpleNamespace):
    lock = primitives.Lock()
    order: list[int] = []

    async def work(number: int) -> None:
        async with lock:
            order.append(number)
            await trio.lowlevel.checkpoint()

    async with _soon_done() as nursery, lock:
        for number in range(5):
            nursery.start_soon(work, number)
            await wait_all_tasks_blocked()
    assert order == [0, 1, 2, 3, 4]


async def test_a_free_lock_is_taken_without_a_visit_to_the_scheduler(primitives: types.SimpleNamespace):
    lock = primitives.Lock()
    with pytest.raises(StopIteration):
        lock.__aenter__().send(None)


@pytest.mark.parametrize("victims", [[0], [1], [4], [0, 1], [0, 2, 4], [0, 1, 2, 3], [0, 1, 2, 3, 4]])
async def test_those_who_give_up_take_nobody_elses_turn(primitives: types.SimpleNamespace, victims: list[int]):
    lock = primitives.Lock()
    order: list[int] = []
    scopes = [trio.CancelScope() for _ in range(5)]

    async def work(number: int) -> None:
        with scopes[number]:
            async with lock:
                order.append(number)

    async with _soon_done() as nursery, lock:
        for number in range(5):
            nursery.start_soon(work, number)
            await wait_all_tasks_blocked()
        for number in victims:
            scopes[number].cancel()
    assert order == [number for number in range(5) if number not in victims]
    with trio.fail_after(LIMIT_S):
        async with lock:
            pass


async def test_a_turn_that_is_given_to_one_who_is_being_cancelled_goes_on(primitives: types.SimpleNamespace):
    """The lock is released and its next holder cancelled in one step, in either order."""
    for cancel_first in (False, True):
        lock = primitives.Lock()
        scope = trio.CancelScope()
        got: list[str] = []

        async def work(name: str, scope: trio.CancelScope, lock: object = lock, got: list[str] = got) -> None:
            with scope:
                async with lock:  # type: ignore[attr-defined]
                    await trio.lowlevel.checkpoint()
                    got.append(name)

        await lock.__aenter__()
        with trio.fail_after(LIMIT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(work, "victim", scope)
                await wait_all_tasks_blocked()
                nursery.start_soon(work, "next", trio.CancelScope())
                await wait_all_tasks_blocked()
                if cancel_first:
                    scope.cancel()
                await lock.__aexit__(None, None, None)
                scope.cancel()
        assert got == ["next"]


async def test_a_newcomer_that_is_faster_does_not_leave_the_waiting_behind(primitives: types.SimpleNamespace):
    lock = primitives.Lock()
    done: list[str] = []

    async def work(name: str) -> None:
        async with lock:
            done.append(name)

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            async with lock:
                for name in ("first", "second"):
                    nursery.start_soon(work, name)
                await wait_all_tasks_blocked()
            async with lock:  # taken again before the one whose turn it is has run
                await wait_all_tasks_blocked()
                assert done == []
    assert sorted(done) == ["first", "second"]


async def test_an_error_inside_releases_the_lock(primitives: types.SimpleNamespace):
    lock = primitives.Lock()
    with pytest.raises(ZeroDivisionError):
        async with lock:
            raise ZeroDivisionError
    with trio.fail_after(LIMIT_S):
        async with lock:
            pass


async def test_what_can_be_read_already_is_not_waited_for(primitives: types.SimpleNamespace, pipe: tuple[int, int]):
    reader, writer = pipe
    os.write(writer, b"x")
    with trio.fail_after(LIMIT_S):
        await primitives.lowlevel.wait_readable(reader)
    assert os.read(reader, 1) == b"x"


async def test_the_wait_ends_when_something_can_be_read(primitives: types.SimpleNamespace, pipe: tuple[int, int]):
    reader, writer = pipe
    woken = 0

    async def wait() -> None:
        nonlocal woken
        for _ in range(3):
            await primitives.lowlevel.wait_readable(reader)
            woken += len(os.read(reader, 10))

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            for number in range(3):
                await wait_all_tasks_blocked()  # so it waits by giving up the processor, and not by spinning
                assert woken == number
                os.write(writer, b"x")


async def test_the_end_of_the_other_side_ends_the_wait(primitives: types.SimpleNamespace):
    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.close(writer)
    with trio.fail_after(LIMIT_S):
        await primitives.lowlevel.wait_readable(reader)
    assert os.read(reader, 1) == b""
    os.close(reader)


async def test_a_wait_can_be_cancelled(primitives: types.SimpleNamespace, pipe: tuple[int, int]):
    with trio.move_on_after(0) as scope:
        await primitives.lowlevel.wait_readable(pipe[0])
    assert scope.cancelled_caught


async def test_others_get_their_turn_however_many_requests_wait(
    primitives: types.SimpleNamespace, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    reader, writer = pipe
    os.write(writer, b"x")
    now = 0.0
    monkeypatch.setattr("casfs.fuse.loop.time", types.SimpleNamespace(perf_counter=lambda: now))
    poller = _Poller()
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await trio.lowlevel.checkpoint()
        before = turns
        for _ in range(1000):  # a request every 10 us: 10 ms in all
            now += 1e-5
            await poller.wait_readable(reader)
        assert 3 <= turns - before <= 10
        nursery.cancel_scope.cancel()


def test_pyfuse3_finds_everything_that_it_asks_of_its_event_loop(primitives: types.SimpleNamespace):
    """The names that pyfuse3 3.4 and 3.5 use of their module attribute `trio`."""
    for name in ("Lock", "open_nursery", "ClosedResourceError"):
        assert hasattr(primitives, name)
    for name in ("wait_readable", "current_task", "notify_closing", "current_trio_token"):
        assert hasattr(primitives.lowlevel, name)
