"""A busy database: operations fail in time, the number of waiting ones is limited, and reads continue."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from pathlib import Path

import pytest

from portal.errors import StoreUnavailable
from portal.stores.model import SessionTouch
from portal.stores.mongo.store import MongoStore
from portal.stores.sqlite.store import SQLiteStore
from portal.stores.store import Store
from tests.contract.entries import NOW, new_attempt, new_login, new_session, new_step
from tests.mongodb import MongoTestServer

WRITERS = 40
BUSY = 1.0
"""Seconds that an operation waits for the file; 0.3 was too short on a busy machine."""
LONGEST = 9.0
"""Seconds, generous for a busy machine; forty writers one after the other would take four times as long."""


class Counts:
    """Counts the operations that a store refuses."""

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
    """The file is locked by a write of another process that does not end."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def all_unavailable(operations: Sequence[Awaitable[object]]) -> float:
    """Seconds until each operation has raised StoreUnavailable with a Retry-After."""
    began = time.monotonic()
    results = await asyncio.gather(*operations, return_exceptions=True)
    waited = time.monotonic() - began
    assert all(isinstance(result, StoreUnavailable) for result in results), results
    assert all(result.retry_after for result in results if isinstance(result, StoreUnavailable))
    return waited


@pytest.mark.gen_test(timeout=60)
async def test_writers_of_a_locked_file_time_out_together_and_reads_continue(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "portal.db", busy=BUSY)
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
async def test_a_limited_number_of_operations_waits_for_a_locked_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.stores.sqlite.file._MOST_WAITING", 5)
    counts = Counts()
    store = SQLiteStore(tmp_path / "portal.db", busy=BUSY, observer=counts)
    async with opened(store):
        with locked(tmp_path / "portal.db"):
            assert await all_unavailable([store.delete_session("s") for _ in range(WRITERS)]) < LONGEST
            assert counts.refused == WRITERS - 5
            assert await store.read(["s"], (), now=NOW) == ({}, {}), "reads use another connection"
        assert await store.delete_session("s") == []


@pytest.fixture
def frozen_server(tmp_path: Path) -> Iterator[MongoTestServer]:
    server = MongoTestServer(tmp_path / "mongodb")
    server.start()
    yield server
    server.thaw()
    server.terminate()


@pytest.mark.gen_test(timeout=60)
async def test_a_limited_number_of_operations_waits_for_mongodb(
    frozen_server: MongoTestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = Counts()
    store = MongoStore(
        f"{frozen_server.uri}/portal?timeoutMS=3000&serverSelectionTimeoutMS=3000", observer=counts
    )
    async with opened(store):
        monkeypatch.setattr("portal.stores.mongo.connection._MAX_IN_PROGRESS", 5)
        frozen_server.freeze()
        await all_unavailable([store.put_login(new_login()) for _ in range(WRITERS)])
        assert counts.refused == WRITERS - 5
        frozen_server.thaw()


def every_operation(store: Store) -> dict[str, Awaitable[object]]:
    """Each operation of the protocol; a new one is included, or fails for lack of an example argument."""
    session = new_session()
    examples: dict[str, object] = {
        "attempt": new_attempt(),
        "attempt_id": "a",
        "binding_hash": "b",
        "expected": None,
        "expected_version": 1,
        "expires_at": NOW,
        "from_owner": "q",
        "idle_expires_at": NOW,
        "issuer": "i",
        "kept_issuers": ["i"],
        "keep_sign_ins": 0.0,
        "key": "k",
        "last_seen_at": NOW,
        "login": new_login(session),
        "login_id": f"{session.id}:acme",
        "login_ids": [f"{session.id}:acme"],
        "meta_id": "m",
        "most": 10,
        "new_secret_hash": "n",
        "now": NOW,
        "old_secret_hash": "o",
        "owner": "p",
        "provider": "default",
        "registration": "r",
        "seconds": 20.0,
        "session": session,
        "session_id": session.id,
        "session_ids": [session.id],
        "sid": "s",
        "signed_in_until": NOW,
        "step": new_step(),
        "step_id": "s",
        "subject": "s",
        "tenant": "acme",
        "tokens": "t",
        "touches": [SessionTouch("s", 1.0, 2.0)],
        "value": "v",
        "without_sid": False,
    }
    arguments = {}
    for name, function in inspect.getmembers(Store, inspect.iscoroutinefunction):
        if name in ("open", "close") or name.startswith("_"):
            continue
        parameters = [each for each in inspect.signature(function).parameters.values() if each.name != "self"]
        positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
        arguments[name] = (
            [examples[each.name] for each in parameters if each.kind is positional],
            {each.name: examples[each.name] for each in parameters if each.kind is not positional},
        )
    operations = {name: getattr(store, name)(*given, **named) for name, (given, named) in arguments.items()}
    assert len(operations) > 20
    return operations


@pytest.mark.gen_test(timeout=60)
async def test_every_operation_on_a_mongodb_that_hangs_fails_in_time(frozen_server: MongoTestServer) -> None:
    """Also operations for which the driver has no free thread."""
    store = MongoStore(f"{frozen_server.uri}/portal?timeoutMS=3000&serverSelectionTimeoutMS=3000")
    async with opened(store):
        frozen_server.freeze()
        writes = [store.put_login(new_login()) for _ in range(WRITERS)]
        assert await all_unavailable([*every_operation(store).values(), *writes]) < LONGEST
        frozen_server.thaw()


@pytest.mark.gen_test(timeout=60)
async def test_every_operation_on_a_locked_file_ends_in_time(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "portal.db", busy=BUSY)
    async with opened(store):
        with locked(tmp_path / "portal.db"):
            operations = every_operation(store)
            began = time.monotonic()
            results = await asyncio.gather(*operations.values(), return_exceptions=True)
            assert time.monotonic() - began < LONGEST
        failed = {
            name for name, result in zip(operations, results, strict=True) if isinstance(result, Exception)
        }
        unexpected = [
            each for each in results if isinstance(each, Exception) and not isinstance(each, StoreUnavailable)
        ]
        assert not unexpected
        assert "put_login" in failed
        assert not failed & {"read", "list_logins", "has_logins", "is_remembered", "get_meta", "ping"}
