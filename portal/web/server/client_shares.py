"""How many connections each client has: one client must not take the places of all (THREATS S15)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from portal.web.client_address import Network, counted_client, is_trusted

_CROWDED = 0.9
"""Share of its connections from which on the idle connections of a client are closed."""


class ClientShares:
    """Counts the connections of each client.

    Parameters: most, connections of one client; trusted, the proxies, whose connections are those of many
    clients and not counted.
    """

    def __init__(self, most: int, trusted: Sequence[Network] = ()) -> None:
        self.most = most
        self._trusted = trusted
        self._open: Counter[str] = Counter()
        self._crowded: set[str] = set()

    @classmethod
    def of(cls, connections: int, configured: int | None, trusted: Sequence[Network]) -> ClientShares:
        """Parameters: connections, that a process may have; configured, `limits.connections_per_client`."""
        return cls(configured or max(1, connections * 3 // 4), trusted)

    def client(self, address: str) -> str:
        """Who a connection counts for. Empty for a trusted proxy and for an unknown client."""
        return "" if is_trusted(address, self._trusted) else counted_client(address)

    def has_place(self, client: str) -> bool:
        """Whether a client may have one more connection."""
        return self._open[client] < self.most

    def add(self, client: str) -> None:
        """Count a connection until `remove`."""
        self._open[client] += 1
        if self._open[client] >= self._crowded_from:
            self._crowded.add(client)

    def remove(self, client: str) -> None:
        """Count a connection no longer."""
        self._open[client] -= 1
        if self._open[client] < self._crowded_from:
            self._crowded.discard(client)
        if not self._open[client]:
            del self._open[client]

    @property
    def crowded(self) -> Collection[str]:
        """The clients that have almost as many connections as they may."""
        return self._crowded

    def over(self, client: str) -> int:
        """How many connections of a client should be closed, to leave room for its next ones."""
        return self._open[client] - self._crowded_from + 1

    @property
    def _crowded_from(self) -> int:
        return max(1, int(self.most * _CROWDED))
