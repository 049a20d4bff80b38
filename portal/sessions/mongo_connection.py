"""The connection to MongoDB: its URL, indexes and failures.

The only module that imports Motor: Motor is past its maintenance date, and its successor is one change here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pymongo
import structlog
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo.errors import ConfigurationError as PyMongoConfigurationError
from pymongo.errors import InvalidURI, OperationFailure, PyMongoError
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from portal.errors import ConfigurationError, Problem, StoreUnavailable
from portal.sessions.clock_check import MeasuredClock
from portal.sessions.mongo_documents import Document, to_seconds

_log = structlog.get_logger("portal.store")

_DEFAULTS: dict[str, Any] = {
    "appname": "tenant-portal",
    "connectTimeoutMS": 2000,
    "serverSelectionTimeoutMS": 3000,
    "timeoutMS": 4000,
}
"""Used where the URL says nothing else: a database that is down is known to be within four seconds."""

_PING_SECONDS = 2.0
_SERVER_TIME: list[Document] = [{"$match": {"_id": "clock"}}, {"$project": {"now": "$$NOW"}}]
_INDEX_SECONDS = 60.0
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
    ("once", [("expires_at", 1)], _TTL),
)


class MongoConnection:
    """A database of a MongoDB server or cluster, and its indexes.

    `url` is a connection string; the database is the one it names, or `portal`.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: AsyncIOMotorClient[Document] | None = None
        self._opened: AsyncIOMotorDatabase[Document] | None = None
        self._clock = MeasuredClock()

    async def open(self) -> None:
        """Connect and make indexes. Raises ConfigurationError for a URL that is not one, StoreUnavailable."""
        if self._client is not None:
            return
        with failures():
            self._client = _client(self._url)
            self._opened = self._client.get_default_database(
                "portal",
                read_preference=ReadPreference.PRIMARY,
                write_concern=None if "w" in _options(self._url) else WriteConcern("majority"),
            )
            try:
                await self.ping()
                await self._make_indexes(self._opened)
                await self.measure_clock()
            except BaseException:
                await self.close()
                raise

    async def close(self) -> None:
        """Let go of every connection; closing twice is allowed."""
        client, self._client, self._opened = self._client, None, None
        if client is not None:
            await asyncio.to_thread(client.close)

    def time(self) -> float:
        """The server's clock, as last measured. See `portal.sessions.store.Store.time`."""
        return self._clock.time()

    async def measure_clock(self) -> None:
        """Ask the server for its time, of the clock that `$$NOW` and `$currentDate` have.

        Raises StoreUnavailable.
        """
        started = self._clock.start()
        with failures(), pymongo.timeout(_PING_SECONDS):
            found = await self.collection("meta").aggregate(_SERVER_TIME).to_list(1)
            if not found:
                await self.collection("meta").update_one(
                    {"_id": "clock"}, {"$currentDate": {"at": True}}, upsert=True
                )
                started = self._clock.start()
                found = await self.collection("meta").aggregate(_SERVER_TIME).to_list(1)
        for document in found:
            self._clock.finish(started, to_seconds(document["now"]))

    async def ping(self) -> None:
        """Answer quickly whether the database serves. Raises StoreUnavailable."""
        with failures(), pymongo.timeout(_PING_SECONDS):
            await self.database.command("ping")

    @property
    def database(self) -> AsyncIOMotorDatabase[Document]:
        """The open database. Raises StoreUnavailable when it is closed."""
        if self._opened is None:
            raise StoreUnavailable("the database is closed")
        return self._opened

    def collection(self, name: str) -> AsyncIOMotorCollection[Document]:
        """A collection of the open database. Raises StoreUnavailable when it is closed."""
        return self.database[name]

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


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """Turn every failure of the driver into StoreUnavailable."""
    try:
        yield
    except OperationFailure as error:  # its message may quote documents
        raise StoreUnavailable(f"MongoDB refused: {type(error).__name__}, code {error.code}") from None
    except PyMongoError as error:
        raise StoreUnavailable(f"MongoDB does not answer: {type(error).__name__}") from error
