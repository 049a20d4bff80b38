"""The Store on MongoDB, for portals on several hosts."""

from __future__ import annotations

from collections.abc import Collection

import pymongo
from pymongo.errors import DuplicateKeyError

from portal.sessions import mongo_documents as documents
from portal.sessions.border import require_text, require_texts
from portal.sessions.model import Login, LoginAttempt, LogoutStep, Session, login_id
from portal.sessions.mongo_connection import MongoConnection, failures
from portal.sessions.mongo_documents import Document, lease_fields, to_date

_UPSERT_TRIES = 5
_ANSWER = 1000
_WITH_SESSION = {
    "$lookup": {"from": "sessions", "localField": "session", "foreignField": "_id", "as": "sessions"}
}

_LOGIN_IS_LIVE = {"$expr": {"$gt": ["$expires_at", "$$NOW"]}}
_LEASE_HAS_RUN_OUT = {"$lte": [{"$add": ["$lease_from", "$lease_ms"]}, "$$NOW"]}


class MongoStore:
    """The Store on MongoDB, shared by any number of hosts. See `portal.sessions.store.Store`.

    `url` is a connection string; the database is the one it names, or `portal`. Every query of one login
    names its session too, so that a cluster that shards `logins` by session asks one shard.

    Deleting a session or the logins of a user is one atomic step for each login, not one for all of them.
    """

    def __init__(self, url: str) -> None:
        self._connection = MongoConnection(url)

    async def open(self) -> None:
        """Connect and make indexes. Raises ConfigurationError for a URL that is not one, StoreUnavailable."""
        await self._connection.open()

    async def close(self) -> None:
        await self._connection.close()

    async def ping(self) -> None:
        await self._connection.ping()

    def time(self) -> float:
        return self._connection.time()

    # --- login attempts and logouts under way

    async def add_attempt(self, attempt: LoginAttempt) -> None:
        require_text(id=attempt.id, tenant=attempt.tenant, binding_hash=attempt.binding_hash)
        with failures():
            await self._connection.collection("attempts").insert_one(documents.attempt_document(attempt))

    async def take_attempt(
        self, attempt_id: str, *, tenant: str, binding_hash: str, now: float
    ) -> LoginAttempt | None:
        found = await self._take("attempts", attempt_id, tenant, binding_hash, now)
        return documents.attempt_of(found) if found else None

    async def add_logout_step(self, step: LogoutStep) -> None:
        require_text(id=step.id, tenant=step.tenant, binding_hash=step.binding_hash)
        with failures():
            await self._connection.collection("logouts").insert_one(documents.logout_document(step))

    async def take_logout_step(
        self, step_id: str, *, tenant: str, binding_hash: str, now: float
    ) -> LogoutStep | None:
        found = await self._take("logouts", step_id, tenant, binding_hash, now)
        return documents.logout_of(found) if found else None

    async def _take(
        self, collection: str, key: str, tenant: str, binding_hash: str, now: float
    ) -> Document | None:
        require_text(id=key, tenant=tenant, binding_hash=binding_hash)
        with failures():
            return await self._connection.collection(collection).find_one_and_delete(
                {
                    "_id": key,
                    "tenant": tenant,
                    "binding_hash": binding_hash,
                    "expires_at": {"$gt": to_date(now)},
                }
            )

    # --- sessions

    async def add_session(self, session: Session) -> None:
        require_text(id=session.id, secret_hash=session.secret_hash)
        with failures():
            await self._connection.collection("sessions").insert_one(documents.session_document(session))

    async def rotate_session(
        self,
        session_id: str,
        *,
        old_secret_hash: str,
        new_secret_hash: str,
        last_seen_at: float,
        idle_expires_at: float,
    ) -> bool:
        require_text(session_id=session_id, old_secret_hash=old_secret_hash, new_secret_hash=new_secret_hash)
        with failures():
            done = await self._connection.collection("sessions").update_one(
                {"_id": session_id, "secret_hash": old_secret_hash, **_live_session(last_seen_at)},
                {"$set": {"secret_hash": new_secret_hash, **_seen(last_seen_at, idle_expires_at)}},
            )
        return done.matched_count == 1

    async def touch_session(self, session_id: str, *, last_seen_at: float, idle_expires_at: float) -> None:
        require_text(session_id=session_id)
        with failures():
            await self._connection.collection("sessions").update_one(
                {"_id": session_id, "last_seen_at": {"$lte": last_seen_at}, **_live_session(last_seen_at)},
                {"$set": _seen(last_seen_at, idle_expires_at)},
            )

    async def delete_session(self, session_id: str) -> list[Login]:
        require_text(session_id=session_id)
        with failures():
            await self._connection.collection("sessions").delete_one({"_id": session_id})
        return await self._delete_logins({"session": session_id})

    # --- reading

    async def read(
        self, session_ids: Collection[str], login_ids: Collection[str], *, now: float
    ) -> tuple[dict[str, Session], dict[str, Login]]:
        """Read the logins with their sessions in one round trip; a second one only for other sessions."""
        require_texts("session_ids", session_ids)
        require_texts("login_ids", login_ids)
        found_logins = await self._read(
            "logins",
            {
                "_id": {"$in": list(login_ids)},
                "session": {"$in": list({_session_of(key) for key in login_ids})},
                "expires_at": {"$gt": to_date(now)},
            },
            [_WITH_SESSION] if session_ids else [],
            len(login_ids),
        )
        joined = {found["_id"]: found for login in found_logins for found in login.get("sessions", ())}
        others = [key for key in session_ids if key not in joined]
        found_sessions = [joined[key] for key in session_ids if key in joined]
        found_sessions += await self._read("sessions", {"_id": {"$in": others}}, [], len(others))
        sessions = (documents.session_of(found) for found in found_sessions)
        logins = map(documents.login_of, found_logins)
        return (
            {session.id: session for session in sessions if _is_live(session, now)},
            {login.id: login for login in logins},
        )

    async def _read(
        self, collection: str, wanted: Document, stages: list[Document], most: int
    ) -> list[Document]:
        """Find at most `most` documents in one round trip, and join what `stages` say.

        As a command, because a cursor of Motor takes several turns on its threads for the same. Only what
        does not fit into one answer (16 MB, `_ANSWER` documents) is read with a cursor.
        """
        if not most:
            return []
        pipeline = [{"$match": wanted}, *stages]
        with failures():
            answer = await self._connection.database.command(
                {"aggregate": collection, "pipeline": pipeline, "cursor": {"batchSize": _ANSWER}},
                codec_options=self._connection.database.codec_options,
            )
            if answer["cursor"]["id"]:
                return await self._connection.collection(collection).aggregate(pipeline).to_list(None)
        found: list[Document] = answer["cursor"]["firstBatch"]
        return found

    async def list_logins(self, session_id: str, *, now: float) -> list[Login]:
        require_text(session_id=session_id)
        wanted = {"session": session_id, "expires_at": {"$gt": to_date(now)}}
        with failures():
            found = await self._connection.collection("logins").find(wanted).to_list(None)
        return sorted(map(documents.login_of, found), key=lambda login: login.tenant)

    # --- logins

    async def put_login(self, login: Login) -> None:
        require_text(session=login.session, tenant=login.tenant)
        with failures():
            for attempt in range(1, _UPSERT_TRIES + 1):
                try:
                    await self._connection.collection("logins").replace_one(
                        _login_key(login.id), documents.login_document(login), upsert=True
                    )
                except DuplicateKeyError:  # two upserts met; the next try replaces what the other inserted
                    if attempt == _UPSERT_TRIES:
                        raise
                else:
                    return

    async def swap_login(self, login: Login, *, expected_version: int) -> bool:
        require_text(session=login.session, tenant=login.tenant)
        with failures():
            done = await self._connection.collection("logins").replace_one(
                {**_login_key(login.id), "version": expected_version}, documents.login_document(login)
            )
        return done.matched_count == 1

    async def acquire_lease(
        self, login_id: str, *, owner: str, seconds: float, from_owner: str | None = None
    ) -> Login | None:
        require_text(login_id=login_id, owner=owner, from_owner=from_owner or "")
        run_out: Document = {"$expr": _LEASE_HAS_RUN_OUT}
        if from_owner is not None:
            run_out["lease_owner"] = from_owner
        free = [{"lease_owner": None}, {"lease_owner": owner}, run_out]
        with failures():
            found = await self._connection.collection("logins").find_one_and_update(
                {**_login_key(login_id), **_LOGIN_IS_LIVE, "$or": free},
                _lease(owner, seconds),
                return_document=pymongo.ReturnDocument.AFTER,
            )
        return documents.login_of(found) if found else None

    async def extend_lease(self, login_id: str, *, owner: str, seconds: float) -> bool:
        require_text(login_id=login_id, owner=owner)
        with failures():
            done = await self._connection.collection("logins").update_one(
                {**_login_key(login_id), **_LOGIN_IS_LIVE, "lease_owner": owner}, _lease(owner, seconds)
            )
        return done.matched_count == 1

    async def release_lease(self, login_id: str, *, owner: str) -> None:
        require_text(login_id=login_id, owner=owner)
        with failures():
            await self._connection.collection("logins").update_one(
                {**_login_key(login_id), "lease_owner": owner},
                {"$set": {"lease_owner": None, **lease_fields(0.0)}, "$inc": {"version": 1}},
            )

    async def delete_login(self, session_id: str, tenant: str) -> Login | None:
        require_text(session_id=session_id, tenant=tenant)
        with failures():
            found = await self._connection.collection("logins").find_one_and_delete(
                _login_key(login_id(session_id, tenant))
            )
        return documents.login_of(found) if found else None

    async def delete_logins_by_sid(
        self, issuer: str, sid: str, *, tenant: str, registration: str
    ) -> list[Login]:
        wanted = {"issuer": issuer, "sid": sid, "tenant": tenant, "registration": registration}
        require_text(**wanted)
        return await self._delete_logins(wanted)

    async def delete_logins_by_subject(
        self, issuer: str, subject: str, *, tenant: str, registration: str, without_sid: bool = False
    ) -> list[Login]:
        wanted = {"issuer": issuer, "subject": subject, "tenant": tenant, "registration": registration}
        require_text(**wanted)
        return await self._delete_logins({**wanted, "sid": None} if without_sid else wanted)

    async def _delete_logins(self, wanted: Document) -> list[Login]:
        """Delete one by one, each found and deleted in one step: nobody else is given the same login."""
        deleted = []
        with failures():
            logins = self._connection.collection("logins")
            for key in await logins.find(wanted, {"session": 1}).to_list(None):
                found = await logins.find_one_and_delete({**wanted, **key})
                if found:
                    deleted.append(documents.login_of(found))
        return sorted(deleted, key=lambda login: login.id)

    # --- things that are good once

    async def remember_once(self, key: str, *, expires_at: float, now: float) -> bool:
        """One step: what is not live is replaced or inserted, and what is live stands in an insert's way."""
        require_text(key=key)
        with failures():
            try:
                await self._connection.collection("once").update_one(
                    {"_id": key, "expires_at": {"$lte": to_date(now)}},
                    {"$set": {"expires_at": to_date(expires_at)}},
                    upsert=True,
                )
            except DuplicateKeyError:
                return False
        return True

    async def is_remembered(self, key: str, *, now: float) -> bool:
        require_text(key=key)
        wanted = {"_id": key, "expires_at": {"$gt": to_date(now)}}
        with failures():
            return await self._connection.collection("once").find_one(wanted) is not None

    # --- cleaning up

    async def purge(self, *, now: float) -> int:
        expired = {"expires_at": {"$lte": to_date(now)}}
        deleted = 0
        with failures():
            for name in ("attempts", "logouts", "sessions", "logins", "once"):
                deleted += (await self._connection.collection(name).delete_many(expired)).deleted_count
        return deleted


def _is_live(session: Session, moment: float) -> bool:
    return session.idle_expires_at > moment and session.absolute_expires_at > moment


def _live_session(moment: float) -> Document:
    return {"idle_expires_at": {"$gt": moment}, "absolute_expires_at": {"$gt": moment}}


def _seen(last_seen_at: float, idle_expires_at: float) -> Document:
    return {
        "last_seen_at": last_seen_at,
        "idle_expires_at": idle_expires_at,
        "expires_at": to_date(idle_expires_at),
    }


def _lease(owner: str, seconds: float) -> Document:
    """A lease that counts from when the server writes it, by the server's clock."""
    return {
        "$set": {"lease_owner": owner, "lease_ms": round(seconds * 1000)},
        "$currentDate": {"lease_from": True},
        "$inc": {"version": 1},
    }


def _session_of(key: str) -> str:
    return key.rpartition(":")[0]


def _login_key(key: str) -> Document:
    return {"_id": key, "session": _session_of(key)}
