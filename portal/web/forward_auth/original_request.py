"""The request that a reverse proxy asks about, as its header fields describe it. No I/O (THREATS P1).

nginx is configured to send X-Original-*; Traefik and Caddy send X-Forwarded-*. Envoy also appends the path of
the request to that of `authz`, and keeps its method.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tornado.httputil import HTTPHeaders

from portal.config.api_paths import SLUG
from portal.errors import MethodNotAllowed, RequestRefused
from portal.tenancy.api_headers import IDENTITY_HEADERS
from portal.web.api_proxy.rules import target_url
from portal.web.forward_auth.errors import OriginalRequestMalformed, OriginalRequestRefused
from portal.web.server.request_fields import RequestHeaders

AUTHZ_PATH = rf"/t/(?P<tenant>{SLUG})/authz(?=[/?]|\Z)"
"""The beginning of every address that proxies ask."""
_AUTHZ_PATH = re.compile(AUTHZ_PATH)
_METHOD = re.compile(r"[A-Z](?:[A-Z-]{0,30}[A-Z])?")
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?")
_OWN_PATH = re.compile(r"/t(?:/|\Z)", re.IGNORECASE)
_FORWARDED_URI = "X-Forwarded-Uri"
_IDENTITY_PREFIX = "x-auth-"
_ODD_CHARACTER = re.compile(r"[^a-z0-9]")
_REPLACED = frozenset(IDENTITY_HEADERS)
"""What a client may send all the same: every proxy replaces it by the portal's."""


@dataclass(frozen=True, slots=True)
class AuthzAddress:
    """The address that a proxy asked."""

    tenant: str
    path: str
    """Up to and including `authz`."""
    appended: str
    """The path of the original request, with its query, if the proxy appended it; else empty."""

    @classmethod
    def of(cls, target: str) -> AuthzAddress:
        """Parse a request target. Raises: ValueError when it is none of these addresses."""
        match = _AUTHZ_PATH.match(target)
        if match is None:
            raise ValueError("the target is not an address of forward authentication")
        rest = target[match.end() :]
        return cls(match["tenant"], match[0], rest if rest.startswith("/") else "")


@dataclass(frozen=True, slots=True)
class OriginalRequest:
    """The request to the application."""

    method: str
    host: str
    """In lower case."""
    path: str
    """Percent-encoded, as the browser sent it; every server sees the same segments in it."""
    query: str
    follows_redirects: bool
    """Whether the proxy passes a redirect on to the browser: those that send X-Forwarded-Uri do."""

    @property
    def uri(self) -> str:
        """Path and query."""
        return f"{self.path}?{self.query}" if self.query else self.path


def original_request(headers: HTTPHeaders, *, method: str, appended: str) -> OriginalRequest:
    """Return the request that a trusted proxy asks about.

    Parameters: method, of the proxy's own request; appended, as in AuthzAddress.
    Raises: OriginalRequestMalformed, OriginalRequestRefused, MethodNotAllowed.
    """
    if not appended and method != "GET":
        raise MethodNotAllowed(f"a proxy asks with GET, not with {method[:20]}")
    original = _described(headers)
    if appended and (appended, method) != (original.uri, original.method):
        raise OriginalRequestMalformed("the appended path or the method differs from what the headers say")
    return original


def _described(headers: HTTPHeaders) -> OriginalRequest:
    """What the headers say, worked out once for all requests that repeat them. Errors are not kept."""
    if not isinstance(headers, RequestHeaders):
        return _read(headers)
    known: OriginalRequest | None = headers.derived.get(_read)
    if known is None:
        known = headers.derived[_read] = _read(headers)
    return known


def _read(headers: HTTPHeaders) -> OriginalRequest:
    method = _the_only(headers, "X-Original-Method", "X-Forwarded-Method")
    uri = _the_only(headers, "X-Original-Uri", _FORWARDED_URI)
    host = _the_only(headers, "X-Original-Host", "X-Forwarded-Host")
    _refuse_identity(headers)
    _refuse_protocol(headers)
    if not _METHOD.fullmatch(method):
        raise OriginalRequestMalformed("the original method is not one")
    if not _HOST.fullmatch(host):
        raise OriginalRequestMalformed("the original host is not one")
    path, _, query = uri.partition("?")
    if not path.startswith("/"):
        raise OriginalRequestRefused(explanation="The address does not begin with a slash.")
    try:
        target_url("", path, query)
    except RequestRefused as error:
        raise OriginalRequestRefused(error.detail, explanation=error.explanation) from error
    if _OWN_PATH.match(path):
        raise OriginalRequestRefused(explanation="The address is the portal's own, not an application's.")
    return OriginalRequest(method, host.lower(), path, query, _FORWARDED_URI in headers)


def _refuse_identity(headers: HTTPHeaders) -> None:
    """Refuse fields of the client that an application may take for the portal's (THREATS P2).

    nginx cannot remove all that begin alike. Many servers treat `X_Auth_Subject` as `X-Auth-Subject`, and
    some every character but letters and digits as a hyphen (`X.Auth.Subject`).
    """
    for name in headers:
        if name in _REPLACED:
            continue
        if _ODD_CHARACTER.sub("-", name.lower()).strip("-").startswith(_IDENTITY_PREFIX):
            raise OriginalRequestRefused(explanation="The request has a header X-Auth-… of its own.")


def _refuse_protocol(headers: HTTPHeaders) -> None:
    """Refuse to change to another protocol than WebSocket (RFC 9110 7.8; THREATS P7).

    The proxy would pass on all that follows without a question, such as further requests in HTTP/2.
    """
    protocols = headers.get_list("Upgrade")
    is_other = protocols not in ([], [""]) and [one.lower() for one in protocols] != ["websocket"]
    if is_other or "Http2-Settings" in headers:  # RFC 7540 3.2.1; proxies leave out Upgrade
        raise OriginalRequestRefused(explanation="The request asks for another protocol than WebSocket.")


def _the_only(headers: HTTPHeaders, *names: str) -> str:
    """The value that all these fields have. Each may be sent once."""
    values: list[str] = []
    for name in names:
        found = headers.get_list(name)
        if len(found) > 1:
            raise OriginalRequestMalformed(f"{name} is sent more than once")
        values += found
    if not values:
        raise OriginalRequestMalformed(f"neither {' nor '.join(names)} is sent")
    if any(value != values[0] for value in values):
        raise OriginalRequestMalformed(f"{' and '.join(names)} differ")
    return values[0]
