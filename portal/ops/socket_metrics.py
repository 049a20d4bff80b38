"""Metrics of WebSockets. No label contains a tenant or a user."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class SocketMetrics:
    """Counts WebSockets, and what passes through them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Gauge

        self._open = Gauge(
            "portal_sockets",
            "Open WebSockets.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._refused = Counter(
            "portal_sockets_refused",
            "WebSockets refused at limits.sockets_per_user or limits.sockets_per_tenant.",
            ["limit"],
            registry=registry,
        )
        self._cut = Counter(
            "portal_sockets_cut",
            "WebSockets that the portal ended: login, access, tenant, api, stop, idle, stalled, protocol.",
            ["reason"],
            registry=registry,
        )
        self._frames = Counter(
            "portal_socket_frames", "Frames of WebSockets, by receiver.", ["to"], registry=registry
        )
        self._bytes = Counter(
            "portal_socket_bytes", "Bytes of WebSockets, by receiver.", ["to"], registry=registry
        )

    def opened(self) -> None:
        """Count an open socket."""
        self._open.inc()

    def closed(self, cut_reason: str | None) -> None:
        """Count its end. Parameters: cut_reason, when the portal ended it."""
        self._open.dec()
        if cut_reason is not None:
            self._cut.labels(cut_reason).inc()

    def refused(self, limit: str) -> None:
        """Count a refusal. Parameters: limit, `user` or `tenant`."""
        self._refused.labels(limit).inc()

    def passed(self, to: str, frames: int, size: int) -> None:
        """Count frames and bytes. Parameters: to, `browser` or `server`."""
        self._frames.labels(to).inc(frames)
        self._bytes.labels(to).inc(size)
