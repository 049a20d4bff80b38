"""Writes to SQLite that wait at the same time share a commit, and nothing else: decision 046."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import struct
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from pathlib import Path
from signal import SIGKILL
from typing import cast

import pytest
from tornado.ioloop import IOLoop

from portal.errors import StoreUnavailable
from portal.stores.model import Login
from portal.stores.sqlite.group_commit import GroupCommit, Operation
from portal.stores.sqlite.own_changes import OwnChanges
from portal.stores.sqlite.store import SQLiteStore
from tests.contract.entries import NOW, new_attempt, new_login, new_session
from tests.contract.processes import other_process
from tests.kit.sqlite_lock import write_lock

TOGETHER = 30
ADD = "INSERT INTO meta (id, value) VALUES (?, ?)"


class Unrecorded(OwnChanges):
    """For connections without the tables whose changes are recorded."""

    def before_commit(self, database: sqlite3.Connection) -> None: ...


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "portal.db"


@pytest.fixture
def store(io_loop: IOLoop, path: Path) -> Iterator[SQLiteStore]:
    opened = SQLiteStore(path, busy=20)
    io_loop.run_sync(opened.open)
    yield opened
    io_loop.run_sync(opened.close)


def commits(path: Path) -> int:
    """`iChange` of the index of the write-ahead log (walformat.html, "The WAL-Index Header")."""
    return int(struct.unpack_from("=I", path.with_name(f"{path.name}-shm").read_bytes(), 8)[0])


@contextlib.asynccontextmanager
async def held_back(store: SQLiteStore) -> AsyncIterator[None]:
    """Writes that are made during the block begin after it, together."""
    begun, release = threading.Event(), threading.Event()

    def wait(_: sqlite3.Connection) -> bool:
        begun.set()
        return release.wait(10)

    first = asyncio.ensure_future(store._file.write(wait))
    await asyncio.to_thread(begun.wait, 10)
    yield
    await asyncio.sleep(0)  # the tasks of the block have made their writes
    release.set()
    with contextlib.suppress(StoreUnavailable):  # of a store that is tested with a short timeout
        assert await first


async def together(store: SQLiteStore, writes: Sequence[Awaitable[object]]) -> list[object]:
    """The results, or errors, of writes that share a transaction."""
    async with held_back(store):
        running = asyncio.gather(*writes, return_exceptions=True)
        await asyncio.sleep(0)
    return await running


async def stored(store: SQLiteStore, logins: Sequence[Login]) -> list[bool]:
    _, found = await store.read((), [login.id for login in logins], now=NOW)
    return [found.get(login.id) == login for login in logins]


@pytest.mark.gen_test
async def test_writes_that_wait_share_a_commit(store: SQLiteStore, path: Path) -> None:
    before = commits(path)
    logins = [new_login() for _ in range(TOGETHER)]
    assert await together(store, [store.put_login(login) for login in logins]) == [None] * TOGETHER
    assert commits(path) - before == 1, "the first transaction changed nothing"
    assert all(await stored(store, logins))


@pytest.mark.gen_test
async def test_a_write_is_reported_only_when_other_processes_see_it(store: SQLiteStore, path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as other:

        async def put() -> int:
            login = new_login()
            await store.put_login(login)
            return len(other.execute("SELECT 1 FROM logins WHERE id = ?", (login.id,)).fetchall())

        assert await together(store, [put() for _ in range(TOGETHER)]) == [1] * TOGETHER


@pytest.mark.parametrize("error", [ValueError, sqlite3.IntegrityError])
@pytest.mark.gen_test
async def test_a_write_that_fails_undoes_itself_and_no_other(
    store: SQLiteStore, error: type[Exception]
) -> None:
    def failing(database: sqlite3.Connection) -> None:
        database.execute(ADD, ("half", "1"))
        if error is ValueError:
            raise ValueError("a fault in the portal")
        database.execute(ADD, ("half", "2"))

    logins = [new_login() for _ in range(6)]
    writes: list[Awaitable[object]] = [store.put_login(login) for login in logins]
    writes.insert(3, store._file.write(failing))
    results = await together(store, writes)
    expected = ValueError if error is ValueError else StoreUnavailable
    assert [type(result) for result in results if result is not None] == [expected]
    assert isinstance(results[3], expected)
    assert all(await stored(store, logins))
    assert await store.get_meta("half") is None


@pytest.mark.gen_test
async def test_a_commit_that_fails_fails_only_the_write_that_caused_it(store: SQLiteStore) -> None:
    def create(database: sqlite3.Connection) -> None:
        database.execute("CREATE TABLE parents (id PRIMARY KEY)")
        database.execute("CREATE TABLE children (id REFERENCES parents DEFERRABLE INITIALLY DEFERRED)")

    await store._file.write(create)
    assert store._file._pair is not None
    await store._file._pair.writer.run(lambda db: db.execute("PRAGMA foreign_keys = ON"), seconds=5)
    logins = [new_login() for _ in range(4)]
    writes: list[Awaitable[object]] = [store.put_login(login) for login in logins]
    writes.insert(
        2, store._file.write(lambda db: db.execute("INSERT INTO children VALUES ('orphan')").rowcount)
    )
    results = await together(store, writes)
    assert isinstance(results[2], StoreUnavailable), results
    assert [result for result in results if result is not None] == [results[2]]
    assert all(await stored(store, logins))
    orphans = await store._file.read(lambda db: db.execute("SELECT * FROM children").fetchall())
    assert orphans == []


@pytest.mark.gen_test
async def test_on_a_full_disk_exactly_the_reported_writes_are_stored(store: SQLiteStore) -> None:
    await store._file.write(lambda db: db.execute("PRAGMA max_page_count = 60").fetchall())
    logins = [new_login(tokens="t" * size) for size in (500, 300_000, 500, 250_000, 2_000)]
    results = await together(store, [store.put_login(login) for login in logins])
    assert [result is None for result in results] == [True, False, True, False, True], results
    assert await stored(store, logins) == [True, False, True, False, True]
    await store._file.write(lambda db: db.execute(f"PRAGMA max_page_count = {2**30}").fetchall())
    await store.put_login(logins[1])
    assert all(await stored(store, logins[1:2]))


@pytest.mark.gen_test
async def test_a_session_is_not_changed_without_its_login(store: SQLiteStore) -> None:
    added, kept = new_session(), new_session()
    await store.add_session(kept)
    with pytest.raises(UnicodeEncodeError):
        await store.add_session(added, login=new_login(added.id, subject="\ud800"))
    with pytest.raises(UnicodeEncodeError):
        await store.rotate_session(
            kept.id,
            old_secret_hash=kept.secret_hash,
            new_secret_hash="n" * 64,
            last_seen_at=NOW,
            idle_expires_at=NOW + 60,
            login=new_login(kept.id, subject="\ud800"),
        )
    assert await store.read([added.id, kept.id], (), now=NOW) == ({kept.id: kept}, {})


@pytest.mark.gen_test
async def test_the_write_of_a_cancelled_caller_takes_no_other_with_it(store: SQLiteStore) -> None:
    logins = [new_login() for _ in range(6)]
    async with held_back(store):
        running = [asyncio.ensure_future(store.put_login(login)) for login in logins]
        await asyncio.sleep(0)
        running[0].cancel()
        running[3].cancel()
        await asyncio.sleep(0)
    results = await asyncio.gather(*running, return_exceptions=True)
    assert [isinstance(each, asyncio.CancelledError) for each in results] == [n in {0, 3} for n in range(6)]
    assert all(await stored(store, logins)), "a write that was accepted is made"
    assert store._file._pair is not None
    assert store._file._pair.writer.waiting == 0


@pytest.mark.gen_test
async def test_closing_waits_for_accepted_writes_and_accepts_no_more(store: SQLiteStore) -> None:
    logins = [new_login() for _ in range(TOGETHER)]
    async with held_back(store):
        running = asyncio.gather(*(store.put_login(login) for login in logins))
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(store.close())
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.put_login(new_login())
    await closing
    assert await running == [None] * TOGETHER
    await store.open()
    assert all(await stored(store, logins))


@pytest.mark.gen_test
async def test_a_write_that_waited_too_long_for_the_lock_is_never_made(path: Path) -> None:
    store = SQLiteStore(path, busy=0.2)
    await store.open()
    logins = [new_login() for _ in range(TOGETHER)]
    with write_lock(path):
        results = await asyncio.gather(*map(store.put_login, logins), return_exceptions=True)
    assert {type(result) for result in results} == {StoreUnavailable}
    await store.put_login(new_login())
    assert not any(await stored(store, logins))
    await store.close()


@pytest.mark.gen_test
async def test_a_write_that_waited_too_long_for_others_is_never_made(path: Path) -> None:
    store = SQLiteStore(path, busy=0.1)
    await store.open()
    logins = [new_login() for _ in range(3)]
    async with held_back(store):
        results = await asyncio.gather(*map(store.put_login, logins), return_exceptions=True)
    assert {type(result) for result in results} == {StoreUnavailable}
    await store.put_login(new_login())
    assert not any(await stored(store, logins))
    await store.close()


@pytest.mark.gen_test
async def test_a_transaction_of_slow_writes_ends_soon(store: SQLiteStore, path: Path) -> None:
    """Other processes wait for the lock meanwhile."""

    def slow(number: int) -> Awaitable[object]:
        def work(database: sqlite3.Connection) -> None:
            time.sleep(0.02)
            database.execute(ADD, (f"slow-{number}", ""))

        return store._file.write(work)

    before = commits(path)
    await together(store, [slow(number) for number in range(4)])
    assert commits(path) - before == 4


@pytest.mark.gen_test
async def test_only_a_login_attempt_alone_may_be_lost_in_a_power_failure(store: SQLiteStore) -> None:
    levels: list[tuple[str, int]] = []
    write = store._file.write

    async def recorded(work, *, synced=True):  # type: ignore[no-untyped-def]
        def noted(database: sqlite3.Connection) -> object:
            levels.append((name, database.execute("PRAGMA synchronous").fetchone()[0]))
            return work(database)

        return await write(noted, synced=synced)

    store._file.write = recorded  # type: ignore[method-assign]
    normal, full = 1, 2
    attempt, session, login = new_attempt(), new_session(), new_login()
    name = "alone"
    await store.add_attempt(attempt)
    name = "others"
    await store.take_attempt(attempt.id, tenant="acme", binding_hash=attempt.binding_hash, now=NOW)
    await store.add_session(session, login=login)
    await store.delete_login(login.session, login.tenant)
    name = "together"
    await together(store, [store.add_attempt(new_attempt()), store.add_attempt(new_attempt())])
    await together(store, [store.add_attempt(new_attempt()), store.put_login(login)])
    assert [level for name, level in levels if name == "alone"] == [normal]
    assert [level for name, level in levels if name == "others"] == [full] * 3
    # the first of each two is the transaction that holds the others back
    assert [level for name, level in levels if name == "together"] == [full, normal, normal, full, full, full]


def test_a_write_that_arrives_late_does_not_join_a_transaction_that_may_be_lost(path: Path) -> None:
    """The transaction has begun without it."""

    def add(name: str, *, synced: bool) -> Operation[object]:
        operation: Operation[object] = Operation(
            lambda db: db.execute(ADD, (name, "")), begin_by=time.monotonic() + 5, synced=synced
        )
        writes.add(operation)
        return operation

    def arrive() -> None:
        if not late:
            late.extend((add("attempt", synced=False), add("login", synced=True)))

    late: list[Operation[object]] = []
    writes = GroupCommit(arrive, Unrecorded())
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("CREATE TABLE meta (id, value)")
        first = add("first", synced=False)
        writes.perform(first, database)
        assert [each.finished for each in (first, *late)] == [True, True, False]
        assert database.execute("PRAGMA synchronous").fetchone()[0] == 1
        writes.perform(late[0], database)
        writes.perform(late[1], database)
        assert late[1].finished
        assert database.execute("PRAGMA synchronous").fetchone()[0] == 2


@pytest.mark.gen_test
async def test_all_reported_writes_of_a_killed_process_are_stored(store: SQLiteStore, path: Path) -> None:
    async with other_process("write_together", f"sqlite:///{path}") as writer:
        assert writer.stdout is not None
        lines = [await writer.stdout.readline() for _ in range(200)]
        writer.send_signal(SIGKILL)
        lines += (await writer.stdout.read()).splitlines()[:-1]
    written = [(int(number), int(size)) for number, size in (line.split(b" ") for line in lines)]
    kept = {login.tenant: login for login in await store.list_logins("s" * 22, now=NOW)}
    assert len(written) >= 200
    for number, size in written:
        assert kept[f"tenant{number}"].tokens == "t" * size


def test_no_write_is_reported_as_done_when_the_rollback_itself_fails(path: Path) -> None:
    class Broken:
        """A connection that can neither commit nor, then, roll back."""

        def __init__(self) -> None:
            self.failed = False

        def execute(self, statement: str, *parameters: object) -> None:
            if statement == "COMMIT":
                self.failed = True
                raise sqlite3.OperationalError("disk I/O error")

        def rollback(self) -> None:
            if self.failed:
                raise MemoryError

    writes = GroupCommit(lambda: None, Unrecorded())
    operations: list[Operation[object]] = [
        Operation(lambda db: None, begin_by=time.monotonic() + 5, synced=True) for _ in range(3)
    ]
    for operation in operations[:2]:
        writes.add(operation)
    broken = cast(sqlite3.Connection, Broken())
    writes.perform(operations[0], broken)
    for operation in operations[:2]:
        with pytest.raises(MemoryError):
            operation.outcome()
    with pytest.raises(RuntimeError, match="has not been performed"):
        operations[2].outcome()
