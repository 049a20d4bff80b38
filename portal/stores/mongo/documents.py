"""Sessions, logins, attempts and logouts as MongoDB documents.

`expires_at` is a date, which TTL indexes need; other times are numbers. Claims are one text, because their
names may contain `.` and `$`, and their integers may be larger than MongoDB's.

During an upgrade, portals of two versions use the same database, so each document has the version of its
fields in `v`. A document without `v` has version 1; those up to one above `VERSION` can be read. Rules for a
change of fields: readers also accept the fields of the previous version; fields that the previous version
needs are written until the next version; each version may replace whole documents of the other. The database
has the highest of these versions that was used in it: see `portal.stores.format`.

The functions that read raise DamagedEntry, KeyError, TypeError or OverflowError for a document that cannot be
read; call them with `portal.stores.stored_entries.EntryReader`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from portal.stores.claims_codec import encode_claims
from portal.stores.model import Login, LoginAttempt, LogoutStep, Session
from portal.stores.stored_entries import DamagedEntry, Entry, entry_from, stored_names

Document = dict[str, Any]

VERSION = 2
"""Since version 2 `sid` is a hash, `claims` has no `sid`, and leases have `lease_from` and `lease_ms`."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_date(seconds: float) -> datetime:
    """Seconds since the epoch, UTC, as a date; to the millisecond."""
    return _EPOCH + round(seconds * 1000) * _MILLISECOND


def to_seconds(date: datetime) -> float:
    """The inverse of `to_date`."""
    return (date - _EPOCH) // _MILLISECOND / 1000


def attempt_document(attempt: LoginAttempt) -> Document:
    return _document(attempt, {"_id": attempt.id, "expires_at": to_date(attempt.expires_at)})


def attempt_of(document: Document) -> LoginAttempt:
    return _entry(LoginAttempt, document, {"id": document["_id"], **_expiry(document)})


def logout_document(step: LogoutStep) -> Document:
    return _document(step, {"_id": step.id, "expires_at": to_date(step.expires_at)})


def logout_of(document: Document) -> LogoutStep:
    return _entry(LogoutStep, document, {"id": document["_id"], **_expiry(document)})


def session_document(session: Session) -> Document:
    expires_at = min(session.idle_expires_at, session.absolute_expires_at)
    return _document(session, {"_id": session.id, "expires_at": to_date(expires_at)})


def session_of(document: Document) -> Session:
    return _entry(Session, document, {"id": document["_id"]})


def login_document(login: Login) -> Document:
    own = {"_id": login.id, "claims": encode_claims(login.claims), "expires_at": to_date(login.expires_at)}
    return _document(login, {**own, **lease_fields(login.lease_expires_at)})


def lease_fields(expires_at: float) -> Document:
    """The fields of a lease that expires at a given time.

    `lease_from` is the time of the grant by the server's clock, `lease_ms` the duration: without update
    pipelines (MongoDB 4.2) a server can set a field to its own time, but not to a sum.
    """
    return {"lease_from": to_date(expires_at), "lease_ms": 0, "lease_expires_at": expires_at}


def login_of(document: Document) -> Login:
    own = _expiry(document)
    if "lease_from" in document:  # portals of version 0.1 set `lease_expires_at` alone
        granted = round(to_seconds(document["lease_from"]) + document["lease_ms"] / 1000, 3)
        own["lease_expires_at"] = max(granted, document["lease_expires_at"])
    login = _entry(Login, document, own)
    if login.id != document["_id"]:
        raise DamagedEntry("_id")
    return login


def _document(model: Any, own: Document) -> Document:
    names = stored_names(type(model)).items()
    return {"v": VERSION, **{stored: getattr(model, name) for name, stored in names if name != "id"}, **own}


def _entry(model: type[Entry], document: Document, own: Document) -> Entry:
    version = document.get("v", 1)
    require_known(version, VERSION)
    values = [own[name] if name in own else document[name] for name in stored_names(model).values()]
    return entry_from(model, values)


def require_known(version: object, known: int) -> None:
    """Raise DamagedEntry unless a document has a version up to one above the known one."""
    if not isinstance(version, int) or version > known + 1:
        raise DamagedEntry("v")


def _expiry(document: Document) -> Document:
    return {"expires_at": to_seconds(document["expires_at"])}
