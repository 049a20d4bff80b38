"""`in_slices` yields to the event loop by time, independent of the number of items."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from portal.time_slices import SLICE_SECONDS, in_slices
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
