"""One SQLite file, shared by several processes: connections, transactions and their failures.

Reads and writes have separate connections, so that a read never waits for a write of the same process. An
operation is a function that runs entirely on the connection's own thread: it needs one switch of threads, and
a cancelled request never leaves a transaction open. Writes that wait at the same time share a transaction.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiosqlite
import structlog

from portal.errors import StartupError, StoreUnavailable
from portal.stores.format import require_usable
from portal.stores.observer import StoreObserver, Unobserved
from portal.stores.sqlite.group_commit import GroupCommit, Operation, Work, wait_for_lock
from portal.stores.sqlite.own_changes import OwnChanges, Version, VersionWatch

T = TypeVar("T")

_log = structlog.get_logger("portal.store")

_MOST_WAITING = 1000
"""Operations that may wait for one connection."""
_GRACE = 0.5
"""Seconds, in addition to `busy`, for an operation that has begun: to read, or to write to the disk."""
SLOW_SECONDS = 0.005
_THREAD_SECONDS = 10.0
_OPENING_SECONDS = 4.0
"""How long the start waits for another process that is creating the file."""
OLDEST_SQLITE = (3, 35, 0)  # the first with RETURNING
_IN_WORDS = {
    "SQLITE_BUSY": "another process holds the lock",
    "SQLITE_CANTOPEN": "the file cannot be opened",
    "SQLITE_CORRUPT": "the file is damaged",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_NOTADB": "the file is not a database",
    "SQLITE_READONLY": "the file cannot be written",
}


class _Connection(aiosqlite.Connection):
    """An aiosqlite connection that runs a whole function on its thread."""

    waiting = 0
    """Number of operations that wait or run."""

    @classmethod
    async def make(cls, connector: Callable[[], sqlite3.Connection]) -> _Connection:
        connection = cls(connector, iter_chunk_size=64)
        thread = connection._thread
        thread.daemon = True  # a process that exits without closing must not wait for it
        try:
            return await connection  # type: ignore[return-value]
        except BaseException:
            await asyncio.to_thread(thread.join)  # it is stopping, and still reports to this event loop
            raise

    @property
    def opened(self) -> sqlite3.Connection:
        """SQLite's connection."""
        return self._conn

    async def run(self, work: Work[T], *, seconds: float) -> T:
        """Run a function, and wait this long for it. Raises TimeoutError."""
        self.waiting += 1
        try:
            async with asyncio.timeout(seconds):
                result: T = await self._execute(work, self._conn)  # type: ignore[no-untyped-call]
        finally:
            self.waiting -= 1
        return result


@dataclass(frozen=True, slots=True)
class _Pair:
    reader: _Connection
    writer: _Connection
    writes: GroupCommit
    watcher: sqlite3.Connection
    """It never waits, and reads only what is in memory, so it is used on the event loop's thread."""
    versions: VersionWatch
    file: tuple[int, int]
    """Device and inode of the open file."""


class DatabaseFile:
    """A SQLite file with a schema.

    `schemas` are the statements that migrate a file from each version to the next, beginning with an empty
    file; `PRAGMA user_version` of a file is the number of applied schemas, its format. A file of the next
    format is used as it is: see `portal.stores.format`.
    `busy` is how many seconds an operation may wait in total: for earlier operations, and for the lock of
    another process. One limit covers both, so that in a queue on a locked file the waiting times do not add
    up.

    When the file is removed or replaced while it is open, operations fail; the new file is not opened, since
    SQLite would apply the old write-ahead log to it.
    """

    def __init__(
        self,
        path: Path,
        *,
        schemas: Sequence[Sequence[str]],
        busy: float = 1.5,
        observer: StoreObserver | None = None,
    ) -> None:
        self._observer = observer or Unobserved()
        self._path = path
        self._schemas = schemas
        self._busy = busy
        self.changes = OwnChanges()
        self._pair: _Pair | None = None
        self._in_thread_until = 0.0
        self.empties_log = False
        """Whether the write-ahead log is emptied when this is closed: it has what was deleted or replaced."""

    async def open(self) -> None:
        """Open the file; create it (mode 0600) and its folder when missing. Opening twice is allowed.

        Raises StoreUnavailable, or StartupError when the file is of a newer portal or this Python's SQLite is
        too old.
        """
        if self._pair is not None:
            return
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise StartupError(
                f"This Python comes with SQLite {sqlite3.sqlite_version}, which is too old.",
                remedy="Use a Python with SQLite 3.35 or newer, or a MongoDB database.",
            )
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make_private(self._path)
            self._pair = await self._connect()
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise StoreUnavailable(_describe(error)) from error
        except OSError as error:
            raise StoreUnavailable(f"the database file cannot be created: {error.strerror}") from error

    async def close(self) -> None:
        """Finish operations in progress and close; closing twice is allowed."""
        pair, self._pair = self._pair, None
        if pair is None:
            return
        try:
            if self.empties_log:
                await self._empty_log(pair)
        finally:
            await _close(pair)

    async def _empty_log(self, pair: _Pair) -> None:
        """Copy the write-ahead log into the file and cut it to nothing, unless others use it all the time."""

        def work(database: sqlite3.Connection) -> bool:
            wait_for_lock(time.monotonic() + self._busy, database)
            busy, *_ = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy

        try:
            emptied = await self._run(pair.writer, work)
        except StoreUnavailable:
            emptied = False
        if not emptied:
            _log.warning("database_log_not_emptied", path=str(self._path))

    def version(self) -> Version | None:
        """The version of the file, which a commit of another process changes; None when it is not available.

        Does not wait: None while SQLite is recovering the file, for example. Raises StoreUnavailable.
        """
        pair = self._pair
        if pair is None:
            raise StoreUnavailable("the database is closed")
        if _identity(self._path) != pair.file:
            return None
        try:
            return pair.versions.version()
        except sqlite3.Error:
            return None

    def read_at_once(self, work: Work[T]) -> T | None:
        """Run a short function that only reads, on the thread of the event loop; None: use `read`.

        For rows whose pages are in the system's memory: after a step that takes longer than SLOW_SECONDS
        (pages were read from a slow disk), it returns None for _THREAD_SECONDS. None also for rows with
        damaged text. Never waits for a lock.
        """
        pair = self._pair
        begun = time.monotonic()
        if pair is None or begun < self._in_thread_until:
            return None
        try:
            return work(pair.watcher)
        except (sqlite3.Error, sqlite3.Warning):
            return None
        finally:
            ended = time.monotonic()
            if ended - begun > SLOW_SECONDS:
                self._in_thread_until = ended + _THREAD_SECONDS

    async def read(self, work: Work[T]) -> T:
        """Run a function that only reads. Raises StoreUnavailable."""
        pair = self._opened_pair()
        self._require_room(pair.reader)
        begin_by = time.monotonic() + self._busy

        def checked(database: sqlite3.Connection) -> T:
            self._check(pair.file)
            wait_for_lock(begin_by, database)
            return work(database)

        return await self._run(pair.reader, checked)

    async def write(self, work: Work[T], *, synced: bool = True) -> T:
        """Run a function in a transaction that holds the write lock; return when it is committed.

        The function has no effect outside the database: it is called again after the failure of a transaction
        that it shares with others. When this is cancelled or times out, it may be committed nevertheless.
        Parameters: synced, whether it must also survive a power failure; otherwise only the end of processes.
        Raises StoreUnavailable; what `work` raises.
        """
        pair = self._opened_pair()
        self._require_room(pair.writer)
        operation = Operation(work, begin_by=time.monotonic() + self._busy, synced=synced)

        def perform(database: sqlite3.Connection) -> T:
            pair.writes.perform(operation, database)
            return operation.outcome()

        pair.writes.add(operation)
        return await self._run(pair.writer, perform)

    def _opened_pair(self) -> _Pair:
        if self._pair is None:
            raise StoreUnavailable("the database is closed")
        return self._pair

    def _require_room(self, connection: _Connection) -> None:
        if connection.waiting >= _MOST_WAITING:
            self._observer.operation_refused()
            raise StoreUnavailable("too many operations wait for the database file")

    async def _run(self, connection: _Connection, work: Work[T]) -> T:
        try:
            return await connection.run(work, seconds=self._busy + _GRACE)
        except TimeoutError:
            raise StoreUnavailable("the database file is busy") from None
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise StoreUnavailable(_describe(error)) from error

    def _check(self, file: tuple[int, int]) -> None:
        if _identity(self._path) != file:
            raise StoreUnavailable(
                "the database file was removed or replaced while open; put it back or restart the portal"
            )

    async def _connect(self) -> _Pair:
        writer = await _Connection.make(self._open_writer)
        try:
            reader = await _Connection.make(self._open_reader)
            watcher = await asyncio.to_thread(self._open_watcher)
        except BaseException:
            await writer.close()
            raise
        file = _identity(self._path)
        writes = GroupCommit(partial(self._check, file), self.changes)
        return _Pair(
            reader, writer, writes, watcher, VersionWatch(watcher, writer.opened, self.changes), file
        )

    def _open_watcher(self) -> sqlite3.Connection:
        watcher = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        watcher.execute("PRAGMA query_only = ON")
        return watcher

    def _open_reader(self) -> sqlite3.Connection:
        return self._opened(lambda database: database.execute("PRAGMA query_only = ON"))

    def _open_writer(self) -> sqlite3.Connection:
        return self._opened(self._prepare)

    def _opened(self, prepare: Callable[[sqlite3.Connection], object]) -> sqlite3.Connection:
        database = sqlite3.connect(
            self._path, timeout=_OPENING_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            database.text_factory = _text  # damaged text must fail one entry, not its batch
            database.execute("PRAGMA synchronous = FULL")
            known = len(self._schemas)
            require_usable(f"The database {self._path}", _user_version(database), known, older=True)
            prepare(database)
        except BaseException:
            database.close()
            raise
        return database

    def _prepare(self, database: sqlite3.Connection) -> None:
        database.execute("PRAGMA secure_delete = ON")  # not the default of every build
        _retry_while_locked(lambda: _use_write_ahead_log(database), _OPENING_SECONDS)
        if _user_version(database) < len(self._schemas):
            _transaction(self._migrate, database)
        self.changes.record_in(database)

    def _migrate(self, database: sqlite3.Connection) -> None:
        found, known = _user_version(database), len(self._schemas)
        for statements in self._schemas[found:]:
            for statement in statements:
                database.execute(statement)
        if found < known:  # another process may have migrated it meanwhile
            database.execute(f"PRAGMA user_version = {known:d}")


def _text(stored: bytes) -> str:
    return str(stored, "utf-8", "replace")


def _transaction(work: Work[T], database: sqlite3.Connection) -> T:
    database.rollback()
    database.execute("BEGIN IMMEDIATE")
    try:
        result = work(database)
        database.execute("COMMIT")
    except BaseException:
        database.rollback()
        raise
    return result


def _use_write_ahead_log(database: sqlite3.Connection) -> None:
    if database.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        database.execute("PRAGMA journal_mode = WAL")


def _retry_while_locked(step: Callable[[], None], seconds: float) -> None:
    """Repeat a step while another process has the lock: a change of the journal mode does not wait itself."""
    give_up = time.monotonic() + seconds
    while True:
        try:
            return step()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
        time.sleep(0.01)


def _user_version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def _make_private(path: Path) -> None:
    """Create the file with mode 0600. Never open an existing one: closing it would release SQLite's locks."""
    if not path.exists():
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            return


def _identity(path: Path) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)
    return status.st_dev, status.st_ino


async def _close(pair: _Pair) -> None:
    try:
        pair.watcher.close()
        await pair.reader.close()
    finally:
        await pair.writer.close()


def _describe(error: Exception) -> str:
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    return f"{_IN_WORDS[name]} ({name})" if name in _IN_WORDS else name
