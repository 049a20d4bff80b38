"""The logins at a tenant, in a SQLite file."""

# ruff: noqa: S608 - statements contain names of the models' fields, never values

from __future__ import annotations

import json
import sqlite3
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial

from portal.clock import Clock
from portal.stores.full_pages import full_page
from portal.stores.model import Login, Session
from portal.stores.record_checks import require_numbers, require_short, require_times, require_valid
from portal.stores.sqlite.events import values_of
from portal.stores.sqlite.file import DatabaseFile
from portal.stores.sqlite.reading import login_of, session_of
from portal.stores.sqlite.rows import Row
from portal.stores.sqlite.statements import columns_of
from portal.stores.sqlite.tenant_statements import ADD_EVENT
from portal.stores.stored_entries import Entry, EntryReader, entry_from, stored_names
from portal.stores.tenant_logins import (
    ExpiredLogin,
    FoundLogins,
    LiveCounts,
    Position,
    Report,
    TenantLogin,
    UserKey,
    by_user,
    require_found,
    require_position,
    require_registrations,
    require_users,
)
from portal.stores.tenant_records import Event

_DELETED_AT_ONCE = 200
"""Logins that a transaction deletes: no other write, of any process, can run meanwhile."""
_FIRST = Position(1e300, "")
_LOGIN_COLUMNS = len(stored_names(Login)) + 1
_SIGNED_IN_AT = [*stored_names(Login)].index("signed_in_at")
_LIST = f"""SELECT {columns_of(Login, "l.")}, l.id, {columns_of(Session, "s.")}
    FROM logins AS l JOIN sessions AS s ON s.id = l.session
    WHERE l.tenant = :tenant AND (l.signed_in_at, l.id) < (:at, :id) AND l.expires_at > :now
      AND (:registrations IS NULL OR l.registration IN (SELECT value FROM json_each(:registrations)))
      AND min(s.idle_expires_at, s.absolute_expires_at) > :now
    ORDER BY l.signed_in_at DESC, l.id DESC LIMIT :most"""
_OF_USER = f"""SELECT {columns_of(Login, "l.")}, l.id, {columns_of(Session, "s.")}
    FROM logins AS l JOIN sessions AS s ON s.id = l.session
    WHERE l.issuer = :issuer AND l.subject = :subject AND +l.tenant = :tenant
      AND l.registration = :registration AND l.expires_at > :now
      AND min(s.idle_expires_at, s.absolute_expires_at) > :now
    ORDER BY l.signed_in_at DESC, l.id DESC LIMIT :most"""
"""The sign keeps SQLite from reading all logins of the tenant in place of those of the user."""
_STORED = f"""SELECT {columns_of(Login)}, id FROM logins
    WHERE tenant = :tenant AND (signed_in_at, id) < (:at, :id)
    ORDER BY signed_in_at DESC, id DESC LIMIT :most"""
_AFTER = "id > :after ORDER BY id LIMIT :among"
_SEARCHED = {
    "session": f"SELECT * FROM logins INDEXED BY logins_session WHERE session = :session AND {_AFTER}",
    "user": f"""SELECT * FROM logins INDEXED BY logins_subject
        WHERE issuer = :issuer AND subject = :subject AND {_AFTER}""",
    "subject": f"""SELECT * FROM logins INDEXED BY logins_subject WHERE subject = :subject AND issuer IN (
        WITH RECURSIVE issuers (name) AS (
            SELECT min(issuer) FROM logins
            UNION ALL SELECT (SELECT min(issuer) FROM logins WHERE issuer > name) FROM issuers
            WHERE name IS NOT NULL)
        SELECT name FROM issuers) AND {_AFTER}""",
    "": f"SELECT * FROM logins WHERE {_AFTER}",
}
"""The logins that a search reads. That of a subject finds the issuers in the index, one step for each."""
FIND = {
    by: f"""SELECT {columns_of(Login, "l.")}, l.id, {columns_of(Session, "s.")}
        FROM ({searched}) AS l JOIN sessions AS s ON s.id = l.session
        WHERE l.expires_at > :now AND min(s.idle_expires_at, s.absolute_expires_at) > :now"""
    for by, searched in _SEARCHED.items()
}
LAST_FOUND = {by: f"SELECT id FROM ({searched}) LIMIT 1 OFFSET :last" for by, searched in _SEARCHED.items()}
_COUNT = """SELECT count(*) FROM logins WHERE tenant = :tenant AND expires_at > :now
    AND (:registrations IS NULL OR registration IN (SELECT value FROM json_each(:registrations)))"""
_COUNT_ALL = """SELECT
    (SELECT count(*) FROM sessions WHERE min(idle_expires_at, absolute_expires_at) > :now),
    (SELECT count(*) FROM logins WHERE expires_at > :now)"""
_DELETE = """DELETE FROM logins WHERE id IN
    (SELECT id FROM logins WHERE tenant = ? AND signed_in_at <= ? LIMIT ?)"""


_EXPIRED_SESSIONS = """SELECT id, min(idle_expires_at, absolute_expires_at) FROM sessions
    WHERE min(idle_expires_at, absolute_expires_at) <= :before
    ORDER BY min(idle_expires_at, absolute_expires_at) LIMIT :most"""
_OF_EXPIRED_SESSION = """SELECT id, tenant, issuer, subject, min(expires_at, ?2) FROM logins
    WHERE session = ?1"""
_EXPIRED_LOGINS = """SELECT id, tenant, issuer, subject, expires_at FROM logins
    WHERE expires_at <= :before ORDER BY expires_at LIMIT :most"""


class SQLiteTenantLogins:
    """See `portal.stores.tenant_logins.TenantLogins`."""

    def __init__(self, file: DatabaseFile, entries: EntryReader, *, clock: Clock) -> None:
        self._file = file
        self._entries = entries
        self._clock = clock

    async def list(
        self,
        tenant: str,
        *,
        registrations: Collection[str] | None,
        before: Position | None,
        most: int,
        now: float,
    ) -> list[TenantLogin]:
        require_short(tenant=tenant)
        require_numbers(most=most)
        require_times(now=now)
        require_position(before)
        require_registrations(registrations)
        parameters = {"tenant": tenant, "registrations": _json(registrations), "now": now}
        decode = partial(self._entries.read_all, _entry, kind=TenantLogin)
        return [*await self._newest(_LIST, parameters, decode, before=before, most=most)]

    async def find(
        self, *, session: str, issuer: str, subject: str, after: str, among: int, now: float
    ) -> FoundLogins:
        require_found(session=session, issuer=issuer, subject=subject, after=after, among=among)
        require_times(now=now)
        by = "session" if session else "user" if issuer else "subject" if subject else ""
        parameters = {"session": session, "issuer": issuer, "subject": subject, "after": after, "now": now}
        parameters |= {"among": among, "last": max(0, among - 1)}

        def work(database: sqlite3.Connection) -> tuple[list[Row], str | None]:
            rows = database.execute(FIND[by], parameters).fetchall()
            last = database.execute(LAST_FOUND[by], parameters).fetchone()
            return rows, last[0] if last else None

        rows, more_after = await self._file.read(work)
        found = await self._entries.read_all(_entry, rows, kind=TenantLogin)
        if session and subject:
            found = [one for one in found if one.login.subject == subject]
        if session and issuer:
            found = [one for one in found if one.login.issuer == issuer]
        return FoundLogins(sorted(found, key=lambda one: one.login.id), more_after)

    async def of_users(
        self, users: Sequence[UserKey], *, most: int, now: float
    ) -> Sequence[Sequence[TenantLogin]]:
        require_users(users)
        require_numbers(most=most)
        require_times(now=now)
        asked = [
            {
                "tenant": one.tenant,
                "registration": one.registration,
                "issuer": one.issuer,
                "subject": one.subject,
                "now": now,
                "most": most,
            }
            for one in dict.fromkeys(users)
        ]
        if not asked:
            return []
        rows = await self._file.read(lambda db: [row for one in asked for row in db.execute(_OF_USER, one)])
        return by_user(users, await self._entries.read_all(_entry, rows, kind=TenantLogin))

    async def stored(self, tenant: str, *, before: Position | None, most: int) -> Sequence[Login]:
        require_short(tenant=tenant)
        require_numbers(most=most)
        require_position(before)
        decode = partial(self._entries.read_all, login_of, kind=Login)
        return await self._newest(_STORED, {"tenant": tenant}, decode, before=before, most=most)

    async def _newest(
        self,
        statement: str,
        parameters: Mapping[str, object],
        decode: Callable[[Sequence[Row]], Awaitable[Sequence[Entry]]],
        *,
        before: Position | None,
        most: int,
    ) -> Sequence[Entry]:
        async def read(place: Position, count: int) -> Sequence[Row]:
            asked = {**parameters, "at": place.signed_in_at, "id": place.login_id, "most": count}
            return await self._file.read(lambda db: db.execute(statement, asked).fetchall())

        return await full_page(read, decode, _position_of, begin=before or _FIRST, most=most)

    async def count(self, tenant: str, *, registrations: Collection[str] | None, now: float) -> int:
        require_short(tenant=tenant)
        require_times(now=now)
        require_registrations(registrations)
        parameters = {"tenant": tenant, "registrations": _json(registrations), "now": now}
        rows = await self._file.read(lambda db: db.execute(_COUNT, parameters).fetchall())
        return int(rows[0][0])

    async def count_all(self, *, now: float) -> LiveCounts:
        require_times(now=now)
        rows = await self._file.read(lambda db: db.execute(_COUNT_ALL, {"now": now}).fetchall())
        return LiveCounts(*rows[0])

    async def end_expired(self, *, most: int, grace: float, report: Report) -> int:
        require_numbers(most=most)
        require_times(grace=grace)

        def work(database: sqlite3.Connection) -> int:
            before = {"before": self._clock() - grace, "most": most}
            sessions = database.execute(_EXPIRED_SESSIONS, before).fetchall()
            rows: dict[str, Row] = {}
            for session in sessions:
                rows |= {row[0]: row for row in database.execute(_OF_EXPIRED_SESSION, session)}
            rows |= {row[0]: row for row in database.execute(_EXPIRED_LOGINS, before)}
            database.executemany("DELETE FROM sessions WHERE id = ?", [(each[0],) for each in sessions])
            database.executemany("DELETE FROM logins WHERE id = ?", [(key,) for key in rows])
            events = (
                self._entries.read(partial(_event_of, report), row, kind=Event) for row in rows.values()
            )
            database.executemany(ADD_EVENT, [values_of(event) for event in events if event is not None])
            return len(sessions) + len(rows)

        return await self._file.write(work)

    async def delete(self, tenant: str, *, signed_in_until: float, most: int) -> int:
        require_short(tenant=tenant)
        require_numbers(most=most)
        require_times(signed_in_until=signed_in_until)
        deleted = 0
        while deleted < most:
            some = min(_DELETED_AT_ONCE, most - deleted)
            parameters = (tenant, signed_in_until, some)
            found = await self._file.write(
                lambda db, parameters=parameters: db.execute(_DELETE, parameters).rowcount  # type: ignore[misc]
            )
            deleted += found
            if found < some:
                break
        return deleted


def _event_of(report: Report, row: Row) -> Event:
    """The event of a login. Raises DamagedEntry, TypeError or ValueError when the login cannot be read."""
    event = report(entry_from(ExpiredLogin, row[1:]))
    require_valid(event)
    return event


def _json(registrations: Collection[str] | None) -> str | None:
    return None if registrations is None else json.dumps(list(registrations))


def _position_of(row: Row) -> Position:
    """The place of a row that begins with a login and its id; damaged values have one as well."""
    return Position(row[_SIGNED_IN_AT], row[_LOGIN_COLUMNS - 1])


def _entry(row: Row) -> TenantLogin:
    session = session_of(row[_LOGIN_COLUMNS:])
    return TenantLogin(login_of(row[:_LOGIN_COLUMNS]), session.last_seen_at, session.device)
