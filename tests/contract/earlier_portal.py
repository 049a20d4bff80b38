"""Reads and writes documents like the portal before documents had a version. Never update this file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
from pymongo.collection import Collection

Document = dict[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

LOGIN = (
    *("session", "tenant", "provider", "registration", "issuer", "subject", "sid", "claims", "tokens"),
    *("access_expires_at", "signed_in_at", "expires_at", "version", "lease_owner", "lease_expires_at"),
)
SESSION = (
    *("id", "secret_hash", "created_at", "last_seen_at", "idle_expires_at", "absolute_expires_at", "device"),
)
ATTEMPT = (
    *("id", "tenant", "provider", "registration", "binding_hash", "nonce", "code_verifier", "redirect_uri"),
    *("return_to", "expires_at"),
)
STEP = ("id", "tenant", "binding_hash", "next_url", "expires_at")


def values(entry: Any) -> Document:
    """The fields of an entry under the names that the earlier portal has for them."""
    return {{"sealed": "code_verifier"}.get(name, name): value for name, value in asdict(entry).items()}


def to_date(seconds: float) -> datetime:
    return _EPOCH + round(seconds * 1000) * _MILLISECOND


def read(names: tuple[str, ...], document: Document) -> Document:
    """The fields that the earlier portal reads from a document; raises KeyError where it fails."""
    own: Document = {"id": document["_id"]}
    if "expires_at" in names:
        own["expires_at"] = (document["expires_at"] - _EPOCH) // _MILLISECOND / 1000
    if "claims" in names:
        own["claims"] = json.loads(document["claims"])
    return {name: own[name] if name in own else document[name] for name in names}


def written(names: tuple[str, ...], values: Mapping[str, Any], *, key: str, expires_at: float) -> Document:
    """The document that the earlier portal writes."""
    document = {name: values[name] for name in names if name != "id"}
    if "claims" in names:
        document["claims"] = json.dumps(document["claims"])
    return {**document, "_id": key, "expires_at": to_date(expires_at)}


def acquire_lease(
    logins: Collection[Document], key: str, *, owner: str, now: float, until: float
) -> Document | None:
    free = [{"lease_owner": None}, {"lease_owner": owner}, {"lease_expires_at": {"$lte": now}}]
    return logins.find_one_and_update(
        {"_id": key, "expires_at": {"$gt": to_date(now)}, "$or": free},
        {"$set": {"lease_owner": owner, "lease_expires_at": until}, "$inc": {"version": 1}},
        return_document=pymongo.ReturnDocument.AFTER,
    )
