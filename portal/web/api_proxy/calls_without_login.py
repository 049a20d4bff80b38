"""How many calls without a login a tenant has in progress, and how many of them each client has.

Who has no login must not take the connections of those who have one, and one stranger must not take those of
all strangers (THREATS D5).
"""

from __future__ import annotations

from collections import Counter

from portal.errors import UpstreamBusy
from portal.outbound.pool import default_limits

_BUSY_SECONDS = 5
"""Retry-After when there are too many calls."""
_CLIENTS = 4
"""How many clients can reach their own limit at the same time."""


class CallsWithoutLogin:
    """The calls of one process. A client is counted where its address is known.

    All clients of a tenant together get at most half of the connections that an API may have, and each client
    a quarter of that: an office or a mobile network may be one client.
    """

    def __init__(self) -> None:
        self.most_of_tenant = default_limits().per_destination // 2
        self.most_of_client = max(1, self.most_of_tenant // _CLIENTS)
        self._of_tenant: Counter[str] = Counter()
        self._of_client: Counter[tuple[str, str]] = Counter()
        """By tenant and client."""

    def __len__(self) -> int:
        return self._of_tenant.total()

    def add(self, tenant: str, client: str) -> None:
        """Count a call until `remove`.

        Parameters: client, from `counted_client`; empty when it is not known.
        Raises: UpstreamBusy.
        """
        if self._of_tenant[tenant] >= self.most_of_tenant:
            raise UpstreamBusy("the tenant has too many calls without a login", retry_after=_BUSY_SECONDS)
        if client and self._of_client[tenant, client] >= self.most_of_client:
            raise UpstreamBusy("the client has too many calls without a login", retry_after=_BUSY_SECONDS)
        self._of_tenant[tenant] += 1
        if client:
            self._of_client[tenant, client] += 1

    def remove(self, tenant: str, client: str) -> None:
        """Count a call no longer."""
        self._of_tenant[tenant] -= 1
        if not self._of_tenant[tenant]:
            del self._of_tenant[tenant]
        if client:
            self._of_client[tenant, client] -= 1
            if not self._of_client[tenant, client]:
                del self._of_client[tenant, client]
