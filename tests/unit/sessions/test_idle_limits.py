"""Idle limits of many sessions are written together, and requests do not wait for more than one write."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from typing import cast

import pytest

from portal.errors import StoreUnavailable
from portal.sessions.directory import Directory, Limits
from portal.sessions.idle_limits import IdleLimits
from portal.stores.model import SessionTouch
from portal.stores.store import Store
from portal.traces import Span, Tracer, current_span
from tests.kit.raw import until
from tests.kit.samples import START, sample_session


class _SlowStore:
    """Writes when it is released."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.written: list[list[str]] = []
        self.fails = False
        self.attempts = 0
        self.spans: list[Span | None] = []

    async def touch_sessions(self, touches: Sequence[SessionTouch]) -> None:
        self.attempts += 1
        self.spans.append(current_span.get())
        await self.released.wait()
        await asyncio.sleep(0)
        if self.fails:
            raise StoreUnavailable("full")
        self.written.append([touch.session for touch in touches])


class _NoLimits:
    def limits(self, tenant: str) -> Limits:
        return Limits(None, 1000.0)


def made(store: _SlowStore) -> IdleLimits:
    return IdleLimits(
        store=cast(Store, store),
        directory=cast(Directory, _NoLimits()),
        clock=lambda: START + 600,
        idle=3600.0,
    )


@pytest.mark.gen_test
async def test_extensions_during_a_write_are_written_together_and_not_awaited() -> None:
    store = _SlowStore()
    limits = made(store)
    first = asyncio.create_task(limits.extend(sample_session(id="s0"), None))
    await asyncio.sleep(0)
    for number in (1, 2, 1, 3):
        await limits.extend(sample_session(id=f"s{number}"), None)
    assert not first.done()
    store.released.set()
    await first
    await until(lambda: len(store.written) == 2, "the collected ones are not written")
    assert store.written == [["s0"], ["s1", "s2", "s3"]]
    await limits.wait_until_idle(5)
    await limits.extend(sample_session(id="s4"), None)
    assert store.written[2:] == [["s4"]], "a single one is awaited"


@pytest.mark.gen_test
async def test_collected_extensions_are_no_part_of_the_request_that_began_to_collect() -> None:
    store = _SlowStore()
    limits = made(store)
    stream = Tracer(lambda span: None).request(None)

    async def in_stream() -> None:
        current_span.set(stream)
        await limits.extend(sample_session(id="s0"), None)

    first = asyncio.create_task(in_stream())
    await asyncio.sleep(0)
    await limits.extend(sample_session(id="s1"), None)
    store.released.set()
    await first
    await until(lambda: len(store.written) == 2, "the collected one is not written")
    assert store.spans == [stream, None]
    await limits.wait_until_idle(5)


@pytest.mark.gen_test
async def test_a_stop_waits_for_collected_extensions() -> None:
    store = _SlowStore()
    limits = made(store)
    store.released.set()
    await asyncio.gather(*(limits.extend(sample_session(id=f"s{number}"), None) for number in range(600)))
    await limits.wait_until_idle(5)
    assert sum(map(len, store.written)) == 600
    assert max(map(len, store.written)) <= 256


@pytest.mark.gen_test
async def test_extensions_are_collected_for_a_while_unless_the_portal_stops() -> None:
    store = _SlowStore()
    limits = made(store)
    store.released.set()
    await asyncio.gather(*(limits.extend(sample_session(id=f"s{number}"), None) for number in range(3)))
    await until(lambda: len(store.written) == 2, "the collected ones are not written")
    for number in range(3, 6):
        await limits.extend(sample_session(id=f"s{number}"), None)
        await asyncio.sleep(0.01)
    assert store.written == [["s0"], ["s1", "s2"]]
    async with asyncio.timeout(0.5):
        await limits.wait_until_idle(5)
    assert store.written[2:] == [["s3", "s4", "s5"]]


@pytest.mark.gen_test
async def test_a_failure_is_logged_once_and_fails_no_request(log_lines: io.StringIO) -> None:
    store = _SlowStore()
    limits = made(store)
    store.fails = True
    store.released.set()
    await asyncio.gather(*(limits.extend(sample_session(id=f"s{number}"), None) for number in range(900)))
    await limits.wait_until_idle(5)
    assert log_lines.getvalue().count("idle_limit_not_moved") == 1
    assert store.attempts <= 2, "each of the collected ones was tried"
    store.fails = False
    await limits.extend(sample_session(id="later"), None)
    assert store.written == [], "it waits before it tries again"
