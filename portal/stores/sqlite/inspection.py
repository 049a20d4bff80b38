"""All entries of a SQLite file, read without changing it. See `portal.stores.inspection`."""

# ruff: noqa: S608 - statements contain names of tables and of the records' fields, never values

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from portal.errors import ConfigurationError, Problem, StartupError, StoreUnavailable
from portal.stores.format import require_usable
from portal.stores.inspection import Inspected, inspected
from portal.stores.model import Login, LoginAttempt, LogoutStep, Session
from portal.stores.sqlite.checks import opened_untouched
from portal.stores.sqlite.reading import login_of, session_of
from portal.stores.sqlite.rows import Row, attempt_of, logout_of
from portal.stores.sqlite.statements import SCHEMAS
from portal.stores.stored_entries import entry_from, stored_names
from portal.stores.tenant_records import DomainClaim, Draft, Event, Revision, SetupLink, TenantRecord

_PAGE = 500


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    kind: str
    columns: tuple[str, ...]
    convert: Callable[[Row], Any]
    key: Callable[[Row], object] = lambda row: row[0]


def _of(
    name: str, model: type, convert: Callable[[Row], Any] | None = None, *more: str, key: Any = None
) -> _Table:
    columns = (*stored_names(model).values(), *more)
    return _Table(name, model.__name__, columns, convert or partial(entry_from, model), key or _first)


def _first(row: Row) -> object:
    return row[0]


def _used(row: Row) -> None:
    if not isinstance(row[0], str) or not isinstance(row[1], float):
        raise TypeError


def _value(row: Row) -> str:
    if not isinstance(row[1], str):
        raise TypeError
    return row[1]


_TABLES = (
    _of("tenants", TenantRecord),
    _of("revisions", Revision, key=lambda row: f"{row[0]}:{row[1]}"),
    _of("drafts", Draft),
    _of("domains", DomainClaim),
    _of("setup_links", SetupLink),
    _of("sessions", Session, session_of),
    _of("logins", Login, login_of, "id", key=lambda row: row[-1]),
    _of("attempts", LoginAttempt, attempt_of),
    _of("logouts", LogoutStep, logout_of),
    _Table("once", "used identifier", ("id", "expires_at"), _used),
    _Table("meta", "metadata", ("id", "value"), _value),
    _of("events", Event),
)


class SQLiteInspection:
    """The entries of a file. It may be in use; one of an earlier format is read as it is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None
        self._tables: list[_Table] = []

    async def open(self) -> None:
        await asyncio.to_thread(self._open)

    def _open(self) -> None:
        if not self._path.is_file():
            raise ConfigurationError([Problem(str(self._path), "there is no database file")])
        try:
            database = opened_untouched(self._path)
            self._database = database
            database.text_factory = lambda stored: str(stored, "utf-8", "replace")
            found = int(database.execute("PRAGMA user_version").fetchone()[0])
            require_usable(f"The database {self._path}", found, len(SCHEMAS), older=True)
            names = {row[0] for row in database.execute("SELECT name FROM sqlite_schema")}
        except sqlite3.Error as error:
            raise StartupError(
                f"The database {self._path} cannot be read: {_name(error)}.",
                remedy="Check the file and its permissions, or restore it from a backup.",
            ) from None
        self._tables = [table for table in _TABLES if table.name in names]

    async def close(self) -> None:
        if self._database is not None:
            self._database.close()

    async def total(self) -> int:
        return sum([await asyncio.to_thread(self._count, table) for table in self._tables])

    def _count(self, table: _Table) -> int:
        try:
            return int(self._opened.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0])
        except sqlite3.Error:
            return 0  # reading the table reports it

    async def pages(self) -> AsyncIterator[list[Inspected]]:
        for table in self._tables:
            after: int | None = -(2**63)
            while after is not None:
                page, after = await asyncio.to_thread(self._page, table, after)
                yield page

    def _page(self, table: _Table, after: int) -> tuple[list[Inspected], int | None]:
        """The entries after a rowid, and the last rowid; None at the end."""
        columns = ", ".join(table.columns)
        statement = f"SELECT {columns}, rowid FROM {table.name} WHERE rowid > ? ORDER BY rowid LIMIT ?"
        try:
            rows = self._opened.execute(statement, (after, _PAGE)).fetchall()
        except sqlite3.DatabaseError as error:
            problem = f"cannot be read after row {after}: {_name(error)}" if after > 0 else _name(error)
            return [Inspected("table", table.name, None, problem)], None
        page = [inspected(table.kind, table.key(row[:-1]), table.convert, row[:-1]) for row in rows]
        return page, rows[-1][-1] if len(rows) == _PAGE else None

    @property
    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            raise StoreUnavailable("the database is closed")
        return self._database


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", type(error).__name__)
