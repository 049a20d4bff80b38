"""Checks the page to which the browser returns after a login (THREATS L5)."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote

_LONGEST = 2048
_PLAIN = re.compile(
    r"(?P<path>/[A-Za-z0-9\-._~!$&'()*+,=:@%/]*)"
    r"(?:\?[A-Za-z0-9\-._~!$&'()*+,;=:@%/?\[\]|]*)?"
    r"(?:#(?P<fragment>(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*))?"  # RFC 3986 3.5
)
_ENCODED_TRICK = re.compile(r"%(?:[01][0-9a-f]|2[35ef]|3[bf]|5c|7f)", re.IGNORECASE)
_FRAGMENT_TRICK = re.compile(r"//|%(?:[01][0-9a-f]|5c|7f)|^(?:javascript|data|vbscript):", re.IGNORECASE)
"""A page may take its fragment for an address: none that leads to another site, or runs a script."""
_NOT_A_PAGE = re.compile(r"/(?:logout|session|session/events|healthz|readyz|find|forget)/?")
_NOT_A_TENANT_PAGE = (
    "api",
    "apis",
    "authz",
    "login",
    "callback",
    "cookie-check",
    "finish-login",
    "logout",
    "signed-out",
    "backchannel-logout",
    "frontchannel-logout",
    "global-token-revocation",
    "initiate-login",
)


OfOther = Callable[[str, str], bool]
"""Whether a path is a page that a front end has for another tenant than this one."""


def _of_nobody(path: str, tenant: str) -> bool:
    return False


def safe_target(
    requested: str | None, tenant: str, *, origin: str, belongs_to_other: OfOther = _of_nobody
) -> str:
    """As safe_return_to, but also accepts an absolute URL of the portal (`target_link_uri`, OIDC Core 4)."""
    if requested is not None and requested.startswith(f"{origin}/"):
        requested = requested.removeprefix(origin)
    return safe_return_to(requested, tenant, belongs_to_other=belongs_to_other)


def safe_return_to(requested: str | None, tenant: str, *, belongs_to_other: OfOther = _of_nobody) -> str:
    """Return `requested` when it is a page of the portal for the tenant's user, else the tenant's home.

    It must be a path of the portal's own origin in plain characters, without any form of `//`, `\\`, `..` or
    control characters, and may end with a fragment such as `#/orders`. Pages of other tenants, addresses of
    APIs, and those that start or end logins are rejected. Parameters: belongs_to_other, of the front ends.
    """
    home = f"/t/{tenant}/"
    plain = _PLAIN.fullmatch(requested) if requested and len(requested) <= _LONGEST else None
    if requested is None or plain is None or _FRAGMENT_TRICK.search(plain["fragment"] or ""):
        return home
    path = plain["path"]
    if "//" in path or _ENCODED_TRICK.search(path) or any(part in {".", ".."} for part in path.split("/")):
        return home
    path = unquote(path)
    if not path.isprintable() or not path.isascii() or _NOT_A_PAGE.fullmatch(path):
        return home
    if path == "/t" or path.startswith("/t/"):
        inside = path.removeprefix(home) if path.startswith(home) else None
        if inside is None or inside.split("/")[0] in _NOT_A_TENANT_PAGE:
            return home
    return home if belongs_to_other(path, tenant) else requested
