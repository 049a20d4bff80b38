"""Addresses of host names: cached for a short time, looked up in threads, with a share for each tenant.

The operating system looks names up, so that /etc/hosts, search domains and local name services apply
(docs/decisions/024). A lookup cannot be interrupted; slow names of a tenant occupy only that tenant's share
of the threads (THREATS D3).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from portal.errors import OutboundFailed
from portal.outbound.url_rules import is_loopback_name

Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""Returns the IP addresses of a host name; raises OSError when there are none."""

LOOKUPS_PER_TENANT = 4
SUCCESS_SECONDS = 30.0
FAILURE_SECONDS = 5.0
_REMEMBERED = 4_096
"""Number of cached names."""
MOST_ADDRESSES = 8
"""Addresses to use of each family. A name server may return thousands, each a connection to try."""
_THREADS = 128
"""The shares of 32 tenants. Threads are started when they are needed."""
_LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class _Known:
    """The cached addresses of a name; none after a failure."""

    until: float
    addresses: tuple[str, ...]


class _Share:
    """The lookups of one tenant."""

    def __init__(self) -> None:
        self.slots = asyncio.Semaphore(LOOKUPS_PER_TENANT)
        self.running: dict[str, asyncio.Task[tuple[str, ...]]] = {}


class Resolver:
    """Finds the addresses of host names. `dialing.dial` checks whether they are allowed.

    Parameters: lookup, replaces that of the operating system; clock, monotonic seconds.
    """

    def __init__(self, lookup: Lookup | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="lookup")
        self._lookup = lookup or self._system_lookup
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._shares: dict[str, _Share] = {}

    async def addresses(self, host: str, *, tenant: str) -> tuple[str, ...]:
        """The addresses of a host name; an IP address is returned as it is.

        Raises: OutboundFailed when there are none.
        """
        if _is_address(host):
            return (host,)
        if is_loopback_name(host):
            return _LOOPBACK  # RFC 6761 6.3: never ask a name server
        found = self._remembered(host)
        if found is None:
            share = self._shares.setdefault(tenant, _Share())
            running = share.running.get(host) or self._start(tenant, share, host)
            found = await asyncio.shield(running)
        if not found:
            raise OutboundFailed("the host name has no address")
        return found

    def close(self) -> None:
        """Cancel every lookup that has not begun."""
        for share in self._shares.values():
            for running in share.running.values():
                running.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _remembered(self, host: str) -> tuple[str, ...] | None:
        known = self._known.get(host)
        return known.addresses if known is not None and known.until > self._clock() else None

    def _start(self, tenant: str, share: _Share, host: str) -> asyncio.Task[tuple[str, ...]]:
        running = asyncio.ensure_future(self._look_up(share, host))
        share.running[host] = running

        def ended(_: asyncio.Task[tuple[str, ...]]) -> None:
            del share.running[host]
            if not share.running:
                del self._shares[tenant]

        running.add_done_callback(ended)
        return running

    async def _look_up(self, share: _Share, host: str) -> tuple[str, ...]:
        async with share.slots:
            found = self._remembered(host)  # another tenant may have looked it up meanwhile
            if found is not None:
                return found
            try:
                found = _first(await self._lookup(host))
            except (OSError, UnicodeError):
                found = ()
        lifetime = SUCCESS_SECONDS if found else FAILURE_SECONDS
        self._known[host] = _Known(self._clock() + lifetime, found)
        self._known.move_to_end(host)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found

    async def _system_lookup(self, host: str) -> Sequence[str]:
        infos = await asyncio.get_running_loop().run_in_executor(
            self._threads,
            lambda: socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG),
        )
        return [str(info[4][0]) for info in infos]


def _first(addresses: Sequence[str]) -> tuple[str, ...]:
    """The first MOST_ADDRESSES of each family, without duplicates, in the given order."""
    different = dict.fromkeys(addresses)
    families = [[one for one in different if (":" in one) is ipv6] for ipv6 in (False, True)]
    kept = {one for family in families for one in family[:MOST_ADDRESSES]}
    return tuple(one for one in different if one in kept)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
