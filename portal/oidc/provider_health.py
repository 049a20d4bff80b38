"""The health of providers, as the calls of this process show it (docs/decisions/093).

It sends nothing by itself: what is known comes from requests for metadata, keys, tokens, user information,
pushed requests and revocation that the portal sends anyway. Each process knows what it has seen.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
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
from portal.oidc.provider import Provider
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
_LONGEST_REASON = 300
_CHECK_SECONDS = 5.0
_UNUSABLE = (ProviderUnavailable, OutboundRefused, MetadataRejected, TokenResponseMalformed)
"""No response, or one that ends every sign-in. `KeysRejected` is a `MetadataRejected`."""

_log = structlog.get_logger("portal.provider_health")


class HealthState(StrEnum):
    """What the last calls of a provider showed."""

    FINE = "fine"
    FAILING = "failing"
    """The last call failed; users are not warned yet."""
    UNHEALTHY = "unhealthy"
    """All calls failed for UNHEALTHY_SECONDS, and at least UNHEALTHY_FAILURES."""
    UNKNOWN = "unknown"
    """This process has not called it yet, or not lately."""


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a provider. Times are seconds since the epoch, UTC.

    `failing_since` is when the first of the calls that failed in a row was sent; `reason` says for
    administrators why the last one failed.
    """

    state: HealthState
    last_success: float | None = None
    failing_since: float | None = None
    last_failure: float | None = None
    failures: int = 0
    reason: str = ""


UNKNOWN = Health(HealthState.UNKNOWN)


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
    id; on_change, called with a tenant and the number of its
    unhealthy providers whenever that may have changed.
    """

    clock: Clock
    find: Callable[[str, str], Provider | None]
    on_change: Callable[[str, int], None] = lambda tenant, count: None
    _known: OrderedDict[str, _Known] = field(default_factory=OrderedDict)
    _unhealthy: dict[str, _Known] = field(default_factory=dict)
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
        if known is None or known.registration != provider.registration:
            return UNKNOWN
        return known.health()

    def is_unhealthy(self, provider: Provider) -> bool:
        """Whether users are warned before they sign in with a provider."""
        if not self._unhealthy:
            return False
        known = self._unhealthy.get(provider.key)
        return known is not None and known.registration == provider.registration

    def warns(self, providers: Iterable[Provider]) -> bool:
        """Whether one of these providers is unhealthy."""
        return bool(self._unhealthy) and any(map(self.is_unhealthy, providers))

    def unhealthy(self, most: int) -> list[tuple[str, str, Health]]:
        """Tenant, id and health of the unhealthy providers that fail longest, at most this many."""
        failing = nsmallest(most, self._unhealthy.values(), key=lambda known: known.failing_since)
        return [(known.tenant, known.id, known.health()) for known in failing]

    async def run(self, stop: asyncio.Event) -> None:
        """Forget unhealthy providers that are not called any more, or are gone, until `stop` is set."""
        while not await is_set_within(stop, _CHECK_SECONDS):
            await self.forget_old()

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
        known.failures, known.reason = 0, ""
        if known.unhealthy:
            known.unhealthy = False
            del self._unhealthy[call.provider.key]
            self._count(known.tenant, -1)
            seconds = round(known.last_call - known.failing_since, 1)
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
            _log.info("provider_health_unknown", tenant=known.tenant, provider=known.id)

    def _count(self, tenant: str, change: int) -> None:
        count = self._counts[tenant] + change
        self._counts[tenant] = count
        if not count:
            del self._counts[tenant]
        self.on_change(tenant, count)
