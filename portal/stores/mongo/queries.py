"""Parts of queries and updates that several methods of the MongoDB store use."""

from __future__ import annotations

from pymongo import UpdateOne

from portal.stores.model import SessionTouch
from portal.stores.mongo.documents import Document, to_date

WITH_SESSION = {
    "$lookup": {"from": "sessions", "localField": "session", "foreignField": "_id", "as": "sessions"}
}

LOGIN_IS_LIVE = {"$expr": {"$gt": ["$expires_at", "$$NOW"]}}
LEASE_HAS_EXPIRED = {"$lte": [{"$add": ["$lease_from", "$lease_ms"]}, "$$NOW"]}


def live_session(now: float) -> Document:
    return {"idle_expires_at": {"$gt": now}, "absolute_expires_at": {"$gt": now}}


def seen(last_seen_at: float, idle_expires_at: float) -> Document:
    return {
        "last_seen_at": last_seen_at,
        "idle_expires_at": idle_expires_at,
        "expires_at": to_date(idle_expires_at),
    }


def touch(one: SessionTouch) -> UpdateOne:
    """Extend a live session; a late one does not shorten its time."""
    return UpdateOne(
        {"_id": one.session, "last_seen_at": {"$lte": one.seen_at}, **live_session(one.seen_at)},
        {"$set": seen(one.seen_at, one.idle_expires_at)},
    )


def session_of(key: str) -> str:
    return key.rpartition(":")[0]


def login_key(key: str) -> Document:
    return {"_id": key, "session": session_of(key)}
