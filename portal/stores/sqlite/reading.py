"""Reads sessions and logins of a SQLite file: from memory, on the event loop, or in a thread.

* In memory, no commit of another process since, and not changed by this one: nothing is read.
* In memory, and read less than a minute ago: the row is read again on the event loop, which costs a fifth of
  what a thread costs. It cannot hold the loop: readers of a write-ahead log never wait for a lock, the pages
  are in the system's memory, and steps are bounded by bytes. If a step is slow nevertheless, the next seconds
  use the thread (`DatabaseFile.read_at_once`).
* Otherwise in a thread, all missing rows together: their pages may have to be read from the disk.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Generic

from portal.bounded_cache import memory_of_json
from portal.stores.model import Login, Session, login_id
from portal.stores.sqlite import statements as sql
from portal.stores.sqlite.file import DatabaseFile
from portal.stores.sqlite.memory import CHUNK_BYTES, Looked, Row, RowMemory
from portal.stores.sqlite.own_changes import Version
from portal.stores.stored_entries import DamagedEntry, Entry, EntryReader, entry_from, stored_names
from portal.time_slices import in_slices

_LOGIN_BYTES = 64_000_000
_SESSION_BYTES = 16_000_000
_TENANTS_BYTES = 8_000_000
_BYTES_PER_SESSION = 650
_BYTES_PER_LOGIN = 1_200
_BYTES_PER_TENANTS = 500
_BYTES_PER_TENANT = 70
"""Bytes in memory of a row and its entry, without texts of any length."""

_MOST_AT_ONCE = 2 * CHUNK_BYTES
"""Bytes of rows that a step on the event loop reads at most, before the row that exceeds them."""

_LOGIN_FIELDS = tuple(stored_names(Login))
CLAIMS, _TOKENS, _TENANT = (_LOGIN_FIELDS.index(name) for name in ("claims", "tokens", "tenant"))
_DEVICE = tuple(stored_names(Session)).index("device")


@dataclass(frozen=True, slots=True)
class _Table(Generic[Entry]):
    """`key` is the column of the primary key in the rows of `statement`."""

    memory: RowMemory[Entry]
    statement: str
    key: int

    def select(self, keys: Collection[str], database: sqlite3.Connection) -> dict[str, Row]:
        if not keys:
            return {}
        rows = database.execute(self.statement, (json.dumps(list(keys)),)).fetchall()
        return {row[self.key]: row for row in rows}

    def select_some(self, keys: Collection[str], database: sqlite3.Connection) -> tuple[dict[str, Row], bool]:
        """As `select`, but end when there are more bytes than expected; return also if all rows were read."""
        rows: dict[str, Row] = {}
        total = 0
        cursor = database.execute(self.statement, (json.dumps(list(keys)),))
        for row in cursor:
            rows[row[self.key]] = row
            total += self.memory.size(row)
            if total > _MOST_AT_ONCE:
                cursor.close()
                return rows, len(rows) == len(keys)
        return rows, True


class RowReader:
    """Reads sessions and logins, and keeps them in memory until the file changes."""

    def __init__(self, file: DatabaseFile, entries: EntryReader) -> None:
        self._file = file
        self._sessions: _Table[Session] = _Table(
            RowMemory(
                _reading(entries, session_of, Session),
                max_bytes=_SESSION_BYTES,
                size=lambda row: _BYTES_PER_SESSION + sys.getsizeof(row[_DEVICE]),
                owner=lambda row: "",
                changes=file.changes,
            ),
            sql.READ_SESSIONS,
            key=0,
        )
        self._logins: _Table[Login] = _Table(
            RowMemory(
                _reading(entries, login_of, Login),
                max_bytes=_LOGIN_BYTES,
                size=lambda row: _BYTES_PER_LOGIN + sys.getsizeof(row[_TOKENS]) + memory_of_json(row[CLAIMS]),
                owner=lambda row: str(row[_TENANT]),
                changes=file.changes,
            ),
            sql.READ_LOGINS,
            key=-1,
        )
        self._tenants: _Table[tuple[str, ...]] = _Table(
            RowMemory(
                lambda row: tuple(json.loads(row[1])),
                max_bytes=_TENANTS_BYTES,
                size=lambda row: _BYTES_PER_TENANTS + 2 * len(row[1]) + _BYTES_PER_TENANT * row[1].count(","),
                owner=lambda row: "",
                changes=file.changes,
            ),
            sql.READ_TENANTS,
            key=0,
        )

    async def read(
        self, session_ids: Collection[str], login_ids: Collection[str]
    ) -> tuple[dict[str, Session], dict[str, Login]]:
        """Return those of the requested sessions and logins that exist, by id; also expired ones.

        They are not older than this call. Raises StoreUnavailable.
        """
        version = self._file.version()
        sessions = self._sessions.memory.find(session_ids, version)
        logins = self._logins.memory.find(login_ids, version)
        if sessions.recent:
            await self._read_again(self._sessions, sessions, version)
        if logins.recent:
            await self._read_again(self._logins, logins, version)
        if sessions.unknown or logins.unknown:
            session_rows, login_rows = await self._file.read(
                lambda database: (
                    self._sessions.select(sessions.unknown, database),
                    self._logins.select(logins.unknown, database),
                )
            )
            await _keep(self._sessions, sessions, session_rows, version)
            await _keep(self._logins, logins, login_rows, version)
        return sessions.found, logins.found

    async def list_logins(self, session_id: str) -> list[Login]:
        """The logins of a session, ordered by tenant; also expired ones. Raises StoreUnavailable."""
        version = self._file.version()
        looked = self._tenants.memory.find([session_id], version)
        if looked.recent:
            await self._read_again(self._tenants, looked, version)
        if looked.unknown:
            rows = await self._file.read(partial(self._tenants.select, looked.unknown))
            await _keep(self._tenants, looked, rows, version)
        tenants = sorted(looked.found.get(session_id, ()))
        keys = [login_id(session_id, tenant) for tenant in tenants]
        _, logins = await self.read((), keys)
        return [login for key in keys if (login := logins.get(key)) is not None]

    def forget(self) -> None:
        """Remove all rows from memory; call it when the file is opened."""
        self._sessions.memory.clear()
        self._tenants.memory.clear()
        self._logins.memory.clear()

    async def _read_again(self, table: _Table[Entry], looked: Looked[Entry], version: Version | None) -> None:
        """Read the recent keys on the event loop, one chunk at a time; what is not available is unknown."""
        chunks = iter(table.memory.chunks(looked))
        for number, chunk in enumerate(chunks):
            if number:
                await asyncio.sleep(0)
            read = self._file.read_at_once(partial(table.select_some, chunk))
            rows, complete = read or ({}, False)
            for key in chunk:
                if not complete and key not in rows:
                    looked.unknown.append(key)
                elif (entry := table.memory.keep(key, rows.get(key), version)) is not None:
                    looked.found[key] = entry
            if not complete:
                looked.unknown.extend(chain(*chunks))
                return


async def _keep(
    table: _Table[Entry], looked: Looked[Entry], rows: dict[str, Row], version: Version | None
) -> None:
    """Keep the rows of the unknown keys, and add their entries to those that were found."""
    async for key in in_slices(looked.unknown):
        entry = table.memory.keep(key, rows.get(key), version)
        if entry is not None:
            looked.found[key] = entry


def session_of(row: Row) -> Session:
    """A session from a row. Raises DamagedEntry."""
    return entry_from(Session, row)


def login_of(row: Row) -> Login:
    """A login from a row whose last column is the primary key, which must match. Raises DamagedEntry."""
    login = entry_from(Login, row[:-1])
    if login.id != row[-1]:
        raise DamagedEntry("id")
    return login


def _reading(
    entries: EntryReader, convert: Callable[[Row], Entry], kind: type[Entry]
) -> Callable[[Row], Entry | None]:
    return lambda row: entries.read(convert, row, kind=kind)
