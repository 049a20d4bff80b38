"""Calls to providers, with httpx on the portal's own transport. Only this module imports httpx."""

from __future__ import annotations

from dataclasses import dataclass
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
_FOR_LOG = {"http_version": b"HTTP/1.1", "reason_phrase": b""}
"""httpx would look them up for a log line that is never written."""
_NO_TIMEOUT = httpx.Timeout(None).as_dict()
_NO_AUTH = httpx.Auth()
"""Sends a request as it is; without it, httpx looks for a user name in the URL."""
_NO_CONTENT = httpx.ByteStream(b"")
"""Of the request that httpx sees. It adds no headers to a request with a stream."""


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
        self._client = _Client(
            transport=_HttpxTransport(transport),
            trust_env=False,
            follow_redirects=False,
            timeout=None,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )

    async def send(self, request: OutboundRequest, *, max_bytes: int) -> OutboundResponse:
        """Send a request and read the whole response, at most `max_bytes` of body.

        Raises: OutboundRefused, OutboundTimeout, OutboundFailed.
        """
        sent = httpx.Request(
            request.method,
            _url_of(request.origin),
            stream=_NO_CONTENT,
            extensions={_REQUEST: request, "timeout": _NO_TIMEOUT},
        )
        try:
            response = await self._client.send(sent, stream=True, auth=_NO_AUTH)
            try:
                return await _read(response.extensions[_STREAM], max_bytes)
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise OutboundFailed(f"the response cannot be used: {type(error).__name__}") from error


class _NoCookies(httpx.Cookies):
    """Keeps no cookies, and does not look for any: httpx would make a request of `urllib` to do so."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Ignore the cookies of a response."""


class _Client(httpx.AsyncClient):
    """A client without cookies."""

    _none = _NoCookies()

    @property
    def cookies(self) -> httpx.Cookies:
        return self._none

    @cookies.setter
    def cookies(self, cookies: object) -> None:
        raise AttributeError("this client keeps no cookies")


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
        return httpx.Response(stream.status, stream=_Body(stream), extensions={_STREAM: stream, **_FOR_LOG})


class _Body(httpx.AsyncByteStream):
    """The body of a response, as httpx closes it. Read the `OutboundStream` instead, which is faster."""

    def __init__(self, stream: OutboundStream) -> None:
        self._stream = stream

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _read(stream: OutboundStream, max_bytes: int) -> OutboundResponse:
    codings = [value for name, value in stream.headers if name.lower() == "content-encoding"]
    if any((coding.strip() or "identity").lower() != "identity" for coding in codings):
        raise OutboundFailed("the response is compressed, although the request does not accept that")
    body = bytearray()
    async for piece in stream.chunks():
        body += piece
        if len(body) > max_bytes:
            raise OutboundFailed(f"the response has more than {max_bytes} bytes")
    return OutboundResponse(stream.status, tuple(stream.headers), bytes(body))
