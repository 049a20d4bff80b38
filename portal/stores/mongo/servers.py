"""Detects a failover of MongoDB: a new primary, or the return of the old one."""

from __future__ import annotations

from pymongo import monitoring


class ServerWatch(monitoring.TopologyListener):
    """Counts how often a writable server appeared. Called by threads of the driver."""

    def __init__(self) -> None:
        self._writable: frozenset[tuple[object, ...]] = frozenset()
        self.changes = 0

    def opened(self, event: monitoring.TopologyOpenedEvent) -> None:
        """Ignored: the event contains no server yet."""

    def description_changed(self, event: monitoring.TopologyDescriptionChangedEvent) -> None:
        servers = event.new_description.server_descriptions().values()
        writable = frozenset(
            (*server.address, server.election_id, server.set_version)
            for server in servers
            if server.is_writable
        )
        if writable - self._writable:
            self.changes += 1
        self._writable = writable

    def closed(self, event: monitoring.TopologyClosedEvent) -> None:
        """Ignored: the portal has closed its client."""
