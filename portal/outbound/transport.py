"""Sends requests over pooled connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from portal.errors import OutboundBusy, OutboundTimeout
from portal.outbound.connection import Connection
from portal.outbound.dialing import dial
from portal.outbound.exchange import ConnectionClosedEarly
from portal.outbound.inspection import Inspection, inspect
from portal.outbound.pool import ConnectionPool, Destination, Limits, Make
from portal.outbound.request import Origin, OutboundRequest
from portal.outbound.resolver import Resolver
from portal.outbound.stream import OutboundStream
from portal.outbound.tls import Tls
from portal.outbound.tls_contexts import TlsContexts
from portal.outbound.url_rules import check_address


class Transport:
    """Pools, name lookups and TLS contexts of one process.

    Parameters: as in `OutboundClient`; allow_private_networks, of a tenant; keepalive, seconds after which
    an idle connection is closed.
    """

    def __init__(
        self,
        resolver: Resolver,
        *,
        allow_private_networks: Callable[[str], bool],
        limits: Limits,
        keepalive: float,
    ) -> None:
        self._resolver = resolver
        self._allow_private_networks = allow_private_networks
        self._contexts = TlsContexts()
        self._pool = ConnectionPool(self._dial, limits, keepalive=keepalive)

    async def send(self, request: OutboundRequest) -> OutboundStream:
        """Send a request; return when the head of the response has arrived.

        A request is sent a second time, on a new connection, only when a reused connection was closed before
        a byte of the response arrived and the request may be repeated (RFC 9110 9.2.2).

        Raises: OutboundRefused when nothing was sent; OutboundTimeout; OutboundFailed; any exception of the
        body's iterator.
        """
        head = request.head()
        destination = Destination(request.tenant, request.origin, request.tls, request.of_browser)
        if request.handshake is not None:  # on a connection of its own
            return await (await self._acquire(request, destination, fresh=True)).send(request, head)
        connection = self._pool.take_idle(destination, longest_idle=request.longest_idle)
        if connection is None:
            connection = await self._acquire(request, destination)
        try:
            return await connection.send(request, head)
        except ConnectionClosedEarly:
            if connection.requests == 1 or not request.repeatable:
                raise
        connection = await self._acquire(request, destination, fresh=True)
        return await connection.send(request, head)

    async def addresses(self, origin: Origin, *, tenant: str) -> tuple[str, ...]:
        """The addresses of an origin, all of which are allowed.

        Raises: OutboundRefused, OutboundFailed.
        """
        found = await self._resolver.addresses(origin.host_name, tenant=tenant)
        is_private_allowed = self._allow_private_networks(tenant)
        for address in found:
            check_address(address, allow_private_networks=is_private_allowed)
        return found

    async def inspect(self, origin: Origin, *, tenant: str, tls: Tls) -> Inspection:
        """Connect to an origin and look at its certificate, without a request.

        Raises: OutboundRefused, OutboundFailed.
        """
        addresses = await self.addresses(origin, tenant=tenant)
        client = await self._contexts.get(tls, tenant=tenant) if origin.scheme == "https" else None
        is_private_allowed = self._allow_private_networks(tenant)
        return await inspect(origin, addresses, client, allow_private_networks=is_private_allowed)

    async def aclose(self) -> None:
        """Close every connection; requests in progress fail. Closing twice is allowed."""
        self._resolver.close()
        await self._pool.close()
        await self._contexts.close()

    async def _acquire(
        self, request: OutboundRequest, destination: Destination, *, fresh: bool = False
    ) -> Connection:
        try:
            async with asyncio.timeout(request.connect_timeout):
                return await self._pool.acquire(destination, fresh=fresh)
        except TimeoutError:
            seconds = f"{request.connect_timeout:g} s"
            if self._pool.is_full(destination):
                raise OutboundBusy(f"no connection became free within {seconds}") from None
            raise OutboundTimeout(f"no connection within {seconds}") from None

    async def _dial(self, make: Make, destination: Destination) -> Connection:
        addresses = await self._resolver.addresses(destination.origin.host_name, tenant=destination.tenant)
        tls = None
        if destination.origin.scheme == "https":
            tls = await self._contexts.get(destination.tls, tenant=destination.tenant)
        return await dial(
            make,
            destination.origin,
            addresses,
            tls=tls,
            allow_private_networks=self._allow_private_networks(destination.tenant),
        )
