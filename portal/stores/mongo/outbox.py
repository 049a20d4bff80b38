"""Delivers what changes of tenants and domains leave in their documents: events, revisions, the counter.

A server without transactions changes one document at a time. So a change stores its event in the document
that it changes, and the event is copied to the collection `events` afterwards. Each step can be repeated, by
any process: what a process that ends leaves in a document, the next one delivers.
"""

from __future__ import annotations

from typing import Any

import structlog
from pymongo.errors import BulkWriteError

from portal.errors import StoreUnavailable
from portal.stores.mongo.connection import PURGE_SECONDS, MongoConnection
from portal.stores.mongo.documents import Document
from portal.stores.mongo.tenant_documents import OUTBOX, STORED, revision_id, undelivered
from portal.stores.record_checks import MOST_REVISIONS

_log = structlog.get_logger("portal.store")

COUNTER = "tenants_version"
"""The id of the document of `meta` with the number that `tenants_version` returns."""
_DUPLICATE_KEY = 11000
_AT_ONCE = 100
_WAITING: Document = {"events._id": {"$gt": ""}}


class Outbox:
    """Moves events and revisions from the documents of `tenants` and `domains` to their collections."""

    def __init__(self, connection: MongoConnection) -> None:
        self._connection = connection

    async def deliver_later(self, collection: str, document: Document) -> None:
        """Deliver after a change that is stored; when the database fails, `deliver_all` does it later."""
        try:
            await self.deliver(collection, document)
        except StoreUnavailable as error:
            _log.warning("event_delivery_delayed", collection=collection, reason=error.detail)

    async def deliver_all(self) -> None:
        """Deliver what earlier changes have left. Raises StoreUnavailable."""
        for collection in ("tenants", "domains"):
            async with self._connection.operation():
                waiting = self._connection.collection(collection).find(_WAITING, OUTBOX).limit(_AT_ONCE)
                found = await waiting.to_list(None)
            for document in found:
                await self.deliver(collection, document)

    async def deliver(self, collection: str, document: Document) -> None:
        """Deliver what waits in a document, of which `document` has the fields of OUTBOX.

        If the document is marked as removed, it is deleted then, with what belongs to it. Raises
        StoreUnavailable.
        """
        events, revisions = undelivered(document, "events"), undelivered(document, "revisions")
        await self.insert("revisions", [_separate(each, document) for each in revisions])
        if revisions:
            await self._delete_early(document, newest=max(each["number"] for each in revisions))
        await self.insert("events", [_without_mark(each) for each in events])
        if document.get("removed"):
            await self._finish_removal(collection, document)
        elif events or revisions:
            if any(each.get("counted") for each in events):
                await self._count()
            delivered = {
                "events": {"_id": {"$in": [each["_id"] for each in events]}},
                "revisions": {"number": {"$in": [each["number"] for each in revisions]}},
            }
            await self._update(collection, document, {"$pull": delivered})

    async def was_made(self, collection: str, key: str, change: Document, event: Document | None) -> bool:
        """Whether a change is stored already: the server may execute a write twice, and only once it matches.

        Parameters: change, the update; event, the one in it, by whose id the change is found. Raises
        StoreUnavailable.
        """
        documents = self._connection.collection(collection)
        made = {"_id": key, **STORED, **change["$set"]} if event is None else {"_id": key, **_waits(event)}
        async with self._connection.operation():
            found: Document | None = await documents.find_one(made, OUTBOX)
        if found is not None:
            await self.deliver_later(collection, found)
            return True
        if event is None:
            return False
        async with self._connection.operation():
            events = self._connection.collection("events")
            return await events.find_one({"_id": event["_id"]}, {"_id": 1}) is not None

    async def insert(self, collection: str, documents: list[Document]) -> None:
        """Insert documents; those whose `_id` is stored already are skipped. Raises StoreUnavailable."""
        if not documents:
            return
        async with self._connection.operation():
            try:
                await self._connection.collection(collection).insert_many(documents, ordered=False)
            except BulkWriteError as error:
                if not _only_duplicates(error.details):
                    raise

    async def _delete_early(self, document: Document, *, newest: int) -> None:
        """Keep the latest MOST_REVISIONS of a tenant."""
        early = {
            "tenant": document["_id"],
            "instance": document.get("instance"),
            "number": {"$lte": newest - MOST_REVISIONS},
        }
        async with self._connection.operation():
            await self._connection.collection("revisions").delete_many(early)

    async def _finish_removal(self, collection: str, document: Document) -> None:
        if collection == "tenants":
            of_it = {"tenant": document["_id"], "tenant_instance": document.get("instance")}
            domains = self._connection.collection("domains")
            async with self._connection.operation():
                await domains.update_many(of_it, {"$set": {"removed": True}})
                claims = await domains.find(of_it, OUTBOX).to_list(None)
            for claim in claims:
                await self.deliver("domains", claim)
        await self._count()
        if collection == "tenants":
            revisions = {"tenant": document["_id"], "instance": document.get("instance")}
            async with self._connection.operation(seconds=PURGE_SECONDS):
                await self._connection.collection("revisions").delete_many(revisions)
        async with self._connection.operation():
            await self._connection.collection(collection).delete_one(_identity(document))

    async def _count(self) -> None:
        async with self._connection.operation():
            meta = self._connection.collection("meta")
            await meta.update_one({"_id": COUNTER}, {"$inc": {"number": 1}}, upsert=True)

    async def _update(self, collection: str, document: Document, change: Document) -> None:
        async with self._connection.operation():
            await self._connection.collection(collection).update_one(_identity(document), change)


def _waits(event: Document) -> Document:
    """The condition that an event is in a document and not delivered yet."""
    return {"events._id": event["_id"]}


def _identity(document: Document) -> Document:
    return {"_id": document["_id"], "instance": document.get("instance")}


def _separate(revision: Document, tenant: Document) -> Document:
    """A revision as a document of its own."""
    instance = str(tenant.get("instance"))
    return {
        **revision,
        "_id": revision_id(tenant["_id"], revision["number"], instance),
        "instance": instance,
    }


def _without_mark(event: Document) -> Document:
    return {name: value for name, value in event.items() if name != "counted"}


def _only_duplicates(details: Any) -> bool:
    codes = {each.get("code") for each in details.get("writeErrors", [])}
    return codes <= {_DUPLICATE_KEY} and not details.get("writeConcernErrors")
