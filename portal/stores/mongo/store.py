"""The Store on MongoDB, for portals on several hosts."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Sequence

import pymongo
from pymongo.errors import DuplicateKeyError

from portal.errors import StoredWithoutLogin, StoreUnavailable
from portal.stores.argument_checks import require_text, require_texts
from portal.stores.model import Login, LoginAttempt, LogoutStep, Session, SessionTouch, login_id
from portal.stores.mongo import documents, queries, repeatable
from portal.stores.mongo.connection import PURGE_SECONDS, MongoConnection, RefusedByServer, failing_before
from portal.stores.mongo.decoding import DecodedDocuments
from portal.stores.mongo.documents import Document, lease_fields, to_date
from portal.stores.mongo.tenant_logins import MongoTenantLogins
from portal.stores.mongo.tenants import MongoTenants
from portal.stores.observer import StoreObserver
from portal.stores.server_check import check_server
from portal.stores.stored_entries import Entry, EntryReader

_SUPPORTED_SERVERS = "Use MongoDB 5.0 or newer, or set `database` or PORTAL_DATABASE to another database."
_UPSERT_TRIES = 5


class MongoStore:
    """The Store on MongoDB, shared by any number of hosts. See `portal.stores.store.Store`.

    `url` is a connection string; without a database name in it, the database is `portal`. Every query for one
    login includes its session, so that a cluster that shards `logins` by session needs only one shard.

    Deleting a session or the logins of a user is atomic for each login, not for all of them together.
    """

    def __init__(self, url: str, *, observer: StoreObserver | None = None) -> None:
        self._connection = MongoConnection(url, observer=observer)
        self._entries = EntryReader(observer)
        self._decoded = DecodedDocuments(self._entries, self._connection.decode)
        self.tenants = MongoTenants(self._connection, self._entries)
        self.tenant_logins = MongoTenantLogins(self._connection, self._entries)

    async def open(self) -> None:
        """Connect, create indexes, and check that the server supports all operations of the store.

        Raises ConfigurationError for an invalid URL, StartupError for a server that does not support an
        operation, StoreUnavailable.
        """
        if not await self._connection.open():
            return
        try:
            await check_server(self, refused=RefusedByServer, remedy=_SUPPORTED_SERVERS)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self._connection.close()

    async def probe(self) -> None:
        async with self._connection.operation():
            await self._connection.collection("meta").find_one_and_update(
                {"_id": "probe"}, {"$currentDate": {"at": True}}, upsert=True
            )
        key = f"probe-{secrets.token_urlsafe(16)}"
        await self.read([key], [login_id(key, "probe")], now=self.time())

    def time(self) -> float:
        return self._connection.time()

    async def maintain(self) -> None:
        await self._connection.maintain()
        await self.tenants.maintain()

    # --- login attempts and logout steps

    async def add_attempt(self, attempt: LoginAttempt) -> None:
        require_text(id=attempt.id, tenant=attempt.tenant, binding_hash=attempt.binding_hash)
        async with self._connection.operation():
            attempts = self._connection.collection("attempts")
            await repeatable.insert(attempts, documents.attempt_document(attempt))

    async def take_attempt(
        self, attempt_id: str, *, tenant: str, binding_hash: str, now: float
    ) -> LoginAttempt | None:
        found = await self._take("attempts", attempt_id, tenant, binding_hash, now)
        return self._one(documents.attempt_of, found, LoginAttempt)

    async def add_logout_step(self, step: LogoutStep) -> None:
        require_text(id=step.id, tenant=step.tenant, binding_hash=step.binding_hash)
        async with self._connection.operation():
            await repeatable.insert(self._connection.collection("logouts"), documents.logout_document(step))

    async def take_logout_step(
        self, step_id: str, *, tenant: str, binding_hash: str, now: float
    ) -> LogoutStep | None:
        found = await self._take("logouts", step_id, tenant, binding_hash, now)
        return self._one(documents.logout_of, found, LogoutStep)

    async def _take(
        self, collection: str, key: str, tenant: str, binding_hash: str, now: float
    ) -> Document | None:
        require_text(id=key, tenant=tenant, binding_hash=binding_hash)
        query: Document = {"_id": key, "tenant": tenant, "binding_hash": binding_hash}
        query["expires_at"] = {"$gt": to_date(now)}
        async with self._connection.operation():
            return await repeatable.take(self._connection.collection(collection), query)

    # --- sessions

    async def add_session(self, session: Session, *, login: Login | None = None) -> None:
        require_text(id=session.id, secret_hash=session.secret_hash)
        async with failing_before(login), self._connection.operation():
            sessions = self._connection.collection("sessions")
            await repeatable.insert(sessions, documents.session_document(session))
        await self._put_after_session(login)

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
        either = {"$in": [old_secret_hash, new_secret_hash]}  # the new one if it is executed again
        async with failing_before(login), self._connection.operation():
            done = await self._connection.collection("sessions").update_one(
                {"_id": session_id, "secret_hash": either, **queries.live_session(last_seen_at)},
                {"$set": {"secret_hash": new_secret_hash, **queries.seen(last_seen_at, idle_expires_at)}},
            )
        if done.matched_count == 0:
            return False
        await self._put_after_session(login)
        return True

    async def touch_sessions(self, touches: Sequence[SessionTouch]) -> None:
        for touch in touches:
            require_text(session=touch.session)
        changes = [queries.touch(touch) for touch in touches]
        async with self._connection.operation():
            await self._connection.collection("sessions").bulk_write(changes, ordered=False)

    async def delete_session(self, session_id: str) -> list[Login]:
        require_text(session_id=session_id)
        async with self._connection.operation():
            await self._connection.collection("sessions").delete_one({"_id": session_id})
        return await self._delete_logins({"session": session_id})

    # --- reading

    async def read(
        self, session_ids: Collection[str], login_ids: Collection[str], *, now: float
    ) -> tuple[dict[str, Session], dict[str, Login]]:
        """Read logins and their sessions in one round trip; a second one only for other sessions."""
        require_texts("session_ids", session_ids)
        require_texts("login_ids", login_ids)
        found_logins = await self._connection.read(
            "logins",
            {
                "_id": {"$in": list(login_ids)},
                "session": {"$in": list({queries.session_of(key) for key in login_ids})},
                "expires_at": {"$gt": to_date(now)},
            },
            [queries.WITH_SESSION] if session_ids else [],
            len(login_ids),
        )
        sessions, logins = await self._decoded.read(found_logins)
        others = [key for key in session_ids if key not in sessions]
        if others:
            found = await self._connection.read("sessions", {"_id": {"$in": others}}, [], len(others))
            sessions |= (await self._decoded.read((), found))[0]
        return {key: session for key, session in sessions.items() if session.is_live_at(now)}, logins

    async def list_logins(self, session_id: str, *, now: float) -> list[Login]:
        require_text(session_id=session_id)
        query = {"session": session_id, "expires_at": {"$gt": to_date(now)}}
        found = await self._connection.read("logins", query, [])
        _, logins = await self._decoded.read(found)
        return sorted(logins.values(), key=lambda login: login.tenant)

    # --- logins

    async def put_login(self, login: Login) -> None:
        require_text(session=login.session, tenant=login.tenant)
        async with self._connection.operation():
            for attempt in range(1, _UPSERT_TRIES + 1):
                try:
                    await self._connection.collection("logins").replace_one(
                        queries.login_key(login.id), documents.login_document(login), upsert=True
                    )
                except DuplicateKeyError:  # a concurrent upsert inserted it; the next try replaces that
                    if attempt == _UPSERT_TRIES:
                        raise
                else:
                    return

    async def _put_after_session(self, login: Login | None) -> None:
        """Store a login, if there is one, after its session: not every server has transactions."""
        if login is not None:
            try:
                await self.put_login(login)
            except StoreUnavailable as error:
                raise StoredWithoutLogin(error.detail) from error

    async def swap_login(self, login: Login, *, expected_version: int) -> bool:
        require_text(session=login.session, tenant=login.tenant)
        async with self._connection.operation():
            query = {**queries.login_key(login.id), "version": expected_version}
            logins = self._connection.collection("logins")
            return await repeatable.replace(logins, query, documents.login_document(login))

    async def acquire_lease(
        self, login_id: str, *, owner: str, seconds: float, from_owner: str | None = None
    ) -> Login | None:
        require_text(login_id=login_id, owner=owner, from_owner=from_owner or "")
        expired: Document = {"$expr": queries.LEASE_HAS_EXPIRED, "lease_expires_at": {"$lte": self.time()}}
        if from_owner is not None:
            expired["lease_owner"] = from_owner
        free = [{"lease_owner": None}, {"lease_owner": owner}, expired]
        async with self._connection.operation():
            found = await self._connection.collection("logins").find_one_and_update(
                {**queries.login_key(login_id), **queries.LOGIN_IS_LIVE, "$or": free},
                self._lease(owner, seconds),
                return_document=pymongo.ReturnDocument.AFTER,
            )
        return self._one(documents.login_of, found, Login)

    async def extend_lease(self, login_id: str, *, owner: str, seconds: float) -> bool:
        require_text(login_id=login_id, owner=owner)
        async with self._connection.operation():
            done = await self._connection.collection("logins").update_one(
                {**queries.login_key(login_id), **queries.LOGIN_IS_LIVE, "lease_owner": owner},
                self._lease(owner, seconds),
            )
        return done.matched_count == 1

    def _lease(self, owner: str, seconds: float) -> Document:
        """An update that grants a lease from the time of the write, by the server's clock.

        Portals of version 0.1 write and check only `lease_expires_at`, so both forms are written.
        """
        until = round(self.time() + seconds, 3)
        return {
            "$set": {"lease_owner": owner, "lease_ms": round(seconds * 1000), "lease_expires_at": until},
            "$currentDate": {"lease_from": True},
            "$inc": {"version": 1},
        }

    async def release_lease(self, login_id: str, *, owner: str) -> None:
        require_text(login_id=login_id, owner=owner)
        async with self._connection.operation():
            await self._connection.collection("logins").update_one(
                {**queries.login_key(login_id), "lease_owner": owner},
                {"$set": {"lease_owner": None, **lease_fields(0.0)}, "$inc": {"version": 1}},
            )

    async def delete_login(self, session_id: str, tenant: str, *, tokens: str | None = None) -> Login | None:
        require_text(session_id=session_id, tenant=tenant, tokens=tokens or "")
        query = queries.login_key(login_id(session_id, tenant))
        if tokens is not None:
            query["tokens"] = tokens
        async with self._connection.operation():
            found = await repeatable.end_login(self._connection.collection("logins"), query)
        return self._one(documents.login_of, found, Login)

    async def delete_logins_by_sid(
        self, issuer: str | None, sid: str, *, tenant: str, registration: str
    ) -> list[Login]:
        query = {"sid": sid, "tenant": tenant, "registration": registration}
        if issuer is not None:
            query["issuer"] = issuer
        require_text(**query)
        return await self._delete_logins(query)

    async def delete_logins_by_subject(
        self, issuer: str, subject: str, *, tenant: str, registration: str, without_sid: bool = False
    ) -> list[Login]:
        query = {"issuer": issuer, "subject": subject, "tenant": tenant, "registration": registration}
        require_text(**query)
        return await self._delete_logins({**query, "sid": None} if without_sid else query)

    async def _delete_logins(self, query: Document) -> list[Login]:
        """Delete them one by one and atomically: no login is returned to two callers."""
        deleted = []
        async with self._connection.operation():
            logins = self._connection.collection("logins")
            for key in await logins.find(query, {"session": 1}).to_list(None):
                found = await repeatable.end_login(logins, {**query, **key})
                if found:
                    deleted.append(found)
        readable = await self._entries.read_all(documents.login_of, deleted, kind=Login)
        return sorted(readable, key=lambda login: login.id)

    async def delete_logins_of(
        self,
        tenant: str,
        provider: str,
        registration: str,
        *,
        kept_issuers: Collection[str],
        signed_in_until: float,
    ) -> int:
        query: Document = {"tenant": tenant, "provider": provider, "registration": registration}
        require_text(**query)
        require_texts("kept_issuers", kept_issuers)
        query |= {"signed_in_at": {"$lte": signed_in_until}, "issuer": {"$nin": list(kept_issuers)}}
        async with self._connection.operation():
            return (await self._connection.collection("logins").delete_many(query)).deleted_count

    # --- identifiers that may be used once

    async def remember_once(self, key: str, *, expires_at: float, now: float) -> bool:
        require_text(key=key)
        async with self._connection.operation():
            once = self._connection.collection("once")
            return await repeatable.remember(once, key, expires_at=expires_at, now=now)

    async def is_remembered(self, key: str, *, now: float) -> bool:
        require_text(key=key)
        query = {"_id": key, "expires_at": {"$gt": to_date(now)}}
        async with self._connection.operation():
            return await self._connection.collection("once").find_one(query) is not None

    # --- metadata of the database

    async def get_meta(self, meta_id: str) -> str | None:
        require_text(meta_id=meta_id)
        async with self._connection.operation():
            found = await self._connection.collection("meta").find_one({"_id": meta_id})
        return str(found["value"]) if found else None

    async def put_meta(self, meta_id: str, value: str) -> None:
        require_text(meta_id=meta_id, value=value)
        if not await self.swap_meta(meta_id, expected=None, value=value):
            meta = self._connection.collection("meta")
            async with self._connection.operation():
                await meta.update_one({"_id": meta_id}, {"$set": {"value": value}})

    async def swap_meta(self, meta_id: str, *, expected: str | None, value: str) -> bool:
        require_text(meta_id=meta_id, value=value)
        async with self._connection.operation():
            meta = self._connection.collection("meta")
            return await repeatable.swap_value(meta, meta_id, expected, value)

    # --- cleaning up

    async def has_logins(self) -> bool:
        async with self._connection.operation():
            return await self._connection.collection("logins").find_one({}, {"_id": 1}) is not None

    async def forget_sign_ins(self, *, most: int) -> int:
        deleted = 0
        async with self._connection.operation():
            for name in ("attempts", "logouts", "logins", "sessions"):
                if deleted >= most:
                    break
                collection = self._connection.collection(name)
                found = await collection.find({}, {"_id": 1}).limit(most - deleted).to_list(None)
                keys = [document["_id"] for document in found]
                deleted += (await collection.delete_many({"_id": {"$in": keys}})).deleted_count
        return deleted + await self.tenants.forget_setup_links(most=most - deleted)

    async def purge(self, *, keep_sign_ins: float = 0.0) -> int:
        now, deleted = await self._connection.measure_clock(), 0
        for name in ("attempts", "logouts", "sessions", "logins", "once"):
            kept = keep_sign_ins if name in ("sessions", "logins") else 0.0
            expired = {"expires_at": {"$lte": to_date(now - kept)}}
            async with self._connection.operation(seconds=PURGE_SECONDS):
                deleted += (await self._connection.collection(name).delete_many(expired)).deleted_count
        return deleted

    def _one(
        self, convert: Callable[[Document], Entry], found: Document | None, kind: type[Entry]
    ) -> Entry | None:
        return self._entries.read(convert, found, kind=kind) if found else None
