"""How a request arrives at the portal, for `portal doctor`: what the proxies in between make of it.

Only who has the key ring learns it (`arrival_proof`), so that the address tells nobody else how the portal is
connected.
"""

from __future__ import annotations

from tornado.httputil import HTTPServerRequest

from portal.display_text import display_text
from portal.errors import NotFound
from portal.web.arrival_proof import PROOF_HEADER
from portal.web.base import PortalHandler
from portal.web.client_address import is_trusted

ARRIVAL_PATH = "/healthz/request"
_SHOWN = 300


class ArrivalHandler(PortalHandler):
    """`GET /healthz/request`: how this request arrived, for who has the key ring."""

    async def get(self) -> None:
        if not self.portal.proofs.accepts(self.request.headers.get(PROOF_HEADER, "")):
            raise NotFound("the request has no valid proof")
        peer = self.request.remote_ip or ""
        self.finish(
            {
                "peer": display_text(peer, limit=_SHOWN),
                "trusted": is_trusted(peer, self.portal.settings.trusted_proxies),
                "client": display_text(self.client_address(), limit=_SHOWN),
                "host": display_text(self.request.host, limit=_SHOWN),
                "forwarded_for": _end_of_header(self.request, "X-Forwarded-For"),
            }
        )

    head = get


def _end_of_header(request: HTTPServerRequest, name: str) -> str | None:
    """The end of a header field, which the nearest proxy writes; None without the field."""
    value = request.headers.get(name)
    return None if value is None else display_text(value[-_SHOWN:], limit=_SHOWN)
