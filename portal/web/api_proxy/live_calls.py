"""API calls in progress. They end when their login, tenant or permission ends.

A login authorizes a call at its start, but a stream or an upload may take hours. So each process checks every
CHECK_SECONDS that the tenants of its calls still allow them and that their logins still exist, with one read
for up to 256 calls. A call that ends before the next check costs nothing. A database error ends no call. The
rules of a tenant may take milliseconds for each call, so a call is checked against them again only when its
tenant or login changes: the calls of one tenant must not delay the end of another's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from portal.clock import Clock
from portal.errors import (
    AccessDenied,
    LoginEndedDuringCall,
    NotFound,
    PortalError,
    StoreUnavailable,
    UpstreamBusy,
    UpstreamUnavailable,
)
from portal.ops.limit_metrics import Limit
from portal.ops.metrics import Metrics
from portal.pauses import is_set_within
from portal.sessions.live_logins import LiveLogins
from portal.stores.model import Login
from portal.tenancy.model import Api, Tenant
from portal.tenancy.registry import Registry
from portal.time_slices import in_slices
from portal.web.api_proxy.calls_without_login import CallsWithoutLogin
from portal.web.api_proxy.path_access import check_path_access

_log = structlog.get_logger("portal.calls")

CHECK_SECONDS = 1.5
_LEAST_AGE = 1.0
"""Seconds. Younger calls are not checked again."""
_READ_AT_ONCE = 256

Cut = Callable[[PortalError], None]


@dataclass(frozen=True, slots=True, eq=False)
class LiveCall:
    """A call in progress. `cut` ends it with an error, which is sent if no response has begun."""

    login: Login | None
    """None: the API is called for everybody, without a login."""
    tenant: str
    api: Api
    path: str
    """The path below the API's base URL, as it was sent."""
    began: float
    cut: Cut
    client_registration: str | None = None
    """The registration whose own access token the call has; None if it has none, or a user's."""
    client: str = ""
    """Who is counted for a call without a login, from `counted_client`; empty when it is not known."""


class LiveCalls:
    """The API calls in progress in this process. Parameters: monotonic, a clock in seconds."""

    def __init__(
        self,
        *,
        logins: LiveLogins,
        registry: Registry,
        metrics: Metrics,
        monotonic: Clock = time.monotonic,
    ) -> None:
        self._logins = logins
        self._metrics = metrics
        self._monotonic = monotonic
        self._calls: set[LiveCall] = set()
        self.without_login = CallsWithoutLogin()
        self._allowed: dict[LiveCall, tuple[Tenant, int]] = {}
        """By which state of its tenant, and with which version of its login, a call was allowed last."""
        self._registry = registry

    def __len__(self) -> int:
        return len(self._calls)

    def add(
        self,
        login: Login | None,
        api: Api,
        path: str,
        cut: Cut,
        *,
        tenant: str,
        client_registration: str | None = None,
        client: str = "",
    ) -> LiveCall:
        """Register an admitted call until `remove`. Parameters: as the attributes of LiveCall.

        Raises: UpstreamBusy when there are too many calls without a login.
        """
        if login is None:
            try:
                self.without_login.add(tenant, client)
            except UpstreamBusy:
                self._metrics.limits.hit(Limit.CALLS_WITHOUT_LOGIN, tenant)
                raise
        call = LiveCall(login, tenant, api, path, self._monotonic(), cut, client_registration, client)
        self._calls.add(call)
        return call

    def remove(self, call: LiveCall) -> None:
        """Unregister a call that ended. Removing twice is allowed."""
        if call not in self._calls:
            return
        self._calls.remove(call)
        if call.login is None:
            self.without_login.remove(call.tenant, call.client)
        self._allowed.pop(call, None)

    async def watch(self, stop: asyncio.Event) -> None:
        """Check the calls periodically until `stop` is set."""
        while not await is_set_within(stop, CHECK_SECONDS):
            try:
                await self.check()
            except StoreUnavailable as error:
                _log.warning("live_calls_not_checked", calls=len(self._calls), detail=error.detail)

    async def check(self) -> None:
        """Cut the calls whose tenant changed, or whose login ended or was replaced.

        Raises: StoreUnavailable, when the logins cannot be read.
        """
        before = self._monotonic() - _LEAST_AGE
        old = [call for call in self._calls if call.began <= before]
        async for call in in_slices(old):
            if error := self._error_of_tenant(call):
                self._cut(call, error)
        left = [(call, call.login) for call in old if call in self._calls and call.login is not None]
        for start in range(0, len(left), _READ_AT_ONCE):
            some, logins = zip(*left[start : start + _READ_AT_ONCE], strict=True)
            tenants = [self._registry.get(call.tenant) for call in some]
            versions = [
                self._allowed_version(call, tenant) for call, tenant in zip(some, tenants, strict=True)
            ]
            stored = await self._logins.recheck(logins, accepted=versions)
            async for call, tenant, login in in_slices(zip(some, tenants, stored, strict=True)):
                if login is None:
                    self._cut(call, LoginEndedDuringCall("the login ended or was replaced"))
                elif tenant is None or login.version == self._allowed_version(call, tenant):
                    continue
                elif error := self._error_of_path(call, tenant, login):
                    self._cut(call, error)
                elif call in self._calls:
                    self._allowed[call] = tenant, login.version

    def _allowed_version(self, call: LiveCall, tenant: Tenant | None) -> int | None:
        """The version of its login with which this state of its tenant allowed a call."""
        by, version = self._allowed.get(call, (None, None))
        return version if by is tenant else None

    def _error_of_tenant(self, call: LiveCall) -> PortalError | None:
        """Why the current tenant does not allow a call to continue; None if it does."""
        tenant = self._registry.get(call.tenant)
        if tenant is None:
            return NotFound("the tenant was removed during the call")
        api = tenant.api_named(call.api.name)
        if api is None or api.differs(call.api):
            return UpstreamUnavailable("the tenant's API changed during the call")
        used = call.client_registration
        if used is not None and used != tenant.default_provider.registration:
            return UpstreamUnavailable("the provider's registration changed during the call")
        if call.login is None or self._allowed_version(call, tenant) is not None:
            return None
        if not self._logins.is_accepted(call.login):
            return LoginEndedDuringCall("the provider's registration or the access rules changed")
        return None

    def _error_of_path(self, call: LiveCall, tenant: Tenant, login: Login) -> PortalError | None:
        """Why the current path rules and claims do not allow a call to continue; None if they do."""
        try:
            check_path_access(tenant, login, call.path, api=call.api)
        except AccessDenied as error:
            return error
        return None

    def _cut(self, call: LiveCall, error: PortalError) -> None:
        if call not in self._calls:  # it ended in the meantime
            return
        self.remove(call)
        self._metrics.calls_cut.inc()
        _log.info("call_cut", tenant=call.tenant, reason=error.detail)
        call.cut(error)
