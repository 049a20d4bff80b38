"""Calls to a provider: every way of getting no response is one error, so that callers see two cases only."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

from portal.errors import OutboundFailed
from portal.oidc.errors import ProviderUnavailable
from portal.oidc.jose.json_reading import MAX_BYTES
from portal.oidc.quoting import address
from portal.outbound.client import OutboundClient, OutboundResponse
from portal.outbound.tls import DEFAULT_TLS, Tls

_ACCEPT_JSON = ("Accept", "application/json")
_READ_SECONDS = 5.0
WRITE_SECONDS = 10.0
_BUSY = frozenset({408, 425, 429})


async def get_document(
    http: OutboundClient, url: str, *, tenant: str, max_bytes: int = MAX_BYTES, tls: Tls = DEFAULT_TLS
) -> OutboundResponse:
    """GET a document; a time-out or server error is tried once more.

    Raises: OutboundRefused; ProviderUnavailable, also for 408, 425, 429 and 5xx.
    """
    try:
        return await _call(
            http, "GET", url, tenant=tenant, max_bytes=max_bytes, timeout=_READ_SECONDS, tls=tls
        )
    except ProviderUnavailable:
        return await _call(
            http, "GET", url, tenant=tenant, max_bytes=max_bytes, timeout=_READ_SECONDS, tls=tls
        )


async def get_once(
    http: OutboundClient,
    url: str,
    *,
    tenant: str,
    headers: Sequence[tuple[str, str]],
    max_bytes: int,
    tls: Tls = DEFAULT_TLS,
) -> OutboundResponse:
    """GET with headers that are good for one request.

    Raises: as get_document.
    """
    return await _call(
        http, "GET", url, tenant=tenant, headers=headers, max_bytes=max_bytes, timeout=_READ_SECONDS, tls=tls
    )


async def post_form(
    http: OutboundClient,
    url: str,
    fields: Sequence[tuple[str, str]],
    *,
    tenant: str,
    headers: Sequence[tuple[str, str]] = (),
    max_bytes: int = 2 * MAX_BYTES,
    tls: Tls = DEFAULT_TLS,
    seconds: float = WRITE_SECONDS,
) -> OutboundResponse:
    """POST a form, once and never again: what was sent may be good for one use only.

    Parameters: max_bytes, bound of the response; the default is more than can be read as JSON, so that tokens
    that are too large have an error of their own; seconds, for connecting, sending and reading the whole
    response together.
    Raises: OutboundRefused; ProviderUnavailable, also for 408, 425, 429 and 5xx.
    """
    form = ("Content-Type", "application/x-www-form-urlencoded")
    return await _call(
        http,
        "POST",
        url,
        tenant=tenant,
        headers=(form, *headers),
        body=urlencode(fields).encode(),
        max_bytes=max_bytes,
        timeout=seconds,
        tls=tls,
    )


async def _call(
    http: OutboundClient,
    method: str,
    url: str,
    *,
    tenant: str,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    max_bytes: int,
    timeout: float,  # noqa: ASYNC109
    tls: Tls,
) -> OutboundResponse:
    try:
        response = await http.fetch(
            method,
            url,
            tenant=tenant,
            headers=(_ACCEPT_JSON, *headers),
            body=body,
            max_bytes=max_bytes,
            timeout=timeout,
            tls=tls,
        )
    except OutboundFailed as error:
        raise ProviderUnavailable(error.detail) from error
    if response.status >= 500 or response.status in _BUSY:
        raise ProviderUnavailable(f"{method} {address(url)}: the provider responded with {response.status}")
    return response
