"""Connects to addresses that passed the rules, to several in parallel if a host has several (RFC 8305)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence

import aiohappyeyeballs

from portal.errors import OutboundFailed
from portal.outbound.connection import Connection
from portal.outbound.pool import Make
from portal.outbound.request import Origin
from portal.outbound.tls_connection import TlsClient, TlsConnection
from portal.outbound.unacknowledged import UnacknowledgedLimit
from portal.outbound.url_rules import check_address

_NEXT_ADDRESS = 0.25
"""Seconds after which the next address is tried in parallel (RFC 8305 5)."""


async def dial(
    make: Make,
    origin: Origin,
    addresses: Sequence[str],
    *,
    tls: TlsClient | None,
    allow_private_networks: bool,
) -> Connection:
    """Connect to one of these addresses, all of which must be allowed.

    Parameters: tls, None for plain http.
    Raises: OutboundRefused when nothing was sent; OutboundFailed.
    """
    connected = await connect(origin, addresses, allow_private_networks=allow_private_networks)
    loop = asyncio.get_running_loop()
    try:
        established = await _prepare(connected, origin, tls)
        _, connection = await loop.create_connection(lambda: make(established), sock=connected)
    except ssl.SSLCertVerificationError as error:
        raise OutboundFailed(f"the server's certificate is not accepted: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise OutboundFailed(f"no TLS connection: {error.reason or 'the handshake failed'}") from error
    except OSError as error:
        raise OutboundFailed(f"no connection: {error.strerror or type(error).__name__}") from error
    connection.unacknowledged = UnacknowledgedLimit(connected)
    return connection


async def connect(origin: Origin, addresses: Sequence[str], *, allow_private_networks: bool) -> socket.socket:
    """Open a TCP connection to one of these addresses, all of which must be allowed.

    Raises: OutboundRefused when nothing was sent; OutboundFailed.
    """
    for address in addresses:
        check_address(address, allow_private_networks=allow_private_networks)
    try:
        return await aiohappyeyeballs.start_connection(
            [_address_info(address, origin.port) for address in addresses],
            happy_eyeballs_delay=_NEXT_ADDRESS,
            interleave=1,
            loop=asyncio.get_running_loop(),
        )
    except OSError as error:
        raise OutboundFailed(f"no connection: {error.strerror or type(error).__name__}") from error


async def _prepare(connected: socket.socket, origin: Origin, tls: TlsClient | None) -> TlsConnection | None:
    """Perform the TLS handshake; close the socket when it fails, since no transport owns it yet."""
    try:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return await tls.handshake(connected, origin) if tls is not None else None
    except BaseException:
        connected.close()
        raise


def _address_info(address: str, port: int) -> aiohappyeyeballs.AddrInfoType:
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
