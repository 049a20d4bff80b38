"""Concurrent callers share one execution of the same work."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any

import pytest

from portal.single_flight import SingleFlight


class Work:
    """Counts how often it was started; waits until it may end."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_end = asyncio.Event()

    def __call__(self) -> Coroutine[Any, Any, int]:
        return self._run()

    async def _run(self) -> int:
        self.begun += 1
        number = self.begun
        await self.may_end.wait()
        return number


async def failing() -> int:
    raise LookupError("no")


@pytest.mark.gen_test
async def test_concurrent_callers_get_the_same_result() -> None:
    work, flight = Work(), SingleFlight[str, int]()
    first, second, other = flight.join("a", work), flight.join("a", work), flight.join("b", work)
    assert first is second
    assert ("a" in flight, "c" in flight, len(flight)) == (True, False, 2)
    work.may_end.set()
    assert list(await asyncio.gather(first, second, other)) == [1, 1, 2]
    assert len(flight) == 0
    assert await flight.join("a", work) == 3


@pytest.mark.gen_test
async def test_the_work_continues_when_one_caller_is_cancelled() -> None:
    work, flight = Work(), SingleFlight[str, int]()

    async def ask() -> int:
        return await asyncio.shield(flight.join("a", work))

    cancelled, waiting = asyncio.create_task(ask()), asyncio.create_task(ask())
    await asyncio.sleep(0)
    cancelled.cancel()
    work.may_end.set()
    assert await waiting == 1
    assert cancelled.cancelled()


@pytest.mark.gen_test
async def test_on_done_runs_after_the_work_is_removed() -> None:
    flight = SingleFlight[str, int]()
    calls: list[tuple[str, bool]] = []

    def on_done(task: asyncio.Task[int]) -> None:
        calls.append((type(task.exception()).__name__, "a" in flight))

    with pytest.raises(LookupError):
        await flight.join("a", failing, on_done=on_done)
    assert calls == [("LookupError", False)]


@pytest.mark.gen_test
async def test_an_error_without_a_waiting_caller_is_reported_by_the_event_loop() -> None:
    loop = asyncio.get_running_loop()
    reported: list[object] = []
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: reported.append(type(context["exception"])))
    flight = SingleFlight[str, int]()
    try:
        flight.join("a", failing)
        while len(flight):
            await asyncio.sleep(0)
        gc.collect()
    finally:
        loop.set_exception_handler(before)
    assert reported == [LookupError]


@pytest.mark.gen_test
async def test_work_in_progress_can_be_cancelled() -> None:
    work, flight = Work(), SingleFlight[str, int]()
    tasks = {flight.join("a", work), flight.join("b", work)}
    assert flight.tasks == tasks
    await flight.cancel()
    assert all(task.cancelled() for task in tasks)
    await asyncio.sleep(0)
    assert len(flight) == 0
