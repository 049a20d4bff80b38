"""Copies a SQLite database while portals use it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from portal.errors import ConfigurationError, Problem, StartupError
from portal.stores.generation import GENERATION, Generation

_PAGES_AT_ONCE = 4096

Progress = Callable[[int, int], None]


def copy_database(source: Path, target: Path, *, progress: Progress) -> None:
    """Copy `source` to `target` (mode 0600), which appears only when it is complete and checked.

    The copy is a consistent snapshot; writers do not wait. It is marked, so that a portal serves it only
    after `portal store restored`. `progress` is called with the number of pages and of copied pages.

    Raises ConfigurationError when `target` exists or `source` is missing; StartupError when the system or
    the database prevents the copy. After an error no file is left.
    """
    if not source.is_file():
        raise ConfigurationError([Problem(str(source), "there is no database file")])
    if target.exists() or target.is_symlink():
        raise _exists(target)
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        os.close(descriptor)
        try:
            _copy(source, Path(name), progress)
            _publish(Path(name), target)
        finally:
            Path(name).unlink(missing_ok=True)
    except FileExistsError:
        raise _exists(target) from None
    except OSError as error:
        raise _failed(target, error.strerror or type(error).__name__) from None
    except sqlite3.Error as error:
        raise _failed(target, getattr(error, "sqlite_errorname", type(error).__name__)) from None


def _copy(source: Path, temporary: Path, progress: Progress) -> None:
    with (
        contextlib.closing(sqlite3.connect(source, timeout=10.0, isolation_level=None)) as origin,
        contextlib.closing(sqlite3.connect(temporary, isolation_level=None)) as copy,
    ):
        origin.execute("PRAGMA query_only = ON")
        origin.execute("BEGIN")
        origin.execute("SELECT 1 FROM sqlite_schema").fetchall()  # begins the snapshot
        origin.backup(copy, pages=_PAGES_AT_ONCE, progress=lambda _, left, all_: progress(all_, all_ - left))
        copy.execute("PRAGMA journal_mode = DELETE")  # a single file
        copy.execute("PRAGMA synchronous = FULL")
        _mark(copy)
        found = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError("the copy is damaged")


def _mark(copy: sqlite3.Connection) -> None:
    """Mark the file as a copy, unless it is from an old portal that stored no generation."""
    if not copy.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchall():
        return
    row = copy.execute("SELECT value FROM meta WHERE id = ?", (GENERATION,)).fetchone()
    if row is not None:
        marked = replace(Generation.parse(row[0]), copy=True).text()
        copy.execute("UPDATE meta SET value = ? WHERE id = ?", (marked, GENERATION))


def _publish(temporary: Path, target: Path) -> None:
    """Give the finished copy its name, durably. Raises FileExistsError when a file of that name exists."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.link(temporary, target)
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _exists(target: Path) -> ConfigurationError:
    return ConfigurationError([Problem(str(target), "exists already; nothing was written")])


def _failed(target: Path, reason: str) -> StartupError:
    return StartupError(
        f"The database cannot be copied to {target}: {reason}.",
        remedy="Choose another file, on a file system with enough space and support for hard links.",
    )
