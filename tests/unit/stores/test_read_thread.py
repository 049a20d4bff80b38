"""The thread for reads of MongoDB runs one function at a time, and reports every outcome."""

from __future__ import annotations

import asyncio
import threading

import pytest

from portal.stores.mongo.read_thread import ReadThread


@pytest.mark.gen_test
async def test_results_and_errors_are_those_of_the_function() -> None:
    reads = ReadThread()
    assert await reads.run(threading.get_ident) != threading.get_ident()

    def fail() -> None:
        raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        await reads.run(fail)
    assert reads.is_idle
    assert await reads.run(lambda: 2) == 2
    reads.stop()


@pytest.mark.gen_test
async def test_it_is_busy_until_its_function_has_ended_also_for_a_cancelled_caller() -> None:
    reads, release = ReadThread(), threading.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await reads.run(lambda: release.wait(10))
    idle = [reads.is_idle]
    release.set()
    async with asyncio.timeout(5):
        while not reads.is_idle:
            await asyncio.sleep(0)
    assert idle == [False]
    assert await reads.run(lambda: "next") == "next"
    reads.stop()


@pytest.mark.gen_test
async def test_a_stopped_thread_ends_after_its_function() -> None:
    reads, release = ReadThread(), threading.Event()
    thread = await reads.run(threading.current_thread)
    running = reads.run(lambda: release.wait(10))
    reads.stop()
    release.set()
    assert await running
    await asyncio.to_thread(thread.join, 5)
    assert not thread.is_alive()


def test_a_function_that_ends_after_the_event_loop_was_closed_ends_the_thread() -> None:
    release = threading.Event()

    async def begin() -> threading.Thread:
        reads = ReadThread()
        thread = await reads.run(threading.current_thread)
        reads.run(lambda: release.wait(10))
        return thread

    thread = asyncio.run(begin())
    release.set()
    thread.join(5)
    assert not thread.is_alive()
