"""The logins at a tenant, in a SQLite file."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from portal.stores.model import Login, Session
from portal.stores.record_checks import require_numbers, require_short, require_times
from portal.stores.sqlite.file import DatabaseFile
from portal.stores.sqlite.reading import login_of, session_of
from portal.stores.sqlite.rows import Row
from portal.stores.sqlite.statements import columns_of
from portal.stores.stored_entries import EntryReader, stored_names
from portal.stores.tenant_logins import (
    LiveCounts,
    Position,
    TenantLogin,
    UserKey,
    by_user,
    require_position,
    require_registrations,
    require_users,
)

_DELETED_AT_ONCE = 200
"""Logins that a transaction deletes: no other write, of any process, can run meanwhile."""
_FIRST = Position(1e300, "")
_LOGIN_COLUMNS = len(stored_names(Login)) + 1
_LIST = f"""SELECT {columns_of(Login, "l.")}, l.id, {columns_of(Session, "s.")}
    FROM logins AS l JOIN sessions AS s ON s.id = l.session
    WHERE l.tenant = :tenant AND (l.signed_in_at, l.id) < (:at, :id) AND l.expires_at > :now
      AND (:registrations IS NULL OR l.registration IN (SELECT value FROM json_each(:registrations)))
      AND min(s.idle_expires_at, s.absolute_expires_at) > :now
    ORDER BY l.signed_in_at DESC, l.id DESC LIMIT :most"""  # noqa: S608 - names of the models' fields
_OF_USER = f"""SELECT {columns_of(Login, "l.")}, l.id, {columns_of(Session, "s.")}
    FROM logins AS l JOIN sessions AS s ON s.id = l.session
    WHERE l.issuer = :issuer AND l.subject = :subject AND +l.tenant = :tenant
      AND l.registration = :registration AND l.expires_at > :now
      AND min(s.idle_expires_at, s.absolute_expires_at) > :now
    ORDER BY l.signed_in_at DESC, l.id DESC LIMIT :most"""  # noqa: S608 - names of the models' fields
"""The sign keeps SQLite from reading all logins of the tenant in place of those of the user."""
_COUNT = """SELECT count(*) FROM logins WHERE tenant = :tenant AND expires_at > :now
    AND (:registrations IS NULL OR registration IN (SELECT value FROM json_each(:registrations)))"""
_COUNT_ALL = """SELECT
    (SELECT count(*) FROM sessions WHERE min(idle_expires_at, absolute_expires_at) > :now),
    (SELECT count(*) FROM logins WHERE expires_at > :now)"""
_DELETE = """DELETE FROM logins WHERE id IN
    (SELECT id FROM logins WHERE tenant = ? AND signed_in_at <= ? LIMIT ?)"""


class SQLiteTenantLogins:
    """See `portal.stores.tenant_logins.TenantLogins`."""

    def __init__(self, file: DatabaseFile, entries: EntryReader) -> None:
        self._file = file
        self._entries = entries

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
        place = _FIRST if before is None else before
        parameters = {
            "tenant": tenant,
            "registrations": _json(registrations),
            "at": place.signed_in_at,
            "id": place.login_id,
            "now": now,
            "most": most,
        }
        rows = await self._file.read(lambda db: db.execute(_LIST, parameters).fetchall())
        return await self._entries.read_all(_entry, rows, kind=TenantLogin)

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


def _json(registrations: Collection[str] | None) -> str | None:
    return None if registrations is None else json.dumps(list(registrations))


def _entry(row: Row) -> TenantLogin:
    session = session_of(row[_LOGIN_COLUMNS:])
    return TenantLogin(login_of(row[:_LOGIN_COLUMNS]), session.last_seen_at, session.device)
