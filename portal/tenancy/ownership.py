"""Each host name, e-mail domain and client with shared keys belongs to one tenant.

A provider cannot distinguish two tenants whose client authenticates with the portal's shared key.

The current owner keeps what it claims; unclaimed names go to the first tenant by file name. A tenant file
that claims a name of another tenant is not used until one of the two files changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from portal.errors import Problem
from portal.tenancy.loading import LoadedTenant
from portal.tenancy.model import Tenant
from portal.time_slices import in_turns

Claim = tuple[str, str]
"""`hosts`, `email_domains` or `client`, and the name."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """The live tenants by slug, and the conflicts of the others."""

    live: Mapping[str, Tenant]
    problems: Mapping[str, list[Problem]]


def resolve_conflicts(
    live: Mapping[str, Tenant], loaded: Mapping[str, LoadedTenant], reserved_hosts: Iterable[str]
) -> Resolved:
    """Add loaded tenants to the live tenants, except those that claim a name of another tenant.

    Parameters: live, by slug; loaded, the tenants of the files by slug; reserved_hosts, host names that no
    tenant may claim.
    """
    pending = {slug: one for slug, one in in_turns(loaded.items()) if _differs(live.get(slug), one.tenant)}
    reserved = {("hosts", host): "" for host in reserved_hosts}
    together = {**live, **{slug: one.tenant for slug, one in pending.items()}}
    owners = _Owners(together.values(), reserved)
    if not owners.contested:
        return Resolved(together, {})
    owners = _Owners(live.values(), reserved)
    accepted = dict(live)
    while added := {slug: one.tenant for slug, one in pending.items() if owners.replace_claims(one.tenant)}:
        accepted |= added
        pending = {slug: one for slug, one in pending.items() if slug not in added}
    return Resolved(accepted, {slug: owners.conflicts(one) for slug, one in pending.items()})


def _differs(old: Tenant | None, new: Tenant) -> bool:
    return old is None or old.revision != new.revision


def _claims(tenant: Tenant) -> Iterator[Claim]:
    yield from (("hosts", host) for host in tenant.hosts)
    yield from (("email_domains", domain) for domain in tenant.email_domains)
    yield from (
        ("client", provider.registration)
        for provider in tenant.providers.values()
        if provider.uses_shared_signing_key
    )


class _Owners:
    """The owner of each claim: the first tenant that has it.

    Parameters: tenants, the current owners; reserved, claims that no tenant may have.
    """

    def __init__(self, tenants: Iterable[Tenant], reserved: Mapping[Claim, str]) -> None:
        self.contested = False
        """Whether two of the tenants have the same claim, or one has a reserved claim."""
        self._owners = dict(reserved)
        self._claims: dict[str, tuple[Claim, ...]] = {}
        for tenant in in_turns(tenants):
            self._add_claims(tenant)

    def has_no_conflict(self, tenant: Tenant) -> bool:
        """Whether no other tenant owns a claim of this tenant."""
        return all(self._owner(claim, tenant) == tenant.slug for claim in _claims(tenant))

    def replace_claims(self, tenant: Tenant) -> bool:
        """Replace the claims of a tenant by its new ones; False if another tenant owns one of them."""
        if not self.has_no_conflict(tenant):
            return False
        for claim in self._claims.pop(tenant.slug, ()):
            if self._owners.get(claim) == tenant.slug:
                del self._owners[claim]
        self._add_claims(tenant)
        return True

    def conflicts(self, one: LoadedTenant) -> list[Problem]:
        """Return a problem for each claim of a tenant that another tenant owns."""
        owners = ((claim, self._owner(claim, one.tenant)) for claim in _claims(one.tenant))
        return [
            Problem(one.places[claim], _conflict_message(claim, owner))
            for claim, owner in owners
            if owner != one.tenant.slug
        ]

    def _owner(self, claim: Claim, tenant: Tenant) -> str:
        return self._owners.get(claim, tenant.slug)

    def _add_claims(self, tenant: Tenant) -> None:
        self._claims[tenant.slug] = claims = tuple(_claims(tenant))
        for claim in claims:
            if self._owners.setdefault(claim, tenant.slug) != tenant.slug:
                self.contested = True


def _conflict_message(claim: Claim, owner: str) -> str:
    if claim[0] == "client":
        return (
            f"this client of this issuer already belongs to the tenant {owner}, and both authenticate with "
            "the portal's shared keys; register another client for this tenant"
        )
    reason = f"already belongs to the tenant {owner}" if owner else "is reserved for the portal"
    return f"{claim[0]} contains a name that {reason}"
