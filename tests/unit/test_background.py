"""Background work goes on after an error that nobody expected."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from portal import background
from portal.background import kept_running


@pytest.mark.gen_test
async def test_a_loop_that_fails_begins_again_and_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_PAUSE_SECONDS", 0.01)
    stop, runs = asyncio.Event(), 0

    async def fails_twice(stopped: asyncio.Event) -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise ValueError("one bad record")
        await stopped.wait()

    with capture_logs() as logs:
        running = asyncio.create_task(kept_running(fails_twice, stop))
        await asyncio.sleep(0.1)
    assert (runs, running.done()) == (3, False)
    assert [line["event"] for line in logs] == ["background_work_failed"] * 2
    assert "fails_twice" in logs[0]["work"]
    stop.set()
    await running


@pytest.mark.gen_test
async def test_a_loop_that_returns_or_is_stopped_does_not_begin_again() -> None:
    runs = 0

    async def returns(stopped: asyncio.Event) -> None:
        nonlocal runs
        runs += 1

    async def fails(stopped: asyncio.Event) -> None:
        nonlocal runs
        runs += 1
        raise ValueError

    stop = asyncio.Event()
    await kept_running(returns, stop)
    stop.set()
    await asyncio.wait_for(kept_running(fails, stop), 1)
    assert runs == 2


@pytest.mark.gen_test
async def test_a_loop_can_be_cancelled() -> None:
    async def waits(stopped: asyncio.Event) -> None:
        await stopped.wait()

    running = asyncio.create_task(kept_running(waits, asyncio.Event()))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
