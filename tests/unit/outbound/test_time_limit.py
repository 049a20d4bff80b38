"""One timer for one time limit after another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from portal.outbound.time_limit import TimeLimit
from tests.kit.loops import ON_BOTH_LOOPS

pytestmark = ON_BOTH_LOOPS


@pytest.mark.gen_test
async def test_a_limit_that_is_not_stopped_is_reached_once() -> None:
    reached: list[float] = []
    loop = asyncio.get_running_loop()
    limit, began = TimeLimit(lambda: reached.append(loop.time())), loop.time()
    limit.start(0.02)
    await asyncio.sleep(0.1)
    assert len(reached) == 1
    assert reached[0] - began >= 0.018  # uvloop rounds to milliseconds


@pytest.mark.gen_test
async def test_a_limit_that_is_stopped_or_closed_is_not_reached() -> None:
    reached: list[int] = []
    stopped, closed = TimeLimit(lambda: reached.append(1)), TimeLimit(lambda: reached.append(2))
    for limit in (stopped, closed):
        limit.start(0.01)
    stopped.stop()
    closed.close()
    await asyncio.sleep(0.05)
    assert not reached


@pytest.mark.parametrize(("first", "then"), [(0.02, 0.1), (3.0, 0.02)])
@pytest.mark.gen_test
async def test_the_last_limit_counts(first: float, then: float) -> None:
    reached = asyncio.Event()
    loop = asyncio.get_running_loop()
    limit = TimeLimit(reached.set)
    limit.start(first)
    limit.stop()
    began = loop.time()
    limit.start(then)
    await asyncio.wait_for(reached.wait(), 5)
    assert then <= loop.time() - began + 0.001
    assert loop.time() - began < 2.0


@pytest.mark.gen_test
async def test_a_timer_that_ends_a_moment_early_is_not_set_again_and_again() -> None:
    reached = asyncio.Event()
    limit = TimeLimit(reached.set)
    ended = 0
    at = limit.loop.call_at

    def counted(when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        nonlocal ended
        ended += 1
        return at(when, callback)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limit, "loop", SimpleNamespace(time=limit.loop.time, call_at=counted))
        for _ in range(10):
            limit.start(0.0155)
            await asyncio.wait_for(reached.wait(), 5)
            reached.clear()
    assert ended <= 30
