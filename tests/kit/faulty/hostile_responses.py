"""Responses of a hostile API that attack the portal's origin or its users."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class HostileResponse:
    """One response of the catalogue."""

    body: bytes = b"{}"
    content_type: str = "application/json"
    status: int = 200
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


SCRIPT = b"document.title='owned';document.cookie='owned=1;path=/';"

HOSTILE: Mapping[str, HostileResponse] = {
    "html": HostileResponse(b"<!doctype html><script>" + SCRIPT + b"</script><h1>Hello</h1>", "text/html"),
    "svg": HostileResponse(
        b'<svg xmlns="http://www.w3.org/2000/svg"><script>' + SCRIPT + b"</script></svg>", "image/svg+xml"
    ),
    "xml": HostileResponse(
        b'<?xml version="1.0"?><x:script xmlns:x="http://www.w3.org/1999/xhtml">' + SCRIPT + b"</x:script>",
        "application/xml",
    ),
    "script": HostileResponse(SCRIPT, "text/javascript"),
    "service-worker": HostileResponse(
        b"self.addEventListener('fetch', e => e.respondWith(new Response('owned')));",
        "text/javascript",
        headers={"Service-Worker-Allowed": ("/",)},
    ),
    "html-as-text": HostileResponse(b"<html><script>" + SCRIPT + b"</script></html>", "text/plain"),
    "no-type": HostileResponse(b"<html><script>" + SCRIPT + b"</script></html>", ""),
    "set-cookie": HostileResponse(
        headers={
            "Set-Cookie": ("portal_session=stolen; Path=/", "__Host-portal=stolen; Path=/; Secure", "a=b")
        }
    ),
    "redirect": HostileResponse(b"", status=302, headers={"Location": ("https://evil.example/",)}),
    "redirect-inside": HostileResponse(b"", status=307, headers={"Location": ("/internal/secret",)}),
    "redirect-script": HostileResponse(b"", status=302, headers={"Location": ("javascript:alert(1)",)}),
    "refresh": HostileResponse(headers={"Refresh": ("0; url=https://evil.example/",)}),
    "created": HostileResponse(status=201, headers={"Location": ("https://evil.example/",)}),
    "cors": HostileResponse(
        headers={
            "Access-Control-Allow-Origin": ("https://evil.example",),
            "Access-Control-Allow-Credentials": ("true",),
            "Access-Control-Allow-Headers": ("X-Portal-CSRF",),
            "Timing-Allow-Origin": ("*",),
        }
    ),
    "clear-site-data": HostileResponse(headers={"Clear-Site-Data": ('"*"',)}),
    "policies": HostileResponse(
        headers={
            "Strict-Transport-Security": ("max-age=31536000; includeSubDomains",),
            "Content-Security-Policy": ("default-src *; script-src * 'unsafe-inline'",),
            "Content-Security-Policy-Report-Only": ("default-src 'none'; report-uri https://evil.example/",),
            "X-Frame-Options": ("ALLOWALL",),
            "Referrer-Policy": ("unsafe-url",),
            "Cross-Origin-Resource-Policy": ("cross-origin",),
            "Cross-Origin-Opener-Policy": ("unsafe-none",),
            "Permissions-Policy": ("camera=*",),
            "Reporting-Endpoints": ('default="https://evil.example/"',),
            "NEL": ('{"report_to":"default","max_age":31536000}',),
            "Link": ("<https://evil.example/x.js>; rel=preload; as=script",),
            "SourceMap": ("https://evil.example/map",),
            "Alt-Svc": ('h2="evil.example:443"; ma=86400',),
            "Public-Key-Pins": ('pin-sha256="AAAA"; max-age=1',),
        }
    ),
    "hop-by-hop": HostileResponse(
        headers={
            "Connection": ("X-Secret-Hop",),
            "X-Secret-Hop": ("1",),
            "Proxy-Authenticate": ("Basic",),
            "Upgrade": ("h2c",),
        }
    ),
    "portal-headers": HostileResponse(headers={"X-Request-Id": ("<script>",), "X-Portal-Tenant": ("other",)}),
    "problem": HostileResponse(
        b'{"code": "login_required", "login_url": "javascript:' + SCRIPT.replace(b"'", b"`") + b'"}',
        "application/problem+json",
        401,
        dict.fromkeys(("X-Portal-Problem", "x_portal_problem", "X-Portal_Problem"), ("1",)),
    ),
    "basic-challenge": HostileResponse(status=401, headers={"WWW-Authenticate": ('Basic realm="portal"',)}),
    "gzip": HostileResponse(gzip.compress(b'{"zipped": true}'), headers={"Content-Encoding": ("gzip",)}),
    "gzip-broken": HostileResponse(b"this is not gzip", headers={"Content-Encoding": ("gzip",)}),
}
"""Path below `/hostile/` → response."""
