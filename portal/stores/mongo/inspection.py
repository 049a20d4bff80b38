"""All entries of a MongoDB database, read without changing it. See `portal.stores.inspection`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from bson.raw_bson import RawBSONDocument

from portal.stores.inspection import Inspected, inspected, shown_key
from portal.stores.mongo import documents, tenant_documents
from portal.stores.mongo.connection import MongoConnection
from portal.stores.mongo.documents import Document
from portal.stores.stored_entries import DamagedEntry

_PAGE = 500
_PAGE_SECONDS = 30.0

_Parts = Callable[[Document], Iterator[Inspected]]


def _of(kind: str, convert: Callable[[Document], Any]) -> _Parts:
    def parts(document: Document) -> Iterator[Inspected]:
        yield inspected(kind, document.get("_id"), convert, document)

    return parts


def _tenant(document: Document) -> Iterator[Inspected]:
    """A tenant, its draft and setup links, and what is not delivered yet."""
    slug = document.get("_id")
    if document.get("removed"):
        return
    yield inspected("TenantRecord", slug, tenant_documents.tenant_of, document)
    yield from _no_lists("TenantRecord", document, "events", "revisions")
    if document.get("draft") is not None:
        yield inspected("Draft", slug, tenant_documents.draft_of, document)
    for owner, link in tenant_documents.links_of(document):
        key = link.get("id") if isinstance(link, dict) else slug
        yield inspected("SetupLink", key, tenant_documents.link_of, (owner, link))
    for revision in tenant_documents.undelivered(document, "revisions"):
        yield inspected("Revision", _revision_key(revision), tenant_documents.revision_of, revision)


def _revision(document: Document) -> Iterator[Inspected]:
    yield inspected("Revision", _revision_key(document), tenant_documents.revision_of, document)


def _revision_key(document: Document) -> str:
    return f"{document.get('tenant')}:{document.get('number')}"


def _domain(document: Document) -> Iterator[Inspected]:
    if not document.get("removed"):
        yield inspected("DomainClaim", document.get("_id"), tenant_documents.domain_of, document)
        yield from _no_lists("DomainClaim", document, "events")


def _no_lists(kind: str, document: Document, *fields: str) -> Iterator[Inspected]:
    """The fields to which each change of a document appends, where that fails."""
    for name in fields:
        if not isinstance(document.get(name, []), list):
            yield Inspected(kind, shown_key(kind, document.get("_id")), None, f"{name} cannot be read")


def _used(document: Document) -> None:
    if not isinstance(document["_id"], str):
        raise DamagedEntry("_id")
    documents.to_seconds(document["expires_at"])


def _value(document: Document) -> str | None:
    """A value; None for the documents of the clock and of counters."""
    value = document.get("value")
    if value is not None and not isinstance(value, str):
        raise DamagedEntry("value")
    return value


_COLLECTIONS: tuple[tuple[str, _Parts], ...] = (
    ("tenants", _tenant),
    ("revisions", _revision),
    ("domains", _domain),
    ("sessions", _of("Session", documents.session_of)),
    ("logins", _of("Login", documents.login_of)),
    ("attempts", _of("LoginAttempt", documents.attempt_of)),
    ("logouts", _of("LogoutStep", documents.logout_of)),
    ("once", _of("used identifier", _used)),
    ("meta", _of("metadata", _value)),
    ("events", _of("Event", tenant_documents.event_of)),
)


class MongoInspection:
    """The entries of a database, which may be in use."""

    def __init__(self, url: str) -> None:
        self._connection = MongoConnection(url)
        self._instances: dict[str, str] = {}
        """What the revisions of each tenant must have, or it does not find them."""

    async def open(self) -> None:
        await self._connection.open(read_only=True)

    async def close(self) -> None:
        await self._connection.close()

    async def total(self) -> int:
        counts = []
        for name, _ in _COLLECTIONS:
            async with self._connection.operation(seconds=_PAGE_SECONDS):
                counts.append(await self._connection.collection(name).estimated_document_count())
        return sum(counts)

    async def pages(self) -> AsyncIterator[list[Inspected]]:
        for name, parts in _COLLECTIONS:
            cursor = self._connection.raw_collection(name).find({}, batch_size=_PAGE)
            while True:
                async with self._connection.operation(seconds=_PAGE_SECONDS):
                    found = await cursor.to_list(_PAGE)
                if not found:
                    break
                yield [each for raw in found for each in self._parts(name, parts, raw)]

    def _parts(self, name: str, parts: _Parts, raw: RawBSONDocument) -> Iterator[Inspected]:
        try:
            document = self._connection.decode(raw)
        except DamagedEntry:
            yield Inspected("document", name, None, "is not valid BSON")
            return
        if name == "tenants":
            self._instances[str(document.get("_id"))] = str(document.get("instance"))
        elif name == "revisions":
            instance = str(document.get("instance"))
            if self._instances.get(str(document.get("tenant")), instance) != instance:
                problem = "belongs to an earlier tenant of this name"
                yield Inspected("Revision", _revision_key(document), None, problem)
                return
        yield from parts(document)
