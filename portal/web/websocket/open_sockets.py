"""The WebSockets of this process: limits, checks every second, and their end when the portal stops."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import TypeVar

from portal.config.limit_settings import LimitSettings
from portal.errors import UpstreamBusy
from portal.ops.socket_metrics import SocketMetrics
from portal.outbound.pool import default_limits
from portal.pauses import is_set_within
from portal.time_slices import in_slices
from portal.web.server.upgraded import READ_BYTES
from portal.web.websocket.direction import TENANT_SHARE, FrameBudget, TenantShare
from portal.web.websocket.relay import GOING_AWAY, SocketRelay
from portal.web.websocket.turns import Turns

_Key = TypeVar("_Key")
_CHECK_SECONDS = 1.0
_RETRY_SECONDS = 5
_STOPPING = (GOING_AWAY, "the server is restarting")


class OpenSockets:
    """The open WebSockets.

    A tenant gets at most two thirds of the connections that one API may have: a socket keeps its own, and
    calls need some as well. Sockets of APIs that need no login get at most half of that; the rest is kept for
    signed-in users.
    """

    def __init__(self, limits: LimitSettings, metrics: SocketMetrics) -> None:
        self.limits = limits
        self._most_per_tenant = min(limits.sockets_per_tenant, default_limits().per_destination * 2 // 3)
        self._metrics = metrics
        self._relays: set[SocketRelay] = set()
        self._counted: dict[SocketRelay, list[int]] = {}
        self._of_tenant: Counter[str] = Counter()
        self._without_login: Counter[str] = Counter()
        """By tenant."""
        self._of_user: Counter[tuple[str, str]] = Counter()
        self._shares: dict[str, TenantShare] = {}
        """What the sockets of each tenant share, while it has sockets."""
        self._turns = Turns()
        self._stopping = False
        self.memory = memoryview(bytearray(READ_BYTES))
        """What all of them read into."""

    def __len__(self) -> int:
        return len(self._relays)

    def __iter__(self) -> Iterator[SocketRelay]:
        return iter([*self._relays])

    @contextlib.contextmanager
    def place(self, tenant: str, user: str, *, without_login: bool = False) -> Iterator[TenantShare]:
        """Take the place of one socket for the block; yield what all sockets of its tenant share.

        Parameters: user, who it is for; empty: nobody in particular, only the tenant's limit counts.
        Raises: UpstreamBusy.
        """
        key = (tenant, user)
        if self._of_tenant[tenant] >= self._most_per_tenant:
            self._metrics.refused("tenant", tenant)
            raise UpstreamBusy("the tenant has too many WebSockets", retry_after=_RETRY_SECONDS)
        if without_login and self._without_login[tenant] >= self._most_per_tenant // 2:
            self._metrics.refused("tenant", tenant)
            raise UpstreamBusy("the tenant has too many WebSockets without login", retry_after=_RETRY_SECONDS)
        if user and self._of_user[key] >= self.limits.sockets_per_user:
            self._metrics.refused("user", tenant)
            raise UpstreamBusy("the user has too many WebSockets", retry_after=_RETRY_SECONDS)
        self._of_tenant[tenant] += 1
        self._of_user[key] += 1
        self._without_login[tenant] += without_login
        try:
            yield self._share_of(tenant)
        finally:
            _count_down(self._of_tenant, tenant)
            if tenant not in self._of_tenant:
                self._shares.pop(tenant, None)
            _count_down(self._of_user, key)
            if without_login:
                _count_down(self._without_login, tenant)

    def _share_of(self, tenant: str) -> TenantShare:
        if tenant not in self._shares:
            rate = self.limits.socket_frames * TENANT_SHARE
            frames = FrameBudget(rate, asyncio.get_running_loop().time())
            self._shares[tenant] = TenantShare(tenant, frames, self._turns)
        return self._shares[tenant]

    async def serve(self, relay: SocketRelay) -> None:
        """Keep a relay until both of its connections are closed."""
        self._relays.add(relay)
        self._counted[relay] = [0, 0, 0, 0]
        self._metrics.opened()
        try:
            if self._stopping:
                relay.close(*_STOPPING, cut_reason="stop")
            await relay.ended
        except asyncio.CancelledError:
            relay.abort()
            raise
        finally:
            self._relays.discard(relay)
            self._count(relay)
            del self._counted[relay]
            self._metrics.closed(relay.cut_reason)

    async def watch(self, stop: asyncio.Event) -> None:
        """Check the sockets periodically until `stop` is set."""
        while not await is_set_within(stop, _CHECK_SECONDS):
            await self.check()

    async def check(self) -> None:
        """Send Pings, end sockets of which one side is gone, and count what has passed."""
        now = asyncio.get_running_loop().time()
        async for relay in in_slices(list(self._relays)):
            if relay in self._relays:
                relay.check(now, self.limits.socket_idle)
                self._count(relay)

    async def go_away(self) -> None:
        """The portal stops: end every socket with the code 1001, between two frames where possible."""
        self._stopping = True
        async for relay in in_slices(list(self._relays)):
            relay.close_at_boundary(*_STOPPING, cut_reason="stop")

    def _count(self, relay: SocketRelay) -> None:
        """Add what has passed since the last time to the metrics."""
        to_browser, to_server = relay.to_browser, relay.to_server
        now = [to_browser.frames, to_browser.bytes, to_server.frames, to_server.bytes]
        before, self._counted[relay] = self._counted[relay], now
        if now != before:
            self._metrics.passed("browser", now[0] - before[0], now[1] - before[1])
            self._metrics.passed("server", now[2] - before[2], now[3] - before[3])


def _count_down(counter: Counter[_Key], key: _Key) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
