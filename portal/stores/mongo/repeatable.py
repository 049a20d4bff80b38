"""Writes whose result is right when the server executes them twice.

When a connection is closed before the response, the driver sends a write once more. A replica set of MongoDB
knows the transaction number of the write and does not execute it again; other servers that speak MongoDB's
protocol may. So each write here that depends on what is stored leaves a random mark of its call, and finds
the mark when it is executed again. See docs/decisions/087-two-versions-and-two-executions.md.
"""

from __future__ import annotations

import secrets
from typing import Any

import pymongo
from pymongo.errors import DuplicateKeyError

from portal.stores.mongo.documents import Document, to_date

Collection = Any
"""One of Motor, which only `portal.stores.mongo.connection` imports."""

_TRIES = 5


def new_mark() -> str:
    """A mark of one call."""
    return secrets.token_hex(16)


async def insert(collection: Collection, document: Document) -> None:
    """Insert a document, of which no other is a copy. Raises DuplicateKeyError when another has its key."""
    try:
        await collection.insert_one(document)
    except DuplicateKeyError:
        if await collection.find_one({"_id": document["_id"]}) != document:
            raise


async def take(collection: Collection, query: Document) -> Document | None:
    """Delete and return the document that matches; None if there is none. `query` has its `binding_hash`.

    First the mark replaces the binding: so nobody else can take the document, portals of earlier versions
    included. What a process leaves that ends before the deletion expires.
    """
    binding, mark = query["binding_hash"], f"taken:{new_mark()}"
    found: Document | None = await collection.find_one_and_update(
        {**query, "binding_hash": {"$in": [binding, mark]}},
        {"$set": {"binding_hash": mark}},
        return_document=pymongo.ReturnDocument.AFTER,
    )
    if found is None:
        return None
    await collection.delete_one({"_id": found["_id"], "binding_hash": mark})
    return {**found, "binding_hash": binding}


async def end_login(logins: Collection, query: Document) -> Document | None:
    """Delete and return the login that matches; None if there is none, or another caller deletes it.

    First the mark and an expiry in the past are set, if the login is still the one that was read: from then
    on nobody uses it, portals of earlier versions included. `query` has `_id` and `session`.
    """
    key = {name: query[name] for name in ("_id", "session")}
    mark = new_mark()
    for _ in range(_TRIES):
        found: Document | None = await logins.find_one({**query, "ended": None})
        if found is None:
            return None
        unchanged: Document = {"version": {"$eq": found.get("version")}, "ended": None}
        ended = {"ended": mark, "expires_at": to_date(0.0), "version": secrets.randbits(48)}
        done = await logins.update_one({**key, "$or": [unchanged, {"ended": mark}]}, {"$set": ended})
        if done.matched_count:
            await logins.delete_one({**key, "ended": mark})
            return found
    # It changes all the time, or its version is of a type that equals nothing.
    deleted: Document | None = await logins.find_one_and_delete({**query, "ended": None})
    return deleted


async def replace(collection: Collection, query: Document, document: Document) -> bool:
    """Replace the document that matches; False if none does. `query` has the keys of the document."""
    marked = {**document, "by": new_mark()}
    if (await collection.replace_one(query, marked)).matched_count:
        return True
    key = {name: query[name] for name in ("_id", "session")}
    return await collection.find_one({**key, "by": marked["by"]}, {"_id": 1}) is not None


async def swap_value(meta: Collection, meta_id: str, expected: str | None, value: str) -> bool:
    """Replace a value if it is `expected` (None: if there is none); False if it is not."""
    mark = new_mark()
    if expected is None:
        try:
            await insert(meta, {"_id": meta_id, "value": value, "by": mark})
        except DuplicateKeyError:
            return False
        return True
    conditions = [{"value": expected}, {"value": value, "by": mark}]
    change = {"$set": {"value": value, "by": mark}}
    done = await meta.update_one({"_id": meta_id, "$or": conditions}, change)
    return bool(done.matched_count)


async def remember(once: Collection, key: str, *, expires_at: float, now: float) -> bool:
    """Store a key until it expires; False if it is stored already.

    One atomic upsert: it replaces an expired entry; with a live one its insert fails.
    """
    mark = new_mark()
    free: list[Document] = [{"expires_at": {"$lte": to_date(now)}}, {"by": mark}]
    change = {"$set": {"expires_at": to_date(expires_at), "by": mark}}
    try:
        await once.update_one({"_id": key, "$or": free}, change, upsert=True)
    except DuplicateKeyError:
        return False
    return True
