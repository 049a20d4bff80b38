"""The state of a MongoDB database, read without changing it. See `portal.stores.examination`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo.errors import OperationFailure

from portal.clock import Clock
from portal.stores.examination import DatabaseFacts
from portal.stores.format import FORMAT
from portal.stores.mongo.connection import INDEXES, MongoConnection
from portal.stores.mongo.documents import VERSION, to_seconds

_SECONDS = 10.0
_OLDEST_SERVER = (5, 0)
_NO_COLLECTION = 26
_NO_COMMAND = 59


class MongoExamination:
    """The state of a database, which may be in use.

    Parameters: key_ring, the id of that record; clock, of this host.
    """

    def __init__(self, url: str, *, key_ring: str, clock: Clock) -> None:
        self._clock = clock
        self._connection = MongoConnection(url)
        self._key_ring = key_ring

    async def facts(self) -> DatabaseFacts:
        await self._connection.open(read_only=True)
        try:
            return await self._facts()
        finally:
            await self._connection.close()

    async def _facts(self) -> DatabaseFacts:
        database = self._connection.database
        async with self._connection.operation(seconds=_SECONDS):
            built: Mapping[str, Any] = await database.command("buildInfo")
            before = self._clock()
            hello = await _hello(database)
            ahead = (before + self._clock()) / 2 - to_seconds(hello["localTime"])
            metadata = await database["meta"].find({"_id": {"$in": [FORMAT, self._key_ring]}}).to_list(None)
        values = {each["_id"]: str(each.get("value")) for each in metadata}
        missing, weak = await self._indexes()
        version, replica_set = str(built["version"]), hello.get("setName")
        concern = database.write_concern.document
        empty = not values and len(missing) == len(INDEXES)
        return DatabaseFacts(
            f"MongoDB {version}" + (f", replica set {replica_set}" if replica_set else ""),
            _numbers(version) >= _OLDEST_SERVER,
            None if empty else int(values.get(FORMAT, VERSION - 1)),
            VERSION,
            missing_indexes=() if empty else tuple(missing),
            weak_indexes=tuple(weak),
            replica_set=str(replica_set) if replica_set else None,
            write_concern=", ".join(f"{name}: {value}" for name, value in sorted(concern.items())),
            lasting_writes=concern.get("w") not in (0, 1) and concern.get("j") is not False,
            clock_ahead=round(ahead, 3),
            key_ring=values.get(self._key_ring),
        )

    async def _indexes(self) -> tuple[list[str], list[str]]:
        """The indexes that are missing, and those that lack an option."""
        missing, weak = [], []
        found: dict[str, Sequence[Mapping[str, Any]]] = {}
        for name, keys, options in INDEXES:
            if name not in found:
                found[name] = await self._indexes_of(name)
            label = f"{name} ({', '.join(key for key, _ in keys)})"
            same = [index for index in found[name] if [*index["key"].items()] == keys]
            if not same:
                missing.append(label)
            elif not any(options.items() <= index.items() for index in same):
                weak.append(f"{label}: {next(iter(options))}")
        return missing, weak

    async def _indexes_of(self, name: str) -> Sequence[Mapping[str, Any]]:
        async with self._connection.operation(seconds=_SECONDS):
            try:
                return await self._connection.collection(name).list_indexes().to_list(None)
            except OperationFailure as error:
                if error.code == _NO_COLLECTION:
                    return []
                raise


async def _hello(database: Any) -> Mapping[str, Any]:
    """What the server says of itself; some servers know the command only by its name before MongoDB 5.0."""
    try:
        found: Mapping[str, Any] = await database.command("hello", codec_options=database.codec_options)
    except OperationFailure as error:
        if error.code != _NO_COMMAND:
            raise
        found = await database.command("isMaster", codec_options=database.codec_options)
    return found


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.partition("-")[0].split(".")
    return tuple(int(part) for part in parts if part.isascii() and part.isdecimal())
