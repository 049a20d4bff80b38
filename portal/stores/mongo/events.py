"""Events in MongoDB.

An event that waits for its delivery has no `delivered`; it is false for one that was set aside.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

from portal.stores.event_store import EventPage, WaitingEvents
from portal.stores.mongo import tenant_documents as documents
from portal.stores.mongo.connection import MongoConnection
from portal.stores.mongo.documents import Document
from portal.stores.mongo.outbox import Outbox
from portal.stores.mongo.tenant_reading import TenantReader
from portal.stores.record_checks import (
    is_event_id,
    require_numbers,
    require_search,
    require_short,
    require_times,
)
from portal.stores.stored_entries import EntryReader
from portal.stores.tenant_records import (
    LAST_EVENT_ID,
    USER_KINDS,
    Event,
    earliest_event_id,
    subject_text,
)
from portal.time_slices import in_slices


class MongoEvents:
    """The part of the TenantStore for events. See `portal.stores.event_store.EventStore`."""

    def __init__(
        self, connection: MongoConnection, entries: EntryReader, reader: TenantReader, outbox: Outbox
    ) -> None:
        self._connection = connection
        self._entries = entries
        self._reader = reader
        self._outbox = outbox

    async def add_events(self, events: Sequence[Event]) -> None:
        made = [documents.event_document(event) async for event in in_slices(events)]
        await self._outbox.insert("events", made)

    async def list_events(
        self, *, tenant: str | None = None, before: str | None = None, since: float = 0.0, most: int = 100
    ) -> list[Event]:
        require_times(since=since)
        require_numbers(most=most)
        query: Document = {"_id": {"$gte": earliest_event_id(since)}, "of_user": None}
        if tenant is not None:
            require_short(tenant=tenant)
            query["tenant"] = tenant
        if before is not None:
            require_short(id=before)
            query["_id"]["$lt"] = before
        await self._outbox.deliver_all()
        return await self._reader.list_newest(
            "events", query, "_id", most, convert=documents.event_of, kind=Event
        )

    async def list_user_events(
        self, users: Sequence[tuple[str, str]], *, since: float, most: int
    ) -> Sequence[Event]:
        for tenant, actor in users:
            require_short(tenant=tenant, actor=actor)
        require_times(since=since)
        require_numbers(most=most)
        first = {"$gte": earliest_event_id(since)}
        queries: list[Document] = [
            {"tenant": tenant, "actor": actor, "of_user": True, "_id": first}
            for tenant, actor in dict.fromkeys(users)
        ]
        found = await self._reader.list_newest_events(queries, most)
        return sorted(found, key=lambda one: one.id, reverse=True)[:most]

    async def read_events(
        self,
        *,
        tenant: str | None = None,
        after: str = "",
        before: str | None = None,
        most: int,
    ) -> list[Event]:
        require_short(id=after, tenant=tenant or "")
        require_short(id=before or "")
        require_numbers(most=most)
        last = LAST_EVENT_ID if before is None else before
        query: Document = {"_id": {"$gt": after, "$lt": last}}
        if tenant is not None:
            query["tenant"] = tenant
        await self._outbox.deliver_all()
        return await self._reader.list_oldest(
            "events", query, "_id", most, convert=documents.event_of, kind=Event
        )

    async def search_events(
        self,
        *,
        tenant: str | None,
        kinds: Collection[str],
        outcome: str,
        subject: str,
        after: str,
        before: str | None,
        most: int,
        among: int,
    ) -> EventPage:
        require_search(tenant=tenant, kinds=kinds, outcome=outcome, subject=subject, most=most, among=among)
        require_short(id=after)
        require_short(id=before or "")
        query: Document = {"_id": {"$gt": after, "$lt": LAST_EVENT_ID if before is None else before}}
        if tenant is not None:
            query["tenant"] = tenant
        if kinds and not set(kinds) & set(USER_KINDS):
            query["of_user"] = None
        await self._outbox.deliver_all()
        newest: Document = {"$sort": {"_id": -1}}
        wanted = _wanted(kinds, outcome, subject)
        stages: list[Document] = [newest, {"$limit": among}, {"$match": wanted}, {"$limit": most + 1}]
        found = await self._connection.read("events", query, stages) if among else []
        more_before: str | None = None
        if len(found) > most:
            found = found[:most]
            more_before = found[-1]["_id"] if found else before
        elif among:
            last: list[Document] = [newest, {"$skip": among - 1}, {"$limit": 1}, {"$project": {"_id": 1}}]
            for place in await self._connection.read("events", query, last):
                more_before = place["_id"]
        return EventPage(await self._entries.read_all(self._event_of, found, kind=Event), more_before)

    async def waiting_events(self, *, after: str, most: int) -> WaitingEvents:
        require_short(id=after)
        require_numbers(most=most)
        await self._outbox.deliver_all()
        query: Document = {"delivered": None, "_id": {"$gt": after}}
        stages: list[Document] = [{"$sort": {"_id": 1}}, {"$limit": most}]
        found = WaitingEvents([], [])
        async for raw in in_slices(await self._connection.read("events", query, stages) if most else []):
            event = self._entries.read(self._event_of, raw, kind=Event)
            if event is not None:
                found.events.append(event)
            elif (key := _id_of(raw)) is not None:
                found.damaged.append(key)
        return found

    async def mark_delivered(self, ids: Collection[str]) -> None:
        await self._update_each(ids, {}, {"$set": {"delivered": True}})

    async def set_aside_events(self, ids: Collection[str]) -> None:
        await self._update_each(ids, {"delivered": None}, {"$set": {"delivered": False}})

    async def list_set_aside(self, *, after: str, most: int) -> list[Event]:
        require_short(id=after)
        require_numbers(most=most)
        query: Document = {"delivered": False, "_id": {"$gt": after}}
        return await self._reader.list_oldest(
            "events", query, "_id", most, convert=documents.event_of, kind=Event
        )

    async def deliver_again(self, *, most: int) -> int:
        require_numbers(most=most)
        if most == 0:
            return 0
        async with self._connection.operation():
            found = self._connection.collection("events").find({"delivered": False}, {"_id": 1})
            keys = [each["_id"] for each in await found.sort("_id", 1).limit(most).to_list(None)]
        await self._update_each(keys, {"delivered": False}, {"$unset": {"delivered": ""}})
        return len(keys)

    async def _update_each(self, ids: Collection[str], expected: Document, change: Document) -> None:
        for each in ids:
            require_short(id=each)
        events = self._connection.collection("events")
        async with self._connection.operation():
            await events.update_many({"_id": {"$in": list(ids)}, **expected}, change)

    async def purge_events(self, *, before: float, most: int) -> int:
        require_times(before=before)
        require_numbers(most=most)
        if most == 0:
            return 0
        events = self._connection.collection("events")
        async with self._connection.operation():
            old = events.find({"_id": {"$lt": earliest_event_id(before)}}, {"_id": 1})
            keys = [each["_id"] for each in await old.sort("_id", 1).limit(most).to_list(None)]
            return (await events.delete_many({"_id": {"$in": keys}})).deleted_count

    def _event_of(self, raw: RawBSONDocument) -> Event:
        return documents.event_of(self._connection.decode(raw))


def _id_of(raw: RawBSONDocument) -> str | None:
    """The id of a damaged event, if that can be read."""
    try:
        key = raw["_id"]
    except BSONError:
        return None
    return key if is_event_id(key) else None


def _wanted(kinds: Collection[str], outcome: str, subject: str) -> Document:
    wanted: Document = {}
    if kinds:
        wanted["kind"] = {"$in": list(kinds)}
    if outcome:
        wanted["outcome"] = outcome
    if subject:
        wanted["$or"] = [{"target": subject}, {"actor": {"$regex": re.escape(subject_text(subject))}}]
    return wanted
