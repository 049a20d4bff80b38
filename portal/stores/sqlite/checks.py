"""Checks of a SQLite file before it is opened for writing, while it can still be put right.

The write-ahead log `portal.db-wal` holds changes to one state of `portal.db`. Beside an older copy of the
file it is applied all the same: the two mix, often without an error, and closing the file makes that final.
So a portal keeps in the database which generation (see `generation`) the file has without its log. A file
that is behind what its own log says of it is an older copy.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from portal.errors import StartupError, StoreUnavailable
from portal.stores.generation import GENERATION, Generation

MAIN_FILE = "main_file"
"""Under which name the database keeps the generation of the file without its log."""

_CHECK_SECONDS = 1.0
"""How long a start looks for damage; a large file is then looked at in part."""


def check_before_opening(path: Path) -> None:
    """Look at a file and its log without changing either.

    Raises StartupError when they do not belong together, or the file is damaged; StoreUnavailable when one of
    its files cannot be written.
    """
    if not path.exists() or path.stat().st_size == 0:
        return
    log = log_of(path)
    _require_writable(path, log, path.with_name(f"{path.name}-shm"))
    has_log = log.exists() and log.stat().st_size > 0
    try:
        with _opened(path, "mode=ro") as database:
            recorded = _meta(database, MAIN_FILE)  # first this: the file itself never goes back
            if has_log and recorded is not None and _is_behind(main_file_generation(path), recorded):
                raise _not_of_this_log(path, log)
            found = _first_damage(database)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_CORRUPT:
            return  # busy, not to be read, or no database: opening it says so
        raise _damaged(path, log if has_log else None) from None
    if found is not None:
        raise _damaged(path, log if has_log else None)


def _require_writable(*files: Path) -> None:
    """SQLite gives its -shm the mode of the file: after one start that may not write, it would stay so."""
    for file in files:
        if file.exists() and not os.access(file, os.W_OK):
            raise StoreUnavailable(f"{file} cannot be written")


def main_file_generation(path: Path) -> str | None:
    """The generation that a file has without its write-ahead log; None when it cannot be told."""
    try:
        with _opened(path, "immutable=1") as database:
            return _meta(database, GENERATION)
    except sqlite3.Error:
        return None


def log_of(path: Path) -> Path:
    """Name of the write-ahead log of a file."""
    return path.with_name(f"{path.name}-wal")


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


def _first_damage(database: sqlite3.Connection) -> str | None:
    """What SQLite finds wrong within the time of a start."""
    give_up = time.monotonic() + _CHECK_SECONDS
    database.set_progress_handler(lambda: time.monotonic() > give_up, 10_000)
    try:
        found = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return None
    return None if found == "ok" else found


_WITH_LOG = (
    "Stop every portal. To use the file as it is, remove {log} and its -shm, then run `portal store "
    "restored`. To go on with the newer state, bring back the file that the log belongs to."
)


def _not_of_this_log(path: Path, log: Path) -> StartupError:
    return StartupError(
        f"The database {path} is older than its write-ahead log {log}: an older copy was put in its place.",
        remedy=_WITH_LOG.format(log=log),
    )


def _damaged(path: Path, log: Path | None) -> StartupError:
    remedy = (
        "Bring it back from a backup, then run `portal store restored`. Or move it away: users then sign in "
        "again."
    )
    if log is not None:
        remedy += f" If an older copy was put in its place, remove {log} and its -shm as well."
    return StartupError(f"The database {path} is damaged.", remedy=remedy)
