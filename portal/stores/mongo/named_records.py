"""Replaces what names a person in MongoDB documents: for `TenantStore.replace_named`.

Each update sets fields to given values, so a server may execute it twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymongo import UpdateMany, UpdateOne

from portal.stores.mongo.connection import MongoConnection
from portal.stores.mongo.documents import Document
from portal.stores.mongo.tenant_documents import STORED
from portal.stores.record_checks import require_valid
from portal.stores.tenant_records import NAMING, Draft, Event, Named, Revision
from portal.time_slices import in_slices

_AT_ONCE = 200


async def replace_named(connection: MongoConnection, records: Sequence[Named]) -> None:
    """See `TenantStore.replace_named`. Revisions and events that wait in other documents are not found.

    Raises StoreUnavailable; TypeError and ValueError as `require_valid`.
    """
    updates: dict[str, list[UpdateOne | UpdateMany]] = {}
    async for record in in_slices(records):
        collection, update = _update(record)
        updates.setdefault(collection, []).append(update)
    for collection, found in updates.items():
        for start in range(0, len(found), _AT_ONCE):
            async with connection.operation():
                some = found[start : start + _AT_ONCE]
                await connection.collection(collection).bulk_write(some, ordered=False)


def _update(record: Named) -> tuple[str, UpdateOne | UpdateMany]:
    require_valid(record)
    values: dict[str, Any] = {name: getattr(record, name) for name in NAMING[type(record)]}
    if isinstance(record, Event):
        return "events", UpdateOne({"_id": record.id}, {"$set": values})
    if isinstance(record, Revision):
        number = {"tenant": record.tenant, "number": record.number}
        return "revisions", UpdateMany(number, {"$set": values})
    tenant: Document = {"_id": record.tenant, **STORED}
    if isinstance(record, Draft):
        of_draft = {f"draft.{name}": value for name, value in values.items()}
        return "tenants", UpdateOne({**tenant, "draft.version": record.version}, {"$set": of_draft})
    of_link = {f"links.$.{name}": value for name, value in values.items()}
    return "tenants", UpdateOne({**tenant, "links.id": record.id}, {"$set": of_link})
