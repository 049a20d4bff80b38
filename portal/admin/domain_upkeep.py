"""Checks proven domains again, once a day, and releases those that their tenants no longer state."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import structlog

from portal.admin.actors import Actor, ActorType
from portal.admin.domains import BY_DNS, BY_DNS_MISSING, Domains, UsedTokens
from portal.admin.events import Act
from portal.admin.stated_names import release_unstated
from portal.clock import Clock
from portal.errors import PortalError
from portal.outbound.txt_records import Outcome
from portal.pauses import is_set_within
from portal.stores.tenant_records import DomainClaim
from portal.tenancy.model import Tenant
from portal.time_slices import in_slices

_log = structlog.get_logger("portal.admin")

ROUND_SECONDS = 600.0
"""How often each process looks for domains that are due."""
SEEN_SECONDS = 86_400.0
"""How long after its record was seen a domain is checked again."""
MISSING_SECONDS = 6 * 3_600.0
"""How often one is checked whose record is missing, or cannot be looked up; by one process."""
MOST_PER_ROUND = 200
_AT_ONCE = 4
_SYSTEM = Act(Actor(ActorType.SYSTEM), reason="checked again")
_NOT_STATED = Act(Actor(ActorType.SYSTEM), reason="no longer stated")


class LiveTenants(Protocol):
    """What the upkeep needs of the registry."""

    def get(self, slug: str) -> Tenant | None:
        """The live tenant with this slug."""

    def is_of_operator(self, slug: str) -> bool:
        """Whether it comes from a file."""


@dataclass(slots=True)
class Round:
    """What a round did, in numbers of domains."""

    checked: int = 0
    missing: int = 0
    unknown: int = 0
    released: int = 0


class DomainUpkeep:
    """Keeps proofs true. Parameters: clock, that of the database."""

    def __init__(
        self, domains: Domains, used_tokens: UsedTokens, *, tenants: LiveTenants, clock: Clock
    ) -> None:
        self._domains = domains
        self._used_tokens = used_tokens
        self._tenants = tenants
        self._clock = clock
        self._not_before: dict[str, float] = {}
        """When a domain is looked at again that this or another process has checked already."""

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set. The first round comes at a random time: processes start together."""
        pause = random.uniform(0, ROUND_SECONDS)  # noqa: S311 - nothing depends on it being unpredictable
        while not await is_set_within(stop, pause):
            pause = ROUND_SECONDS
            try:
                await self.round()
            except PortalError as error:
                _log.warning("domains_not_checked", code=error.code)

    async def round(self) -> Round:
        """Check the domains that are due, the oldest first, MOST_PER_ROUND at most; return what was done.

        Raises StoreUnavailable.
        """
        done, now = Round(), self._clock()
        claims = await self._domains.store.list_domains()
        self._not_before = {name: at for name, at in self._not_before.items() if at > now}
        due = [claim async for claim in in_slices(claims) if self._is_due(claim, now)]
        due.sort(key=lambda claim: claim.checked_at)
        waiting = iter(due)
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(self._check(waiting, done))
        await self._release(claims, done)
        if done.checked or done.released:
            _log.info("domains_checked", **{name: getattr(done, name) for name in Round.__slots__})
        return done

    def _is_due(self, claim: DomainClaim, now: float) -> bool:
        if not claim.proven_at or claim.proof not in {BY_DNS, BY_DNS_MISSING}:
            return False
        wait = SEEN_SECONDS if claim.proof == BY_DNS else MISSING_SECONDS
        return claim.checked_at + wait <= now and self._not_before.get(claim.name, 0.0) <= now

    async def _check(self, waiting: Iterator[DomainClaim], done: Round) -> None:
        for claim in waiting:
            if done.checked >= MOST_PER_ROUND:
                return
            try:
                await self._check_one(claim, done)
            except PortalError as error:
                _log.warning("domain_not_checked", name=claim.name, tenant=claim.tenant, code=error.code)

    async def _check_one(self, claim: DomainClaim, done: Round) -> None:
        now = self._clock()
        until = self._not_before[claim.name] = now + MISSING_SECONDS
        key = f"domain-recheck:{claim.tenant}:{claim.name}"
        done.checked += 1
        if not await self._used_tokens.remember_once(key, expires_at=until, now=now):
            done.checked -= 1  # another process has checked it
            return
        found = await self._domains.recheck(claim, _SYSTEM)
        if found is not None and found.outcome is Outcome.NOT_FOUND:
            done.missing += 1
            _log.warning("domain_record_missing", name=claim.name, tenant=claim.tenant, found=found.finding)
        elif found is not None and found.outcome is Outcome.UNKNOWN:
            done.unknown += 1

    async def _release(self, claims: Iterable[DomainClaim], done: Round) -> None:
        """Release what publications left: a process may have ended between a publication and its releases."""
        slugs = [claim.tenant async for claim in in_slices(claims) if self._is_unstated(claim)]
        for slug in list(dict.fromkeys(slugs))[:MOST_PER_ROUND]:
            domains = self._domains
            released = await release_unstated(
                domains.store, domains.contents, slug, _NOT_STATED, clock=self._clock
            )
            done.released += len(released)

    def _is_unstated(self, claim: DomainClaim) -> bool:
        """Whether a live tenant of the database does not have a name that is proven for it."""
        tenant = self._tenants.get(claim.tenant)
        if tenant is None or not claim.proven_at or self._tenants.is_of_operator(claim.tenant):
            return False
        return claim.name not in tenant.hosts and claim.name not in tenant.email_domains
