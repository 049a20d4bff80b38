"""Calls to providers, through httpx on the portal's own transport. httpx is imported in this module only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from portal.errors import OutboundFailed
from portal.outbound.request import OutboundRequest
from portal.outbound.stream import OutboundStream
from portal.outbound.transport import Transport

_REQUEST = "portal_request"
"""Extension of an httpx request that holds the `OutboundRequest` to send."""
_STREAM = "portal_stream"
"""Extension of an httpx response that holds the `OutboundStream`, with the headers."""


@dataclass(frozen=True, slots=True)
class OutboundResponse:
    """A response that was read to its end."""

    status: int
    header_list: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first header of this name, in any case of letters; None when there is none."""
        wanted = name.lower()
        return next((value for key, value in self.header_list if key.lower() == wanted), None)


class ProviderHttp:
    """An httpx client without redirects, cookies, proxies and headers of its own.

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
        """Send a request and read the whole response, of at most so many bytes.

        Raises: OutboundRefused, OutboundTimeout, OutboundFailed.
        """
        # httpx sees the origin alone: it would write paths anew, and log them.
        url = f"{request.origin.scheme}://{request.origin.authority}/"
        try:
            response = await self._client.send(
                httpx.Request(request.method, url, extensions={_REQUEST: request}), stream=True
            )
            try:
                return await _read(response, max_bytes)
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise OutboundFailed(f"the response cannot be used: {type(error).__name__}") from error


class _HttpxTransport(httpx.AsyncBaseTransport):
    """Sends what stands in a request's extension.

    httpx sees no header of the response: it would read cookies and redirects that nobody wants, for a fifth
    of a second when a provider makes them long (THREATS D1).
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        stream = await self._transport.send(request.extensions[_REQUEST])
        return httpx.Response(stream.status, stream=_Body(stream), extensions={_STREAM: stream})


class _Body(httpx.AsyncByteStream):
    """The body of a response, as httpx reads it."""

    def __init__(self, stream: OutboundStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream.chunks():
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _read(response: httpx.Response, max_bytes: int) -> OutboundResponse:
    headers = tuple(response.extensions[_STREAM].headers)
    head = OutboundResponse(response.status_code, headers, b"")
    coding = (head.header("Content-Encoding") or "identity").strip().lower()
    if coding != "identity":
        raise OutboundFailed("the response is compressed, which was not asked for")
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > max_bytes:
            raise OutboundFailed(f"the response has more than {max_bytes} bytes")
    return OutboundResponse(response.status_code, headers, bytes(body))
