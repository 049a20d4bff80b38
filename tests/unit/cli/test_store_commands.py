"""`portal store backup`, `portal store restored` and `portal key adopt`: effects, output and exit codes."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest

from portal.cli import store as store_commands
from portal.clock import now
from portal.errors import StartupError, StoreUnavailable
from portal.keys.key_ring import KeyRing
from portal.keys.key_ring_check import check_key_ring
from portal.sessions.generation_check import GenerationCheck, GenerationRecord
from portal.stores.generation import GENERATION, Generation
from portal.stores.sqlite.backup import copy_database
from portal.stores.sqlite.store import SQLiteStore
from tests.contract.entries import new_attempt, new_login, new_session, new_step
from tests.unit.cli.test_main import Run, run

__all__ = ["run"]

T = TypeVar("T")
DATABASE = Path("var/portal.db")
KEYS = Path("var/keys.json")
LOGINS = 30


def with_store(work: Callable[[SQLiteStore], Awaitable[T]]) -> T:
    async def opened() -> T:
        store = SQLiteStore(DATABASE)
        await store.open()
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(opened())


def check_of(store: SQLiteStore) -> GenerationCheck:
    return GenerationCheck(store, GenerationRecord(KEYS, "sqlite:///var/portal.db"), clock=now)


async def fill(store: SQLiteStore) -> None:
    """A database that a portal has used."""
    KeyRing.load_or_create(KEYS)
    await check_of(store).advance()
    session = new_session()
    await store.add_session(session)
    await store.add_attempt(new_attempt())
    await store.add_logout_step(new_step())
    for number in range(LOGINS):
        await store.put_login(new_login(session, tenant=f"t{number}", tokens="t" * 10_000))


def rows(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(statement).fetchall()


def test_backup_writes_a_private_copy_that_is_marked_as_a_copy(run: Run) -> None:
    with_store(fill)
    done = run("store", "backup", "copy.db")
    assert (done.code, done.err) == (0, "")
    assert "Wrote copy.db" in done.out
    assert Path("copy.db").stat().st_mode & 0o777 == 0o600
    assert rows(Path("copy.db"), "SELECT count(*) FROM logins") == [(LOGINS,)]
    assert Generation.parse(
        str(rows(Path("copy.db"), "SELECT value FROM meta WHERE id = 'generation'")[0][0])
    ).copy
    assert not Generation.parse(
        str(rows(DATABASE, "SELECT value FROM meta WHERE id = 'generation'")[0][0])
    ).copy
    assert sorted(path.name for path in Path().iterdir()) == ["copy.db", "var"]


@pytest.mark.parametrize("kind", ["file", "folder", "link to nowhere"])
def test_backup_never_overwrites_an_existing_file(run: Run, kind: str) -> None:
    with_store(fill)
    target = Path("copy.db")
    if kind == "file":
        target.write_text("precious")
    elif kind == "folder":
        target.mkdir()
    else:
        target.symlink_to("nowhere")
    done = run("store", "backup", "copy.db")
    assert done.code == 2
    assert "copy.db: exists already; nothing was written" in done.err
    if kind == "file":
        assert target.read_text() == "precious"
    assert sorted(path.name for path in Path().iterdir()) == ["copy.db", "var"]


def test_backup_never_overwrites_a_file_that_appears_meanwhile(run: Run) -> None:
    with_store(fill)
    target = Path("copy.db")
    done = []

    def progress(pages: int, copied: int) -> None:
        done.append(copied)
        target.write_text("precious")

    with pytest.raises(Exception, match="exists already"):
        copy_database(DATABASE, target, progress=progress)
    assert done
    assert target.read_text() == "precious"
    assert sorted(path.name for path in Path().iterdir()) == ["copy.db", "var"]


def test_backup_without_a_database_or_a_folder_is_an_error(run: Run) -> None:
    done = run("store", "backup", "copy.db")
    assert (done.code, done.err) == (2, "var/portal.db: there is no database file\n")
    assert not DATABASE.exists()
    with_store(fill)
    done = run("store", "backup", "missing/copy.db")
    assert done.code == 3
    assert "missing/copy.db: No such file or directory" in done.err


def test_backup_of_a_damaged_database_leaves_nothing(run: Run) -> None:
    with_store(fill)
    content = bytearray(DATABASE.read_bytes())
    content[8192:40960] = b"\xff" * 32768
    DATABASE.write_bytes(content)
    done = run("store", "backup", "copy.db")
    assert done.code == 3
    assert [path.name for path in Path().iterdir()] == ["var"]


def test_backup_is_a_consistent_snapshot_while_others_write(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write moves one unit from one row to another, so the sum of a consistent copy is 0."""
    monkeypatch.setattr("portal.stores.sqlite.backup._PAGES_AT_ONCE", 8)
    with_store(fill)
    with closing(sqlite3.connect(DATABASE)) as database:
        database.execute("CREATE TABLE sums (a INTEGER, filler TEXT)")
        database.executemany("INSERT INTO sums VALUES (0, ?)", [("f" * 3000,)] * 200)
        database.commit()
    copied_at: list[int] = []
    writer = sqlite3.connect(DATABASE, timeout=10)

    def write(pages: int, copied: int) -> None:
        copied_at.append(copied)
        writer.execute("UPDATE sums SET a = a + 1 WHERE rowid = (SELECT max(rowid) FROM sums)")
        writer.execute("UPDATE sums SET a = a - 1 WHERE rowid = 1")
        writer.commit()

    copy_database(DATABASE, Path("copy.db"), progress=write)
    writer.close()
    assert len(copied_at) > 10
    assert copied_at == sorted(copied_at), "the backup restarts at each write"
    assert rows(Path("copy.db"), "SELECT sum(a), max(a) FROM sums") == [(0, 0)]
    assert rows(DATABASE, "SELECT sum(a), max(a) FROM sums") == [(0, len(copied_at))]


def test_backup_of_mongodb_names_its_own_tool_and_no_password(run: Run) -> None:
    done = run(
        "store", "backup", "copy", environ={"PORTAL_DATABASE": "mongodb://portal:hush@db.example/portal"}
    )
    assert done.code == 2
    assert "mongodump" in done.err
    assert "portal store restored" in done.err
    assert "hush" not in done.out + done.err


def test_a_long_command_reports_its_progress(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_commands, "_PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(store_commands, "_DELETED_AT_ONCE", 10)
    with_store(fill)
    assert " pages copied\n" in run("store", "backup", "copy.db").err
    assert "20 entries deleted\n" in run("store", "restored", "--yes").err


def test_a_restored_copy_is_served_after_its_sign_ins_are_deleted(run: Run) -> None:
    with_store(fill)
    assert run("store", "backup", "copy.db").code == 0
    DATABASE.unlink()
    Path("copy.db").rename(DATABASE)
    with pytest.raises(StartupError, match="older copy"):
        with_store(lambda store: check_of(store).advance())
    done = run("store", "restored")
    assert (done.code, done.err) == (0, "")
    assert f"Deleted {LOGINS + 3} sign-in entries" in done.out
    with_store(lambda store: check_of(store).advance())
    assert not with_store(lambda store: store.has_logins())


def test_a_database_that_is_not_a_copy_is_emptied_only_with_confirmation(run: Run) -> None:
    with_store(fill)
    done = run("store", "restored")
    assert done.code == 2
    assert "not recognized as an older copy" in done.err
    assert "--yes" in done.err
    assert with_store(lambda store: store.has_logins())
    assert run("store", "restored", "--yes").code == 0
    assert not with_store(lambda store: store.has_logins())


def test_a_database_is_not_served_while_some_of_its_sign_ins_are_deleted(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No host can tell that it is older, and the command ends in the middle."""
    with_store(fill)
    monkeypatch.setattr(store_commands, "_DELETED_AT_ONCE", 10)
    forget = SQLiteStore.forget_sign_ins

    async def forget_once(store: SQLiteStore, *, most: int) -> int:
        monkeypatch.setattr(SQLiteStore, "forget_sign_ins", _out_of_space)
        return await forget(store, most=most)

    async def _out_of_space(store: SQLiteStore, *, most: int) -> int:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(SQLiteStore, "forget_sign_ins", forget_once)
    assert run("store", "restored", "--yes").code == 3
    assert with_store(lambda store: store.has_logins())
    with pytest.raises(StartupError, match="older copy"):
        with_store(lambda store: check_of(store).advance())
    monkeypatch.setattr(SQLiteStore, "forget_sign_ins", forget)
    assert run("store", "restored").code == 0
    with_store(lambda store: check_of(store).advance())
    assert not with_store(lambda store: store.has_logins())


def test_a_damaged_generation_is_repaired(run: Run) -> None:
    with_store(fill)
    with_store(lambda store: store.put_meta(GENERATION, "x"))
    assert run("store", "restored").code == 0
    with_store(lambda store: check_of(store).advance())


def test_adopt_assigns_the_database_to_the_key_ring(run: Run) -> None:
    async def check(store: SQLiteStore) -> None:
        await check_key_ring(store, KeyRing.load(KEYS))

    with_store(fill)
    with_store(check)
    KEYS.unlink()
    assert run("key", "new").code == 0
    with pytest.raises(StartupError, match="key ring is not the one"):
        with_store(check)
    done = run("key", "adopt")
    assert (done.code, done.err) == (0, "")
    with_store(check)
    assert with_store(lambda store: store.has_logins())


@pytest.mark.parametrize("command", [("store", "restored"), ("key", "adopt")])
def test_a_database_that_cannot_be_opened_is_an_environment_error(run: Run, command: tuple[str, ...]) -> None:
    KeyRing.load_or_create(KEYS)
    DATABASE.mkdir()
    done = run(*command)
    assert done.code == 3
    assert "cannot be used" in done.err


def test_a_writer_does_not_wait_for_a_backup(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.stores.sqlite.backup._PAGES_AT_ONCE", 8)
    with_store(fill)
    copying, written = threading.Event(), threading.Event()

    def progress(pages: int, copied: int) -> None:
        copying.set()
        assert written.wait(20)

    thread = threading.Thread(
        target=copy_database, args=(DATABASE, Path("copy.db")), kwargs={"progress": progress}
    )
    thread.start()
    assert copying.wait(20)
    with_store(lambda store: store.put_login(new_login()))
    written.set()
    thread.join()
    assert rows(Path("copy.db"), "SELECT count(*) FROM logins") == [(LOGINS,)]
