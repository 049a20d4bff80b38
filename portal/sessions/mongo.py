"""MongoDB, for portals on several hosts.

The only module that imports Motor and PyMongo: Motor is past its maintenance date, and its successor is one
change here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pymongo
import structlog
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo.errors import ConfigurationError as PyMongoConfigurationError
from pymongo.errors import DuplicateKeyError, InvalidURI, OperationFailure, PyMongoError
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from portal.errors import ConfigurationError, Problem, StoreUnavailable
from portal.sessions import mongo_documents as documents
from portal.sessions.border import require_text, require_texts
from portal.sessions.model import Login, LoginAttempt, LogoutStep, Session, login_id
from portal.sessions.mongo_documents import Document, to_date

_log = structlog.get_logger("portal.store")

_DEFAULTS: dict[str, Any] = {
    "appname": "tenant-portal",
    "connectTimeoutMS": 2000,
    "serverSelectionTimeoutMS": 3000,
    "timeoutMS": 4000,
}
"""Used where the URL says nothing else: a database that is down is known to be within four seconds."""

_PING_SECONDS = 2.0
_INDEX_SECONDS = 60.0
_UPSERT_TRIES = 5
_ANSWER = 1000
_WITH_SESSION = {
    "$lookup": {"from": "sessions", "localField": "session", "foreignField": "_id", "as": "sessions"}
}

_TTL = {"expireAfterSeconds": 0}
_UNIQUE = {"unique": True}
_INDEXES: tuple[tuple[str, list[tuple[str, int]], dict[str, Any]], ...] = (
    ("attempts", [("expires_at", 1)], _TTL),
    ("logouts", [("expires_at", 1)], _TTL),
    ("sessions", [("secret_hash", 1)], _UNIQUE),
    ("sessions", [("expires_at", 1)], _TTL),
    ("logins", [("session", 1)], {}),
    ("logins", [("issuer", 1), ("sid", 1)], {}),
    ("logins", [("issuer", 1), ("subject", 1)], {}),
    ("logins", [("expires_at", 1)], _TTL),
)


class MongoStore:
    """The Store on MongoDB, shared by any number of hosts. See `portal.sessions.store.Store`.

    `url` is a connection string; the database is the one it names, or `portal`. Every query of one login
    names its session too, so that a cluster that shards `logins` by session asks one shard.

    Deleting a session or the logins of a user is one atomic step for each login, not one for all of them.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: AsyncIOMotorClient[Document] | None = None
        self._opened: AsyncIOMotorDatabase[Document] | None = None

    async def open(self) -> None:
        """Connect and make indexes. Raises ConfigurationError for a URL that is not one, StoreUnavailable."""
        if self._client is not None:
            return
        with _failures():
            self._client = _client(self._url)
            self._opened = self._client.get_default_database(
                "portal",
                read_preference=ReadPreference.PRIMARY,
                write_concern=None if "w" in _options(self._url) else WriteConcern("majority"),
            )
            try:
                await self.ping()
                await self._make_indexes(self._opened)
            except BaseException:
                await self.close()
                raise

    async def close(self) -> None:
        client, self._client, self._opened = self._client, None, None
        if client is not None:
            await asyncio.to_thread(client.close)

    async def ping(self) -> None:
        with _failures(), pymongo.timeout(_PING_SECONDS):
            await self._database.command("ping")

    @property
    def _database(self) -> AsyncIOMotorDatabase[Document]:
        if self._opened is None:
            raise StoreUnavailable("the database is closed")
        return self._opened

    def _collection(self, name: str) -> AsyncIOMotorCollection[Document]:
        return self._database[name]

    async def _make_indexes(self, database: AsyncIOMotorDatabase[Document]) -> None:
        """Make what is missing.

        A server without TTL indexes, and a sharded collection that cannot have a unique one, gets plain ones:
        the portal removes expired documents itself, and secrets are unique by their size.
        """
        refused = []
        with pymongo.timeout(_INDEX_SECONDS):
            for collection, keys, options in _INDEXES:
                try:
                    await database[collection].create_index(keys, **options)
                except OperationFailure as error:
                    if not options:
                        raise
                    await database[collection].create_index(keys)
                    refused.append(f"{collection}.{keys[0][0]} {next(iter(options))} (code {error.code})")
        if refused:
            _log.warning("index_options_refused", indexes=refused)

    # --- login attempts and logouts under way

    async def add_attempt(self, attempt: LoginAttempt) -> None:
        require_text(id=attempt.id, tenant=attempt.tenant, binding_hash=attempt.binding_hash)
        with _failures():
            await self._collection("attempts").insert_one(documents.attempt_document(attempt))

    async def take_attempt(
        self, attempt_id: str, *, tenant: str, binding_hash: str, now: float
    ) -> LoginAttempt | None:
        found = await self._take("attempts", attempt_id, tenant, binding_hash, now)
        return documents.attempt_of(found) if found else None

    async def add_logout_step(self, step: LogoutStep) -> None:
        require_text(id=step.id, tenant=step.tenant, binding_hash=step.binding_hash)
        with _failures():
            await self._collection("logouts").insert_one(documents.logout_document(step))

    async def take_logout_step(
        self, step_id: str, *, tenant: str, binding_hash: str, now: float
    ) -> LogoutStep | None:
        found = await self._take("logouts", step_id, tenant, binding_hash, now)
        return documents.logout_of(found) if found else None

    async def _take(
        self, collection: str, key: str, tenant: str, binding_hash: str, now: float
    ) -> Document | None:
        require_text(id=key, tenant=tenant, binding_hash=binding_hash)
        with _failures():
            return await self._collection(collection).find_one_and_delete(
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
        with _failures():
            await self._collection("sessions").insert_one(documents.session_document(session))

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
        with _failures():
            done = await self._collection("sessions").update_one(
                {"_id": session_id, "secret_hash": old_secret_hash, **_live_session(last_seen_at)},
                {"$set": {"secret_hash": new_secret_hash, **_seen(last_seen_at, idle_expires_at)}},
            )
        return done.matched_count == 1

    async def touch_session(self, session_id: str, *, last_seen_at: float, idle_expires_at: float) -> None:
        require_text(session_id=session_id)
        with _failures():
            await self._collection("sessions").update_one(
                {"_id": session_id, "last_seen_at": {"$lte": last_seen_at}, **_live_session(last_seen_at)},
                {"$set": _seen(last_seen_at, idle_expires_at)},
            )

    async def delete_session(self, session_id: str) -> list[Login]:
        require_text(session_id=session_id)
        with _failures():
            await self._collection("sessions").delete_one({"_id": session_id})
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
        with _failures():
            answer = await self._database.command(
                {"aggregate": collection, "pipeline": pipeline, "cursor": {"batchSize": _ANSWER}},
                codec_options=self._database.codec_options,
            )
            if answer["cursor"]["id"]:
                return await self._collection(collection).aggregate(pipeline).to_list(None)
        found: list[Document] = answer["cursor"]["firstBatch"]
        return found

    async def list_logins(self, session_id: str, *, now: float) -> list[Login]:
        require_text(session_id=session_id)
        wanted = {"session": session_id, "expires_at": {"$gt": to_date(now)}}
        with _failures():
            found = await self._collection("logins").find(wanted).to_list(None)
        return sorted(map(documents.login_of, found), key=lambda login: login.tenant)

    # --- logins

    async def put_login(self, login: Login) -> None:
        require_text(session=login.session, tenant=login.tenant)
        with _failures():
            for attempt in range(1, _UPSERT_TRIES + 1):
                try:
                    await self._collection("logins").replace_one(
                        _login_key(login.id), documents.login_document(login), upsert=True
                    )
                except DuplicateKeyError:  # two upserts met; the next try replaces what the other inserted
                    if attempt == _UPSERT_TRIES:
                        raise
                else:
                    return

    async def swap_login(self, login: Login, *, expected_version: int) -> bool:
        require_text(session=login.session, tenant=login.tenant)
        with _failures():
            done = await self._collection("logins").replace_one(
                {**_login_key(login.id), "version": expected_version}, documents.login_document(login)
            )
        return done.matched_count == 1

    async def acquire_lease(self, login_id: str, *, owner: str, now: float, until: float) -> Login | None:
        require_text(login_id=login_id, owner=owner)
        free = [{"lease_owner": None}, {"lease_owner": owner}, {"lease_expires_at": {"$lte": now}}]
        with _failures():
            found = await self._collection("logins").find_one_and_update(
                {**_login_key(login_id), "expires_at": {"$gt": to_date(now)}, "$or": free},
                {"$set": {"lease_owner": owner, "lease_expires_at": until}, "$inc": {"version": 1}},
                return_document=pymongo.ReturnDocument.AFTER,
            )
        return documents.login_of(found) if found else None

    async def release_lease(self, login_id: str, *, owner: str) -> None:
        require_text(login_id=login_id, owner=owner)
        with _failures():
            await self._collection("logins").update_one(
                {**_login_key(login_id), "lease_owner": owner},
                {"$set": {"lease_owner": None, "lease_expires_at": 0.0}, "$inc": {"version": 1}},
            )

    async def delete_login(self, session_id: str, tenant: str) -> Login | None:
        require_text(session_id=session_id, tenant=tenant)
        with _failures():
            found = await self._collection("logins").find_one_and_delete(
                _login_key(login_id(session_id, tenant))
            )
        return documents.login_of(found) if found else None

    async def delete_logins_by_sid(self, issuer: str, sid: str) -> list[Login]:
        require_text(issuer=issuer, sid=sid)
        return await self._delete_logins({"issuer": issuer, "sid": sid})

    async def delete_logins_by_subject(self, issuer: str, subject: str) -> list[Login]:
        require_text(issuer=issuer, subject=subject)
        return await self._delete_logins({"issuer": issuer, "subject": subject})

    async def _delete_logins(self, wanted: Document) -> list[Login]:
        """Delete one by one, each found and deleted in one step: nobody else is given the same login."""
        deleted = []
        with _failures():
            logins = self._collection("logins")
            for key in await logins.find(wanted, {"session": 1}).to_list(None):
                found = await logins.find_one_and_delete({**wanted, **key})
                if found:
                    deleted.append(documents.login_of(found))
        return sorted(deleted, key=lambda login: login.id)

    # --- cleaning up

    async def purge(self, *, now: float) -> int:
        expired = {"expires_at": {"$lte": to_date(now)}}
        deleted = 0
        with _failures():
            for name in ("attempts", "logouts", "sessions", "logins"):
                deleted += (await self._collection(name).delete_many(expired)).deleted_count
        return deleted


_UNREADABLE_URL = (
    "this is not a MongoDB connection string; expected mongodb://host/name or mongodb+srv://host/name, with "
    "user name and password percent-encoded, and options that MongoDB knows"
)


def _options(url: str) -> set[str]:
    """Names of the options that a connection string sets, in lower case."""
    return {name.lower() for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)}


def _client(url: str) -> AsyncIOMotorClient[Document]:
    try:
        given = _options(url)
        defaults = {name: value for name, value in _DEFAULTS.items() if name.lower() not in given}
        return AsyncIOMotorClient(url, tz_aware=True, **defaults)
    except (InvalidURI, ValueError):
        pass
    except PyMongoConfigurationError:
        if url.startswith("mongodb+srv:"):  # its name servers do not answer
            raise
    # The driver's message may quote a part of the URL, and the URL a password.
    raise ConfigurationError([Problem("database", _UNREADABLE_URL)])


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


def _session_of(key: str) -> str:
    return key.rpartition(":")[0]


def _login_key(key: str) -> Document:
    return {"_id": key, "session": _session_of(key)}


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Turn every failure of the driver into StoreUnavailable."""
    try:
        yield
    except OperationFailure as error:  # its message may quote documents
        raise StoreUnavailable(f"MongoDB refused: {type(error).__name__}, code {error.code}") from None
    except PyMongoError as error:
        raise StoreUnavailable(f"MongoDB does not answer: {type(error).__name__}") from error
