"""The tenants of the database that this process serves, beside those of the tenant files.

A slug that has a file belongs to the file. An e-mail domain or host name counts only when it is proven.
Secrets are sealed for their tenant: what is copied to another tenant cannot be opened.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from portal.config.settings import Settings
from portal.errors import ConfigurationError, Problem
from portal.keys.vault import Vault
from portal.lasting_objects import making_lasting_objects
from portal.outbound.url_rules import is_loopback_host
from portal.stores.tenant_records import DomainClaim, Revision, TenantRecord, TenantStatus
from portal.stores.tenant_store import TenantStore
from portal.tenancy.loading import LoadedTenant, read_stored_tenant
from portal.tenancy.presets import Presets
from portal.time_slices import in_turns

FORMAT = 1
"""The version of the format of contents that this version of the portal writes, and the last one it reads."""
_AT_ONCE = 100
"""Revisions that are read from the database together."""
_LONGEST_TRUST = 60.0
"""Seconds after which all tenants are compared, although the database reported no change."""
_SERVED = frozenset({TenantStatus.LIVE, TenantStatus.NO_NEW_LOGINS})


class TenantState(NamedTuple):
    """What a tenant is served from: another state is read again."""

    made_at: float
    """When the tenant was made: one that is removed and made again begins with revision 1 again."""
    revision: int
    status: str
    proven: frozenset[str]
    """Its e-mail domains and host names that count. A proof of a name holds for both."""


@dataclass(frozen=True, slots=True)
class StoredTenant:
    """A tenant of the database: what it was read from, and the tenant or its problems."""

    slug: str
    state: TenantState
    loaded: LoadedTenant | None
    error: ConfigurationError | None

    @property
    def is_served(self) -> bool:
        """Whether its status allows it to be live. A suspended tenant keeps its names, and has no users."""
        return self.state.status in _SERVED

    @property
    def name(self) -> str:
        """The name for messages, in place of a file's: `acme.revision-3`."""
        return f"{self.slug}.revision-{self.state.revision}"


@dataclass(frozen=True, slots=True)
class ContentReader:
    """Reads the contents of tenants of the database.

    Parameters: presets, that they can name; allow_private_networks, see `may_use_private_networks`.
    """

    vault: Vault
    presets: Presets
    allow_private_networks: bool = False

    def read(self, slug: str, content: str, *, advice: bool = True) -> LoadedTenant:
        """Read a stored content as a tenant. Parameters: advice, as in `read_tenant`.

        Raises: ConfigurationError.
        """
        return read_stored_tenant(
            slug,
            content,
            open_sealed=lambda sealed: self.vault.open(sealed_for(slug), sealed),
            presets=self.presets,
            allow_private_networks=self.allow_private_networks,
            advice=advice,
        )


def may_use_private_networks(settings: Settings) -> bool:
    """Whether tenants of the database may use private addresses: only where the portal itself has one.

    Their admins are strangers (THREATS A4); a portal at `localhost` is for development.
    """
    return settings.allow_private_networks and is_loopback_host(settings.public_host)


def sealed_for(slug: str) -> str:
    """What the vault binds the secrets of a tenant to."""
    return f"tenant:{slug}"


class StoredTenants:
    """Reads the tenants of the database, those that changed since the last time.

    Parameters: reader, whose presets nothing else may use: they are read in a thread.
    """

    def __init__(self, store: TenantStore, reader: ContentReader) -> None:
        self.tenants: Mapping[str, StoredTenant] = {}
        """By slug."""
        self._store = store
        self._reader = reader
        self._version: int | None = None
        self._compared_at = 0.0

    async def changed(self) -> set[str]:
        """Update `tenants`; return the slugs of those that were added, changed or removed.

        Raises StoreUnavailable.
        """
        version = await self._store.tenants_version()
        if version == self._version and time.monotonic() < self._compared_at + _LONGEST_TRUST:
            return set()
        records, domains = await self._store.list_tenants(), await self._store.list_domains()
        before = self.tenants
        wanted, new = await asyncio.to_thread(_wanted, records, domains, before)
        read: dict[str, StoredTenant] = {}
        with making_lasting_objects(tenants=len(new)):
            for start in range(0, len(new), _AT_ONCE):
                some = {slug: wanted[slug] for slug in new[start : start + _AT_ONCE]}
                revisions = await self._store.read_revisions(
                    [(slug, one.revision) for slug, one in some.items()]
                )
                read |= await asyncio.to_thread(self._read, some, revisions)
        self.tenants, removed = await asyncio.to_thread(_replaced, before, wanted, read)
        self._version, self._compared_at = version, time.monotonic()
        return removed | read.keys()

    def _read(
        self, states: Mapping[str, TenantState], revisions: Iterable[Revision]
    ) -> dict[str, StoredTenant]:
        found = {revision.tenant: revision for revision in revisions}
        return {
            slug: self._read_one(slug, state, found.get(slug)) for slug, state in in_turns(states.items())
        }

    def _read_one(self, slug: str, state: TenantState, revision: Revision | None) -> StoredTenant:
        try:
            if revision is None:
                raise _unreadable(slug, state, "cannot be read; publish an earlier revision again")
            if revision.format > FORMAT:
                raise _unreadable(slug, state, "was published by a later version; update this portal")
            loaded = self._reader.read(slug, revision.content, advice=False)
        except ConfigurationError as error:
            return StoredTenant(slug, state, None, error)
        tenant = loaded.tenant
        fingerprint = hashlib.sha256(
            f"{tenant.revision} {state.made_at} {state.status} {sorted(state.proven)}".encode()
        )
        tenant = replace(
            tenant,
            revision=fingerprint.hexdigest(),
            hosts=tuple(host for host in tenant.hosts if host in state.proven),
            email_domains=tuple(domain for domain in tenant.email_domains if domain in state.proven),
            accepts_logins=state.status == TenantStatus.LIVE,
        )
        loaded = replace(loaded, tenant=tenant, published_at=revision.published_at)
        return StoredTenant(slug, state, loaded, None)


def _wanted(
    records: Iterable[TenantRecord], domains: Iterable[DomainClaim], before: Mapping[str, StoredTenant]
) -> tuple[dict[str, TenantState], list[str]]:
    """Return the states of the tenants to serve, and the slugs of those that must be read."""
    wanted = _states(records, domains)
    return wanted, [
        slug for slug, state in in_turns(wanted.items()) if slug not in before or before[slug].state != state
    ]


def _replaced(
    before: Mapping[str, StoredTenant], wanted: Mapping[str, TenantState], read: Mapping[str, StoredTenant]
) -> tuple[dict[str, StoredTenant], set[str]]:
    """Return the tenants to serve, and the slugs of those that are served no longer."""
    kept = {slug: one for slug, one in in_turns(before.items()) if slug in wanted}
    return {**kept, **read}, before.keys() - wanted.keys()


def _unreadable(slug: str, state: TenantState, why: str) -> ConfigurationError:
    return ConfigurationError([Problem(slug, f"revision {state.revision} {why}")])


def _states(records: Iterable[TenantRecord], domains: Iterable[DomainClaim]) -> dict[str, TenantState]:
    """The states of the tenants that have a live revision."""
    proven: dict[str, set[str]] = {}
    for claim in in_turns(domains):
        if claim.proven_at:
            proven.setdefault(claim.tenant, set()).add(claim.name)
    return {
        record.slug: TenantState(
            record.created_at, record.live, record.status, frozenset(proven.get(record.slug, ()))
        )
        for record in in_turns(records)
        if record.live
    }
