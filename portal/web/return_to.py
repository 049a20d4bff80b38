"""Checks the page to which the browser returns after a login (THREATS L5)."""

from __future__ import annotations

import re
from urllib.parse import unquote

_LONGEST = 2048
_PLAIN = re.compile(r"/[A-Za-z0-9\-._~!$&'()*+,=:@%/]*(?:\?[A-Za-z0-9\-._~!$&'()*+,;=:@%/?\[\]|]*)?")
_ENCODED_TRICK = re.compile(r"%(?:[01][0-9a-f]|2f|5c|7f|25|2e)", re.IGNORECASE)
_NOT_A_PAGE = re.compile(r"/(?:logout|session|healthz|readyz)/?")
_NOT_A_TENANT_PAGE = (
    "login",
    "callback",
    "finish-login",
    "logout",
    "signed-out",
    "backchannel-logout",
    "frontchannel-logout",
    "initiate-login",
)


def safe_target(requested: str | None, tenant: str, *, origin: str) -> str:
    """As safe_return_to, but also accepts an absolute URL of the portal (`target_link_uri`, OIDC Core 4)."""
    if requested is not None and requested.startswith(f"{origin}/"):
        requested = requested.removeprefix(origin)
    return safe_return_to(requested, tenant)


def safe_return_to(requested: str | None, tenant: str) -> str:
    """Return `requested` when it is a page of the portal for the tenant's user, else the tenant's home.

    It must be a path of the portal's own origin in plain characters, without any form of `//`, `\\`, `..` or
    control characters. Pages of other tenants and addresses that start or end logins are rejected.
    """
    home = f"/t/{tenant}/"
    if not requested or len(requested) > _LONGEST or not _PLAIN.fullmatch(requested):
        return home
    path = requested.partition("?")[0]
    if "//" in path or _ENCODED_TRICK.search(path) or any(part in {".", ".."} for part in path.split("/")):
        return home
    path = unquote(path)
    if not path.isprintable() or not path.isascii() or _NOT_A_PAGE.fullmatch(path):
        return home
    if path == "/t" or path.startswith("/t/"):
        inside = path.removeprefix(home) if path.startswith(home) else None
        if inside is None or inside.split("/")[0] in _NOT_A_TENANT_PAGE:
            return home
    return requested
