"""Reads documents of tenants in pieces of bounded size, and makes records of them in slices of time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Literal

from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

from portal.stores.full_pages import full_page
from portal.stores.mongo.connection import MongoConnection
from portal.stores.mongo.documents import Document
from portal.stores.mongo.tenant_documents import (
    OUTBOX,
    STORED,
    TenantInstance,
    event_of,
    instance_of,
    revision_id,
    revision_of,
)
from portal.stores.stored_entries import Entry, EntryReader
from portal.stores.tenant_records import Event, Revision

_PAGE = 1000
_LARGE: Document = {"draft": 0, "links": 0, "events": 0, "revisions": 0}
_REVISIONS_AT_ONCE = 100
_ORDERED_AT_ONCE = 200


class TenantReader:
    """Reads documents of the collections of tenants; one that cannot be read counts as missing."""

    def __init__(self, connection: MongoConnection, entries: EntryReader) -> None:
        self._connection = connection
        self._entries = entries

    async def list_by_id(
        self, collection: str, query: Document, convert: Callable[[Document], Entry], kind: type[Entry]
    ) -> list[Entry]:
        """All documents that match, ordered by `_id`."""
        found: list[Entry] = []
        after: Document = {}
        while True:
            stages: list[Document] = [{"$sort": {"_id": 1}}, {"$limit": _PAGE}, {"$project": _LARGE}]
            page = await self._connection.read(collection, {**query, **after}, stages)
            found += await self._decoded(page, convert, kind)
            if len(page) < _PAGE:
                return found
            after = {"_id": {"$gt": page[-1]["_id"]}}

    async def list_newest(
        self,
        collection: str,
        query: Document,
        by: str,
        most: int,
        *,
        convert: Callable[[Document], Entry],
        kind: type[Entry],
    ) -> list[Entry]:
        """The first `most` that can be read of the documents that match, in descending order of `by`."""
        return await self._listed(collection, query, by, -1, most, convert=convert, kind=kind)

    async def list_newest_events(self, queries: Sequence[Document], most: int) -> list[Event]:
        """Up to `most` events for each of some queries."""
        found = await asyncio.gather(
            *(self.list_newest("events", one, "_id", most, convert=event_of, kind=Event) for one in queries)
        )
        return list(chain.from_iterable(found))

    async def list_oldest(
        self,
        collection: str,
        query: Document,
        by: str,
        most: int,
        *,
        convert: Callable[[Document], Entry],
        kind: type[Entry],
    ) -> list[Entry]:
        """The first `most` that can be read of the documents that match, in ascending order of `by`."""
        return await self._listed(collection, query, by, 1, most, convert=convert, kind=kind)

    async def _listed(
        self,
        collection: str,
        query: Document,
        by: str,
        order: Literal[-1, 1],
        most: int,
        *,
        convert: Callable[[Document], Entry],
        kind: type[Entry],
    ) -> list[Entry]:
        beyond = "$gt" if order == 1 else "$lt"

        async def read(place: object, count: int) -> Sequence[RawBSONDocument]:
            stages: list[Document] = [{"$sort": {by: order}}, {"$limit": count}]
            after = {} if place is None else {by: {**query.get(by, {}), beyond: place}}
            return await self._connection.read(collection, {**query, **after}, stages)

        async def decode(found: Sequence[RawBSONDocument]) -> list[Entry]:
            return await self._decoded(found, convert, kind)

        return await full_page(
            read, decode, partial(place_in, by), begin=None, most=most, at_once=_ORDERED_AT_ONCE
        )

    async def revisions(self, keys: Sequence[tuple[str, int]]) -> list[Revision]:
        """The revisions with these slugs and numbers, in their order, also those not delivered yet."""
        found: list[Revision] = []
        for start in range(0, len(keys), _REVISIONS_AT_ONCE):
            found += await self._some_revisions(keys[start : start + _REVISIONS_AT_ONCE])
        return found

    async def _some_revisions(self, keys: Sequence[tuple[str, int]]) -> list[Revision]:
        slugs = list({slug for slug, _ in keys})
        query = {"_id": {"$in": slugs}, **STORED}
        found = await self._connection.read("tenants", query, [{"$project": OUTBOX}], len(slugs))
        tenants = {each.slug: each for each in await self._decoded(found, instance_of, TenantInstance)}
        stored: dict[tuple[str, int], Revision] = {}
        for tenant in tenants.values():
            for made in await self._entries.read_all(revision_of, tenant.undelivered, kind=Revision):
                stored[tenant.slug, made.number] = made
        wanted = [
            revision_id(slug, number, tenants[slug].instance) for slug, number in keys if slug in tenants
        ]
        found = await self._connection.read("revisions", {"_id": {"$in": wanted}}, [], len(wanted))
        for made in await self._decoded(found, revision_of, Revision):
            stored[made.tenant, made.number] = made
        return [stored[key] for key in keys if key in stored]

    async def _decoded(
        self, found: Sequence[RawBSONDocument], convert: Callable[[Document], Entry], kind: type[Entry]
    ) -> list[Entry]:
        def read(raw: RawBSONDocument) -> Entry:
            return convert(self._connection.decode(raw))

        return await self._entries.read_all(read, found, kind=kind)


def place_in(by: str, raw: RawBSONDocument) -> object:
    """The value of a field of a document that was received; None if it cannot be read."""
    try:
        return raw[by]
    except (BSONError, KeyError):
        return None
