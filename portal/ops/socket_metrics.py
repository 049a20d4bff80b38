"""Metrics of WebSockets. No label contains a tenant or a user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.ops.limit_metrics import Limit, LimitMetrics
from portal.ops.tallies import Tallies

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class SocketMetrics:
    """Counts WebSockets, and what passes through them."""

    def __init__(self, registry: CollectorRegistry, tallies: Tallies, limits: LimitMetrics) -> None:
        from prometheus_client import Gauge

        self._limits = limits
        self._open = Gauge(
            "portal_sockets",
            "Open WebSockets.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._refused = tallies.counter(
            "portal_sockets_refused",
            "WebSockets refused at limits.sockets_per_user or limits.sockets_per_tenant. `limit`: user or "
            "tenant.",
            ("limit",),
        )
        self._cut = tallies.counter(
            "portal_sockets_cut",
            "WebSockets that the portal ended. `reason`: login, access, tenant, api, stop, idle, stalled or "
            "protocol.",
            ("reason",),
        )
        self._frames = tallies.counter(
            "portal_socket_frames", "Frames of WebSockets. `to`: browser or server.", ("to",)
        )
        self._bytes = tallies.counter(
            "portal_socket_bytes", "Bytes of WebSockets. `to`: browser or server.", ("to",)
        )

    def opened(self) -> None:
        """Count an open socket."""
        self._open.inc()

    def closed(self, cut_reason: str | None) -> None:
        """Count its end. Parameters: cut_reason, when the portal ended it."""
        self._open.dec()
        if cut_reason is not None:
            self._cut.add(cut_reason)

    def refused(self, limit: str, tenant: str = "") -> None:
        """Count a refusal. Parameters: limit, `user` or `tenant`; tenant, of which."""
        self._refused.add(limit)
        of_user = limit == "user"
        self._limits.hit(Limit.SOCKETS_PER_USER if of_user else Limit.SOCKETS_PER_TENANT, tenant)

    def passed(self, to: str, frames: int, size: int) -> None:
        """Count frames and bytes. Parameters: to, `browser` or `server`."""
        self._frames.add(to, amount=frames)
        self._bytes.add(to, amount=size)
