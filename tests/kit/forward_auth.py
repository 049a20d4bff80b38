"""A reverse proxy that asks the portal whether a request to an application may pass."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from portal.config.forward_auth_settings import ForwardAuthSettings
from portal.secret import Secret
from tests.kit.browser import Browser
from tests.kit.raw import RawResponse, connected, cookies
from tests.kit.world import World
from tests.kit.world import world as make_world

SECRET = "a-secret-of-the-proxy-and-the-portal-0123456789"
PROXIES = (ipaddress.ip_network("127.0.0.0/8"),)
NAVIGATION = ("Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")


@contextlib.asynccontextmanager
async def proxied_world(
    folder: Path, *, secret: str | None = None, **changes: object
) -> AsyncIterator[World]:
    """A portal that trusts proxies on this machine. Parameters: secret, `forward_auth.secret`."""
    settings = ForwardAuthSettings(Secret(secret) if secret is not None else None)
    options: dict[str, Any] = {"trusted_proxies": PROXIES, "forward_auth": settings, **changes}
    async with make_world(folder, **options) as world:
        yield world


def host_of(world: World) -> str:
    """The host and port of the portal."""
    return urlsplit(world.url).netloc


def described(
    world: World, uri: str = "/desk/", method: str = "GET", *, style: str = "Original"
) -> list[str]:
    """The lines of a proxy's request that describe the original one. Parameters: style, or `Forwarded`."""
    uri_name = "X-Original-URI" if style == "Original" else "X-Forwarded-Uri"
    return [f"X-{style}-Method: {method}", f"{uri_name}: {uri}", f"X-{style}-Host: {host_of(world)}"]


async def ask_portal(
    world: World,
    lines: Sequence[str],
    *,
    browser: Browser | None = None,
    tenant: str = "acme",
    method: str = "GET",
    appended: str = "",
    host: str = "portal.internal:8080",
    body: bytes = b"",
) -> RawResponse:
    """Ask with these lines. Parameters: browser, whose cookies are sent; appended, to the path of `authz`."""
    head = [f"{method} /t/{tenant}/authz{appended} HTTP/1.1", f"Host: {host}", "Connection: close", *lines]
    if browser is not None and cookies(browser):
        head.append(f"Cookie: {cookies(browser)}")
    async with connected(world) as connection:
        await connection.send("\r\n".join([*head, "", ""]).encode("latin-1") + body)
        response = await connection.read_response(to_head=method == "HEAD")
    assert response is not None
    return response


def code_of(response: RawResponse) -> str:
    """The `code` of a problem."""
    code: str = json.loads(response.body)["code"]
    return code


def claims_of(headers: Mapping[str, str] | RawResponse) -> dict[str, Any]:
    """What X-Auth-Claims says."""
    value = headers.header("X-Auth-Claims") if isinstance(headers, RawResponse) else headers["X-Auth-Claims"]
    assert value is not None
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)))
    return claims
