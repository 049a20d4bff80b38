"""Work that goes on in the background for as long as the portal runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from portal.pauses import is_set_within

_log = structlog.get_logger("portal.background")

_PAUSE_SECONDS = 5.0
"""After an unexpected error."""


async def kept_running(run: Callable[[asyncio.Event], Awaitable[None]], stop: asyncio.Event) -> None:
    """Run a loop that ends when `stop` is set; begin it again after an error that it did not expect.

    Otherwise one record that nobody expected would end the work for all tenants until a restart (THREATS D5).
    Returns when the loop has ended by itself. Parameters: run, the loop.
    """
    while True:
        try:
            await run(stop)
        except Exception as error:  # noqa: BLE001 - what the loop does for others must go on
            name = getattr(run, "__qualname__", type(run).__name__)
            _log.error("background_work_failed", work=name, exc_info=error)
        else:
            return
        if await is_set_within(stop, _PAUSE_SECONDS):
            return


async def end_within(tasks: Sequence[asyncio.Task[None]], seconds: float) -> None:
    """Wait for tasks that were told to stop; cancel those that need longer than `seconds`."""
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=seconds)
    for task in late:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
