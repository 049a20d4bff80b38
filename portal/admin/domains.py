"""Host names and e-mail domains of tenants of the database: they count when they are proven.

A name is proven by a TXT record at exactly this name, whose value only the portal can make for this tenant
and name, or it is approved by an operator. Two tenants never hold the same name. See
docs/decisions/059-what-proves-a-domain.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from portal.admin.content_worker import ContentWorker
from portal.admin.events import Act, EventKind
from portal.admin.stated_names import Names, names_in, stated_names
from portal.admin.tenants import TenantChanged, TenantMissing
from portal.clock import Clock
from portal.errors import PortalError
from portal.keys.vault import Vault
from portal.outbound.txt_records import Outcome, TxtRecords, TxtSearch
from portal.stores.tenant_records import DomainClaim, Revision, TenantRecord
from portal.stores.tenant_store import TenantStore

RECORD_PREFIX = "portal-verification="
CHECK_SECONDS = 10.0
"""A tenant can have a name checked once in this time."""
TENANT_CHECK_SECONDS = 1.0
"""A tenant can have any name checked once in this time: to read a hostile response takes 70 ms."""
GRACE_SECONDS = 3 * 86_400.0
"""How long a name counts after its record was found missing."""

BY_DNS = "dns"
BY_DNS_MISSING = "dns_missing"
"""The proof of a name whose record was missing at `checked_at`, and at every check since."""
_BY_OPERATOR = "operator"
_TRIES = 3

OwnerOf = Callable[[str], Awaitable[str | None]]
"""Returns the slug of the tenant of a file that has a name; empty for a name of the portal, None if free."""


class DomainTaken(PortalError):
    """Another tenant holds the name."""

    status = 409
    code = "domain_taken"
    title = "Another organisation has this domain"
    advice = "Ask the operator of this portal if it should be yours."


class DomainUnknown(PortalError):
    """Neither the live revision nor the draft of the tenant states the name."""

    status = 404
    code = "domain_unknown"
    title = "This organisation does not have this domain"
    advice = "Add it to the draft first, under hosts or email_domains."


class CheckedRecently(PortalError):
    """The name was checked less than CHECK_SECONDS ago, or another of the tenant less than a second ago."""

    status = 429
    code = "domain_checked_recently"
    title = "This domain, or another one, was checked a moment ago"
    advice = "Wait ten seconds and check again."


class DomainState(StrEnum):
    """Whether a name counts, and why."""

    WAITING = "waiting"
    """For its proof."""
    PROVEN = "proven"
    """By a TXT record."""
    APPROVED = "approved"
    """By an operator."""
    MISSING = "missing"
    """Proven, but its record was not found at the last checks. It still counts."""
    LOST = "lost"
    """The record was missing for too long."""


_COUNTS = frozenset({DomainState.PROVEN, DomainState.APPROVED, DomainState.MISSING})


@dataclass(frozen=True, slots=True)
class Domain:
    """A name that a tenant states or holds, with what proves it."""

    name: str
    kinds: tuple[str, ...]
    """`hosts`, `email_domains` or both; empty when the tenant no longer states it."""
    state: DomainState
    record: str
    """The value of the TXT record."""
    in_live: bool
    in_draft: bool
    checked_at: float = 0.0
    """When its record was last seen; when it was first missing; when the proof was lost. Seconds, UTC."""

    @property
    def counts(self) -> bool:
        """Whether users reach the tenant with this name."""
        return self.in_live and self.state in _COUNTS

    @property
    def counts_until(self) -> float:
        """When the proof is lost, for one whose record is missing. Seconds, UTC."""
        return self.checked_at + GRACE_SECONDS


class UsedTokens(Protocol):
    """The part of the store that limits checks; see `portal.stores.store.Store`."""

    async def remember_once(self, key: str, *, expires_at: float, now: float) -> bool:
        """Store a key until `expires_at`; False if it is stored already."""


class Domains:
    """The acts on names of tenants of the database.

    Parameters: used_tokens, limits checks in all processes; contents, reads contents; owner_of, knows the
    names of tenant files; clock, that of the database.
    """

    def __init__(
        self,
        store: TenantStore,
        used_tokens: UsedTokens,
        vault: Vault,
        records: TxtRecords,
        *,
        contents: ContentWorker,
        owner_of: OwnerOf,
        clock: Clock,
    ) -> None:
        self.store = store
        self._used_tokens = used_tokens
        self._vault = vault
        self._records = records
        self.contents = contents
        self._owner_of = owner_of
        self._clock = clock

    async def of_tenant(self, slug: str) -> tuple[Domain, ...]:
        """The names of a tenant, by name. Raises TenantMissing, StoreUnavailable."""
        record = await self._tenant(slug)
        live, draft = await stated_names(self.store, self.contents, slug)
        claims = {claim.name: claim for claim in await self.store.list_domains(slug)}
        names = sorted(live.keys() | draft.keys() | claims.keys())
        return tuple(self._domain(record, name, live, draft, claims.get(name)) for name in names)

    async def in_danger(self, slug: str) -> list[str]:
        """The names of a tenant whose record is missing, or whose proof was lost. Raises StoreUnavailable."""
        claims = await self.store.list_domains(slug)
        return [one.name for one in claims if _state(one) in {DomainState.MISSING, DomainState.LOST}]

    async def check(self, slug: str, name: str, act: Act) -> TxtSearch:
        """Look for the record of a name now; return what was found.

        Raises: TenantMissing, TenantChanged, DomainUnknown, DomainTaken when another tenant holds a name
        whose record was found, CheckedRecently, StoreUnavailable.
        """
        record = await self._tenant(slug)
        await self._limit(f"domain-check:{slug}", TENANT_CHECK_SECONDS, name)
        kinds = await self._kinds(slug, name)
        await self._limit(f"domain-check:{slug}:{name}", CHECK_SECONDS, name)
        return await self._search(record, name, kinds[0], await self._claim(slug, name), act)

    async def _limit(self, key: str, seconds: float, name: str) -> None:
        now = self._clock()
        if not await self._used_tokens.remember_once(key, expires_at=now + seconds, now=now):
            raise CheckedRecently(name)

    async def recheck(self, claim: DomainClaim, act: Act) -> TxtSearch | None:
        """Look again for the record of a proven name; None if its tenant is gone.

        Raises: TenantMissing, TenantChanged when it is removed meanwhile, StoreUnavailable.
        """
        record = await self.store.get_tenant(claim.tenant)
        if record is None:
            return None
        return await self._search(record, claim.name, claim.kind, claim, act)

    async def approve(self, slug: str, name: str, act: Act) -> None:
        """Let a name count without a record, as an operator may.

        Raises: TenantMissing, DomainUnknown, DomainTaken, TenantChanged, StoreUnavailable.
        """
        record = await self._tenant(slug)
        kinds = await self._kinds(slug, name)
        await self._approve(record, name, kinds[0], await self._claim(slug, name), act)

    async def approve_all(self, revision: Revision, act: Act) -> Mapping[str, str]:
        """Approve all names of a revision that an operator has published, whatever is live by now.

        Returns those that others have, and whose they are. Raises: TenantMissing, TenantChanged when the
        tenant was removed and made again since, StoreUnavailable.
        """
        slug = revision.tenant
        record = await self._tenant(slug)
        if record.created_at > revision.published_at:
            raise TenantChanged(slug)
        names = await self.contents.run(slug, names_in, revision.content, slug)
        claims = {claim.name: claim for claim in await self.store.list_domains(slug)}
        taken: dict[str, str] = {}
        for name, kinds in names.items():
            try:
                await self._approve(record, name, kinds[0], claims.get(name), act)
            except DomainTaken as error:
                taken[name] = error.detail
        return taken

    async def _approve(
        self, record: TenantRecord, name: str, kind: str, claim: DomainClaim | None, act: Act
    ) -> None:
        if claim is None or not _is_enough(claim, _BY_OPERATOR):
            token = self._tokens(record, name, claim)[0]
            approved = DomainClaim(name, record.slug, kind, token, _BY_OPERATOR, 0.0, 0.0, 0.0)
            await self._hold(approved, claim, act, EventKind.DOMAIN_APPROVED, made_at=record.created_at)

    async def release(self, slug: str, name: str, act: Act) -> None:
        """Give up a name, so that it no longer counts. Raises DomainUnknown, StoreUnavailable."""
        event = act.event(EventKind.DOMAIN_RELEASED, tenant=slug, target=name, at=self._clock())
        if not await self.store.delete_domain(name, tenant=slug, event=event):
            raise DomainUnknown(name)

    # --- searches

    async def _search(
        self, record: TenantRecord, name: str, kind: str, before: DomainClaim | None, act: Act
    ) -> TxtSearch:
        wanted = [RECORD_PREFIX + token for token in self._tokens(record, name, before)]
        found = await self._records.find(name, wanted, tenant=record.slug)
        if (await self._tenant(record.slug)).created_at != record.created_at:
            raise TenantChanged(record.slug)
        claim = await self._claim(record.slug, name)  # an operator may have approved it meanwhile
        if claim is not None and claim.proven_at and claim.proof == _BY_OPERATOR:
            return found
        if claim is None and before is not None and before.proven_at:
            return found  # it was released meanwhile, and stays released
        if found.outcome is Outcome.FOUND:
            token = found.value.removeprefix(RECORD_PREFIX)
            found_claim = DomainClaim(name, record.slug, kind, token, BY_DNS, 0.0, 0.0, 0.0)
            await self._store_found(claim, found_claim, act, made_at=record.created_at)
        elif found.outcome is Outcome.NOT_FOUND and claim is not None and claim.proven_at:
            await self._store_missing(claim, act)
        return found

    async def _store_found(
        self, stored: DomainClaim | None, found: DomainClaim, act: Act, *, made_at: float
    ) -> None:
        if stored is None or not stored.proven_at:
            await self._hold(found, stored, act, EventKind.DOMAIN_PROVEN, made_at=made_at)
        elif stored.proof == BY_DNS:
            await self._change(stored, BY_DNS, stored.proven_at, None, act)
        else:
            await self._change(stored, BY_DNS, stored.proven_at, EventKind.DOMAIN_PROVEN, act)

    async def _store_missing(self, claim: DomainClaim, act: Act) -> None:
        if claim.proof == BY_DNS:
            kind = EventKind.DOMAIN_RECORD_MISSING
            await self._change(claim, BY_DNS_MISSING, claim.proven_at, kind, act)
        elif self._clock() >= claim.checked_at + GRACE_SECONDS:
            await self._change(claim, "", 0.0, EventKind.DOMAIN_PROOF_LOST, act)

    async def _change(
        self, claim: DomainClaim, proof: str, proven_at: float, kind: EventKind | None, act: Act
    ) -> None:
        """Change the proof of a claim; one that was approved, released or checked meanwhile stays so."""
        now = self._clock()
        event = act.event(kind, tenant=claim.tenant, target=claim.name, at=now) if kind else None
        await self.store.prove_domain(
            claim.name,
            tenant=claim.tenant,
            proof=proof,
            proven_at=proven_at,
            checked_at=now,
            event=event,
            replaces=claim,
        )

    async def _hold(
        self, claim: DomainClaim, stored: DomainClaim | None, act: Act, kind: EventKind, *, made_at: float
    ) -> None:
        """Store a claim that counts from now on, in place of the tenant's own or one that does not count.

        Parameters: stored, the tenant's own, as it was read; made_at, when the tenant was made that the claim
        is for. What was approved or proven meanwhile stays; an approval replaces a proof.
        Raises: DomainTaken with the other's slug, TenantMissing, TenantChanged, StoreUnavailable.
        """
        slug, name = claim.tenant, claim.name
        owner = await self._owner_of(name)
        if owner is not None and owner != slug:
            raise DomainTaken(owner or "the portal")
        for _ in range(_TRIES):
            now = self._clock()
            event = act.event(kind, tenant=slug, target=name, at=now)
            new = DomainClaim(name, slug, claim.kind, claim.token, claim.proof, now, now, now)
            if stored is not None and await self.store.prove_domain(
                name,
                tenant=slug,
                proof=claim.proof,
                proven_at=now,
                checked_at=now,
                event=event,
                replaces=stored,
            ):
                return
            if stored is None and await self.store.add_domain(new, event=event, made_at=made_at):
                return
            if (await self._tenant(slug)).created_at != made_at:
                raise TenantChanged(slug)
            await self._displace(name, slug, act)
            stored = await self._claim(slug, name)
            if stored is not None and _is_enough(stored, claim.proof):
                return
        raise TenantChanged(slug)

    async def _displace(self, name: str, slug: str, act: Act) -> None:
        """Release the claim of another tenant that does not count. Raises DomainTaken if it counts."""
        others = (one for one in await self.store.list_domains() if one.name == name)
        other = next((one for one in others if one.tenant != slug), None)
        if other is None:
            return
        if other.proven_at:
            raise DomainTaken(other.tenant)
        event = Act(act.actor, "another organisation proved it").event(
            EventKind.DOMAIN_RELEASED, tenant=other.tenant, target=name, at=self._clock()
        )
        await self.store.delete_domain(name, tenant=other.tenant, event=event, unproven=True)

    # --- reading

    async def _tenant(self, slug: str) -> TenantRecord:
        record = await self.store.get_tenant(slug)
        if record is None:
            raise TenantMissing(f"the database has no tenant {slug}")
        return record

    async def _claim(self, slug: str, name: str) -> DomainClaim | None:
        return next((one for one in await self.store.list_domains(slug) if one.name == name), None)

    async def _kinds(self, slug: str, name: str) -> tuple[str, ...]:
        """The kinds of a name that the live revision or the draft states. Raises DomainUnknown."""
        live, draft = await stated_names(self.store, self.contents, slug)
        kinds = live.get(name) or draft.get(name)
        if kinds is None:
            raise DomainUnknown(name)
        return kinds

    def _tokens(self, record: TenantRecord, name: str, claim: DomainClaim | None) -> list[str]:
        """The values that prove a name for a tenant, the one to show first.

        That of a proven claim stays when keys of the ring are replaced.
        """
        made = self._vault.domain_tokens(record.slug, record.created_at, name)
        return [claim.token, *made] if claim is not None and claim.token else made

    def _domain(
        self, record: TenantRecord, name: str, live: Names, draft: Names, claim: DomainClaim | None
    ) -> Domain:
        kinds = (*live.get(name, ()), *draft.get(name, ()))
        return Domain(
            name=name,
            kinds=tuple(dict.fromkeys(kinds)),
            state=_state(claim),
            record=RECORD_PREFIX + self._tokens(record, name, claim)[0],
            in_live=name in live,
            in_draft=name in draft,
            checked_at=claim.checked_at if claim is not None else 0.0,
        )


def _is_enough(stored: DomainClaim, proof: str) -> bool:
    """Whether a claim counts already, and would not count any better with this proof."""
    return bool(stored.proven_at) and (proof != _BY_OPERATOR or stored.proof == _BY_OPERATOR)


def _state(claim: DomainClaim | None) -> DomainState:
    if claim is None:
        return DomainState.WAITING
    if not claim.proven_at:
        return DomainState.LOST
    if claim.proof == _BY_OPERATOR:
        return DomainState.APPROVED
    return DomainState.MISSING if claim.proof == BY_DNS_MISSING else DomainState.PROVEN
