"""Host names, e-mail domains and clients that the portal's shared keys prove belong to one tenant each.

With a shared key, a provider could not tell two tenants with the same client apart.

Who has one keeps it; what nobody has yet goes to the first tenant by file name. A tenant file that claims
another tenant's is not used until one of the two files changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from portal.errors import Problem
from portal.tenancy.loading import LoadedTenant
from portal.tenancy.model import Tenant

Claim = tuple[str, str]
"""`hosts`, `email_domains` or `client`, and the name."""


def resolve_conflicts(
    live: dict[str, Tenant], wanted: Mapping[str, LoadedTenant], reserved_hosts: Iterable[str]
) -> dict[str, list[Problem]]:
    """Put the wanted tenants into `live`, except those that claim what belongs to another.

    Parameters: live, by slug, changed here; wanted, what the files say, by slug; reserved_hosts, names that
    are no tenant's.
    Returns what keeps the others out, by slug.
    """
    pending = {slug: one for slug, one in wanted.items() if _differs(live.get(slug), one.tenant)}
    reserved = {("hosts", host): "" for host in reserved_hosts}
    together = {**live, **{slug: one.tenant for slug, one in pending.items()}}
    owners = _owners(together.values(), reserved)
    if all(owners[claim] == slug for slug, tenant in together.items() for claim in _claims(tenant)):
        live.update(together)
        return {}
    owners = _owners(live.values(), reserved)
    while adopted := [slug for slug, one in pending.items() if _adopt(one.tenant, live, owners)]:
        for slug in adopted:
            del pending[slug]
    return {slug: _clashes(one, owners) for slug, one in pending.items()}


def _differs(old: Tenant | None, new: Tenant) -> bool:
    return old is None or old.revision != new.revision


def _claims(tenant: Tenant) -> Iterator[Claim]:
    yield from (("hosts", host) for host in tenant.hosts)
    yield from (("email_domains", domain) for domain in tenant.email_domains)
    yield from (
        ("client", provider.registration)
        for provider in tenant.providers.values()
        if provider.proven_by_shared_keys
    )


def _owners(tenants: Iterable[Tenant], reserved: Mapping[Claim, str]) -> dict[Claim, str]:
    owners = dict(reserved)
    for tenant in tenants:
        for claim in _claims(tenant):
            owners.setdefault(claim, tenant.slug)
    return owners


def _adopt(tenant: Tenant, live: dict[str, Tenant], owners: dict[Claim, str]) -> bool:
    if any(owners.get(claim, tenant.slug) != tenant.slug for claim in _claims(tenant)):
        return False
    before = live.get(tenant.slug)
    for claim in _claims(before) if before else ():
        owners.pop(claim, None)
    owners.update((claim, tenant.slug) for claim in _claims(tenant))
    live[tenant.slug] = tenant
    return True


def _clashes(one: LoadedTenant, owners: Mapping[Claim, str]) -> list[Problem]:
    problems = []
    for claim in _claims(one.tenant):
        owner = owners.get(claim, one.tenant.slug)
        if owner != one.tenant.slug:
            problems.append(Problem(one.places[claim], _clash(claim, owner)))
    return problems


def _clash(claim: Claim, owner: str) -> str:
    if claim[0] == "client":
        return (
            f"this client of this issuer belongs to the tenant {owner} already, and both are proven by the "
            "portal's own keys; register another client for this tenant"
        )
    whose = f"belongs to the tenant {owner} already" if owner else "is the portal's own"
    return f"{claim[0]} has a name that {whose}"
