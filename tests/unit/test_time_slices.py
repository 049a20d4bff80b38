"""`in_slices` and `in_turns` let the event loop run by time, independent of the number of items."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from itertools import pairwise

import pytest

from portal import time_slices
from portal.time_slices import (
    _PAUSE_SECONDS,
    _TURN_SECONDS,
    SLICE_SECONDS,
    in_slices,
    in_turns,
    without_pauses,
)
from tests.kit.samples import ManualClock


async def _turns(costs: Sequence[float]) -> list[int]:
    """Process items with these durations; return after how many items another task ran."""
    clock, done, turns = ManualClock(0.0), 0, list[int]()
    is_over = False

    async def other_task() -> None:
        while not is_over:
            turns.append(done)
            await asyncio.sleep(0)

    other = asyncio.create_task(other_task())
    async for cost in in_slices(costs, monotonic=clock):
        clock.time += cost
        done += 1
    is_over = True
    await other
    return turns


@pytest.mark.gen_test
async def test_items_that_take_long_get_one_slice_each() -> None:
    assert await _turns([SLICE_SECONDS] * 4) == [1, 2, 3]


@pytest.mark.gen_test
async def test_items_that_take_little_time_share_a_slice() -> None:
    assert await _turns([SLICE_SECONDS / 2] * 6) == [2, 4]
    assert await _turns([0.0] * 1_000) == []


@pytest.mark.gen_test
async def test_every_item_is_yielded_once_and_in_order() -> None:
    assert [one async for one in in_slices(range(5))] == [0, 1, 2, 3, 4]
    assert [one async for one in in_slices(list[int]())] == []


def test_a_loop_in_a_thread_lets_other_threads_run_every_half_millisecond(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    time, done = 0.0, 0

    def sleep(seconds: float) -> None:
        nonlocal time
        pauses.append(time)
        time += seconds

    monkeypatch.setattr("portal.time_slices.time.sleep", sleep)
    monkeypatch.setattr("portal.time_slices.time.perf_counter", lambda: time)

    def work() -> None:
        nonlocal time, done
        for item in in_turns(range(100)):
            assert item == done
            done += 1
            time += 0.0001

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == 100
    assert len(pauses) >= 15
    working = _TURN_SECONDS + 0.0002 + _PAUSE_SECONDS
    assert all(later - before < working for before, later in pairwise(pauses))


def test_a_loop_in_the_main_thread_does_not_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_slices, "_TURN_SECONDS", 0.0)
    monkeypatch.setattr("portal.time_slices.time.sleep", lambda seconds: pytest.fail("paused"))
    assert list(in_turns(range(5))) == [0, 1, 2, 3, 4]


@pytest.mark.gen_test
async def test_before_the_portal_serves_a_loop_in_a_thread_does_not_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time_slices, "_TURN_SECONDS", 0.0)
    pauses: list[float] = []
    monkeypatch.setattr("portal.time_slices.time.sleep", pauses.append)
    with without_pauses():
        assert await asyncio.to_thread(list, in_turns(range(5))) == [0, 1, 2, 3, 4]
    assert pauses == []
    await asyncio.to_thread(list, in_turns(range(5)))
    assert pauses != [], "pauses are made again afterwards"
