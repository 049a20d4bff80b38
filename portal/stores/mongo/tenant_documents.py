"""Tenants, revisions, domains and events as MongoDB documents.

The draft and the setup links of a tenant are parts of its document, so that a change of them, and the removal
of the tenant, is one atomic change. Documents of `tenants` and `domains` also have these fields:

* `events`: events of this document's changes that are not yet in the collection `events`. `counted` in one of
  them says that its change also increments the number that `tenants_version` returns.
* `revisions` (tenants): published revisions that are not yet in the collection `revisions`.
* `instance`: random, so that a tenant that was removed and made again is never mixed up with the earlier one.
* `removed`: deleted, but the events, or other documents of a tenant, are still there. Queries exclude it.

Each document has the version of its fields in `v`; those up to one above `VERSION` can be read. Rules for
changes of fields: see `portal.stores.mongo.documents`.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass
from typing import Any

from portal.stores.mongo.documents import Document, require_known
from portal.stores.record_checks import TenantEntry, require_times, require_valid
from portal.stores.stored_entries import DamagedEntry, Entry, entry_from, stored_names
from portal.stores.tenant_records import (
    USER_KINDS,
    DomainClaim,
    Draft,
    Event,
    Revision,
    SetupLink,
    TenantRecord,
)

VERSION = 1
STORED: Document = {"removed": None}
"""The condition that a document is not deleted."""
OUTBOX: Document = {"events": 1, "revisions": 1, "instance": 1, "removed": 1}
"""The fields that `Outbox.deliver` needs."""
TENANT_FIELDS: Document = {"v": 1, **dict.fromkeys(stored_names(TenantRecord), 1)}
TENANT_INDEXES: tuple[tuple[str, list[tuple[str, int]], dict[str, Any]], ...] = (
    ("tenants", [("events._id", 1)], {}),
    ("tenants", [("links.token_hash", 1)], {}),
    ("revisions", [("tenant", 1), ("number", -1)], {}),
    ("domains", [("tenant", 1)], {}),
    ("domains", [("events._id", 1)], {}),
    ("events", [("tenant", 1), ("_id", -1)], {}),
    ("events", [("tenant", 1), ("of_user", 1), ("_id", -1)], {}),
    ("events", [("of_user", 1), ("_id", -1)], {}),
    ("events", [("delivered", 1), ("_id", 1)], {}),
    (
        "events",
        [("tenant", 1), ("actor", 1), ("_id", -1)],
        {"partialFilterExpression": {"of_user": True}},
    ),
    ("logins", [("tenant", 1), ("signed_in_at", -1), ("_id", -1)], {}),
)


def tenant_document(tenant: TenantRecord) -> Document:
    return {**_document(tenant), "_id": tenant.slug, "instance": secrets.token_hex(8)}


def tenant_of(document: Document) -> TenantRecord:
    return _entry(TenantRecord, document, {"slug": document["_id"]})


def made_then(made_at: float | None) -> Document:
    """The condition that a tenant was made at this time; None: at any. Raises as `require_times`."""
    require_times(made_at=made_at or 0.0)
    return {} if made_at is None else {"created_at": made_at}


@dataclass(frozen=True, slots=True)
class TenantInstance:
    """What identifies the revisions of a tenant, and those that are not in `revisions` yet."""

    slug: str
    instance: str
    undelivered: list[Document]


def instance_of(document: Document) -> TenantInstance:
    return TenantInstance(
        str(document["_id"]), str(document.get("instance")), undelivered(document, "revisions")
    )


def revision_id(tenant: str, number: int, instance: str) -> str:
    return f"{tenant}:{number}:{instance}"


def revision_document(revision: Revision) -> Document:
    """A part of the tenant's document; in `revisions`, it also has an `_id`."""
    return _document(revision)


def revision_of(document: Document) -> Revision:
    revision = _entry(Revision, document, {})
    key = document.get("_id")
    if key is not None and key != revision_id(revision.tenant, revision.number, document["instance"]):
        raise DamagedEntry("_id")
    return revision


def draft_document(draft: Draft) -> Document:
    return _document(draft)


def draft_of(document: Document) -> Draft:
    """The draft in a tenant's document."""
    return _entry(Draft, _part(document["draft"], "draft"), {"tenant": document["_id"]})


def link_document(link: SetupLink) -> Document:
    return _document(link)


def links_of(document: Document) -> list[tuple[object, object]]:
    """The setup links in a tenant's document, each to be read with `link_of`."""
    links = document.get("links", [])
    return [(document["_id"], link) for link in (links if isinstance(links, list) else [links])]


def link_of(stored: tuple[object, object]) -> SetupLink:
    tenant, link = stored
    return _entry(SetupLink, _part(link, "links"), {"tenant": tenant})


def domain_document(claim: DomainClaim, *, tenant_instance: str) -> Document:
    """`tenant_instance`: the `instance` of the tenant's document."""
    own = {"_id": claim.name, "instance": secrets.token_hex(8), "tenant_instance": tenant_instance}
    return {**_document(claim), **own}


def domain_proof(claim: DomainClaim | None) -> Document:
    """The fields that a claim has until its proof changes; none for None."""
    names = ("proof", "proven_at", "checked_at", "created_at")
    stored = {} if claim is None else _document(claim)
    return {name: value for name, value in stored.items() if name in names}


def domain_of(document: Document) -> DomainClaim:
    return _entry(DomainClaim, document, {"name": document["_id"]})


def event_document(event: Event) -> Document:
    return {**_document(event), "_id": event.id, **({"of_user": True} if event.kind in USER_KINDS else {})}


def event_of(document: Document) -> Event:
    return _entry(Event, document, {"id": document["_id"]})


def undelivered(document: Document, field: str) -> list[Document]:
    """What waits in `events` or `revisions` of a document; damaged ones are left out."""
    key, kind = ("_id", str) if field == "events" else ("number", int)
    waiting = document.get(field)
    if not isinstance(waiting, list):
        return []
    return [each for each in waiting if isinstance(each, dict) and isinstance(each.get(key), kind)]


def _document(record: TenantEntry) -> Document:
    require_valid(record)
    return {"v": VERSION, **asdict(record)}


def _entry(model: type[Entry], document: Document, own: Document) -> Entry:
    version = document.get("v", VERSION)
    require_known(version, VERSION)
    return entry_from(model, [own[name] if name in own else document[name] for name in stored_names(model)])


def _part(value: object, name: str) -> Document:
    if not isinstance(value, dict):
        raise DamagedEntry(name)
    return value
