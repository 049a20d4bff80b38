"""The loop monitor reports holds of the portal, and no others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import FunctionType

import pytest

from tests.kit.loop_monitor import Hold, LoopMonitor


def named(module: str, function: Callable[[], None]) -> Callable[[], None]:
    """Return a copy of a function that seems to belong to another module."""
    assert isinstance(function, FunctionType)
    return FunctionType(function.__code__, {**function.__globals__, "__name__": module}, function.__name__)


def compute() -> None:
    end = time.thread_time() + 0.06
    while time.thread_time() < end:
        pass


def sleep() -> None:
    time.sleep(0.06)


async def held_by(function: Callable[[], None]) -> list[Hold]:
    with LoopMonitor().watching() as monitor:
        asyncio.get_running_loop().call_soon(function)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    return monitor.holds


async def first_hold(function: Callable[[], None]) -> Hold:
    """Return the first hold that is noted: on a busy machine, the thread that samples may start too late."""
    for _ in range(50):
        for hold in await held_by(function):
            return hold
    raise AssertionError("no hold was noted")


@pytest.mark.gen_test
async def test_computing_in_the_portal_is_a_hold() -> None:
    hold = await first_hold(named("portal.web.pages", compute))
    assert hold.cpu >= 0.05
    assert "portal.web.pages.compute" in str(hold)


@pytest.mark.gen_test
async def test_waiting_in_the_portal_is_a_hold() -> None:
    hold = await first_hold(named("portal.web.pages", sleep))
    assert hold.slept >= 0.05 > hold.cpu


@pytest.mark.parametrize("module", ["tests.kit.browser", "test_api", "portal.demo.provider", "library"])
@pytest.mark.gen_test
async def test_a_callback_outside_the_portal_is_no_hold(module: str) -> None:
    assert not await held_by(named(module, compute))
