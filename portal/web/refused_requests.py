"""Refuses requests above a limit of their client, from the head alone (THREATS S15).

The response is made without a handler, a session or the database: a page in plain words for browsers,
problem+json for programs.
"""

from __future__ import annotations

import secrets

from tornado import httputil
from tornado.http1connection import HTTP1Connection

from portal.errors import TooManyRequests
from portal.web.client_address import client_address
from portal.web.client_limits import is_in_background, limit_of
from portal.web.context import Portal
from portal.web.cookies import REMEMBERED_COOKIE, read_cookie
from portal.web.markup import escaped
from portal.web.problems import PROBLEM_HEADERS, problem
from portal.web.server.refused_request import ShortResponse
from portal.web.server.tornado_private import remote_address

_HEADERS = (
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    (
        "Content-Security-Policy",
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("Vary", "Accept, Accept-Language"),
)
_PAGE = (
    b'<!doctype html><html lang="%b"><meta charset="utf-8">'
    b'<meta name="viewport" content="width=device-width"><title>%b</title><h1>%b</h1><p>%b<p>%b'
)


class RefusedRequests:
    """Decides which requests of the application are refused."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    def response_to(
        self, method: str, path: str, headers: httputil.HTTPHeaders, connection: HTTP1Connection
    ) -> ShortResponse | None:
        """Count a request; return the response if it is refused. Parameters: path, without the query."""
        limit = limit_of(path)
        if limit is None:
            return None
        portal = self._portal
        address = client_address(
            remote_address(connection),
            headers.get("X-Forwarded-For", ""),
            portal.settings.trusted_proxies,
        )
        in_background = is_in_background(headers)
        tenant = path.split("/")[2] if path.startswith("/t/") else ""
        error = portal.client_limits.refusal(limit, address, tenant=tenant, in_background=in_background)
        slug = ""
        if error is None and portal.registry.get(tenant) is not None:
            slug = tenant
            error = portal.client_limits.of_tenants.refusal(
                limit, slug, lambda: self._has_signed_in(slug, headers), in_background=in_background
            )
        if error is None:
            return None
        portal.metrics.limits.reported(error, slug)
        return self._response(error, method, headers)

    def _has_signed_in(self, slug: str, headers: httputil.HTTPHeaders) -> bool:
        """Whether the browser has signed in at a tenant before: only the portal makes such a cookie."""
        site = self._portal.sites.find(headers.get("Host", ""))
        cookie = read_cookie(headers, site.cookie_name(REMEMBERED_COOKIE))
        return any(one.tenant == slug for one in self._portal.remembered.read(cookie, site.origin))

    def _response(self, error: TooManyRequests, method: str, headers: httputil.HTTPHeaders) -> ShortResponse:
        request_id = secrets.token_hex(8)
        fields = [*_HEADERS, ("Retry-After", str(error.retry_after)), ("X-Request-Id", request_id)]
        if "text/html" in headers.get("Accept", ""):
            fields.append(("Content-Type", "text/html; charset=utf-8"))
            body = self._page(error, request_id, headers)
        else:
            fields += PROBLEM_HEADERS
            body = problem(error, request_id).encode()
        return ShortResponse(error.status, fields, b"" if method == "HEAD" else body, len(body))

    def _page(self, error: TooManyRequests, request_id: str, headers: httputil.HTTPHeaders) -> bytes:
        languages = self._portal.languages
        language = languages.requested(headers.get("Accept-Language", "")) or languages.all[0]
        title, advice = (escaped(language.text(one)) for one in (error.title, error.advice))
        label = escaped(language.text("Request id"))
        return _PAGE % (language.tag.encode(), title, title, advice, b"%b: %b" % (label, request_id.encode()))
