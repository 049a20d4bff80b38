"""Tenants on MongoDB: each change is an atomic change of one document, which also gets the event.

See docs/decisions/053-tenants-in-the-database.md.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from portal.stores.mongo import tenant_documents as documents
from portal.stores.mongo.connection import MongoConnection
from portal.stores.mongo.documents import Document
from portal.stores.mongo.domains import MongoDomains
from portal.stores.mongo.events import MongoEvents
from portal.stores.mongo.named_records import replace_named
from portal.stores.mongo.outbox import COUNTER, Outbox
from portal.stores.mongo.tenant_documents import OUTBOX, STORED, TENANT_FIELDS
from portal.stores.mongo.tenant_reading import TenantReader
from portal.stores.record_checks import (
    MOST_SETUP_LINKS,
    require_keys,
    require_numbers,
    require_short,
    require_times,
)
from portal.stores.stored_entries import EntryReader
from portal.stores.tenant_records import (
    DomainClaim,
    Draft,
    Event,
    Named,
    Revision,
    SetupLink,
    TenantRecord,
)

_TRIES = 3


class MongoTenants(MongoEvents):
    """The TenantStore in the database of a MongoStore. See `portal.stores.tenant_store.TenantStore`."""

    def __init__(self, connection: MongoConnection, entries: EntryReader) -> None:
        reader, outbox = TenantReader(connection, entries), Outbox(connection)
        super().__init__(connection, entries, reader, outbox)
        self._connection = connection
        self._entries = entries
        self._reader = reader
        self._outbox = outbox
        self._domains = MongoDomains(connection, self._reader, self._outbox)

    async def maintain(self) -> None:
        """Deliver events that a process left undelivered when it ended. Raises StoreUnavailable."""
        await self._outbox.deliver_all()

    async def forget_setup_links(self, *, most: int) -> int:
        """Delete the setup links of up to `most` tenants; return of how many. Raises StoreUnavailable."""
        if most <= 0:
            return 0
        tenants = self._connection.collection("tenants")
        async with self._connection.operation():
            found = (
                await tenants.find({"links.token_hash": {"$gt": ""}}, {"_id": 1}).limit(most).to_list(None)
            )
            keys = [document["_id"] for document in found]
            done = await tenants.update_many({"_id": {"$in": keys}}, {"$unset": {"links": 1}})
        return done.modified_count

    # --- tenants and revisions

    async def tenants_version(self) -> int:
        async with self._connection.operation():
            found = await self._connection.collection("meta").find_one({"_id": COUNTER})
        number = found.get("number") if found else 0
        return number if isinstance(number, int) else 0

    async def list_tenants(self) -> list[TenantRecord]:
        return await self._reader.list_by_id("tenants", STORED, documents.tenant_of, TenantRecord)

    async def get_tenant(self, slug: str) -> TenantRecord | None:
        found = await self._find(slug, TENANT_FIELDS)
        return self._entries.read(documents.tenant_of, found, kind=TenantRecord) if found else None

    async def add_tenant(self, tenant: TenantRecord, *, event: Event) -> bool:
        document = {**documents.tenant_document(tenant), "events": [_counted(event)]}
        tenants = self._connection.collection("tenants")
        for _ in range(_TRIES):
            async with self._connection.operation():
                try:
                    await tenants.insert_one(document)
                except DuplicateKeyError:
                    earlier = await tenants.find_one({"_id": tenant.slug}, OUTBOX)
                    if earlier and earlier.get("instance") == document["instance"]:
                        break  # it was executed twice
                else:
                    break
            if earlier and not earlier.get("removed"):
                return False
            if earlier:
                await self._outbox.deliver("tenants", earlier)
        else:
            return False
        await self._outbox.deliver_later("tenants", document)
        return True

    async def set_status(self, slug: str, status: str, *, expected: str, at: float, event: Event) -> bool:
        require_short(status=status)
        require_short(status=expected)
        require_times(at=at)
        change = {"$set": {"status": status, "changed_at": at}}
        return await self._change(slug, {"status": expected}, change, event=_counted(event))

    async def remove_tenant(self, slug: str, *, event: Event) -> bool:
        change = {"$set": {"removed": True}, "$unset": {"draft": 1, "links": 1}}
        return await self._change(slug, {}, change, event=_counted(event))

    async def publish(
        self,
        revision: Revision,
        *,
        replaces: int,
        draft: int | None,
        event: Event,
        made_at: float | None = None,
    ) -> bool:
        require_numbers(replaces=replaces, draft=draft or 0)
        expected = {"live": replaces, **documents.made_then(made_at)}
        stored = documents.revision_document(revision)
        if revision.number <= replaces:
            raise ValueError("number is not larger than that of the live revision")
        slug, reported = revision.tenant, _counted(event)
        change = {
            "$set": {"live": revision.number, "changed_at": revision.published_at},
            "$push": {"revisions": stored},
        }
        if draft is not None:
            with_draft = {**expected, "draft.version": draft}
            if await self._change(slug, with_draft, {**change, "$unset": {"draft": 1}}, event=reported):
                return True
        return await self._change(slug, expected, change, event=reported)

    async def read_revisions(self, keys: Collection[tuple[str, int]]) -> list[Revision]:
        return await self._reader.revisions(require_keys(keys))

    async def list_revisions(self, tenant: str, *, before: int | None, most: int) -> list[Revision]:
        require_numbers(before=before or 0, most=most)
        found = await self._find(tenant, OUTBOX)
        if not found:
            return []
        if documents.undelivered(found, "revisions"):
            await self._outbox.deliver("tenants", found)
        query: Document = {"tenant": tenant, "instance": found.get("instance")}
        if before is not None:
            query["number"] = {"$lt": before}
        return await self._reader.list_newest(
            "revisions", query, "number", most, convert=documents.revision_of, kind=Revision
        )

    # --- drafts

    async def get_draft(self, tenant: str) -> Draft | None:
        found = await self._find(tenant, {"draft": 1})
        if not found or found.get("draft") is None:
            return None
        return self._entries.read(documents.draft_of, found, kind=Draft)

    async def put_draft(
        self, draft: Draft, *, replaces: int | None, event: Event | None, made_at: float | None = None
    ) -> bool:
        require_numbers(replaces=replaces or 0)
        expected = documents.made_then(made_at)
        expected |= {"draft": None} if replaces is None else {"draft.version": replaces}
        change = {"$set": {"draft": documents.draft_document(draft)}}
        return await self._change(draft.tenant, expected, change, event=_uncounted(event))

    async def delete_draft(self, tenant: str, *, version: int, event: Event) -> bool:
        require_numbers(version=version)
        expected = {"draft.version": version}
        return await self._change(tenant, expected, {"$unset": {"draft": 1}}, event=_uncounted(event))

    # --- setup links

    async def add_setup_link(self, link: SetupLink, *, event: Event, made_at: float | None = None) -> bool:
        added = {"$each": [documents.link_document(link)], "$slice": -MOST_SETUP_LINKS}
        change = {"$push": {"links": added}}
        expected = {"links.id": {"$ne": link.id}, **documents.made_then(made_at)}
        return await self._change(link.tenant, expected, change, event=_uncounted(event))

    async def find_setup_link(self, token_hash: str) -> SetupLink | None:
        require_short(token_hash=token_hash)
        only = {"links": {"$elemMatch": {"token_hash": token_hash}}}
        links = await self._links_of(await self._find_link(token_hash, only))
        return next((link for link in links if link.token_hash == token_hash), None)

    async def bind_setup_link(self, token_hash: str, *, browser_hash: str, now: float, event: Event) -> bool:
        require_short(token_hash=token_hash, browser_hash=browser_hash)
        require_times(now=now)
        found = await self._find_link(token_hash, {"links": 1})
        free = {"token_hash": token_hash, "browser_hash": "", "revoked_at": 0, "expires_at": {"$gt": now}}
        change = {"browser_hash": browser_hash}
        return await self._change_link(found, "token_hash", free, change, event=event)

    async def list_setup_links(self, tenant: str) -> list[SetupLink]:
        found = await self._find(tenant, {"links": 1})
        links = await self._links_of(found)
        return sorted(links, key=lambda link: (link.created_at, link.id), reverse=True)

    async def revoke_setup_link(self, link_id: str, *, tenant: str, at: float, event: Event) -> bool:
        require_short(id=link_id)
        require_times(at=at)
        found = await self._find(tenant, {"links": 1})
        live = {"id": link_id, "revoked_at": 0}
        return await self._change_link(found, "id", live, {"revoked_at": at}, event=event)

    # --- domains

    async def list_domains(self, tenant: str | None = None) -> list[DomainClaim]:
        return await self._domains.list(tenant)

    async def add_domain(self, claim: DomainClaim, *, event: Event, made_at: float | None = None) -> bool:
        of_tenant = {"_id": claim.tenant, **documents.made_then(made_at)}
        return await self._domains.add(claim, of_tenant, event=_counted(event))

    async def prove_domain(
        self,
        name: str,
        *,
        tenant: str,
        proof: str,
        proven_at: float,
        checked_at: float,
        event: Event | None,
        unchanged: DomainClaim | None = None,
    ) -> bool:
        require_short(name=name, tenant=tenant, proof=proof)
        require_times(proven_at=proven_at, checked_at=checked_at)
        values: Document = {"checked_at": checked_at}
        if event is not None:
            values |= {"proof": proof, "proven_at": proven_at}
        reported, expected = None if event is None else _counted(event), documents.domain_proof(unchanged)
        return await self._domains.change(name, tenant, {"$set": values}, event=reported, expected=[expected])

    async def delete_domain(
        self,
        name: str,
        *,
        tenant: str,
        event: Event,
        unproven: bool = False,
        unchanged: DomainClaim | None = None,
    ) -> bool:
        require_short(name=name, tenant=tenant)
        expected: list[Document] = [{"proven_at": 0} if unproven else {}, documents.domain_proof(unchanged)]
        change: Document = {"$set": {"removed": True}}
        return await self._domains.change(name, tenant, change, event=_counted(event), expected=expected)

    async def replace_named(self, records: Sequence[Named]) -> None:
        await replace_named(self._connection, records)

    # --- documents of tenants

    async def _find(self, slug: str, fields: Document) -> Document | None:
        require_short(slug=slug)
        async with self._connection.operation():
            return await self._connection.collection("tenants").find_one({"_id": slug, **STORED}, fields)

    async def _change(
        self, slug: str, expected: Document, change: Document, *, event: Document | None
    ) -> bool:
        """Change a tenant's document if it is as expected, and store the event in it; False if it is not."""
        require_short(slug=slug)
        query = {"_id": slug, **expected, **STORED}
        if event is not None:
            change = {**change, "$push": {**change.get("$push", {}), "events": event}}
        async with self._connection.operation():
            changed: Document | None = await self._connection.collection("tenants").find_one_and_update(
                query, change, projection=OUTBOX, return_document=ReturnDocument.AFTER
            )
        if changed is None:
            return await self._outbox.was_made("tenants", slug, change, event)
        await self._outbox.deliver_later("tenants", changed)
        return True

    async def _find_link(self, token_hash: str, fields: Document) -> Document | None:
        """The tenant that has this link."""
        async with self._connection.operation():
            tenants = self._connection.collection("tenants")
            return await tenants.find_one({"links.token_hash": token_hash, **STORED}, fields)

    async def _change_link(
        self, found: Document | None, key: str, expected: Document, change: Document, *, event: Event
    ) -> bool:
        """Change the link whose `key` is as expected, if all of it is; its place changes only when the oldest
        link of too many is deleted, and then this may return False.
        """
        links = documents.links_of(found) if found else []
        for place, (slug, link) in enumerate(links):
            if isinstance(link, dict) and link.get(key) == expected[key]:
                path = f"links.{place}"
                query = {f"{path}.{name}": value for name, value in expected.items()}
                values = {f"{path}.{name}": value for name, value in change.items()}
                return await self._change(str(slug), query, {"$set": values}, event=_uncounted(event))
        return False

    async def _links_of(self, found: Document | None) -> list[SetupLink]:
        stored = documents.links_of(found) if found else []
        return await self._entries.read_all(documents.link_of, stored, kind=SetupLink)


def _counted(event: Event) -> Document:
    return {**documents.event_document(event), "counted": True}


def _uncounted(event: Event | None) -> Document | None:
    return None if event is None else documents.event_document(event)
