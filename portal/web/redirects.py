"""No redirect of the portal leads to an address of an API (THREATS S1).

A page of the portal may read an API by a navigation. So a redirect must not turn a link to the portal, or an
endpoint that a tenant's administrator wrote, into such a navigation.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from portal.config.api_paths import leads_to_api_path

_IGNORED_BY_BROWSERS = re.compile(r"[\x00-\x20]+")
_LONGEST = 64 * 1024
_PLAIN_HOST = re.compile(r"[a-z0-9._:-]+")
"""Browsers map other characters, such as full-width letters, to these (UTS 46)."""
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORTS = {"http": 80, "https": 443}


def leads_to_api(url: str, origin: str) -> bool:
    """Whether a redirect from this origin may end at an API there, whatever a browser makes of it.

    Browsers ignore spaces and line breaks, read `\\` as `/`, and resolve dot segments, also encoded ones (URL
    Standard 4.4). True for what cannot be parsed.
    """
    if len(url) > _LONGEST:
        return True
    plain = _IGNORED_BY_BROWSERS.sub("", url).replace("\\", "/")
    own = urlsplit(origin)
    try:
        parts = urlsplit(plain)
        scheme = parts.scheme.lower() or own.scheme
        host = unquote(parts.hostname or "") or own.hostname
        port = (parts.port if parts.netloc else own.port) or _PORTS.get(scheme)
    except ValueError:
        return True
    if (parts.netloc or parts.scheme or plain.startswith("//")) and not _is_plain_host(parts.hostname or ""):
        return True
    if (scheme, host, port) != (own.scheme, own.hostname, own.port or _PORTS[own.scheme]):
        return False
    return leads_to_api_path(parts.path)


def _is_plain_host(host: str) -> bool:
    """Whether a host is written in the one way in which a browser writes it, apart from letter case."""
    if not _PLAIN_HOST.fullmatch(unquote(host)):
        return False
    if ":" not in host and not _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        return True
    try:
        return str(ip_address(host)) == host
    except ValueError:
        return False
