"""The health of providers, as the calls of the portal show it (docs/decisions/093).

It sends nothing by itself: what is known comes from requests for metadata, keys, tokens, user information,
pushed requests and revocation that the portal sends anyway. The processes of a host tell each other which
providers are unhealthy (shared_health).
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from heapq import nsmallest
from typing import Protocol, TypeVar

import structlog

from portal.clock import Clock
from portal.display_text import display_text
from portal.errors import OutboundBusy, OutboundRefused, PortalError
from portal.oidc.errors import (
    ClientKeyMissing,
    LoginRejected,
    MetadataRejected,
    ProviderUnavailable,
    TokenResponseMalformed,
)
from portal.oidc.health import UNKNOWN, Health, HealthState
from portal.oidc.provider import Provider
from portal.oidc.shared_health import NoNotes, Notes, Report, read_note, write_note
from portal.pauses import is_set_within
from portal.time_slices import in_slices

T = TypeVar("T")

UNHEALTHY_SECONDS = 30.0
"""How long all calls must have failed before a provider is unhealthy."""
UNHEALTHY_FAILURES = 3
"""How many calls must have failed in a row before a provider is unhealthy."""
SLOW_SECONDS = 10.0
"""A call without a response counts as failed, and again each time that this long has passed: one refresh may
hang for two minutes, while others of the same login wait for it."""
FORGET_SECONDS = 300.0
"""An unhealthy provider that is not called for this long is unknown: nobody is warned any more."""

_MOST = 10_000
"""Registrations of which something is known; those that were called last."""
_MOST_TOLD = 100
"""Unhealthy providers that other processes are told of: those that fail longest."""
_LONGEST_REASON = 300
_CHECK_SECONDS = 2.0
_UNUSABLE = (ProviderUnavailable, OutboundRefused, MetadataRejected, TokenResponseMalformed)
"""No response, or one that ends every sign-in. `KeysRejected` is a `MetadataRejected`."""

_log = structlog.get_logger("portal.provider_health")


class ProviderCalls(Protocol):
    """Learns of the calls of providers."""

    async def record(self, provider: Provider, call: Awaitable[T]) -> T:
        """Await a call, note its outcome, and return or raise what it does."""


class Unrecorded:
    """Notes nothing, for calls on behalf of drafts."""

    async def record(self, provider: Provider, call: Awaitable[T]) -> T:
        """Await the call."""
        return await call


UNRECORDED = Unrecorded()


@dataclass(slots=True)
class _Known:
    """What is known of a registration. Times as in Health; `last_call` is that of the last outcome."""

    tenant: str
    id: str
    registration: str
    last_call: float
    last_success: float | None = None
    failing_since: float = 0.0
    failures: int = 0
    reason: str = ""
    unhealthy: bool = False
    logs: bool = True
    """Of an unhealthy one, whether this process logs when it is healthy again: one of all processes does."""

    def health(self) -> Health:
        if not self.failures:
            return UNKNOWN if self.last_success is None else Health(HealthState.FINE, self.last_success)
        return Health(
            HealthState.UNHEALTHY if self.unhealthy else HealthState.FAILING,
            self.last_success,
            self.failing_since,
            self.last_call,
            self.failures,
            self.reason,
        )


@dataclass(slots=True)
class _Call:
    provider: Provider
    began: float
    waits: int = 0
    """How often SLOW_SECONDS have passed without a response; each time was counted as a failure."""
    timer: asyncio.TimerHandle | None = None

    def wait(self, slow: Callable[[_Call], None]) -> None:
        """Call `slow` when there is no response in time."""
        self.timer = asyncio.get_running_loop().call_later(SLOW_SECONDS, slow, self)

    def stop_waiting(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


@dataclass(slots=True)
class ProviderHealth:
    """Notes the outcome of each call, and logs each change between healthy and unhealthy once.

    Parameters: clock, seconds since the epoch, UTC; find, returns a live registration by its tenant and
    id; on_change, called with a tenant and the number of its providers that are unhealthy for this
    process, whenever that may have changed; others, what the other processes of the host tell.
    """

    clock: Clock
    find: Callable[[str, str], Provider | None]
    on_change: Callable[[str, int], None] = lambda tenant, count: None
    others: Notes = field(default_factory=NoNotes)
    _known: OrderedDict[str, _Known] = field(default_factory=OrderedDict)
    _unhealthy: dict[str, _Known] = field(default_factory=dict)
    _told: dict[str, Report] = field(default_factory=dict)
    """What is unhealthy for other processes."""
    _counts: Counter[str] = field(default_factory=Counter)
    """Unhealthy providers by tenant."""

    async def record(self, provider: Provider, call: Awaitable[T]) -> T:
        """Await a call of a provider, note its outcome, and return or raise what it does."""
        sent = _Call(provider, self.clock())
        sent.wait(self._slow)
        try:
            result = await call
        except PortalError as error:
            if isinstance(error, _UNUSABLE) and not isinstance(error.__cause__, OutboundBusy):
                self._failed(sent, error.detail or error.title, counts=not sent.waits)
            elif isinstance(error, LoginRejected) and not isinstance(error, ClientKeyMissing):
                self._succeeded(sent)  # a usable response, which refuses something
            raise
        else:
            self._succeeded(sent)
            return result
        finally:
            sent.stop_waiting()

    def of(self, provider: Provider) -> Health:
        """The health of a provider."""
        known = self._known.get(provider.key)
        is_known = known is not None and known.registration == provider.registration
        health = known.health() if known is not None and is_known else UNKNOWN
        told = self._told.get(provider.key)
        if health.state is HealthState.UNHEALTHY or told is None:
            return health
        return told.health if told.registration == provider.registration else health

    def is_unhealthy(self, provider: Provider) -> bool:
        """Whether users are warned before they sign in with a provider."""
        if not self._unhealthy and not self._told:
            return False
        return any(
            one is not None and one.registration == provider.registration
            for one in (self._unhealthy.get(provider.key), self._told.get(provider.key))
        )

    def warns(self, providers: Iterable[Provider]) -> bool:
        """Whether one of these providers is unhealthy."""
        return bool(self._unhealthy or self._told) and any(map(self.is_unhealthy, providers))

    def unhealthy(self, most: int) -> list[tuple[str, str, Health]]:
        """Tenant, id and health of the unhealthy providers that fail longest, at most this many."""
        failing = self._told | {report.key: report for report in self._own(most)}
        longest = nsmallest(most, failing.values(), key=lambda one: one.health.failing_since or 0.0)
        return [(one.tenant, one.id, one.health) for one in longest]

    def _own(self, most: int) -> list[Report]:
        """Those that are unhealthy for this process and fail longest."""
        failing = nsmallest(most, self._unhealthy.items(), key=lambda item: item[1].failing_since)
        return [
            Report(key, known.tenant, known.id, known.registration, known.health()) for key, known in failing
        ]

    async def run(self, stop: asyncio.Event) -> None:
        """Exchange with other processes, and forget unhealthy providers that are not called any more, or are
        gone, until `stop` is set.
        """
        while not await is_set_within(stop, _CHECK_SECONDS):
            self.exchange()
            await self.forget_old()

    def exchange(self) -> None:
        """Learn what other processes have seen, and tell them what this one has."""
        failed: dict[str, Report] = {}
        worked: dict[str, Report] = {}
        for report in (one for note in self.others.others() for one in read_note(note)):
            of = failed if report.health.state is HealthState.UNHEALTHY else worked
            before = of.get(report.key)
            if before is None or _last_seen(before) < _last_seen(report):
                of[report.key] = report
        for key, known in list(self._unhealthy.items()):
            seen = worked.get(key)
            is_same = seen is not None and seen.registration == known.registration
            if seen is not None and is_same and known.last_call < _last_seen(seen):
                known.last_success = _last_seen(seen)
                self._recovered(key, known)
            known.logs |= key not in failed  # whoever logged that it is unhealthy has ended
        fine = [report for report in failed.values() if self._has_worked_since(report)]
        self._told = {
            key: report
            for key, report in failed.items()
            if report not in fine and (key not in worked or _last_seen(worked[key]) < _last_seen(report))
        }
        answers = [replace(one, health=self._fine(one.key)) for one in fine]
        self.others.write(write_note([*answers, *self._own(_MOST_TOLD)]))

    def _has_worked_since(self, report: Report) -> bool:
        known = self._known.get(report.key)
        return (
            known is not None
            and known.registration == report.registration
            and (known.last_success or 0.0) > _last_seen(report)
            and not known.unhealthy
        )

    def _fine(self, key: str) -> Health:
        return Health(HealthState.FINE, self._known[key].last_success)

    async def forget_old(self) -> None:
        """Forget unhealthy providers that were not called for FORGET_SECONDS, or are gone."""
        now = self.clock()
        async for key, known in in_slices(list(self._unhealthy.items())):
            live = self.find(known.tenant, known.id)
            is_live = live is not None and live.registration == known.registration
            if not is_live or now - known.last_call > FORGET_SECONDS:
                self._known.pop(key, None)
                self._end_unhealthy(key)
        async for tenant in in_slices(list(self._counts)):  # it may have got another label in the metrics
            self.on_change(tenant, self._counts[tenant])

    def _succeeded(self, call: _Call) -> None:
        known = self._entry(call)
        known.last_call = known.last_success = self.clock()
        self._recovered(call.provider.key, known)

    def _recovered(self, key: str, known: _Known) -> None:
        """Note that a provider works."""
        known.failures, known.reason = 0, ""
        self._told.pop(key, None)
        if known.unhealthy:
            known.unhealthy = False
            del self._unhealthy[key]
            self._count(known.tenant, -1)
            if known.logs:
                seconds = round((known.last_success or known.last_call) - known.failing_since, 1)
                _log.info("provider_healthy", tenant=known.tenant, provider=known.id, seconds=seconds)

    def _slow(self, call: _Call) -> None:
        call.waits += 1
        call.wait(self._slow)
        self._failed(call, f"no response within {call.waits * SLOW_SECONDS:g} s")

    def _failed(self, call: _Call, reason: str, *, counts: bool = True) -> None:
        known = self._entry(call)
        if not known.failures:
            known.failing_since = max(call.began, known.last_success or call.began)
        known.failures += counts
        known.last_call, known.reason = self.clock(), display_text(reason, limit=_LONGEST_REASON)
        lasted = known.last_call - known.failing_since
        if known.unhealthy or known.failures < UNHEALTHY_FAILURES or lasted < UNHEALTHY_SECONDS:
            return
        known.unhealthy = True
        self._unhealthy[call.provider.key] = known
        self._count(known.tenant, 1)
        self.exchange()
        known.logs = call.provider.key not in self._told
        if not known.logs:
            return
        _log.warning(
            "provider_unhealthy",
            tenant=known.tenant,
            provider=known.id,
            failures=known.failures,
            seconds=round(lasted, 1),
            detail=known.reason,
        )

    def _entry(self, call: _Call) -> _Known:
        """What is known of the registration of a call; a new entry when its issuer or client has changed."""
        provider, key = call.provider, call.provider.key
        known = self._known.get(key)
        if known is None or known.registration != provider.registration:
            self._end_unhealthy(key)
            known = _Known(provider.tenant, provider.id, provider.registration, self.clock())
            self._known[key] = known
            if len(self._known) > _MOST:
                self._end_unhealthy(self._known.popitem(last=False)[0])
        self._known.move_to_end(key)
        return known

    def _end_unhealthy(self, key: str) -> None:
        """Warn nobody any more, although no call has succeeded."""
        known = self._unhealthy.pop(key, None)
        if known is not None:
            self._count(known.tenant, -1)
            if key not in self._told:
                _log.info("provider_health_unknown", tenant=known.tenant, provider=known.id)

    def _count(self, tenant: str, change: int) -> None:
        count = self._counts[tenant] + change
        self._counts[tenant] = count
        if not count:
            del self._counts[tenant]
        self.on_change(tenant, count)


def _last_seen(report: Report) -> float:
    """When the call was that a report is about."""
    health = report.health
    return (health.last_failure if health.failures else health.last_success) or 0.0
