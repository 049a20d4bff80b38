"""The interface of the databases for tenants that are not files. For its rules see `portal.stores.store`.

Every method that changes something takes the event that reports it, and stores both or neither. An event is
stored once, however often the method is called with it. After StoreUnavailable, both may be stored.

Records and arguments are checked by `portal.stores.record_checks`: a wrong type raises TypeError, a value
that is too long or out of range ValueError. A record that cannot be read counts as missing.

`made_at`: the `created_at` of the tenant that is to be changed. One that was removed and made again since
counts as gone. None: whichever tenant has the slug.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from portal.stores.event_store import EventStore
from portal.stores.store import Store
from portal.stores.tenant_logins import TenantLogins
from portal.stores.tenant_records import (
    DomainClaim,
    Draft,
    Event,
    Named,
    Revision,
    SetupLink,
    TenantRecord,
)


class TenantStore(EventStore, Protocol):
    """Tenants, revisions, drafts, setup links, domains and events, shared by all portal processes."""

    # --- tenants and revisions
    async def tenants_version(self) -> int:
        """A number that changes with every reported change of a tenant or domain; 0 before the first.

        Every process asks once a second. Compare for equality: a restored database has a smaller one.
        """

    async def list_tenants(self) -> list[TenantRecord]:
        """All tenants, ordered by slug."""

    async def get_tenant(self, slug: str) -> TenantRecord | None:
        """Return a tenant, or None."""

    async def add_tenant(self, tenant: TenantRecord, *, event: Event) -> bool:
        """Store a new tenant; False if there is one with its slug."""

    async def set_status(self, slug: str, status: str, *, expected: str, at: float, event: Event) -> bool:
        """Set the status if it is `expected`; False if it is not or the tenant is gone."""

    async def remove_tenant(self, slug: str, *, event: Event) -> bool:
        """Delete a tenant with its revisions, draft, setup links and domains; its events stay.

        False if there is no such tenant.
        """

    async def publish(
        self,
        revision: Revision,
        *,
        replaces: int,
        draft: int | None,
        event: Event,
        made_at: float | None = None,
    ) -> bool:
        """Store a revision and make it live, if the live one is `replaces` (0: none).

        False if another is live, or the tenant is gone: then nothing is stored. `revision.number` is larger
        than `replaces`, and so than every earlier one. `draft`: the version of the draft that was published,
        which is deleted unless it has changed meanwhile; None: the draft stays. Of a tenant's revisions, the
        latest MOST_REVISIONS stay stored.
        """

    async def read_revisions(self, keys: Collection[tuple[str, int]]) -> list[Revision]:
        """Return the revisions with these slugs and numbers, in this order; others are missing."""

    async def list_revisions(self, tenant: str, *, before: int | None, most: int) -> list[Revision]:
        """The revisions of a tenant, the newest first; `before`: only those with a smaller number."""

    # --- drafts
    async def get_draft(self, tenant: str) -> Draft | None:
        """Return the draft of a tenant, or None."""

    async def put_draft(
        self, draft: Draft, *, replaces: int | None, event: Event | None, made_at: float | None = None
    ) -> bool:
        """Store a draft if the stored one has the version `replaces` (None: if there is none).

        False if it has another, or the tenant is gone. `event`: None when only the test result changes.
        """

    async def delete_draft(self, tenant: str, *, version: int, event: Event) -> bool:
        """Delete the draft if it has this version; False if it does not."""

    # --- setup links
    async def add_setup_link(self, link: SetupLink, *, event: Event, made_at: float | None = None) -> bool:
        """Store a setup link of an existing tenant; False if the tenant is gone, or the id is in use.

        A tenant has at most `record_checks.MOST_SETUP_LINKS`; with a further one, the oldest is deleted.
        """

    async def find_setup_link(self, token_hash: str) -> SetupLink | None:
        """Return a setup link, also an expired or revoked one; None if there is none."""

    async def bind_setup_link(self, token_hash: str, *, browser_hash: str, now: float, event: Event) -> bool:
        """Bind a live link to the first browser that opens it; False if it is bound, expired or revoked."""

    async def list_setup_links(self, tenant: str) -> list[SetupLink]:
        """The setup links of a tenant, the newest first."""

    async def revoke_setup_link(self, link_id: str, *, tenant: str, at: float, event: Event) -> bool:
        """Revoke a link of this tenant; False if there is none, or it is revoked."""

    # --- domains
    async def list_domains(self, tenant: str | None = None) -> list[DomainClaim]:
        """The claimed domains of one tenant, or of all, ordered by name."""

    async def add_domain(self, claim: DomainClaim, *, event: Event, made_at: float | None = None) -> bool:
        """Store a claim of an existing tenant; False if the name is claimed, or the tenant is gone."""

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
        """Set the proof of a claim of this tenant (`proven_at` 0: it was lost); False if it has none.

        `event`: None when only `checked_at` is to be changed; a stored proof then stays as it is.
        `unchanged`: only a claim whose proof and times are still those of this one.
        """

    async def delete_domain(
        self,
        name: str,
        *,
        tenant: str,
        event: Event,
        unproven: bool = False,
        unchanged: DomainClaim | None = None,
    ) -> bool:
        """Delete a claim of this tenant; False if there is none.

        `unproven`: only one that does not count. `unchanged`: as in `prove_domain`.
        """

    # --- what names a person
    async def replace_named(self, records: Sequence[Named]) -> None:
        """Replace the fields that can name a person in stored records, found by their keys.

        Of an event: actor, target, reason, request id, client and device; of a revision: author, reason and
        test; of a draft: author and test, if it still has this version; of a setup link: author and name. A
        record that is gone is skipped. The event that reports it is stored before: see `add_events`. SQLite
        then empties its write-ahead log when this process closes the database, also after no records.
        """


class Database(Store, Protocol):
    """A Store, and the others in the same database: one file, or one pool of connections.

    They are usable while the Store is open.
    """

    @property
    def tenants(self) -> TenantStore:
        """Tenants that are not files."""

    @property
    def tenant_logins(self) -> TenantLogins:
        """The logins at each tenant."""
