"""Checks a SQLite file before it is opened for writing, while damage can still be avoided.

The write-ahead log `portal.db-wal` contains changes to one state of `portal.db`. If the file is replaced by
an older copy, SQLite applies the log nevertheless: the two are mixed, often without an error, and closing the
file makes that permanent. So a portal records in the database the generation (see `generation`) of the file
without its log. A file whose generation is lower than the recorded one in its log is an older copy.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from portal.errors import StartupError, StoreUnavailable
from portal.stores.generation import GENERATION, Generation

MAIN_FILE = "main_file"
"""The id of the database's metadata entry with the generation of the file without its log."""

MOST_CHECKED = 16 * 1024 * 1024
"""Bytes of a file that the start searches for damage, which takes 0.1 s.

Damage to a larger file is found when it is read: `/readyz` and `damaged_entry` in the log report it.
"""


def check_before_opening(path: Path) -> None:
    """Check a file and its log without changing them.

    Raises StartupError when they do not belong together or the file is damaged; StoreUnavailable when one of
    its files is not writable.
    """
    if not path.exists() or path.stat().st_size == 0:
        return
    log = log_of(path)
    _require_writable(path, log, path.with_name(f"{path.name}-shm"))
    has_log = log.exists() and log.stat().st_size > 0
    try:
        with _opened(path, "mode=ro") as database:
            recorded = _meta(database, MAIN_FILE)  # read it first: the file's generation only grows
            if has_log and recorded is not None and _is_behind(main_file_generation(path), recorded):
                raise _not_of_this_log(path, log)
            small = path.stat().st_size <= MOST_CHECKED
            found = small and database.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok"
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_CORRUPT:
            return  # busy, not readable, or no database: opening the file reports it
        raise _damaged(path, log if has_log else None) from None
    if found:
        raise _damaged(path, log if has_log else None)


def _require_writable(*files: Path) -> None:
    """Refuse read-only files now: SQLite would create a -shm with the same mode, which would remain."""
    for file in files:
        if file.exists() and not os.access(file, os.W_OK):
            raise StoreUnavailable(f"{file} cannot be written")


def main_file_generation(path: Path) -> str | None:
    """The generation of a file without its write-ahead log; None when it cannot be read."""
    try:
        with _opened(path, "immutable=1") as database:
            return _meta(database, GENERATION)
    except sqlite3.Error:
        return None


def log_of(path: Path) -> Path:
    """The path of a file's write-ahead log."""
    return path.with_name(f"{path.name}-wal")


def opened_untouched(path: Path) -> sqlite3.Connection:
    """Open a file for reading, and create no file beside it. Raises sqlite3.Error.

    SQLite makes a log and a -shm for every reader, with the mode of the file. Without a log nobody has the
    file open, so it can be read as one that does not change.
    """
    parameters = "mode=ro" if log_of(path).exists() else "immutable=1"
    uri = f"file:{quote(str(path.resolve()))}?{parameters}"
    return sqlite3.connect(uri, uri=True, timeout=5.0, check_same_thread=False)


@contextlib.contextmanager
def _opened(path: Path, parameters: str) -> Iterator[sqlite3.Connection]:
    uri = f"file:{quote(str(path.resolve()))}?{parameters}"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=1.0, isolation_level=None)) as database:
        yield database


def _meta(database: sqlite3.Connection, name: str) -> str | None:
    tables = database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchall()
    rows = database.execute("SELECT value FROM meta WHERE id = ?", (name,)).fetchall() if tables else []
    return str(rows[0][0]) if rows else None


def _is_behind(text: str | None, recorded: str) -> bool:
    least = Generation.parse(recorded)
    found = Generation.parse(text) if text is not None else Generation(least.database, 0)
    return found.database != least.database or found.number < least.number


_WITH_LOG = (
    "Stop every portal. To use the older copy, remove {log} and its -shm, then run `portal store restored`. "
    "To continue with the newer state, restore the file that the log belongs to."
)


def _not_of_this_log(path: Path, log: Path) -> StartupError:
    return StartupError(
        f"The database {path} is older than its write-ahead log {log}: it was replaced by an older copy.",
        remedy=_WITH_LOG.format(log=log),
    )


def _damaged(path: Path, log: Path | None) -> StartupError:
    remedy = (
        "Restore it from a backup, then run `portal store restored`. Or move it away: users then sign in "
        "again."
    )
    if log is not None:
        remedy += f" If it was replaced by an older copy, remove {log} and its -shm as well."
    return StartupError(f"The database {path} is damaged.", remedy=remedy)
