"""Which paths and headers pass between a browser and a tenant's API. No I/O (THREATS S3, S4, T4)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urljoin

from tornado.httputil import HTTPHeaders

from portal.errors import RequestRefused
from portal.outbound.dot_segments import decode_fully, has_dot_segment
from portal.sentences import message
from portal.tenancy.api_headers import (
    NOT_TO_API,
    NOT_TO_API_PREFIXES,
    goes_to_browser,
    normalized_name,
)

_LONGEST_TARGET = 8000
_TOO_LONG = message("The address is too long.")
_BAD_CHARACTER = message("The path has a character or an escape that the portal does not forward.")
_BAD_PATH_ESCAPE = message("The path has an escape that the portal does not forward.")
_DOT_SEGMENT = message("The path has a dot segment.")
_BAD_QUERY = message("The query has a character that the portal does not forward.")
TARGET_EXPLANATIONS = (_TOO_LONG, _BAD_CHARACTER, _BAD_PATH_ESCAPE, _DOT_SEGMENT, _BAD_QUERY)
"""Why an address cannot be forwarded."""
_PATH = re.compile(r"(?:/[A-Za-z0-9\-._~!$&'()*+,=:%\[\]|^]*)*")
_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*+)*+/?")
"""A path to which every check would agree: no escape, and no segment that begins with a dot."""
_QUERY = re.compile(r"[!\x24-\x7e]*")
_BAD_ESCAPE = re.compile(r"%(?![0-9a-f]{2})|%(?:25)+(?:2[ef]|5c)", re.IGNORECASE)
"""Incomplete escapes, and dots, slashes and backslashes that are encoded more than once."""
_NEVER_DECODED = re.compile(r"[\x00-\x1f\x7f\\]|%u[0-9A-Fa-f]{4}")
"""Not allowed in a decoded path: control characters, backslashes and non-standard `%u` escapes."""
_ENCODED_BREAK = re.compile(r"%0[0adAD]")

_OF_TRACES = frozenset({"traceparent", "tracestate"})

RESPONSE_HEADERS = (
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)
"""Headers of every response of a tenant's API: it is data, never a page of the portal's origin."""


def target_url(base_url: str, path: str, query: str) -> str:
    """Return the API's URL for a raw path and query below `base_url`.

    The path is forwarded unchanged or refused: every server must see the same segments in it, however often
    it decodes. So the fully decoded path must be UTF-8, without control characters or backslashes, without
    additional slashes, and without segments `.` or `..`, even before `;`, `?` or `#`.
    Raises RequestRefused.
    """
    if len(path) + len(query) > _LONGEST_TARGET:
        raise RequestRefused(explanation=_TOO_LONG)
    if not query and _PLAIN_PATH.fullmatch(path):
        return base_url + path
    if not _PATH.fullmatch(path) or _BAD_ESCAPE.search(path) or "//" in path:
        raise RequestRefused(explanation=_BAD_CHARACTER)
    decoded = decode_fully(path) if "%" in path else path
    if decoded is None or _NEVER_DECODED.search(decoded) or decoded.count("/") != path.count("/"):
        raise RequestRefused(explanation=_BAD_PATH_ESCAPE)
    if has_dot_segment(decoded):
        raise RequestRefused(explanation=_DOT_SEGMENT)
    if not _QUERY.fullmatch(query) or _ENCODED_BREAK.search(query):
        raise RequestRefused(explanation=_BAD_QUERY)
    return f"{base_url}{path}?{query}" if query else f"{base_url}{path}"


def browser_headers(headers: HTTPHeaders, *, traced: bool = False) -> list[tuple[str, str]]:
    """Return the browser's harmless headers, for the API.

    Parameters: traced, whether the portal sends its own `traceparent`.
    """
    dropped = _listed_by_connection(headers.get_list("Connection"))
    if traced:
        dropped |= _OF_TRACES
    return [
        (name, value)
        for name, value in headers.get_all()
        if (known := normalized_name(name)) not in NOT_TO_API
        and not known.startswith(NOT_TO_API_PREFIXES)
        and known not in dropped
    ]


def additional_headers(headers: HTTPHeaders, names: Collection[str]) -> list[tuple[str, str]]:
    """Return the browser's headers that one API gets in addition.

    Parameters: names, `Api.request_headers`.
    """
    dropped = _listed_by_connection(headers.get_list("Connection"))
    return [
        (name, value)
        for name, value in headers.get_all()
        if (known := normalized_name(name)) in names and known not in dropped
    ]


def own_headers(
    *,
    access_token: str | None,
    request_id: str,
    dpop_proof: str | None = None,
    traceparent: str | None = None,
) -> list[tuple[str, str]]:
    """Return the portal's own headers, for the API.

    `dpop_proof` accompanies an access token that is bound to a key (RFC 9449 7.1). Without
    `traceparent`, the API gets the browser's, if it sent one.
    """
    own = [("X-Request-Id", request_id)]
    if traceparent is not None:
        own.append(("traceparent", traceparent))
    if access_token is None:
        return own
    if dpop_proof is None:
        return [("Authorization", f"Bearer {access_token}"), *own]
    return [("Authorization", f"DPoP {access_token}"), ("DPoP", dpop_proof), *own]


def passed_headers(
    headers: Iterable[tuple[str, str]],
    *,
    target: str,
    base_url: str,
    public_base: str,
    more: Collection[str] = (),
) -> list[tuple[str, str]]:
    """Return the API's harmless headers for the browser. The caller adds RESPONSE_HEADERS.

    Parameters: target, the requested URL; public_base, the path of the API in the portal; more, names of
    `Api.response_headers`. A Location below `base_url` is rewritten to `public_base`, any other is dropped.
    """
    headers = list(headers)
    dropped: frozenset[str] = frozenset()
    passed, locations = [], []
    for name, value in headers:
        known = _short_name(name) if len(name) <= _SHORT_NAME else _name(name)
        if known.is_passed or (more and known.normalized in more):
            passed.append((name, value))
        elif known.normalized == "location":
            locations.append((name, value))
        elif known.normalized == "connection":
            dropped |= _listed_by_connection([value])
    if len(locations) == 1:  # which of several would count is undefined
        [(name, value)] = locations
        rewritten = _rewrite_location(target, value, base_url, public_base)
        if rewritten is not None:
            passed.append((name, rewritten))
    if dropped:
        return [(name, value) for name, value in passed if normalized_name(name) not in dropped]
    return passed


class _Name(NamedTuple):
    normalized: str
    is_passed: bool
    """Whether an API may send this header to a browser."""


def _name(name: str) -> _Name:
    known = normalized_name(name)
    return _Name(known, goes_to_browser(known))


_SHORT_NAME = 64
"""Characters of the longest name whose decision is cached; an API chooses its names."""
_short_name = lru_cache(1024)(_name)


def _listed_by_connection(values: Iterable[str]) -> frozenset[str]:
    """Names that Connection headers declare hop-by-hop (RFC 9110 7.6.1)."""
    return frozenset(normalized_name(name.strip()) for value in values for name in value.split(","))


def _rewrite_location(target: str, value: str, base_url: str, public_base: str) -> str | None:
    try:
        there = urljoin(target, value)
    except ValueError:
        return None
    if not there.startswith(f"{base_url}/"):
        return None
    path, _, query = there.removeprefix(base_url).partition("?")
    try:
        target_url(base_url, path, query)
    except RequestRefused:
        return None
    return public_base + path + (f"?{query}" if query else "")
