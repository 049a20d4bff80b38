"""Requests to a provider. All failures to get a response are one error, ProviderUnavailable."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from portal.errors import OutboundFailed
from portal.oidc.errors import ProviderUnavailable
from portal.oidc.form_encoding import form_of
from portal.oidc.jose.json_reading import MAX_BYTES
from portal.oidc.quoting import address
from portal.outbound.client import OutboundClient, OutboundResponse
from portal.outbound.tls import DEFAULT_TLS, Tls

_ACCEPT_JSON = ("Accept", "application/json")
_READ_SECONDS = 5.0
WRITE_SECONDS = 10.0
_BUSY = frozenset({408, 425, 429})


async def get_document(
    http: OutboundClient,
    url: str,
    *,
    tenant: str,
    endpoint: str,
    max_bytes: int = MAX_BYTES,
    tls: Tls = DEFAULT_TLS,
) -> OutboundResponse:
    """GET a document; retry once after a time-out or server error.

    Parameters: endpoint, its name for the metrics.
    Raises: OutboundRefused; ProviderUnavailable, also for 408, 425, 429 and 5xx.
    """
    call = partial(
        _call,
        *(http, "GET", url),
        tenant=tenant,
        endpoint=endpoint,
        max_bytes=max_bytes,
        timeout=_READ_SECONDS,
        tls=tls,
    )
    try:
        return await call()
    except ProviderUnavailable:
        return await call()


async def get_once(
    http: OutboundClient,
    url: str,
    *,
    tenant: str,
    endpoint: str,
    headers: Sequence[tuple[str, str]],
    max_bytes: int,
    tls: Tls = DEFAULT_TLS,
) -> OutboundResponse:
    """GET without a retry: the headers are valid for one request only.

    Parameters: endpoint, its name for the metrics.
    Raises: as get_document.
    """
    return await _call(
        http,
        "GET",
        url,
        tenant=tenant,
        endpoint=endpoint,
        headers=headers,
        max_bytes=max_bytes,
        timeout=_READ_SECONDS,
        tls=tls,
    )


async def post_form(
    http: OutboundClient,
    url: str,
    fields: Sequence[tuple[str, str]],
    *,
    tenant: str,
    endpoint: str,
    headers: Sequence[tuple[str, str]] = (),
    max_bytes: int = 2 * MAX_BYTES,
    tls: Tls = DEFAULT_TLS,
    seconds: float = WRITE_SECONDS,
) -> OutboundResponse:
    """POST a form without a retry: its content may be valid for one use only.

    Parameters: endpoint, its name for the metrics; max_bytes, limit of the response; the default exceeds the
    limit of the JSON parser, so that too large tokens cause their specific error; seconds, for connecting,
    sending and reading the whole response together.
    Raises: OutboundRefused; ProviderUnavailable, also for 408, 425, 429 and 5xx.
    """
    form = ("Content-Type", "application/x-www-form-urlencoded")
    return await _call(
        http,
        "POST",
        url,
        tenant=tenant,
        endpoint=endpoint,
        headers=(form, *headers),
        body=form_of(fields),
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
    endpoint: str,
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
            endpoint=endpoint,
        )
    except OutboundFailed as error:
        raise ProviderUnavailable(error.detail) from error
    if response.status >= 500 or response.status in _BUSY:
        raise ProviderUnavailable(f"{method} {address(url)}: the provider responded with {response.status}")
    return response
