"""The checks detect an older SQLite file with a newer write-ahead log, and damage, before it is opened."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from portal.errors import StartupError, StoreUnavailable
from portal.stores.generation import GENERATION, Generation
from portal.stores.sqlite.checks import MAIN_FILE, check_before_opening, main_file_generation
from portal.stores.sqlite.store import SQLiteStore
from tests.contract.entries import new_login


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "portal.db"


@pytest.fixture
def store(io_loop: IOLoop, path: Path) -> Iterator[SQLiteStore]:
    opened = SQLiteStore(path)
    io_loop.run_sync(opened.open)
    yield opened
    io_loop.run_sync(opened.close)


async def use(store: SQLiteStore, number: int) -> None:
    """Write as a portal does between two checks of the database."""
    await store.put_meta(GENERATION, Generation("database", number).text())
    for _ in range(20):
        await store.put_login(new_login(tokens="t" * 2000))


def checkpoint(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


def back_up(path: Path, target: Path) -> None:
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)


def crash_copy(path: Path, folder: Path) -> Path:
    """Copy the file and its log in their current state, as after a power failure."""
    folder.mkdir()
    for each in (path, path.with_name("portal.db-wal")):
        shutil.copy(each, folder)
    return folder / path.name


def state_of(folder: Path) -> dict[str, str]:
    files = (path for path in folder.iterdir() if not path.name.endswith("-shm"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.gen_test
async def test_an_older_file_with_a_newer_log_is_refused_and_not_changed(
    store: SQLiteStore, path: Path, tmp_path: Path
) -> None:
    await use(store, 1)
    back_up(path, tmp_path / "old.db")
    await use(store, 2)
    checkpoint(path)
    await use(store, 3)
    await store.purge()
    crashed = crash_copy(path, tmp_path / "crashed")
    check_before_opening(crashed)
    shutil.copy(tmp_path / "old.db", crashed)
    before = state_of(crashed.parent)
    with pytest.raises(StartupError, match="older than its write-ahead log") as caught:
        await SQLiteStore(crashed).open()
    assert "portal.db-wal" in caught.value.remedy
    assert state_of(crashed.parent) == before
    crashed.with_name("portal.db-wal").unlink()
    check_before_opening(crashed)


@pytest.mark.gen_test
async def test_a_file_of_another_database_with_the_log_is_refused(
    store: SQLiteStore, path: Path, tmp_path: Path
) -> None:
    await use(store, 1)
    checkpoint(path)
    await store.purge()
    crashed = crash_copy(path, tmp_path / "crashed")
    with closing(sqlite3.connect(crashed)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(path.with_name("portal.db-wal"), tmp_path / "log")
    other = SQLiteStore(tmp_path / "other.db")
    await other.open()
    await other.put_meta(GENERATION, Generation("another", 9).text())
    await other.close()
    shutil.copy(tmp_path / "other.db", crashed)
    shutil.copy(tmp_path / "log", crashed.with_name("portal.db-wal"))
    with pytest.raises(StartupError):
        check_before_opening(crashed)


@pytest.mark.gen_test
async def test_a_file_newer_than_the_start_of_the_log_is_accepted(
    store: SQLiteStore, path: Path, tmp_path: Path
) -> None:
    """The log contains all later changes, so the result is the newest state."""
    await use(store, 1)
    checkpoint(path)
    await store.purge()
    await use(store, 2)
    back_up(path, tmp_path / "old.db")
    await use(store, 3)
    crashed = crash_copy(path, tmp_path / "crashed")
    shutil.copy(tmp_path / "old.db", crashed)
    check_before_opening(crashed)
    with closing(sqlite3.connect(crashed)) as database:
        assert database.execute("SELECT count(*) FROM logins").fetchone() == (60,)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.gen_test
async def test_the_recorded_generation_never_exceeds_that_of_the_file(store: SQLiteStore, path: Path) -> None:
    for number in range(1, 6):
        await use(store, number)
        if number % 2:
            checkpoint(path)
        await store.purge()
        recorded, actual = await store.get_meta(MAIN_FILE), main_file_generation(path)
        assert recorded == actual
        assert actual == Generation("database", number if number % 2 else number - 1).text()
        check_before_opening(path)


@pytest.mark.gen_test
async def test_the_checks_release_no_lock_of_this_process(store: SQLiteStore, path: Path) -> None:
    def locks() -> int:
        names = [f":{each.stat().st_ino} " for each in path.parent.glob("portal.db*")]
        return sum(
            any(name in line for name in names) for line in Path("/proc/locks").read_text().splitlines()
        )

    await use(store, 1)
    before = locks()
    assert before
    main_file_generation(path)
    check_before_opening(path)
    assert locks() == before


@pytest.mark.gen_test
async def test_damage_is_found_before_the_file_is_opened(path: Path, tmp_path: Path) -> None:
    store = SQLiteStore(path)
    await store.open()
    await use(store, 1)
    await store.close()
    content = bytearray(path.read_bytes())
    content[8192:20480] = b"\xff" * 12288
    path.write_bytes(content)
    with pytest.raises(StartupError, match="damaged"):
        await store.open()
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [None, b""])
def test_a_missing_or_empty_file_is_not_damaged(path: Path, content: bytes | None) -> None:
    if content is not None:
        path.write_bytes(content)
    check_before_opening(path)


@pytest.mark.parametrize("name", ["portal.db", "portal.db-wal", "portal.db-shm"])
@pytest.mark.gen_test
async def test_a_read_only_file_is_reported_and_no_file_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / "portal.db"
    store = SQLiteStore(path)
    await store.open()
    await store.close()
    if name != path.name:
        path.with_name(name).touch()
    path.with_name(name).chmod(0o400)
    monkeypatch.setattr(
        os, "access", lambda file, mode: bool(os.stat(file).st_mode & 0o200)
    )  # root may write any file
    with pytest.raises(StoreUnavailable, match=f"{name} cannot be written"):
        await SQLiteStore(path).open()
    assert {file.name for file in tmp_path.iterdir()} == {path.name, name}
