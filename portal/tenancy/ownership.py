"""Host names, e-mail domains and clients that the portal's shared keys prove belong to one tenant each.

With a shared key, a provider could not tell two tenants with the same client apart.

The current owner keeps its claims; unclaimed names go to the first tenant by file name. A tenant file that
claims another tenant's is not used until one of the two files changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from portal.errors import Problem
from portal.tenancy.loading import LoadedTenant
from portal.tenancy.model import Tenant

Claim = tuple[str, str]
"""`hosts`, `email_domains` or `client`, and the name."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """Which tenants are live, by slug, and what keeps the others out."""

    live: Mapping[str, Tenant]
    problems: Mapping[str, list[Problem]]


def resolve_conflicts(
    live: Mapping[str, Tenant], wanted: Mapping[str, LoadedTenant], reserved_hosts: Iterable[str]
) -> Resolved:
    """Add the wanted tenants to those that are live, except those that claim what belongs to another.

    Parameters: live, by slug; wanted, what the files say, by slug; reserved_hosts, names that are no
    tenant's.
    """
    pending = {slug: one for slug, one in wanted.items() if _differs(live.get(slug), one.tenant)}
    reserved = {("hosts", host): "" for host in reserved_hosts}
    together = {**live, **{slug: one.tenant for slug, one in pending.items()}}
    owners = _Owners(together.values(), reserved)
    if all(owners.admits(tenant) for tenant in together.values()):
        return Resolved(together, {})
    owners = _Owners(live.values(), reserved)
    accepted = dict(live)
    while adopted := {slug: one.tenant for slug, one in pending.items() if owners.adopt(one.tenant)}:
        accepted |= adopted
        pending = {slug: one for slug, one in pending.items() if slug not in adopted}
    return Resolved(accepted, {slug: owners.clashes(one) for slug, one in pending.items()})


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
    """Which tenant has each claim; the first of several that have the same.

    Parameters: tenants, those that have their claims already; reserved, claims that are nobody's to have.
    """

    def __init__(self, tenants: Iterable[Tenant], reserved: Mapping[Claim, str]) -> None:
        self._owners = dict(reserved)
        self._claims: dict[str, tuple[Claim, ...]] = {}
        for tenant in tenants:
            self._take(tenant)

    def admits(self, tenant: Tenant) -> bool:
        """Whether nothing that the tenant claims belongs to another."""
        return all(self._owner(claim, tenant) == tenant.slug for claim in _claims(tenant))

    def adopt(self, tenant: Tenant) -> bool:
        """Give a tenant what it claims in place of what it had; False when it belongs to another."""
        if not self.admits(tenant):
            return False
        for claim in self._claims.pop(tenant.slug, ()):
            if self._owners.get(claim) == tenant.slug:
                del self._owners[claim]
        self._take(tenant)
        return True

    def clashes(self, one: LoadedTenant) -> list[Problem]:
        """What of the claims of a tenant belongs to others."""
        owners = ((claim, self._owner(claim, one.tenant)) for claim in _claims(one.tenant))
        return [
            Problem(one.places[claim], _clash(claim, owner))
            for claim, owner in owners
            if owner != one.tenant.slug
        ]

    def _owner(self, claim: Claim, tenant: Tenant) -> str:
        return self._owners.get(claim, tenant.slug)

    def _take(self, tenant: Tenant) -> None:
        self._claims[tenant.slug] = tuple(_claims(tenant))
        for claim in self._claims[tenant.slug]:
            self._owners.setdefault(claim, tenant.slug)


def _clash(claim: Claim, owner: str) -> str:
    if claim[0] == "client":
        return (
            f"this client of this issuer belongs to the tenant {owner} already, and both are proven by the "
            "portal's own keys; register another client for this tenant"
        )
    whose = f"belongs to the tenant {owner} already" if owner else "is the portal's own"
    return f"{claim[0]} has a name that {whose}"
