"""Calls to providers, with httpx on the portal's own transport. Only this module imports httpx."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from portal.errors import OutboundFailed
from portal.outbound.request import Origin, OutboundRequest
from portal.outbound.stream import OutboundStream
from portal.outbound.transport import Transport

_REQUEST = "portal_request"
"""Key of the httpx request extension with the `OutboundRequest` to send."""
_PARSED_URLS = 1_024
_STREAM = "portal_stream"
"""Key of the httpx response extension with the `OutboundStream`, which has the headers."""


@dataclass(frozen=True, slots=True)
class OutboundResponse:
    """A complete response."""

    status: int
    header_list: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of the first header with this name, case-insensitive; None when there is none."""
        lowered = name.lower()
        return next((value for key, value in self.header_list if key.lower() == lowered), None)


class ProviderHttp:
    """An httpx client that follows no redirects, keeps no cookies, uses no proxies and adds no headers.

    Parameters: transport, sends the requests.
    """

    def __init__(self, transport: Transport) -> None:
        self._client = httpx.AsyncClient(
            transport=_HttpxTransport(transport),
            trust_env=False,
            follow_redirects=False,
            timeout=None,  # noqa: S113 - the caller bounds the whole call
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )

    async def send(self, request: OutboundRequest, *, max_bytes: int) -> OutboundResponse:
        """Send a request and read the whole response, at most `max_bytes` of body.

        Raises: OutboundRefused, OutboundTimeout, OutboundFailed.
        """
        url = _url_of(request.origin)
        try:
            response = await self._client.send(
                httpx.Request(request.method, url, extensions={_REQUEST: request}), stream=True
            )
            try:
                return await _read(response.extensions[_STREAM], max_bytes)
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise OutboundFailed(f"the response cannot be used: {type(error).__name__}") from error


@lru_cache(_PARSED_URLS)
def _url_of(origin: Origin) -> httpx.URL:
    """The URL that httpx gets: the origin only, since httpx would normalize the path, and log it."""
    return httpx.URL(f"{origin.scheme}://{origin.authority}/")


class _HttpxTransport(httpx.AsyncBaseTransport):
    """Sends the `OutboundRequest` in the request's extension.

    httpx gets no header of the response: it would parse cookies and redirects, which are not used, for up to
    0.2 s when a provider makes them long (THREATS D1).
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        stream = await self._transport.send(request.extensions[_REQUEST])
        return httpx.Response(stream.status, stream=_Body(stream), extensions={_STREAM: stream})


class _Body(httpx.AsyncByteStream):
    """The body of a response, as httpx closes it. Read the `OutboundStream` instead, which is faster."""

    def __init__(self, stream: OutboundStream) -> None:
        self._stream = stream

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _read(stream: OutboundStream, max_bytes: int) -> OutboundResponse:
    response = OutboundResponse(stream.status, tuple(stream.headers), b"")
    coding = (response.header("Content-Encoding") or "identity").strip().lower()
    if coding != "identity":
        raise OutboundFailed("the response is compressed, although the request does not accept that")
    body = bytearray()
    async for piece in stream.chunks():
        body += piece
        if len(body) > max_bytes:
            raise OutboundFailed(f"the response has more than {max_bytes} bytes")
    return replace(response, body=bytes(body))
