"""Claims of domains on MongoDB: the `_id` is the name, so that two tenants never have the same one."""

from __future__ import annotations

from collections.abc import Sequence

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from portal.stores.mongo import repeatable
from portal.stores.mongo.connection import MongoConnection
from portal.stores.mongo.documents import Document
from portal.stores.mongo.outbox import Outbox
from portal.stores.mongo.tenant_documents import OUTBOX, STORED, domain_document, domain_of
from portal.stores.mongo.tenant_reading import TenantReader
from portal.stores.record_checks import require_short
from portal.stores.tenant_records import DomainClaim

_TRIES = 3
_OWNER: Document = {**OUTBOX, "tenant": 1, "tenant_instance": 1}


class MongoDomains:
    """The claimed domains of all tenants. For the methods see `portal.stores.tenant_store.TenantStore`."""

    def __init__(self, connection: MongoConnection, reader: TenantReader, outbox: Outbox) -> None:
        self._connection = connection
        self._reader = reader
        self._outbox = outbox

    async def list(self, tenant: str | None) -> list[DomainClaim]:
        query = dict(STORED)
        if tenant is not None:
            require_short(tenant=tenant)
            query["tenant"] = tenant
        return await self._reader.list_by_id("domains", query, domain_of, DomainClaim)

    async def add(self, claim: DomainClaim, of_tenant: Document, *, event: Document) -> bool:
        """Insert the claim, and withdraw it if the tenant was removed meanwhile: its removal may have been
        too early to delete it. Parameters: of_tenant, finds the tenant."""
        domains = self._connection.collection("domains")
        for _ in range(_TRIES):
            tenant = await self._tenant(of_tenant)
            if tenant is None:
                return False
            document = domain_document(claim, tenant_instance=str(tenant.get("instance")))
            document["events"] = [event]
            if not await self._insert(document):
                if not await self._release(claim.name):
                    return False
                continue
            if await self._tenant(tenant) is None:
                async with self._connection.operation():
                    await domains.delete_one({"_id": claim.name, "instance": document["instance"]})
                return False
            await self._outbox.deliver_later("domains", document)
            return True
        return False

    async def change(
        self,
        name: str,
        tenant: str,
        change: Document,
        *,
        event: Document | None,
        expected: Sequence[Document],
    ) -> bool:
        """Change a claim of this tenant, and store the event in its document; False if it has none.

        Parameters: expected, what its fields must be.
        """
        if event is not None:
            change = {**change, "$push": {"events": event}}
        async with self._connection.operation():
            changed: Document | None = await self._connection.collection("domains").find_one_and_update(
                {"_id": name, "tenant": tenant, **STORED, "$and": [*expected]},
                change,
                projection=OUTBOX,
                return_document=ReturnDocument.AFTER,
            )
        if changed is None:
            return await self._outbox.was_made("domains", name, change, event)
        await self._outbox.deliver_later("domains", changed)
        return True

    async def _insert(self, document: Document) -> bool:
        async with self._connection.operation():
            try:
                await repeatable.insert(self._connection.collection("domains"), document)
            except DuplicateKeyError:
                return False
        return True

    async def _release(self, name: str) -> bool:
        """Finish the removal of a claim, or of one whose tenant is gone; False if it is in use."""
        async with self._connection.operation():
            domains = self._connection.collection("domains")
            found: Document | None = await domains.find_one({"_id": name}, _OWNER)
        if found is None:
            return True
        owner = {"_id": found.get("tenant"), "instance": found.get("tenant_instance")}
        if not found.get("removed") and await self._tenant(owner) is not None:
            return False
        await self._outbox.deliver("domains", {**found, "removed": True})
        return True

    async def _tenant(self, identity: Document) -> Document | None:
        async with self._connection.operation():
            tenants = self._connection.collection("tenants")
            return await tenants.find_one({**identity, **STORED}, {"instance": 1})
