"""THREATS S10: when the database fails, no acknowledged write is lost; operations fail soon; it recovers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from portal.errors import StartupError, StoreUnavailable
from portal.stores.by_url import store_for
from portal.stores.mongo.store import MongoStore
from portal.stores.sqlite.statements import SCHEMAS
from portal.stores.sqlite.store import SQLiteStore
from portal.stores.store import Store
from tests.contract.entries import NOW, at, new_attempt, new_login, new_session
from tests.contract.processes import other_process
from tests.mongodb import MongoTestServer

PROMPT = 6.0
"""Seconds within which an operation must fail."""


async def unavailable(operation: Awaitable[object]) -> float:
    """Seconds until StoreUnavailable is raised."""
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await operation
    return time.monotonic() - began


async def recovered(store: Store) -> None:
    """Wait until the store is available again."""
    give_up = time.monotonic() + 20
    while True:
        try:
            return await store.probe()
        except StoreUnavailable:
            assert time.monotonic() < give_up, "it did not recover by itself"
        await asyncio.sleep(0.05)


# --- processes that are killed


@pytest.mark.gen_test
async def test_acknowledged_writes_of_a_killed_process_are_stored(store: Store, database_url: str) -> None:
    async with other_process("write", database_url) as writer:
        assert writer.stdout is not None
        while int(await writer.stdout.readline()) < 60:
            pass
        writer.send_signal(signal.SIGKILL)
        acknowledged = [int(line) for line in (await writer.stdout.read()).split(b"\n")[:-1]]
    (login,) = await store.list_logins("s" * 22, now=NOW)
    assert login.version >= max(acknowledged, default=60)
    assert login.tokens == str(login.version) * 1000, "a write is stored completely or not at all"
    await store.put_login(new_login("s" * 22))


@pytest.mark.gen_test
async def test_a_process_that_does_not_close_its_store_still_ends(database_url: str) -> None:
    async with other_process("leave", database_url) as process:
        async with asyncio.timeout(15):
            assert await process.wait() == 0


# --- MongoDB


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[MongoTestServer]:
    server = MongoTestServer(tmp_path / "mongodb")
    server.start()
    yield server
    server.thaw()
    server.terminate()


@contextlib.asynccontextmanager
async def opened(store: Store) -> AsyncIterator[Store]:
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.mark.gen_test(timeout=60)
async def test_a_stopped_mongodb_is_reported_promptly_and_recovers(own_server: MongoTestServer) -> None:
    session, login = new_session(), new_login()
    async with opened(MongoStore(f"{own_server.uri}/portal")) as store:
        await store.add_session(session)
        await store.put_login(login)
        own_server.terminate()
        waits = await asyncio.gather(
            unavailable(store.probe()),
            unavailable(store.read([session.id], [login.id], now=NOW)),
            unavailable(store.put_login(login)),
            unavailable(store.delete_session(session.id)),
            unavailable(store.acquire_lease(login.id, owner="one", seconds=20)),
            unavailable(store.extend_lease(login.id, owner="one", seconds=20)),
            unavailable(store.take_attempt("a", tenant="acme", binding_hash="b", now=NOW)),
            unavailable(store.purge()),
        )
        assert max(waits) < PROMPT
        own_server.start()
        await recovered(store)
        found = await store.read([session.id], [login.id], now=NOW)
        assert found == ({session.id: session}, {login.id: login})
        await store.add_attempt(new_attempt())


@pytest.mark.gen_test(timeout=60)
async def test_a_mongodb_killed_and_restarted_is_used_again(own_server: MongoTestServer) -> None:
    async with opened(MongoStore(own_server.uri)) as store:
        own_server.kill()
        assert await unavailable(store.put_login(new_login())) < PROMPT
        own_server.start()
        await recovered(store)
        await store.put_login(new_login())


@pytest.mark.gen_test(timeout=60)
async def test_a_mongodb_that_hangs_is_reported_promptly_and_recovers(own_server: MongoTestServer) -> None:
    login = new_login()
    async with opened(MongoStore(own_server.uri)) as store:
        await store.put_login(login)
        own_server.freeze()
        waits = await asyncio.gather(
            unavailable(store.read([login.session], [login.id], now=NOW)),
            unavailable(store.put_login(login)),
        )
        assert max(waits) < PROMPT
        assert await unavailable(store.probe()) < PROMPT / 2
        own_server.thaw()
        await recovered(store)
        assert await store.read((), [login.id], now=NOW) == ({}, {login.id: login})


@pytest.mark.gen_test
async def test_a_missing_mongodb_cannot_be_opened(unused_port: int) -> None:
    store = MongoStore(f"mongodb://u:hush@127.0.0.1:{unused_port}/portal")
    began = time.monotonic()
    with pytest.raises(StoreUnavailable) as caught:
        await store.open()
    assert time.monotonic() - began < PROMPT
    assert "hush" not in f"{caught.value!r} {caught.value.__cause__!r}"
    await store.close()


@pytest.fixture
def unused_port(own_server: MongoTestServer) -> int:
    own_server.terminate()
    return own_server.port


# --- SQLite


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "portal.db"


@pytest.fixture
def sqlite_store(io_loop: IOLoop, path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(path, busy=0.2)
    io_loop.run_sync(store.open)
    yield store
    io_loop.run_sync(store.close)


def test_only_the_portal_can_access_the_file_and_its_folder(sqlite_store: SQLiteStore, path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file.name


@pytest.mark.gen_test
async def test_a_path_that_cannot_be_created_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    await unavailable(SQLiteStore(tmp_path / "file" / "portal.db").open())
    (tmp_path / "folder.db").mkdir()
    await unavailable(SQLiteStore(tmp_path / "folder.db").open())


@pytest.mark.gen_test
async def test_a_file_that_is_no_database_is_unavailable_and_not_changed(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"precious notes\n" * 1000)
    store = SQLiteStore(path)
    await unavailable(store.open())
    assert path.read_bytes() == b"precious notes\n" * 1000
    path.unlink()
    async with opened(store):
        await store.probe()


@pytest.mark.gen_test
async def test_a_damaged_file_is_unavailable(sqlite_store: SQLiteStore, path: Path) -> None:
    for _ in range(50):
        await sqlite_store.put_login(new_login(tokens="t" * 4000))
    await sqlite_store.close()
    await sqlite_store.open()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    await unavailable(sqlite_store.list_logins("any", now=NOW))
    await unavailable(sqlite_store.put_login(new_login()))
    await sqlite_store.close()
    with pytest.raises(StartupError, match="damaged"):
        await sqlite_store.open()


@pytest.mark.gen_test
async def test_a_full_disk_loses_no_data_and_the_store_recovers(sqlite_store: SQLiteStore) -> None:
    login = new_login()
    await sqlite_store.put_login(login)
    await limit_pages(sqlite_store, 1)
    await unavailable(sqlite_store.put_login(new_login(tokens="t" * 200_000)))
    assert await sqlite_store.read((), [login.id], now=NOW) == ({}, {login.id: login})
    await limit_pages(sqlite_store, 2**30)
    larger = new_login(tokens="t" * 200_000)
    await sqlite_store.put_login(larger)
    assert await sqlite_store.read((), [larger.id], now=NOW) == ({}, {larger.id: larger})


async def limit_pages(store: SQLiteStore, pages: int) -> None:
    await store._file.write(lambda database: database.execute(f"PRAGMA max_page_count = {pages}").fetchall())


@pytest.mark.gen_test
async def test_a_lock_held_too_long_stops_writes_but_not_reads(sqlite_store: SQLiteStore, path: Path) -> None:
    login = new_login()
    await sqlite_store.put_login(login)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await unavailable(sqlite_store.delete_login(login.session, login.tenant)) < 2
        assert await sqlite_store.read((), [login.id], now=NOW) == ({}, {login.id: login})
        other.execute("ROLLBACK")
    assert await sqlite_store.delete_login(login.session, login.tenant) == login


@pytest.mark.gen_test
async def test_a_file_replaced_while_open_is_unavailable_and_not_changed(
    sqlite_store: SQLiteStore, path: Path, tmp_path: Path
) -> None:
    login, other = new_login(), new_login()
    async with opened(SQLiteStore(tmp_path / "backup.db")) as backup:
        await backup.put_login(other)
    await sqlite_store.put_login(login)
    path.rename(tmp_path / "aside.db")
    shutil.copy(tmp_path / "backup.db", path)
    await unavailable(sqlite_store.read((), [login.id], now=NOW))
    await unavailable(sqlite_store.put_login(login))
    assert path.read_bytes() == (tmp_path / "backup.db").read_bytes()
    (tmp_path / "aside.db").replace(path)
    assert await sqlite_store.read((), [login.id, other.id], now=NOW) == ({}, {login.id: login})


@pytest.mark.gen_test
async def test_a_file_removed_while_open_is_unavailable_until_a_restart(
    sqlite_store: SQLiteStore, path: Path
) -> None:
    login = new_login()
    await sqlite_store.put_login(login)
    path.unlink()
    await unavailable(sqlite_store.probe())
    await unavailable(sqlite_store.put_login(login))
    await sqlite_store.close()
    await sqlite_store.open()
    assert await sqlite_store.read((), [login.id], now=NOW) == ({}, {})
    await sqlite_store.put_login(login)


@pytest.mark.gen_test
async def test_a_moved_folder_is_unavailable_until_it_is_back(
    sqlite_store: SQLiteStore, path: Path, tmp_path: Path
) -> None:
    path.parent.rename(tmp_path / "elsewhere")
    await unavailable(sqlite_store.probe())
    await unavailable(sqlite_store.put_login(new_login()))
    (tmp_path / "elsewhere").rename(path.parent)
    await sqlite_store.probe()
    await sqlite_store.put_login(new_login())


@pytest.mark.gen_test
async def test_a_database_of_a_newer_portal_is_not_opened(path: Path) -> None:
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(StartupError, match="newer portal"):
        await SQLiteStore(path).open()


@pytest.mark.gen_test
async def test_a_database_of_an_older_portal_is_migrated(path: Path) -> None:
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as database:
        for statement in SCHEMAS[0]:
            database.execute(statement)
        database.execute("PRAGMA user_version = 1")
    login = new_login()
    for number in range(2):
        async with opened(SQLiteStore(path)) as store:
            if number == 0:
                await store.put_login(login)
            assert await store.read((), [login.id], now=NOW) == ({}, {login.id: login})
            assert await store.remember_once(f"jti-{number}", expires_at=at(60), now=NOW)
            assert await store.is_remembered("jti-0", now=NOW)


@pytest.mark.gen_test
async def test_a_cancelled_write_leaves_no_transaction_open(sqlite_store: SQLiteStore, path: Path) -> None:
    for _ in range(20):
        write = asyncio.ensure_future(sqlite_store.delete_session("s"))
        await asyncio.sleep(0)
        write.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await write
    login = new_login()
    await sqlite_store.put_login(login)
    async with opened(store_for(f"sqlite:///{path}")) as other:
        await other.put_login(login)


@pytest.mark.gen_test
async def test_many_processes_can_create_the_file_concurrently(path: Path, tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        starting = [
            await stack.enter_async_context(other_process("leave", f"sqlite:///{path}")) for _ in range(4)
        ]
        assert [await process.wait() for process in starting] == [0] * 4
    for number in range(10):
        stores = [SQLiteStore(tmp_path / f"{number}.db") for _ in range(8)]
        await asyncio.gather(*(store.open() for store in stores))
        await asyncio.gather(*(store.put_login(new_login()) for store in stores))
        await asyncio.gather(*(store.close() for store in stores))


@pytest.mark.gen_test
async def test_opening_waits_for_another_process_that_creates_the_file(path: Path) -> None:
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE t (x)")
        other.execute("BEGIN IMMEDIATE")
        asyncio.get_running_loop().call_later(0.2, other.execute, "ROLLBACK")
        async with opened(SQLiteStore(path)) as store:
            await store.probe()
