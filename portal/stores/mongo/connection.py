"""The connection to MongoDB: its URL, indexes, limits and failures.

Only this module imports Motor, whose maintenance has ended: to replace it, change this module.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl, urlsplit

import bson
import pymongo
import structlog
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo import IndexModel
from pymongo.database import Database
from pymongo.errors import AutoReconnect, InvalidURI, OperationFailure, PyMongoError
from pymongo.errors import ConfigurationError as PyMongoConfigurationError
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from portal.errors import ConfigurationError, FailedBeforeLogin, Problem, StoreUnavailable
from portal.stores.clock_check import MeasuredClock
from portal.stores.model import Login
from portal.stores.mongo.documents import Document, to_seconds
from portal.stores.mongo.format import require_format
from portal.stores.mongo.read_thread import ReadThread
from portal.stores.mongo.servers import ServerWatch
from portal.stores.mongo.tenant_documents import TENANT_INDEXES
from portal.stores.observer import StoreObserver, Unobserved
from portal.stores.stored_entries import DamagedEntry

_log = structlog.get_logger("portal.store")

Result = TypeVar("Result")

_DEFAULTS: dict[str, Any] = {
    "appname": "tenant-portal",
    "connectTimeoutMS": 1500,
    "serverSelectionTimeoutMS": 3000,
    "timeoutMS": 1750,
    "unicode_decode_error_handler": "replace",  # damaged text must fail one entry, not its batch
    "datetime_conversion": "DATETIME_AUTO",  # the same for a date that Python does not support
}
"""Used for options that the URL does not set: an unreachable database is detected within two seconds."""

_LEFT_TO_THE_LOOP = 0.25
"""Seconds after `timeoutMS` at which an operation is cancelled that no thread of the driver has begun."""
_RESPONSE_DOCUMENTS = 1000
_MAX_IN_PROGRESS = 1000
"""Operations that may run or wait for a thread of the driver."""
_OPENING_SECONDS = 3.0
"""How long the start waits for the server."""
_INDEX_SECONDS = 60.0
PURGE_SECONDS = 30.0
"""Timeout for the deletion of expired documents in one collection."""
_SERVER_TIME: list[Document] = [{"$match": {"_id": "clock"}}, {"$project": {"now": "$$NOW"}}]
_TTL = {"expireAfterSeconds": 0}
_UNIQUE = {"unique": True}
_Keys = list[tuple[str, int]]
INDEXES: tuple[tuple[str, _Keys, dict[str, Any]], ...] = (
    ("attempts", [("expires_at", 1)], _TTL),
    ("logouts", [("expires_at", 1)], _TTL),
    ("sessions", [("secret_hash", 1)], _UNIQUE),
    ("sessions", [("expires_at", 1), ("_id", 1)], {}),
    ("logins", [("session", 1)], {}),
    ("logins", [("sid", 1)], {}),
    ("logins", [("issuer", 1), ("subject", 1)], {}),
    ("logins", [("expires_at", 1), ("_id", 1)], {}),
    ("once", [("expires_at", 1)], _TTL),
    *TENANT_INDEXES,
)


_EARLIER_INDEXES = (("sessions", "expires_at_1"), ("logins", "expires_at_1"))
"""TTL indexes of earlier versions: with them, the server deletes logins before their end is an event."""
_NOT_THERE = frozenset({26, 27})
"""Codes of MongoDB: NamespaceNotFound, IndexNotFound."""


class RefusedByServer(StoreUnavailable):
    """The server responds and refuses an operation: it does not support it, or access is denied."""


class MongoConnection:
    """A database of a MongoDB server or cluster, and its indexes.

    `url` is a connection string; without a database name in it, the database is `portal`.
    """

    def __init__(self, url: str, *, observer: StoreObserver | None = None) -> None:
        self._url = url
        self._observer = observer or Unobserved()
        self._client: AsyncIOMotorClient[Document] | None = None
        self._opened: AsyncIOMotorDatabase[Document] | None = None
        self._raw: CodecOptions[RawBSONDocument] = CodecOptions(RawBSONDocument)
        self._reads: ReadThread | None = None
        self._clock = MeasuredClock()
        self._servers = ServerWatch()
        self._indexed_at: int | None = None
        self._in_progress = 0
        self._seconds = 0.0

    async def open(self, *, read_only: bool = False) -> bool:
        """Connect and create indexes; False if it was open already. Parameters: read_only, create nothing.

        Raises ConfigurationError for an invalid URL, StartupError for a database of a format that this
        version cannot use, StoreUnavailable.
        """
        if self._client is not None:
            return False
        with failures():
            self._client, self._seconds = _client(self._url, self._servers), _seconds(self._url)
            self._opened = self._client.get_default_database(
                "portal",
                read_preference=ReadPreference.PRIMARY,
                write_concern=None if "w" in _options(self._url) else WriteConcern("majority"),
            )
            self._raw = self._opened.codec_options.with_options(document_class=RawBSONDocument)
            self._reads = ReadThread()
            try:
                async with self.operation(seconds=_OPENING_SECONDS):
                    await self._opened.command("ping")
                async with self.operation(seconds=_OPENING_SECONDS):
                    await require_format(self._opened["meta"], record=not read_only)
                if not read_only:
                    await self.maintain()
            except BaseException:
                await self.close()
                raise
        return True

    async def close(self) -> None:
        """Close every connection; closing twice is allowed."""
        client, self._client, self._opened, self._indexed_at = self._client, None, None, None
        reads, self._reads = self._reads, None
        if reads is not None:
            reads.stop()
        if client is not None:
            await asyncio.to_thread(client.close)

    @contextlib.asynccontextmanager
    async def operation(self, *, seconds: float | None = None) -> AsyncIterator[None]:
        """Limit the total time of the block, and the number of such blocks in progress.

        `seconds`: timeout of operations that may take longer than those of a request. Raises
        StoreUnavailable.
        """
        if self._in_progress >= _MAX_IN_PROGRESS:
            self._observer.operation_refused()
            raise StoreUnavailable("too many operations wait for MongoDB")
        self._in_progress += 1
        try:
            with failures():
                if seconds is None:
                    async with asyncio.timeout(self._seconds or None):
                        yield
                else:
                    with pymongo.timeout(seconds):
                        yield
        except TimeoutError:
            raise StoreUnavailable("MongoDB does not respond in time") from None
        finally:
            self._in_progress -= 1

    async def read(
        self, collection: str, query: Document, stages: list[Document], most: int | None = None
    ) -> list[RawBSONDocument]:
        """Find documents, and apply further pipeline `stages`, in one round trip.

        `most` is how many can be found at most; None: any number. They are returned as they were received:
        `decode` decodes one.

        It sends a command, because a cursor of Motor uses its threads several times for the same. A cursor is
        used only for results that do not fit into one response (16 MB, `_RESPONSE_DOCUMENTS` documents). When
        a connection was closed, the driver retries reads of cursors but not commands, so this method retries.
        Raises StoreUnavailable.
        """
        if most == 0:
            return []
        pipeline = [{"$match": query}, *stages]
        cursor = {"batchSize": _RESPONSE_DOCUMENTS}
        command = {"aggregate": collection, "pipeline": pipeline, "cursor": cursor}
        async with self.operation():
            response = await _retried(lambda: self._run(command))
            cursor_of_response = response["cursor"]
            if cursor_of_response["id"]:
                documents = self.raw_collection(collection)
                return await documents.aggregate(pipeline).to_list(None)
        found: list[RawBSONDocument] = cursor_of_response["firstBatch"]
        return found

    def _run(self, command: Document) -> Awaitable[RawBSONDocument]:
        """Run a command that reads: in the thread for reads, or in one of Motor's while that is busy."""
        database = self.database
        if self._reads is not None and self._reads.is_idle:
            synchronous = cast(Database[Document], database.delegate)
            return self._reads.run(lambda: synchronous.command(command, codec_options=self._raw))
        return cast(Awaitable[RawBSONDocument], database.command(command, codec_options=self._raw))

    def decode(self, document: RawBSONDocument) -> Document:
        """Decode a document of `read`. Raises DamagedEntry."""
        try:
            return bson.decode(document.raw, self.database.codec_options)
        except BSONError:
            raise DamagedEntry("bson") from None

    def time(self) -> float:
        """The server's clock, as last measured. See `portal.stores.store.Store.time`."""
        return self._clock.time()

    async def measure_clock(self) -> float:
        """Request and return the server's time, by the clock of `$$NOW` and `$currentDate`.

        Raises StoreUnavailable.
        """
        meta = self.collection("meta")
        async with self.operation():
            started = self._clock.start()
            found = await meta.aggregate(_SERVER_TIME).to_list(1)
            if not found:
                await meta.update_one({"_id": "clock"}, {"$currentDate": {"at": True}}, upsert=True)
                started = self._clock.start()
                found = await meta.aggregate(_SERVER_TIME).to_list(1)
        if not found:
            raise StoreUnavailable("MongoDB does not return what was just written")
        server_time = to_seconds(found[0]["now"])
        self._clock.finish(started, server_time)
        return server_time

    async def maintain(self) -> None:
        """Measure the server's clock; create indexes after a failover. Raises StoreUnavailable.

        The new primary may have been restored or emptied, and lack the indexes that were created at start.
        """
        await self.measure_clock()
        changes = self._servers.changes
        if changes != self._indexed_at:
            with failures():
                await self._make_indexes(self.database)
            self._indexed_at = changes

    @property
    def database(self) -> AsyncIOMotorDatabase[Document]:
        """The open database. Raises StoreUnavailable when it is closed."""
        if self._opened is None:
            raise StoreUnavailable("the database is closed")
        return self._opened

    def collection(self, name: str) -> AsyncIOMotorCollection[Document]:
        """A collection of the open database. Raises StoreUnavailable when it is closed."""
        return self.database[name]

    def raw_collection(self, name: str) -> AsyncIOMotorCollection[RawBSONDocument]:
        """A collection whose documents are returned as they were received; see `read`."""
        collection = self.database.get_collection(name, codec_options=self._raw)
        return cast(AsyncIOMotorCollection[RawBSONDocument], collection)

    async def _make_indexes(self, database: AsyncIOMotorDatabase[Document]) -> None:
        """Create missing indexes.

        A server without TTL indexes, and a sharded collection that cannot have a unique one, gets plain
        indexes: the portal deletes expired documents itself, and random secrets of that size are unique.
        """
        refused: list[str] = []
        with pymongo.timeout(_INDEX_SECONDS):
            for name, indexes in groupby(sorted(INDEXES, key=itemgetter(0)), key=itemgetter(0)):
                refused += await _index_collection(
                    database[name], [(keys, more) for _, keys, more in indexes]
                )
            for name, index in _EARLIER_INDEXES:
                try:
                    await database[name].drop_index(index)
                except OperationFailure as error:
                    if error.code not in _NOT_THERE:
                        _log.warning("index_not_dropped", collection=name, index=index, code=error.code)
        if refused:
            _log.warning("index_options_refused", indexes=refused)


async def _index_collection(
    collection: AsyncIOMotorCollection[Document], indexes: Sequence[tuple[_Keys, dict[str, Any]]]
) -> list[str]:
    """Create the missing indexes of a collection with one command; return those whose option was refused."""
    try:
        await collection.create_indexes([IndexModel(keys, **options) for keys, options in indexes])
    except OperationFailure:
        pass  # one of them: the command creates all or none
    else:
        return []
    refused = []
    for keys, options in indexes:
        try:
            await collection.create_index(keys, **options)
        except OperationFailure as error:
            if not options:
                raise
            await collection.create_index(keys)
            refused.append(f"{collection.name}.{keys[0][0]} {next(iter(options))} (code {error.code})")
    return refused


async def _retried(read: Callable[[], Awaitable[Result]]) -> Result:
    """Repeat a read once when its connection was closed.

    The driver has closed every connection to that server by then, so the second try uses a new one.
    """
    try:
        return await read()
    except AutoReconnect as error:
        if error.timeout:
            raise
        return await read()


_UNREADABLE_URL = (
    "this is not a MongoDB connection string; expected mongodb://host/name or mongodb+srv://host/name, with "
    "user name and password percent-encoded, and options that MongoDB knows"
)


def _options(url: str) -> dict[str, str]:
    """The options that a connection string sets, their names in lower case."""
    return {name.lower(): value for name, value in parse_qsl(urlsplit(url).query, keep_blank_values=True)}


def _seconds(url: str) -> float:
    """Timeout of an operation: the driver's timeout from the URL, plus `_LEFT_TO_THE_LOOP`; 0: no limit."""
    given = float(_options(url).get("timeoutms", _DEFAULTS["timeoutMS"]))
    return given / 1000 + _LEFT_TO_THE_LOOP if given else 0.0


def _client(url: str, servers: ServerWatch) -> AsyncIOMotorClient[Document]:
    try:
        given = _options(url)
        _seconds(url)  # raises ValueError for an invalid number; the driver only warns
        defaults = {name: value for name, value in _DEFAULTS.items() if name.lower() not in given}
        return AsyncIOMotorClient(url, tz_aware=True, event_listeners=[servers], **defaults)
    except (InvalidURI, ValueError):
        pass
    except PyMongoConfigurationError:
        if url.startswith("mongodb+srv:"):  # the name servers do not respond
            raise
    # The driver's message may quote a part of the URL, which may contain a password.
    raise ConfigurationError([Problem("database", _UNREADABLE_URL)])


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """Turn every failure of the driver into StoreUnavailable."""
    try:
        yield
    except OperationFailure as error:  # its message may quote documents
        raise RefusedByServer(f"MongoDB refused: {type(error).__name__}, code {error.code}") from None
    except PyMongoError as error:
        raise StoreUnavailable(f"MongoDB does not respond: {type(error).__name__}") from error


@contextlib.asynccontextmanager
async def failing_before(login: Login | None) -> AsyncIterator[None]:
    """Report a failure of the block as FailedBeforeLogin, if a login is to be stored after it."""
    try:
        yield
    except StoreUnavailable as error:
        if login is None:
            raise
        raise FailedBeforeLogin(error.detail) from error
