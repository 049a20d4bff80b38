"""Decides whether and where an API call is sent (docs/architecture.md rule 4; THREATS S1, S3, T3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPHeaders

from portal.config.api_paths import API_PATH
from portal.errors import CrossSiteRequest, LoginRequired, MethodNotAllowed, NotFound, PayloadTooLarge
from portal.ops.limit_metrics import Limit
from portal.outbound.request import encode_headers
from portal.tenancy.model import Api, ApiAccess
from portal.web.api_proxy.call_headers import call_headers, client_of, session_cookie, socket_refusal
from portal.web.api_proxy.rules import additional_headers, target_url
from portal.web.api_proxy.upstream import UpstreamCall
from portal.web.client_address import client_network, counted_client
from portal.web.context import Portal
from portal.web.server.request_body import declared_length
from portal.web.websocket.handshake import ServerHandshake

_READING = frozenset({"GET", "HEAD"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_API_PATH = re.compile(API_PATH)


class ApiAddress(NamedTuple):
    """The address of an API call in the portal."""

    tenant: str
    api: str
    """The name of the API; empty for the tenant's default API."""
    public_base: str
    """The path of the API in the portal."""
    path: str
    """The part of the path below `public_base`, as it was sent."""

    @property
    def route(self) -> str:
        """The pattern of the address."""
        return f"/t/{{tenant}}/{'apis/{api}' if self.api else 'api'}/{{path}}"

    @classmethod
    def of(cls, path: str) -> ApiAddress:
        """Parse a path. Raises: NotFound when it is not below an API."""
        match = _API_PATH.match(path)
        if match is None:
            raise NotFound("the path is not below an API")
        end = match.end()
        return cls(match["tenant"], match["api"] or "", path[:end], path[end:])


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """The head of an API call."""

    connection: HTTP1Connection
    headers: HTTPHeaders
    method: str
    address: ApiAddress
    query: str
    request_id: str
    handshake: ServerHandshake | None = None
    """Of a WebSocket."""


async def admit(portal: Portal, request: ApiRequest) -> UpstreamCall:
    """Return the call to send to the API.

    Raises: MethodNotAllowed, CrossSiteRequest, NotFound, RequestRefused, PayloadTooLarge, LoginRequired,
    TooManyRequests, AccessDenied, StoreUnavailable.
    """
    if request.method not in _METHODS:
        raise MethodNotAllowed(f"{request.method[:20]} is not forwarded")
    headers, address = request.headers, request.address
    site = portal.sites.find(headers["Host"])
    known = call_headers(headers, site)
    if request.handshake is not None:
        refusal = socket_refusal(headers, site)
    else:
        refusal = known.read_refusal if request.method in _READING else known.write_refusal
    if refusal is not None:
        raise CrossSiteRequest(refusal)
    tenant = portal.registry.get(address.tenant)
    api = tenant.api_named(address.api) if tenant is not None else None
    if tenant is None or api is None or not site.serves(address.tenant):
        raise NotFound(f"no API at {address.public_base} of {site.origin}")
    target = target_url(api.base_url, address.path, request.query)
    _check_length(headers, api)
    login, network, client = None, "", ""
    if api.access is ApiAccess.USER:  # for others, nothing of a session counts
        cookie = session_cookie(request.connection, headers, site)
        if cookie is None:
            caller = client_of(request.connection, headers, portal.settings.trusted_proxies)
            portal.client_limits.require(Limit.UNAUTHENTICATED_PER_CLIENT, caller)
        request_session = await portal.sessions.open_session(cookie, address.tenant)
        if request_session is None or request_session.login is None:
            raise LoginRequired("this session has no live login at this tenant")
        login = request_session.login
    else:
        caller = client_of(request.connection, headers, portal.settings.trusted_proxies)
        network, client = client_network(caller), counted_client(caller)
    encoded = known.encoded(headers, traced=portal.traces is not None)
    if api.request_headers:
        encoded += encode_headers(additional_headers(headers, api.request_headers))
    return UpstreamCall(
        portal,
        tenant,
        login,
        api,
        method=request.method,
        path=address.path,
        target=target,
        headers=encoded,
        request_id=request.request_id,
        websocket=request.handshake.offer if request.handshake is not None else None,
        network=network,
        client=client,
    )


def _check_length(headers: HTTPHeaders, api: Api) -> None:
    """Refuse a body that states to be too long; one of unknown length is counted as it arrives."""
    if api.max_body is None:
        return
    length = declared_length(headers)
    if length is not None and length > api.max_body:
        raise PayloadTooLarge(f"the body is longer than max_body of {api.key}")
