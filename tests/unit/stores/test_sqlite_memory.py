"""Cached entries of a SQLite file are never older than the file."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from portal.stores.sqlite.file import SLOW_SECONDS
from portal.stores.sqlite.memory import CHUNK_BYTES, RECENT_SECONDS, Row, RowMemory
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


def memory(*, max_bytes: int = 1_000_000, monotonic: Callable[[], float] = lambda: 0.0) -> RowMemory[str]:
    """Rows of a tenant and a text; the entry is the text, "damaged" is a damaged one."""
    return RowMemory(
        lambda row: None if row[1] == "damaged" else row[1],
        max_bytes=max_bytes,
        size=lambda row: len(row[1]),
        owner=lambda row: row[0],
        monotonic=monotonic,
    )


def row(text: str, tenant: str = "acme") -> Row:
    return tenant, text


def test_a_row_is_current_at_the_version_of_its_last_read_only() -> None:
    rows = memory()
    assert rows.keep("a", row("one"), 1) == "one"
    assert rows.keep("gone", None, 1) is None
    assert rows.keep("broken", row("damaged"), 1) is None
    found = rows.find(["a", "gone", "broken", "new"], 1)
    assert (found.found, found.recent, found.unknown) == ({"a": "one"}, ["broken"], ["new"])
    found = rows.find(["a", "gone", "broken", "new"], 2)
    assert (found.found, found.recent, found.unknown) == ({}, ["a", "gone", "broken"], ["new"])
    found = rows.find(["a", "gone", "broken", "new"], None)
    assert (found.found, found.recent, found.unknown) == ({}, [], ["a", "gone", "broken", "new"])
    assert rows.keep("a", row("two"), 2) == "two"
    assert rows.find(["a"], 2).found == {"a": "two"}
    assert rows.keep("a", row("one"), 1) == "one"  # a read that began before the change
    assert rows.find(["a"], 2).found == {}


def test_without_a_version_nothing_is_kept() -> None:
    rows = memory()
    assert rows.keep("a", row("one"), None) == "one"
    assert rows.find(["a"], None).unknown == ["a"]
    rows.keep("a", row("one"), 1)
    assert rows.keep("a", row("two"), None) == "two"
    assert rows.keep("a", row("one"), None) == "one"
    assert rows.find(["a"], None).unknown == ["a"]


def test_only_rows_that_were_read_recently_are_read_on_the_event_loop() -> None:
    current = 0.0
    rows = memory(monotonic=lambda: current)
    rows.keep("a", row("one"), 1)
    current = RECENT_SECONDS - 1
    assert rows.find(["a", "new"], 2).recent == ["a"]
    rows.keep("b", row("two"), 1)
    current = RECENT_SECONDS + 1
    assert rows.find(["a", "b"], 2).recent == ["b"]
    rows.keep("a", row("one"), 2)
    assert rows.find(["a", "b"], 3).recent == ["a", "b"]


def test_D5_a_step_on_the_event_loop_reads_a_limited_number_of_bytes() -> None:
    rows = memory()
    sizes = [CHUNK_BYTES // 3 - 300] * 4 + [CHUNK_BYTES + 1, 1]
    for number, size in enumerate(sizes):
        rows.keep(str(number), row("x" * size), 1)
    assert list(rows.chunks(rows.find("012345", 2))) == [["0", "1", "2"], ["3"], ["4"], ["5"]]
    assert list(rows.chunks(rows.find("05", 2))) == [["0", "5"]]
    assert list(rows.chunks(rows.find("05", 1))) == []


def test_D5_rows_use_limited_memory_and_a_tenant_evicts_its_own() -> None:
    rows = memory()
    rows.keep("quiet", row("one", "globex"), 1)
    for number in range(100):
        rows.keep(f"large-{number}", row("g" * 50_000), 1)
    assert rows.find(["quiet", "large-0"], 1).unknown == ["large-0"]
    assert rows.find(["large-99"], 1).unknown == []


def test_D5_requests_for_unknown_sessions_do_not_evict_rows() -> None:
    rows = memory()
    for number in range(100):
        rows.keep(f"known-{number}", row("one", tenant=""), 1)
    for number in range(10_000):
        rows.keep(f"unknown-{number}", None, 1)
    assert rows.find([f"known-{number}" for number in range(100)], 1).unknown == []
