"""The Store on SQLite: one file for all portal processes of a host."""

from __future__ import annotations

import asyncio
import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from portal.clock import Clock, now
from portal.stores.argument_checks import require_text, require_texts
from portal.stores.model import Login, LoginAttempt, LogoutStep, Session, SessionTouch, login_id
from portal.stores.observer import StoreObserver
from portal.stores.sqlite import statements as sql
from portal.stores.sqlite.checks import MAIN_FILE, check_before_opening, main_file_generation
from portal.stores.sqlite.file import DatabaseFile
from portal.stores.sqlite.reading import RowReader, login_of
from portal.stores.sqlite.rows import Row, attempt_of, login_values, logout_of, putting, values_of
from portal.stores.sqlite.tenant_logins import SQLiteTenantLogins
from portal.stores.sqlite.tenants import SQLiteTenants
from portal.stores.stored_entries import Entry, EntryReader

_PURGE_SECONDS = 0.01
"""How long one transaction of a sweep may delete rows: no other write, of any process, can run meanwhile."""
_PURGED_AT_FIRST = 20
_PURGED_AT_MOST = 2_000
"""Rows that the first and the largest transaction of a sweep delete."""


class SQLiteStore:
    """The Store on one SQLite file, shared by the processes of one host. See `portal.stores.store.Store`.

    `busy` is how many seconds an operation waits for others, of this and other processes, before it raises
    StoreUnavailable. `clock` is the host's clock, which all processes on the file share.
    """

    def __init__(
        self,
        path: Path,
        *,
        busy: float = 1.5,
        clock: Clock = now,
        observer: StoreObserver | None = None,
    ) -> None:
        self._path = path
        self._clock = clock
        self._entries = EntryReader(observer)
        self._file = DatabaseFile(path, schemas=sql.SCHEMAS, busy=busy, observer=observer)
        self._rows = RowReader(self._file, self._entries)
        self.tenants = SQLiteTenants(self._file, self._entries)
        self.tenant_logins = SQLiteTenantLogins(self._file, self._entries, clock=clock)

    async def open(self) -> None:
        await asyncio.to_thread(check_before_opening, self._path)
        await self._file.open()
        self._rows.forget()
        await self._note_main_file()

    async def close(self) -> None:
        await self._file.close()

    async def probe(self) -> None:
        """Use a new key each time: it leads to another page of the file, which may be damaged."""
        current, key = self._clock(), f"probe-{secrets.token_urlsafe(16)}"
        session = Session(key, secrets.token_hex(32), current, current, current, current)

        def work(database: sqlite3.Connection) -> None:
            database.execute(sql.ADD_SESSION, values_of(session))
            database.execute(sql.DELETE_LOGINS.format("session = ?"), (key,))
            database.execute("DELETE FROM sessions WHERE id = ?", (key,))
            database.execute(sql.PUT_META, ("probe", str(current)))

        await self._file.write(work)
        await self.read([key], [login_id(key, "probe")], now=current)

    def time(self) -> float:
        return self._clock()

    async def maintain(self) -> None:
        """Nothing to do: the database's clock is the host's, and there is no failover."""

    # --- login attempts and logout steps

    async def add_attempt(self, attempt: LoginAttempt) -> None:
        require_text(id=attempt.id, tenant=attempt.tenant, binding_hash=attempt.binding_hash)
        await self._change(sql.ADD_ATTEMPT, values_of(attempt), synced=False)

    async def take_attempt(
        self, attempt_id: str, *, tenant: str, binding_hash: str, now: float
    ) -> LoginAttempt | None:
        require_text(attempt_id=attempt_id, tenant=tenant, binding_hash=binding_hash)
        rows = await self._take(sql.TAKE_ATTEMPT, (attempt_id, tenant, binding_hash, now))
        return self._one(attempt_of, rows, LoginAttempt)

    async def add_logout_step(self, step: LogoutStep) -> None:
        require_text(id=step.id, tenant=step.tenant, binding_hash=step.binding_hash)
        await self._change(sql.ADD_LOGOUT, values_of(step))

    async def take_logout_step(
        self, step_id: str, *, tenant: str, binding_hash: str, now: float
    ) -> LogoutStep | None:
        require_text(step_id=step_id, tenant=tenant, binding_hash=binding_hash)
        rows = await self._take(sql.TAKE_LOGOUT, (step_id, tenant, binding_hash, now))
        return self._one(logout_of, rows, LogoutStep)

    # --- sessions

    async def add_session(self, session: Session, *, login: Login | None = None) -> None:
        require_text(id=session.id, secret_hash=session.secret_hash)
        put_login = putting(login)

        def work(database: sqlite3.Connection) -> None:
            database.execute(sql.ADD_SESSION, values_of(session))
            put_login(database)

        await self._file.write(work)

    async def rotate_session(
        self,
        session_id: str,
        *,
        old_secret_hash: str,
        new_secret_hash: str,
        last_seen_at: float,
        idle_expires_at: float,
        login: Login | None = None,
    ) -> bool:
        require_text(session_id=session_id, old_secret_hash=old_secret_hash, new_secret_hash=new_secret_hash)
        parameters = {
            "id": session_id,
            "old": old_secret_hash,
            "new": new_secret_hash,
            "seen": last_seen_at,
            "idle": idle_expires_at,
        }
        put_login = putting(login)

        def work(database: sqlite3.Connection) -> bool:
            if database.execute(sql.ROTATE_SESSION, parameters).rowcount == 0:
                return False
            put_login(database)
            return True

        return await self._file.write(work)

    async def touch_sessions(self, touches: Sequence[SessionTouch]) -> None:
        for touch in touches:
            require_text(session=touch.session)

        def work(database: sqlite3.Connection) -> None:
            database.executemany(sql.TOUCH_SESSION, touches)

        await self._file.write(work)

    async def delete_session(self, session_id: str) -> list[Login]:
        require_text(session_id=session_id)

        def work(database: sqlite3.Connection) -> list[Row]:
            database.execute("DELETE FROM sessions WHERE id = ?", (session_id,))
            return database.execute(sql.DELETE_LOGINS.format("session = ?"), (session_id,)).fetchall()

        return await self._in_order(await self._file.write(work))

    # --- reading

    async def read(
        self, session_ids: Collection[str], login_ids: Collection[str], *, now: float
    ) -> tuple[dict[str, Session], dict[str, Login]]:
        require_texts("session_ids", session_ids)
        require_texts("login_ids", login_ids)
        sessions, logins = await self._rows.read(session_ids, login_ids)
        return (
            {key: session for key, session in sessions.items() if session.is_live_at(now)},
            {key: login for key, login in logins.items() if login.expires_at > now},
        )

    async def list_logins(self, session_id: str, *, now: float) -> list[Login]:
        require_text(session_id=session_id)
        return [login for login in await self._rows.list_logins(session_id) if login.expires_at > now]

    # --- logins

    async def put_login(self, login: Login) -> None:
        await self._file.write(putting(login))

    async def swap_login(self, login: Login, *, expected_version: int) -> bool:
        require_text(session=login.session, tenant=login.tenant)
        parameters = (*login_values(login), login.id, expected_version)
        return await self._change(sql.SWAP_LOGIN, parameters) == 1

    async def acquire_lease(
        self, login_id: str, *, owner: str, seconds: float, from_owner: str | None = None
    ) -> Login | None:
        require_text(login_id=login_id, owner=owner, from_owner=from_owner or "")
        rows = await self._file.write(
            lambda db: db.execute(
                sql.ACQUIRE_LEASE, {**self._lease(login_id, owner, seconds), "from_owner": from_owner}
            ).fetchall()
        )
        return self._one(login_of, rows, Login)

    async def extend_lease(self, login_id: str, *, owner: str, seconds: float) -> bool:
        require_text(login_id=login_id, owner=owner)
        changed = await self._file.write(
            lambda db: db.execute(sql.EXTEND_LEASE, self._lease(login_id, owner, seconds)).rowcount
        )
        return changed == 1

    def _lease(self, login_id: str, owner: str, seconds: float) -> Mapping[str, object]:
        """Call it inside the transaction: a lease begins when the write lock was acquired."""
        current = self._clock()
        return {"id": login_id, "owner": owner, "now": current, "until": round(current + seconds, 3)}

    async def release_lease(self, login_id: str, *, owner: str) -> None:
        require_text(login_id=login_id, owner=owner)
        await self._change(sql.RELEASE_LEASE, (login_id, owner))

    async def delete_login(self, session_id: str, tenant: str, *, tokens: str | None = None) -> Login | None:
        require_text(session_id=session_id, tenant=tenant, tokens=tokens or "")
        parameters = {"id": login_id(session_id, tenant), "tokens": tokens}
        rows = await self._take(sql.DELETE_LOGINS.format(sql.THIS_LOGIN), parameters)
        return self._one(login_of, rows, Login)

    async def delete_logins_by_sid(
        self, issuer: str | None, sid: str, *, tenant: str, registration: str
    ) -> list[Login]:
        texts: dict[str, str | None] = {"sid": sid, "tenant": tenant, "registration": registration}
        require_text(**texts, **({} if issuer is None else {"issuer": issuer}))
        return await self._in_order(
            await self._take(sql.DELETE_LOGINS.format(sql.OF_PROVIDER_SESSION), {**texts, "issuer": issuer})
        )

    async def delete_logins_by_subject(
        self, issuer: str, subject: str, *, tenant: str, registration: str, without_sid: bool = False
    ) -> list[Login]:
        texts = {"issuer": issuer, "subject": subject, "tenant": tenant, "registration": registration}
        require_text(**texts)
        condition = f"{sql.OF_PROVIDER} AND subject = :subject" + (" AND sid IS NULL" if without_sid else "")
        return await self._in_order(await self._take(sql.DELETE_LOGINS.format(condition), texts))

    async def delete_logins_of(
        self,
        tenant: str,
        provider: str,
        registration: str,
        *,
        kept_issuers: Collection[str],
        signed_in_until: float,
    ) -> int:
        require_text(tenant=tenant, provider=provider, registration=registration)
        require_texts("kept_issuers", kept_issuers)
        parameters = {
            "tenant": tenant,
            "provider": provider,
            "registration": registration,
            "kept": json.dumps(list(kept_issuers)),
            "until": signed_in_until,
        }
        return await self._change(sql.DELETE_LOGINS_OF, parameters)

    # --- identifiers that may be used once

    async def remember_once(self, key: str, *, expires_at: float, now: float) -> bool:
        require_text(key=key)
        parameters = {"id": key, "expires_at": expires_at, "now": now}
        return await self._change(sql.REMEMBER_ONCE, parameters) == 1

    async def is_remembered(self, key: str, *, now: float) -> bool:
        require_text(key=key)
        return bool(await self._file.read(lambda db: db.execute(sql.IS_REMEMBERED, (key, now)).fetchall()))

    # --- metadata of the database

    async def get_meta(self, meta_id: str) -> str | None:
        require_text(meta_id=meta_id)
        rows = await self._file.read(lambda db: db.execute(sql.READ_META, (meta_id,)).fetchall())
        return str(rows[0][0]) if rows else None

    async def put_meta(self, meta_id: str, value: str) -> None:
        require_text(meta_id=meta_id, value=value)
        await self._change(sql.PUT_META, (meta_id, value))

    async def swap_meta(self, meta_id: str, *, expected: str | None, value: str) -> bool:
        require_text(meta_id=meta_id, value=value)
        statement = sql.ADD_META if expected is None else sql.SWAP_META
        return await self._change(statement, {"id": meta_id, "value": value, "expected": expected}) == 1

    # --- cleaning up

    async def has_logins(self) -> bool:
        return bool(await self._file.read(lambda db: db.execute("SELECT 1 FROM logins LIMIT 1").fetchall()))

    async def forget_sign_ins(self, *, most: int) -> int:
        def work(database: sqlite3.Connection) -> int:
            deleted = 0
            for table in sql.SIGN_INS:
                statement = sql.DELETE_SOME.format(table)
                deleted += database.execute(statement, (most - deleted,)).rowcount
            return deleted

        return await self._file.write(work)

    async def purge(self, *, keep_sign_ins: float = 0.0) -> int:
        await self._note_main_file()
        deleted = 0
        rows = _PURGED_AT_FIRST
        for statement in (*sql.PURGE, *sql.PURGE_SIGN_INS):
            kept = keep_sign_ins if statement in sql.PURGE_SIGN_INS else 0.0
            while True:
                some, seconds = await self._file.write(partial(self._purge_some, statement, rows, kept))
                deleted += some
                if some < rows:
                    break
                fitting = round(rows * _PURGE_SECONDS / max(seconds, 1e-6))
                rows = max(1, min(2 * rows, fitting, _PURGED_AT_MOST))
                await asyncio.sleep(max(seconds, _PURGE_SECONDS))  # for the writers of other processes
        return deleted

    def _purge_some(
        self, statement: str, most: int, kept: float, database: sqlite3.Connection
    ) -> tuple[int, float]:
        """Delete so many rows that expired `kept` seconds ago; return how many, and the seconds it took."""
        begun = time.perf_counter()
        deleted = database.execute(statement, (self._clock() - kept, most)).rowcount
        return deleted, time.perf_counter() - begun

    def _one(self, convert: Callable[[Row], Entry], rows: list[Row], kind: type[Entry]) -> Entry | None:
        return self._entries.read(convert, rows[0], kind=kind) if rows else None

    async def _in_order(self, rows: Iterable[Row]) -> list[Login]:
        return sorted(await self._entries.read_all(login_of, rows, kind=Login), key=lambda login: login.id)

    async def _note_main_file(self) -> None:
        """Record the generation of the file without its log, for `check_before_opening`."""
        found = await asyncio.to_thread(main_file_generation, self._path)
        if found is not None and found != await self.get_meta(MAIN_FILE):
            await self.put_meta(MAIN_FILE, found)

    async def _change(
        self, statement: str, parameters: Row | Mapping[str, object], *, synced: bool = True
    ) -> int:
        """Run one statement that writes; return how many rows it changed. `synced`: as DatabaseFile.write."""
        return await self._file.write(
            lambda database: database.execute(statement, parameters).rowcount, synced=synced
        )

    async def _take(self, statement: str, parameters: Row | Mapping[str, object]) -> list[Row]:
        """Run one statement that writes and returns rows."""
        return await self._file.write(lambda database: database.execute(statement, parameters).fetchall())
