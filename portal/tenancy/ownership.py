"""Each host name, e-mail domain and client with shared keys belongs to one tenant.

A provider cannot distinguish two tenants whose client authenticates with the portal's shared key.

The current owner keeps what it claims; unclaimed names go to the first tenant by file name, then to the
tenant of the database whose live revision was published first: a process that sees several at once decides
as one that saw each of them. A tenant file that claims a name of another tenant is not used until one of the
two files changes. Owners stay the same after a restart: see `portal.tenancy.owner_record`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from portal.errors import Problem
from portal.tenancy.loading import LoadedTenant
from portal.tenancy.model import Tenant
from portal.time_slices import in_turns

Claim = tuple[str, str]
"""`hosts`, `email_domains` or `client`, and the name."""

Owned = Mapping[str, tuple[Claim, ...]]
"""The names that each tenant owns, by slug."""

_NOTHING: Owned = MappingProxyType({})
_NO_TENANTS: Mapping[str, LoadedTenant | None] = MappingProxyType({})
_PORTAL = ""
"""Owner of the reserved host names."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """The tenants that become live, by slug, and the conflicts of those that cannot."""

    accepted: Mapping[str, Tenant]
    problems: Mapping[str, list[Problem]]


class Ownership:
    """The owner of each name, and the tenants that claim a name of another. Not thread-safe."""

    def __init__(self, reserved_hosts: Iterable[str], owned: Owned = _NOTHING) -> None:
        """Create it without live tenants.

        Parameters: reserved_hosts, host names that no tenant may claim; owned, names that tenants keep even
        while they are not live.
        """
        self.version = 0
        """Changes whenever an owner changes."""
        self._owners: dict[Claim, str] = dict.fromkeys((("hosts", host) for host in reserved_hosts), _PORTAL)
        self._owned: dict[str, tuple[Claim, ...]] = {}
        self._rejected: dict[str, LoadedTenant] = {}
        for slug, claims in in_turns(owned.items()):
            self._give(slug, tuple(claim for claim in claims if claim not in self._owners))

    @property
    def owned(self) -> Owned:
        """A copy of the names that each tenant owns."""
        return self._owned.copy()

    @property
    def rejected(self) -> Collection[str]:
        """Slugs of the tenants that claim a name of another."""
        return self._rejected.keys()

    def has(self, owned: Owned) -> bool:
        """Whether these tenants own these names."""
        return all(
            self._owners.get(claim) == slug for slug, claims in in_turns(owned.items()) for claim in claims
        )

    def owner_of(self, name: str) -> str | None:
        """The slug of the tenant that has a host name or e-mail domain; empty for reserved names."""
        owners = (self._owners.get((kind, name)) for kind in ("hosts", "email_domains"))
        return next((owner for owner in owners if owner is not None), None)

    def resolve(
        self,
        live: Mapping[str, Tenant],
        changed: Mapping[str, LoadedTenant | None],
        removed: Collection[str] = (),
        closed: Mapping[str, LoadedTenant | None] = _NO_TENANTS,
    ) -> Resolved:
        """Decide which changed tenants become live; earlier rejected ones may now become live too.

        Parameters: live, the live tenants by slug; changed, the tenants of the files that were read, by slug
        (None: the file is invalid, its tenant keeps what it has); removed, slugs of tenants without a file;
        closed, tenants that do not become live and keep their names (None: keeps what it has).
        """
        for slug in in_turns((*changed, *removed, *closed)):
            self._rejected.pop(slug, None)
        for slug in in_turns(removed):
            self._release(slug)
        kept = {slug: one for slug, one in in_turns(closed.items()) if one is not None}
        for slug in in_turns(_in_order(kept)):
            self._keep(slug, kept[slug].tenant)
        new = {slug: one for slug, one in in_turns(changed.items()) if one and _differs(live.get(slug), one)}
        for slug in in_turns(new.keys() - live.keys()):
            self._release_unclaimed(slug, new[slug].tenant)
        accepted = {}
        if self._fit_together(new):
            for slug, one in in_turns(new.items()):
                self._accept(one.tenant)
                accepted[slug] = one.tenant
        else:
            self._rejected |= new
        accepted |= self._accept_rejected()
        conflicts = {slug: self.conflicts(one) for slug, one in in_turns(self._rejected.items())}
        return Resolved(accepted, conflicts)

    def _accept_rejected(self) -> dict[str, Tenant]:
        """Accept rejected tenants, in their order, while any of them has no conflict."""
        accepted: dict[str, Tenant] = {}
        waiting: list[str] = []
        for slug in in_turns(_in_order(self._rejected)):
            before = self._owned.get(slug, ())
            if not self._accept_if_free(slug, accepted):
                waiting.append(slug)
            elif any(claim not in self._owners for claim in before):
                self._accept_waiting(waiting, accepted)
        return accepted

    def _accept_waiting(self, waiting: list[str], accepted: dict[str, Tenant]) -> None:
        """Accept those that waited for a name that was released; they were there before those that follow."""
        while free := next((slug for slug in in_turns(waiting) if self._accept_if_free(slug, accepted)), ""):
            waiting.remove(free)

    def _accept_if_free(self, slug: str, accepted: dict[str, Tenant]) -> bool:
        tenant = self._rejected[slug].tenant
        if any(self._owners.get(claim, slug) != slug for claim in claims_of(tenant)):
            return False
        self._accept(tenant)
        accepted[slug] = self._rejected.pop(slug).tenant
        return True

    def _fit_together(self, new: Mapping[str, LoadedTenant]) -> bool:
        """Whether all of these tenants can be accepted at once: some may exchange their names.

        Not when one of them takes a name that a rejected tenant has been waiting for.
        """
        taken: dict[Claim, str] = {}
        awaited = {claim for one in in_turns(self._rejected.values()) for claim in claims_of(one.tenant)}
        for slug, one in in_turns(new.items()):
            for claim in claims_of(one.tenant):
                owner = self._owners.get(claim, slug)
                if taken.setdefault(claim, slug) != slug or (owner != slug and owner not in new):
                    return False
                if claim in awaited and claim not in self._owned.get(slug, ()):
                    return False
        return True

    def conflicts(self, one: LoadedTenant, *, name_owners: bool = True) -> list[Problem]:
        """Return a problem for each claim of a tenant that another tenant owns.

        Parameters: name_owners, whether to tell which: not to the admins of tenants (THREATS T5).
        """
        owners = ((claim, self._owners.get(claim, one.tenant.slug)) for claim in claims_of(one.tenant))
        return [
            Problem(one.places[claim], _conflict_message(claim, owner, name_owner=name_owners))
            for claim, owner in owners
            if owner != one.tenant.slug
        ]

    # --- changes of owners

    def _accept(self, tenant: Tenant) -> None:
        """Make a tenant the owner of its claims, and of nothing else."""
        claims = tuple(claims_of(tenant))
        if self._owned.get(tenant.slug, ()) != claims:
            self._release(tenant.slug)
            self._give(tenant.slug, claims)

    def _keep(self, slug: str, tenant: Tenant) -> None:
        """Make a tenant the owner of those of its claims that no other tenant owns."""
        claims = tuple(claim for claim in claims_of(tenant) if self._owners.get(claim, slug) == slug)
        if self._owned.get(slug, ()) != claims:
            self._release(slug)
            self._give(slug, claims)

    def _release_unclaimed(self, slug: str, tenant: Tenant) -> None:
        """Release what a tenant owned when it was live, and its file no longer claims."""
        if slug in self._owned:
            kept = still_claimed(self._owned[slug], tenant)
            self._release(slug)
            self._give(slug, kept)

    def _give(self, slug: str, claims: tuple[Claim, ...]) -> None:
        if claims:
            self._owned[slug] = claims
            self._owners.update(dict.fromkeys(claims, slug))
            self.version += 1

    def _release(self, slug: str) -> None:
        for claim in self._owned.pop(slug, ()):
            self.version += 1
            if self._owners.get(claim) == slug:  # not if another tenant has just been given it
                del self._owners[claim]


def claims_of(tenant: Tenant) -> Iterator[Claim]:
    """The names that a tenant claims."""
    yield from (("hosts", host) for host in tenant.hosts)
    yield from (("email_domains", domain) for domain in tenant.email_domains)
    yield from (
        ("client", provider.registration)
        for provider in tenant.providers.values()
        if provider.uses_shared_signing_key
    )


def _in_order(tenants: Mapping[str, LoadedTenant]) -> list[str]:
    """Slugs: those of files by file name, then those of the database by the time of their live revision."""
    return sorted(tenants, key=lambda slug: (tenants[slug].published_at, f"{slug}."))


def still_claimed(claims: Iterable[Claim], tenant: Tenant) -> tuple[Claim, ...]:
    """Those of the claims that the tenant has."""
    current = frozenset(claims_of(tenant))
    return tuple(claim for claim in claims if claim in current)


def _differs(old: Tenant | None, new: LoadedTenant) -> bool:
    return old is None or old.revision != new.tenant.revision


def _conflict_message(claim: Claim, owner: str, *, name_owner: bool) -> str:
    belongs = (
        f"already belongs to the tenant {owner}" if name_owner else "is used by another organisation here"
    )
    if claim[0] == "client":
        return (
            f"this client of this issuer {belongs}, and both authenticate with the portal's shared keys; "
            "register another client for this tenant"
        )
    reason = "is reserved for the portal" if owner == _PORTAL else belongs
    return f"{claim[0]} contains a name that {reason}"
