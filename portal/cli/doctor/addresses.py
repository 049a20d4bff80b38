"""What `portal doctor` checks of the addresses where the portal listens: they are free, or a portal's."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address

from portal.admin.event_webhook import OPERATOR
from portal.cli.doctor.model import Area, Result
from portal.config.settings import Settings
from portal.errors import PortalError
from portal.outbound.abandoned_lookup import lookup_in_daemon_thread
from portal.outbound.client import OutboundClient

_AREA = Area("addresses")
_SECONDS = 5.0
_LARGEST = 65_536
_ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - addresses that stand for all
_MEMBER = "tenants_without_file"
"""Of what a portal says at `/readyz`."""


async def address_results(settings: Settings) -> AsyncIterator[Result]:
    """Who listens at the addresses of the settings. Socket files are not checked."""
    http = OutboundClient(allow_private_networks=True, lookup=lookup_in_daemon_thread)
    try:
        for check, listen in (("listen", settings.listen), ("metrics_listen", settings.metrics_listen)):
            if listen is not None and not listen.startswith("unix:"):
                yield await _address(check, listen, http)
    finally:
        await http.close()


async def _address(check: str, listen: str, http: OutboundClient) -> Result:
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    if not _is_of_this_machine(host):
        seen = f"{listen} is not an address of this machine"
        return _AREA.failed(check, seen, f"Set `{check}` to an address of this machine, or 127.0.0.1.")
    host = _ANY.get(host, host)
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        response = await http.fetch(
            "GET", f"http://{place}/readyz", tenant=OPERATOR, max_bytes=_LARGEST, timeout=_SECONDS
        )
        is_portal = _is_portal(response.body)
    except PortalError:
        if not await _is_taken(host, int(port)):
            return _AREA.passed(check, f"{listen} is free")
        is_portal = False
    if is_portal:
        return _AREA.passed(check, f"a portal listens at {listen}")
    seen = f"another program listens at {listen}, or a portal that does not respond"
    return _AREA.failed(check, seen, f"Stop it, or set `{check}` to another address.")


def _is_of_this_machine(host: str) -> bool:
    """Whether a socket can have this address; True for a name, whose addresses are found at the start."""
    try:
        family = socket.AF_INET6 if ip_address(host or "127.0.0.1").version == 6 else socket.AF_INET
    except ValueError:
        return True
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


async def _is_taken(host: str, port: int) -> bool:
    """Whether anybody accepts connections there."""
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except ConnectionRefusedError:
        return False
    except (OSError, TimeoutError):
        return True
    writer.close()
    return True


def _is_portal(body: bytes) -> bool:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and _MEMBER in found
