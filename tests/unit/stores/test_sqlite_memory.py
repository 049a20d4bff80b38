"""Cached entries of a SQLite file are never older than the file."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from portal.errors import StoreUnavailable
from portal.stores.model import SessionTouch
from portal.stores.sqlite.file import SLOW_SECONDS
from portal.stores.sqlite.memory import CHUNK_BYTES, RECENT_SECONDS, Row, RowMemory
from portal.stores.sqlite.own_changes import OwnChanges, Version
from portal.stores.sqlite.reading import CLAIMS, _Table
from portal.stores.sqlite.store import SQLiteStore
from tests.kit.samples import START, sample_login, sample_session


class CountingStore(SQLiteStore):
    """Counts the reads of the file: in a thread, and on the event loop."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.reads = 0
        self.reads_on_the_loop = 0
        in_thread, at_once = self._file.read, self._file.read_at_once

        async def counted(work):  # type: ignore[no-untyped-def]
            self.reads += 1
            return await in_thread(work)

        def counted_at_once(work):  # type: ignore[no-untyped-def]
            self.reads_on_the_loop += 1
            return at_once(work)

        self._file.read = counted  # type: ignore[method-assign]
        self._file.read_at_once = counted_at_once  # type: ignore[method-assign]


@pytest.mark.gen_test
async def test_a_second_read_does_not_read_the_file_if_it_is_unchanged(tmp_path: Path) -> None:
    store = CountingStore(tmp_path / "portal.db")
    await store.open()
    session, login = sample_session(), sample_login()
    await store.add_session(session)
    await store.put_login(login)
    for _ in range(5):
        found = await store.read([session.id], [login.id, "nobody"], now=START)
        assert found == ({session.id: session}, {login.id: login})
    assert store.reads == 1
    await store.close()


@pytest.mark.gen_test
async def test_a_change_of_another_connection_is_seen_at_the_next_read(tmp_path: Path) -> None:
    here, there = SQLiteStore(tmp_path / "portal.db"), SQLiteStore(tmp_path / "portal.db")
    await here.open()
    await there.open()
    session, login = sample_session(), sample_login()
    await there.add_session(session)
    assert await here.read([session.id], [login.id], now=START) == ({session.id: session}, {})
    await there.put_login(login)
    assert (await here.read([session.id], [login.id], now=START))[1] == {login.id: login}
    await there.delete_login(login.session, login.tenant)
    assert (await here.read([session.id], [login.id], now=START))[1] == {}
    await there.delete_session(session.id)
    assert (await here.read([session.id], [login.id], now=START))[0] == {}
    await here.close()
    await there.close()


@pytest.mark.gen_test
async def test_the_stores_own_changes_are_seen_at_the_next_read(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "portal.db")
    await store.open()
    session, login = sample_session(), sample_login()
    await store.add_session(session)
    await store.put_login(login)
    await store.read([session.id], [login.id], now=START)
    moved = replace(login, version=2, access_expires_at=START + 99)
    assert await store.swap_login(moved, expected_version=1)
    assert (await store.read([session.id], [login.id], now=START))[1] == {login.id: moved}
    assert await store.rotate_session(
        session.id,
        old_secret_hash=session.secret_hash,
        new_secret_hash="1" * 64,
        last_seen_at=START,
        idle_expires_at=session.idle_expires_at,
    )
    assert (await store.read([session.id], [], now=START))[0][session.id].secret_hash == "1" * 64
    await store.close()


async def served(store: CountingStore, session: str, login: str) -> tuple[int, int]:
    """Read a session and a login; return how many reads of the file, on the event loop and in a thread."""
    before = store.reads_on_the_loop, store.reads
    await store.read([session], [login], now=START)
    return store.reads_on_the_loop - before[0], store.reads - before[1]


@pytest.mark.gen_test
async def test_the_stores_own_changes_make_only_their_rows_stale(tmp_path: Path) -> None:
    store = CountingStore(tmp_path / "portal.db")
    await store.open()
    session, login = sample_session(), sample_login()
    other, others_login = replace(session, id="o" * 22, secret_hash="2" * 64), sample_login(session="o" * 22)
    await store.add_session(session, login=login)
    await store.add_session(other, login=others_login)
    assert await served(store, session.id, login.id) == (0, 1)
    await store.touch_sessions([SessionTouch(other.id, START + 1, other.idle_expires_at)])
    await store.put_meta("anything", "else")
    await store.delete_login(other.id, others_login.tenant)
    assert await served(store, session.id, login.id) == (0, 0)
    await store.touch_sessions([SessionTouch(session.id, START + 1, session.idle_expires_at)])
    assert await served(store, session.id, login.id) == (1, 0)
    assert await served(store, session.id, login.id) == (0, 0)
    await store.put_login(replace(login, version=2))
    assert await served(store, session.id, login.id) == (2, 0)  # and which logins the session has
    assert await store.acquire_lease(login.id, owner="a", seconds=10) is not None
    assert await served(store, session.id, login.id) == (2, 0)
    await store.delete_session(session.id)
    assert await served(store, session.id, login.id) == (2, 0)
    assert await store.read([session.id], [login.id], now=START) == ({}, {})
    await store.close()


@pytest.mark.gen_test
async def test_a_commit_of_another_process_between_two_own_ones_is_seen(tmp_path: Path) -> None:
    store, other = SQLiteStore(tmp_path / "portal.db"), SQLiteStore(tmp_path / "portal.db")
    await store.open()
    await other.open()
    session, login = sample_session(), sample_login()
    await store.add_session(session, login=login)
    for version in range(2, 5):
        await store.put_meta("before", str(version))
        await store.read([session.id], [login.id], now=START)
        await store.put_meta("between", str(version))
        await other.put_login(replace(login, version=version))
        await store.put_meta("after", str(version))
        assert (await store.read([], [login.id], now=START))[1][login.id].version == version
    await other.delete_session(session.id)
    await store.put_meta("after", "all")
    assert await store.read([session.id], [login.id], now=START) == ({}, {})
    await store.close()
    await other.close()


@pytest.mark.gen_test
async def test_a_change_is_recorded_before_its_commit_and_a_failed_one_does_no_harm(tmp_path: Path) -> None:
    store = CountingStore(tmp_path / "portal.db")
    await store.open()
    session, login = sample_session(), sample_login()
    await store.add_session(session, login=login)
    await store.read([session.id], [login.id], now=START)
    changes, own = store._file.changes, store._file.changes.number
    recorded: list[bool] = []
    record = OwnChanges.before_commit

    def fail(changes: OwnChanges, database: sqlite3.Connection) -> None:
        record(changes, database)
        recorded.append(changes.is_stale(login.id, own) and database.in_transaction)
        raise sqlite3.OperationalError("disk I/O error")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OwnChanges, "before_commit", fail)
        with pytest.raises(StoreUnavailable):
            await store.delete_login(login.session, login.tenant)
    assert recorded == [True]
    assert changes.is_stale(login.id, own)
    assert await store.read([session.id], [login.id], now=START) == ({session.id: session}, {login.id: login})
    assert await served(store, session.id, login.id) == (0, 0)
    await store.put_meta("anything", "else")  # nothing is left of the failed transaction
    assert not changes.is_stale(login.id, changes.number)
    assert await served(store, session.id, login.id) == (0, 0)
    await store.close()


@pytest.mark.gen_test
async def test_reads_during_an_own_transaction_do_not_wait_for_it(tmp_path: Path) -> None:
    store = CountingStore(tmp_path / "portal.db")
    await store.open()
    session, login = sample_session(), sample_login()
    await store.add_session(session, login=login)
    await store.read([session.id], [login.id], now=START)
    begun, release = threading.Event(), threading.Event()

    def wait(database: sqlite3.Connection) -> None:
        database.execute("DELETE FROM logins")
        begun.set()
        release.wait(10)

    await store.put_meta("anything", "else")  # a commit whose version is not known yet
    writing = asyncio.ensure_future(store._file.write(wait))
    await asyncio.to_thread(begun.wait, 10)
    for _ in range(2):
        assert (await store.read([], [login.id], now=START))[1] == {login.id: login}
    release.set()
    await writing
    assert (await store.read([session.id], [login.id], now=START)) == ({session.id: session}, {})
    await store.close()


def test_many_changed_keys_take_limited_memory_and_make_all_rows_stale(tmp_path: Path) -> None:
    changes = OwnChanges()
    with contextlib.closing(sqlite3.connect(tmp_path / "portal.db", isolation_level=None)) as database:
        database.execute("CREATE TABLE sessions (id TEXT)")
        database.execute("CREATE TABLE logins (id TEXT, session TEXT)")
        changes.record_in(database)
        for number in range(1, 31):
            changes.begin()
            database.executemany(
                "INSERT INTO sessions VALUES (?)", [(f"{number}-{n}",) for n in range(1_000)]
            )
            changes.before_commit(database)
            assert changes.is_stale(f"{number}-7", number - 1)
            assert not changes.is_stale(f"{number}-7", number)
            assert not changes.is_stale("quiet", number)
            assert len(changes._changed[1]) <= 20_000
        assert changes.is_stale("quiet", 15)
        assert all(changes.is_stale(f"{number}-7", number - 1) for number in range(1, 31))


@pytest.mark.gen_test
async def test_cached_entries_expire(tmp_path: Path) -> None:
    store = CountingStore(tmp_path / "portal.db")
    await store.open()
    session, login = sample_session(), sample_login(expires_at=START + 10)
    await store.add_session(session)
    await store.put_login(login)
    assert (await store.read([session.id], [login.id], now=START))[1] == {login.id: login}
    assert await store.read([session.id], [login.id], now=START + 10) == ({session.id: session}, {})
    assert await store.read([session.id], [login.id], now=session.idle_expires_at) == ({}, {})
    assert store.reads == 1
    await store.close()


@pytest.mark.gen_test
async def test_D1_rows_that_have_grown_are_not_all_read_on_the_event_loop(tmp_path: Path) -> None:
    store, other = CountingStore(tmp_path / "portal.db"), SQLiteStore(tmp_path / "portal.db")
    await store.open()
    await other.open()
    logins = [sample_login(session=f"s{number}") for number in range(50)]
    for login in logins:
        await store.put_login(login)
    keys = [login.id for login in logins]
    await store.read([], keys, now=START)
    grown = [replace(login, tokens="t" * 50_000, version=2) for login in logins]
    for login in grown:
        await other.put_login(login)
    await other.delete_login("s7", "acme")
    read: list[int] = []
    select = _Table.select_some

    def counted(table, keys, database):  # type: ignore[no-untyped-def]
        rows, complete = select(table, keys, database)
        read.append(sum(len(row[CLAIMS]) + len(str(row)) for row in rows.values()))
        return rows, complete

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Table, "select_some", counted)
        _, found = await store.read([], keys, now=START)
    assert found == {login.id: login for login in grown if login.session != "s7"}
    assert read
    assert max(read) < 4 * CHUNK_BYTES
    await store.close()
    await other.close()


@pytest.mark.gen_test
async def test_rows_in_memory_are_read_again_on_the_event_loop_after_a_commit(tmp_path: Path) -> None:
    store, other = CountingStore(tmp_path / "portal.db"), SQLiteStore(tmp_path / "portal.db")
    await store.open()
    await other.open()
    session, login = sample_session(), sample_login()
    await store.add_session(session)
    await store.put_login(login)
    _, first = await store.read([session.id], [login.id], now=START)
    await other.put_meta("anything", "else")
    sessions, logins = await store.read([session.id], [login.id], now=START)
    assert (store.reads, store.reads_on_the_loop) == (1, 2)
    assert (sessions, logins) == ({session.id: session}, {login.id: login})
    assert logins[login.id] is first[login.id]  # not made again from a row that is the same
    await other.delete_login(login.session, login.tenant)
    await other.delete_session(session.id)
    assert await store.read([session.id], [login.id], now=START) == ({}, {})
    assert (store.reads, store.reads_on_the_loop) == (1, 4)
    assert await store.read([session.id], ["nobody"], now=START) == ({}, {})
    assert (store.reads, store.reads_on_the_loop) == (2, 4)
    await store.close()
    await other.close()


@pytest.mark.gen_test
async def test_a_slow_read_moves_the_next_ones_to_the_thread(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "portal.db")
    await store.open()
    assert store._file.read_at_once(lambda database: database.execute("SELECT 1").fetchone()) == (1,)
    assert store._file.read_at_once(lambda database: time.sleep(SLOW_SECONDS)) is None
    assert store._file.read_at_once(lambda database: database.execute("SELECT 1").fetchone()) is None
    await store.close()


@pytest.mark.gen_test
async def test_a_file_that_was_opened_again_is_read_again(tmp_path: Path) -> None:
    store, other = CountingStore(tmp_path / "portal.db"), SQLiteStore(tmp_path / "portal.db")
    await store.open()
    session = sample_session()
    await store.add_session(session)
    assert await store.read([session.id], [], now=START) == ({session.id: session}, {})
    await store.close()
    await other.open()
    await other.delete_session(session.id)
    await other.close()
    await store.open()
    assert await store.read([session.id], [], now=START) == ({}, {})
    await store.close()


def memory(
    *,
    max_bytes: int = 1_000_000,
    monotonic: Callable[[], float] = lambda: 0.0,
    changes: OwnChanges | None = None,
) -> RowMemory[str]:
    """Rows of a tenant and a text; the entry is the text, "damaged" is a damaged one."""
    return RowMemory(
        lambda row: None if row[1] == "damaged" else row[1],
        max_bytes=max_bytes,
        size=lambda row: len(row[1]),
        owner=lambda row: row[0],
        changes=changes or OwnChanges(),
        monotonic=monotonic,
    )


def at(others: int, own: int = 0) -> Version:
    return Version(others, own)


def row(text: str, tenant: str = "acme") -> Row:
    return tenant, text


def test_a_row_is_current_at_the_version_of_its_last_read_only() -> None:
    rows = memory()
    assert rows.keep("a", row("one"), at(1)) == "one"
    assert rows.keep("gone", None, at(1)) is None
    assert rows.keep("broken", row("damaged"), at(1)) is None
    found = rows.find(["a", "gone", "broken", "new"], at(1))
    assert (found.found, found.recent, found.unknown) == ({"a": "one"}, ["broken"], ["new"])
    found = rows.find(["a", "gone", "broken", "new"], at(2))
    assert (found.found, found.recent, found.unknown) == ({}, ["a", "gone", "broken"], ["new"])
    found = rows.find(["a", "gone", "broken", "new"], None)
    assert (found.found, found.recent, found.unknown) == ({}, [], ["a", "gone", "broken", "new"])
    assert rows.keep("a", row("two"), at(2)) == "two"
    assert rows.find(["a"], at(2)).found == {"a": "two"}
    assert rows.keep("a", row("one"), at(1)) == "one"  # a read that began before the change
    assert rows.find(["a"], at(2)).found == {}


def test_without_a_version_nothing_is_kept() -> None:
    rows = memory()
    assert rows.keep("a", row("one"), None) == "one"
    assert rows.find(["a"], None).unknown == ["a"]
    rows.keep("a", row("one"), at(1))
    assert rows.keep("a", row("two"), None) == "two"
    assert rows.keep("a", row("one"), None) == "one"
    assert rows.find(["a"], None).unknown == ["a"]


def test_only_rows_that_were_read_recently_are_read_on_the_event_loop() -> None:
    current = 0.0
    rows = memory(monotonic=lambda: current)
    rows.keep("a", row("one"), at(1))
    current = RECENT_SECONDS - 1
    assert rows.find(["a", "new"], at(2)).recent == ["a"]
    rows.keep("b", row("two"), at(1))
    current = RECENT_SECONDS + 1
    assert rows.find(["a", "b"], at(2)).recent == ["b"]
    rows.keep("a", row("one"), at(2))
    assert rows.find(["a", "b"], at(3)).recent == ["a", "b"]


def test_D5_a_step_on_the_event_loop_reads_a_limited_number_of_bytes() -> None:
    rows = memory()
    sizes = [CHUNK_BYTES // 3 - 300] * 4 + [CHUNK_BYTES + 1, 1]
    for number, size in enumerate(sizes):
        rows.keep(str(number), row("x" * size), at(1))
    assert list(rows.chunks(rows.find("012345", at(2)))) == [["0", "1", "2"], ["3"], ["4"], ["5"]]
    assert list(rows.chunks(rows.find("05", at(2)))) == [["0", "5"]]
    assert list(rows.chunks(rows.find("05", at(1)))) == []


def test_D5_rows_use_limited_memory_and_a_tenant_evicts_its_own() -> None:
    rows = memory()
    rows.keep("quiet", row("one", "globex"), at(1))
    for number in range(100):
        rows.keep(f"large-{number}", row("g" * 50_000), at(1))
    assert rows.find(["quiet", "large-0"], at(1)).unknown == ["large-0"]
    assert rows.find(["large-99"], at(1)).unknown == []


def test_D5_requests_for_unknown_sessions_do_not_evict_rows() -> None:
    rows = memory()
    for number in range(100):
        rows.keep(f"known-{number}", row("one", tenant=""), at(1))
    for number in range(10_000):
        rows.keep(f"unknown-{number}", None, at(1))
    assert rows.find([f"known-{number}" for number in range(100)], at(1)).unknown == []
