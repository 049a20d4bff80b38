"""Notices when another MongoDB server takes over, or the same one comes back."""

from __future__ import annotations

from pymongo import monitoring


class ServerWatch(monitoring.TopologyListener):
    """Counts how often a server that takes writes appeared. Called by threads of the driver."""

    def __init__(self) -> None:
        self._writable: frozenset[tuple[object, ...]] = frozenset()
        self.changes = 0

    def opened(self, event: monitoring.TopologyOpenedEvent) -> None:
        """Says nothing of a server yet."""

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
        """Happens when the portal closes its client."""
