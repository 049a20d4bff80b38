"""A busy database: nobody waits for long, no more than so many wait at all, and what can go on does."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from pathlib import Path

import pytest

from portal.errors import StoreUnavailable
from portal.sessions.mongo import MongoStore
from portal.sessions.sqlite import SQLiteStore
from portal.sessions.store import Store
from tests.contract.entries import NOW, new_login, new_session
from tests.mongodb import MongoTestServer

WRITERS = 40
LONGEST = 6.0
"""Seconds, generous for a busy machine; one after the other, forty writers would take twice as long."""


class Counts:
    """Counts what a store refuses."""

    def __init__(self) -> None:
        self.refused = 0

    def damaged_entry(self, kind: str) -> None: ...

    def operation_refused(self) -> None:
        self.refused += 1

    def clock_offset(self, seconds: float) -> None: ...


@contextlib.asynccontextmanager
async def opened(store: Store) -> AsyncIterator[None]:
    await store.open()
    try:
        yield
    finally:
        await store.close()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process writes, and does not end."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def all_unavailable(operations: Sequence[Awaitable[object]]) -> float:
    """Seconds until every one of them has raised StoreUnavailable with a time to come back."""
    began = time.monotonic()
    results = await asyncio.gather(*operations, return_exceptions=True)
    waited = time.monotonic() - began
    assert all(isinstance(result, StoreUnavailable) for result in results), results
    assert all(result.retry_after for result in results if isinstance(result, StoreUnavailable))
    return waited


@pytest.mark.gen_test(timeout=60)
async def test_writers_of_a_locked_file_wait_together_and_reads_go_on(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "portal.db", busy=0.3)
    async with opened(store):
        session, login = new_session(), new_login()
        await store.add_session(session)
        await store.put_login(login)
        with locked(tmp_path / "portal.db"):
            writes = [store.put_login(new_login()) for _ in range(WRITERS)]
            writing = asyncio.create_task(all_unavailable(writes))
            reads = 0
            while not writing.done():
                found = await store.read([session.id], [login.id, f"nobody:{reads}"], now=NOW)
                assert found == ({session.id: session}, {login.id: login})
                reads += 1
                await asyncio.sleep(0)
            assert await writing < LONGEST
            assert reads > 10
        await store.put_login(new_login())


@pytest.mark.gen_test(timeout=60)
async def test_no_more_than_so_many_wait_for_a_locked_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.sessions.sqlite_file._MOST_WAITING", 5)
    counts = Counts()
    store = SQLiteStore(tmp_path / "portal.db", busy=0.3, observer=counts)
    async with opened(store):
        with locked(tmp_path / "portal.db"):
            assert await all_unavailable([store.delete_session("s") for _ in range(WRITERS)]) < LONGEST
            assert counts.refused == WRITERS - 5
            assert await store.read(["s"], (), now=NOW) == ({}, {}), "reads have a place of their own"
        assert await store.delete_session("s") == []


@pytest.fixture
def frozen_server(tmp_path: Path) -> Iterator[MongoTestServer]:
    server = MongoTestServer(tmp_path / "mongodb")
    server.start()
    yield server
    server.thaw()
    server.terminate()


@pytest.mark.gen_test(timeout=60)
async def test_nobody_queues_behind_the_threads_of_a_driver_that_waits(
    frozen_server: MongoTestServer,
) -> None:
    store = MongoStore(f"{frozen_server.uri}/portal?timeoutMS=500")
    async with opened(store):
        frozen_server.freeze()
        assert await all_unavailable([store.put_login(new_login()) for _ in range(WRITERS)]) < LONGEST
        frozen_server.thaw()


@pytest.mark.gen_test(timeout=60)
async def test_no_more_than_so_many_wait_for_mongodb(
    frozen_server: MongoTestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = Counts()
    store = MongoStore(f"{frozen_server.uri}/portal?timeoutMS=500", observer=counts)
    async with opened(store):
        monkeypatch.setattr("portal.sessions.mongo_connection._MOST_UNDER_WAY", 5)
        frozen_server.freeze()
        await all_unavailable([store.put_login(new_login()) for _ in range(WRITERS)])
        assert counts.refused == WRITERS - 5
        frozen_server.thaw()
