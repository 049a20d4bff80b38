"""Calls to APIs that are under way, and what ends them: their login or their tenant has ended.

A call is allowed by the login that it began with, and a stream or an upload may go on for hours. So each
process looks every LOOK_SECONDS whether the logins of its calls are still there, in one read for all of them,
and a change of a tenant is looked at when it happens. A call that is over before the next look costs nothing.
A database that cannot be read ends no call.

Whoever makes calls with a login's token for longer than an instant adds them here (THREATS S7).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from portal.errors import LoginEndedDuringCall, NotFound, PortalError, StoreUnavailable, UpstreamUnavailable
from portal.ops.metrics import Metrics
from portal.sessions.live_logins import LiveLogins
from portal.sessions.model import Login
from portal.tenancy.model import Api
from portal.tenancy.registry import Change, Registry

_log = structlog.get_logger("portal.calls")

LOOK_SECONDS = 1.5
_LEAST_AGE = 1.0
"""Seconds. A call that is younger was admitted just now."""
_READ_AT_ONCE = 256

Cut = Callable[[PortalError], None]


@dataclass(frozen=True, slots=True, eq=False)
class LiveCall:
    """A call under way. `cut` ends it with an error, which is for the browser if no response has begun."""

    login: Login
    api: Api
    began: float
    cut: Cut


class LiveCalls:
    """The calls under way in this process. `monotonic` is a clock in seconds."""

    def __init__(
        self,
        *,
        logins: LiveLogins,
        registry: Registry,
        metrics: Metrics,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logins = logins
        self._metrics = metrics
        self._monotonic = monotonic
        self._calls: set[LiveCall] = set()
        registry.on_change(self._on_change)

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, login: Login, api: Api, cut: Cut) -> LiveCall:
        """Remember a call that was admitted just now, until `remove`."""
        call = LiveCall(login, api, self._monotonic(), cut)
        self._calls.add(call)
        return call

    def remove(self, call: LiveCall) -> None:
        """The call is over. Removing twice is allowed."""
        self._calls.discard(call)

    async def watch(self, stop: asyncio.Event) -> None:
        """Look again and again until `stop` is set."""
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await stop.wait()
                    return
            try:
                await self.look()
            except StoreUnavailable as error:
                _log.warning("live_calls_not_checked", calls=len(self._calls), detail=error.detail)

    async def look(self) -> None:
        """Cut the calls whose login has ended or is another by now. Raises StoreUnavailable."""
        before = self._monotonic() - _LEAST_AGE
        old = [call for call in self._calls if call.began <= before]
        for start in range(0, len(old), _READ_AT_ONCE):
            some = old[start : start + _READ_AT_ONCE]
            alive = await self._logins.are_live([call.login for call in some])
            for call, is_live in zip(some, alive, strict=True):
                if not is_live:
                    self._cut(call, LoginEndedDuringCall("the login ended or is another one"))

    def _on_change(self, change: Change) -> None:
        for call in [call for call in self._calls if call.login.tenant == change.slug]:
            if change.new is None:
                self._cut(call, NotFound("the tenant was removed during the call"))
            elif change.new.api is None or _differs(change.new.api, call.api):
                self._cut(call, UpstreamUnavailable("the tenant's API changed during the call"))
            elif not self._logins.is_registered(call.login):
                self._cut(call, LoginEndedDuringCall("the provider's registration changed"))

    def _cut(self, call: LiveCall, error: PortalError) -> None:
        if call not in self._calls:  # it came to its end meanwhile
            return
        self._calls.discard(call)
        self._metrics.calls_cut.inc()
        _log.info("call_cut", tenant=call.login.tenant, reason=error.detail)
        call.cut(error)


def _differs(new: Api, old: Api) -> bool:
    """Whether an API is another one; the examples of its explorer do not matter."""
    return replace(new, example_paths=()) != replace(old, example_paths=())
