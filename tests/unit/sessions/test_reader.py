"""Batched reads return current data with few queries."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from typing import Any

import pytest

from portal.errors import StoreUnavailable
from portal.sessions.reader import BatchedReader
from portal.stores.model import Login, Session
from tests.kit.samples import ManualClock, sample_login, sample_session


class SlowStore:
    """A fake store whose reads wait for `gate`."""

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.logins: dict[str, Login] = {}
        self.queries: list[tuple[set[str], set[str]]] = []
        self.gate = asyncio.Event()
        self.broken = False

    async def read(self, session_ids, login_ids, *, now):  # type: ignore[no-untyped-def]
        self.queries.append((set(session_ids), set(login_ids)))
        found = dict(self.sessions), dict(self.logins)
        await self.gate.wait()
        if self.broken:
            raise StoreUnavailable("down")
        return found


@pytest.mark.gen_test
async def test_concurrent_reads_are_one_query() -> None:
    store = SlowStore()
    session, login = sample_session(), sample_login()
    store.sessions[session.id] = session
    store.logins[login.id] = login
    store.gate.set()
    reader = BatchedReader(store, clock=ManualClock())  # type: ignore[arg-type]
    responses = await asyncio.gather(*(reader.read(session.id, "acme") for _ in range(50)))
    assert responses == [(session, login)] * 50
    assert len(store.queries) == 1


@pytest.mark.gen_test
async def test_each_reader_holds_only_its_own_login() -> None:
    """Many large logins are freed one by one, as their requests end, not all in one turn of the loop."""

    class Counted(Login):
        alive = 0

        def __del__(self) -> None:
            type(self).alive -= 1

    class Store(SlowStore):
        async def read(self, session_ids, login_ids, *, now):  # type: ignore[no-untyped-def]
            Counted.alive += len(login_ids)
            return {}, {key: Counted(**fields_of(sample_login())) for key in login_ids}

    def fields_of(login: Login) -> dict[str, Any]:
        return {field.name: getattr(login, field.name) for field in fields(login)}

    reader = BatchedReader(Store(), clock=ManualClock())  # type: ignore[arg-type]
    reading = [asyncio.ensure_future(reader.read(str(number), "acme")) for number in range(20)]
    await asyncio.wait(reading)
    assert Counted.alive == 20
    for ended in range(1, 21):
        reading.pop()
        assert Counted.alive == 20 - ended


@pytest.mark.gen_test
async def test_a_read_never_joins_a_query_that_began_before_it() -> None:
    store = SlowStore()
    session = sample_session()
    store.sessions[session.id] = session
    reader = BatchedReader(store, clock=ManualClock())  # type: ignore[arg-type]
    early = asyncio.ensure_future(reader.read(session.id))
    while not store.queries:
        await asyncio.sleep(0)
    del store.sessions[session.id]
    late = asyncio.ensure_future(reader.read(session.id))
    await asyncio.sleep(0)
    store.gate.set()
    assert (await early)[0] == session
    assert (await late)[0] is None
    assert len(store.queries) == 2


@pytest.mark.gen_test
async def test_a_failed_query_fails_only_its_own_readers() -> None:
    store = SlowStore()
    store.broken = True
    store.gate.set()
    reader = BatchedReader(store, clock=ManualClock())  # type: ignore[arg-type]
    results = await asyncio.gather(*(reader.read("a") for _ in range(3)), return_exceptions=True)
    assert all(isinstance(result, StoreUnavailable) for result in results)
    store.broken = False
    assert await reader.read("a") == (None, None)


@pytest.mark.gen_test
async def test_a_cancelled_reader_does_not_cancel_the_others() -> None:
    store = SlowStore()
    session = sample_session()
    store.sessions[session.id] = session
    reader = BatchedReader(store, clock=ManualClock())  # type: ignore[arg-type]
    cancelled = asyncio.ensure_future(reader.read(session.id))
    waiting = asyncio.ensure_future(reader.read(session.id))
    while not store.queries:
        await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.sleep(0)
    store.gate.set()
    assert (await waiting)[0] == session


@pytest.mark.gen_test
async def test_readers_time_out_on_a_slow_query_and_on_the_query_before_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("portal.sessions.reader._TIMEOUT", 0.05)
    store = SlowStore()
    reader = BatchedReader(store, clock=ManualClock())  # type: ignore[arg-type]
    first = asyncio.ensure_future(reader.read("a"))
    while not store.queries:
        await asyncio.sleep(0)
    second = asyncio.ensure_future(reader.read("b"))
    for each in (first, second):
        with pytest.raises(StoreUnavailable):
            await each
    assert store.queries == [({"a"}, set())], "no second query while the first is running"
    third = asyncio.ensure_future(reader.read("c"))
    await asyncio.sleep(0)
    monkeypatch.setattr("portal.sessions.reader._TIMEOUT", 60.0)
    store.gate.set()
    await asyncio.wait([third])
    assert await reader.read("d") == (None, None)
    assert ({"b"}, set()) not in store.queries, "a batch that timed out is not read"
