"""Where the browser may go after a login (THREATS L5)."""

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


def safe_target(wanted: str | None, tenant: str, *, origin: str) -> str:
    """As safe_return_to, for a whole URL of the portal too (`target_link_uri`, OIDC Core 4)."""
    if wanted is not None and wanted.startswith(f"{origin}/"):
        wanted = wanted.removeprefix(origin)
    return safe_return_to(wanted, tenant)


def safe_return_to(wanted: str | None, tenant: str) -> str:
    """Return `wanted` when it is a page of the portal for the tenant's user, else the tenant's home.

    Only a path of the portal's own origin is taken, in plain characters, without any form of `//`, `\\`, `..`
    or control characters, outside other tenants' areas and away from addresses that begin or end logins.
    """
    home = f"/t/{tenant}/"
    if not wanted or len(wanted) > _LONGEST or not _PLAIN.fullmatch(wanted):
        return home
    path = wanted.partition("?")[0]
    if "//" in path or _ENCODED_TRICK.search(path) or any(part in {".", ".."} for part in path.split("/")):
        return home
    path = unquote(path)
    if not path.isprintable() or not path.isascii() or _NOT_A_PAGE.fullmatch(path):
        return home
    if path == "/t" or path.startswith("/t/"):
        inside = path.removeprefix(home) if path.startswith(home) else None
        if inside is None or inside.split("/")[0] in _NOT_A_TENANT_PAGE:
            return home
    return wanted
