"""The state of a SQLite file, read without changing it. See `portal.stores.examination`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from itertools import chain
from pathlib import Path

from portal.errors import StartupError, StoreUnavailable
from portal.stores.examination import DatabaseFacts
from portal.stores.format import require_usable
from portal.stores.sqlite.checks import MOST_CHECKED, check_before_opening, log_of, opened_untouched
from portal.stores.sqlite.file import OLDEST_SQLITE
from portal.stores.sqlite.statements import SCHEMAS

_INDEXES = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'index') AND sql IS NOT NULL"


class SQLiteExamination:
    """The state of a file, which may be in use. Parameters: key_ring, the id of that record."""

    def __init__(self, path: Path, *, key_ring: str) -> None:
        self._path = path
        self._key_ring = key_ring

    async def facts(self) -> DatabaseFacts:
        return await asyncio.to_thread(self._facts)

    def _facts(self) -> DatabaseFacts:
        server, supported = f"SQLite {sqlite3.sqlite_version}", sqlite3.sqlite_version_info >= OLDEST_SQLITE
        if self._path.exists() and not self._path.is_file():
            raise StartupError(
                f"The database {self._path} is not a regular file.",
                remedy="Remove it, or correct `database`.",
            )
        if not self._path.exists() or self._path.stat().st_size == 0:
            return DatabaseFacts(server, supported, None, len(SCHEMAS))
        if log_of(self._path).exists():
            check_before_opening(self._path)
        elif not os.access(self._path, os.W_OK):
            raise StoreUnavailable(f"{self._path} cannot be written")
        try:
            with contextlib.closing(opened_untouched(self._path)) as database:
                found = int(database.execute("PRAGMA user_version").fetchone()[0])
                require_usable(f"The database {self._path}", found, len(SCHEMAS), older=True)
                present = {str(row[0]) for row in database.execute(_INDEXES)}
                query = "SELECT value FROM meta WHERE id = ?"
                rows = database.execute(query, (self._key_ring,)).fetchall() if "meta" in present else []
                small = self._path.stat().st_size <= MOST_CHECKED
                damaged = small and database.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok"
        except sqlite3.Error as error:
            check_before_opening(self._path)  # says more
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            raise StartupError(
                f"The database {self._path} cannot be read: {name}.",
                remedy="Check the file and its permissions, or restore it from a backup.",
            ) from None
        if damaged:
            check_before_opening(self._path)
        return DatabaseFacts(
            server,
            supported,
            found,
            len(SCHEMAS),
            missing_indexes=tuple(sorted(_expected(found) - present)),
            key_ring=str(rows[0][0]) if rows else None,
        )


def _expected(version: int) -> set[str]:
    """The tables and indexes of a file of this version; of a later one, those of the latest known."""
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        for statement in chain.from_iterable(SCHEMAS[:version]):
            database.execute(statement)
        return {str(row[0]) for row in database.execute(_INDEXES)}
