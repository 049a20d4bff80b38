"""What `portal doctor` checks of the proxies in front of the portal: how its own request arrives there.

The request has an X-Forwarded-For field as a client could invent it. What arrives of it shows whether clients
can choose the address under which limits and events know them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from portal.admin.event_webhook import OPERATOR
from portal.cli.doctor.model import Area, Result
from portal.clock import now
from portal.config.settings import Settings
from portal.errors import ConfigurationError, PortalError, StartupError
from portal.keys.key_ring import KeyRing
from portal.keys.vault import Vault
from portal.outbound.abandoned_lookup import lookup_in_daemon_thread
from portal.outbound.client import OutboundClient, OutboundResponse
from portal.web.arrival import ARRIVAL_PATH
from portal.web.arrival_proof import PROOF_HEADER, new_proof

INVENTED_CLIENT = "203.0.113.77"
"""An address of no host (RFC 5737)."""
_AREA = Area("proxy")
_SECONDS = 5.0
_LARGEST = 8_192
_PLACES = {"http": 80, "https": 443}
_SEE = 'docs/operations.md "HTTPS proxy" has what any proxy must do.'


@dataclass(frozen=True, slots=True)
class Arrived:
    """How a request arrived, as `GET /healthz/request` says."""

    peer: str
    trusted: bool
    client: str
    host: str
    forwarded_for: str | None


async def proxy_results(settings: Settings) -> list[Result]:
    """Send a request to the portal through `public_url`, and judge how it arrived."""
    url = settings.public_url.rstrip("/") + ARRIVAL_PATH
    try:
        proof = new_proof(Vault(KeyRing.load(settings.keys)), clock=now)
    except (ConfigurationError, StartupError):
        return [_AREA.skipped("headers", "without the key ring the portal does not say how requests arrive")]
    http = OutboundClient(allow_private_networks=True, lookup=lookup_in_daemon_thread)
    headers = ((PROOF_HEADER, proof), ("X-Forwarded-For", INVENTED_CLIENT))
    try:
        response = await http.fetch(
            "GET", url, tenant=OPERATOR, headers=headers, max_bytes=_LARGEST, timeout=_SECONDS
        )
    except PortalError as error:
        why = error.detail or error.title
        advice = "Start the portal, or run this where public_url is reachable: its proxy was not checked."
        return [_AREA.skipped("headers", f"{settings.public_url} does not respond from here: {why}", advice)]
    finally:
        await http.close()
    arrived = _arrived(response)
    if arrived is None:
        seen = (
            f"{url} responds with {response.status}, and not as a portal of this version with this key ring"
        )
        return [
            _AREA.skipped(
                "headers", seen, "Check where public_url leads, and restart portals that are older."
            )
        ]
    return [*judged(arrived, settings.public_url)]


def judged(arrived: Arrived, public_url: str) -> Iterator[Result]:
    """Judge how a request with an invented X-Forwarded-For arrived."""
    parts = urlsplit(public_url)
    if _place(parts.scheme, arrived.host) == _place(parts.scheme, parts.netloc):
        yield _AREA.passed("host", f"Host arrives as {arrived.host}")
    else:
        seen = f"Host arrives as {arrived.host}, and public_url has {parts.netloc}"
        yield _AREA.failed(
            "host", seen, f"Let the proxy pass on Host (nginx: proxy_set_header Host $host). {_SEE}"
        )
    yield _client(arrived, behind_proxy=parts.scheme == "https")


def _client(arrived: Arrived, *, behind_proxy: bool) -> Result:
    untouched = arrived.forwarded_for == INVENTED_CLIENT
    if not arrived.trusted and untouched and not behind_proxy:
        return _AREA.passed("client address", "no proxy; X-Forwarded-For of clients is ignored")
    if not arrived.trusted:
        return _AREA.failed(
            "client address",
            f"requests come from {arrived.peer}, which trusted_proxies lacks: all users have this address",
            f"If that is your proxy, set trusted_proxies: [{arrived.peer}]. {_SEE}",
        )
    if arrived.forwarded_for is None:
        return _AREA.failed(
            "client address",
            f"the proxy {arrived.peer} sends no X-Forwarded-For: all users have its address",
            f"Let it send the field (nginx: proxy_set_header X-Forwarded-For $remote_addr). {_SEE}",
        )
    if untouched:
        return _AREA.failed(
            "client address",
            f"the proxy {arrived.peer} passes on X-Forwarded-For of clients: they choose their address",
            f"Let it replace the field (nginx: proxy_set_header X-Forwarded-For $remote_addr). {_SEE}",
        )
    if arrived.client == INVENTED_CLIENT:
        nearest = arrived.forwarded_for.rpartition(",")[2].strip()
        return _AREA.warned(
            "client address",
            f"{nearest}, where this request came from, is in trusted_proxies: whoever connects from there "
            "chooses the address that the portal sees",
            "Name nothing but proxies in trusted_proxies, or let the proxy replace the field (nginx: "
            f"proxy_set_header X-Forwarded-For $remote_addr). {_SEE}",
        )
    return _AREA.passed("client address", f"through {arrived.peer} this client is {arrived.client}")


def _place(scheme: str, netloc: str) -> tuple[str, int | None]:
    """Host and port, so that a default port makes no difference."""
    try:
        parts = urlsplit(f"//{netloc}")
        return (parts.hostname or "").lower(), parts.port or _PLACES.get(scheme)
    except ValueError:
        return netloc, None


def _arrived(response: OutboundResponse) -> Arrived | None:
    """What the portal said; None for any other response."""
    if response.status != 200:
        return None
    try:
        found = json.loads(response.body)
        forwarded = found["forwarded_for"]
        return Arrived(
            str(found["peer"]),
            found["trusted"] is True,
            str(found["client"]),
            str(found["host"]),
            None if forwarded is None else str(forwarded),
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
