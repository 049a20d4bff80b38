"""Connections of the guarded client: pools behind httpx's transport interface, and answers under way.

Addresses are judged by the resolver of a pool, so that what was checked is what is connected to.

httpx and aiohttp are imported in this module only.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, cast

import aiohttp
import aiohttp.abc
import httpx
import httpx_aiohttp
import yarl

from portal.errors import OutboundFailed, OutboundRefused, OutboundTimeout, PortalError
from portal.outbound import url_rules

Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""Finds the IP addresses of a host name; raises OSError when there are none."""

_AUTOMATIC_HEADERS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
_LONGEST_HEADER = 32_768


class OutboundStream:
    """An answer under way. Whoever opened it closes it."""

    def __init__(self, method: str, response: httpx.Response) -> None:
        self._method = method
        self._stream = cast(httpx.AsyncByteStream, response.stream)
        self.status: int = response.status_code
        self.reason: str = response.reason_phrase
        self.headers: list[tuple[str, str]] = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers.raw
        ]
        """As received: order, case of letters and repeated names are kept."""

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, undecoded.

        Raises: OutboundTimeout, OutboundFailed.
        """
        try:
            async for chunk in self._stream:
                yield chunk
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            raise _failure(self._method, error) from error

    async def read(self) -> bytes:
        """The whole body at once, undecoded; for one whose length is known to be small. Raises: as chunks."""
        response = cast(httpx_aiohttp.transport.AiohttpResponseStream, self._stream)._aiohttp_response
        try:
            return await response.content.read()
        except (aiohttp.ClientError, OSError) as error:
            raise _failure(self._method, error) from error

    async def aclose(self) -> None:
        """Let go; before the end of the body this closes the connection to the server."""
        try:
            await self._stream.aclose()
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            raise _failure(self._method, error) from error


class _ExactUrl(httpx.URL):
    """Carries a checked URL through the transport without parsing or quoting it again."""

    def __init__(self, url: str) -> None:
        self._text = url

    def __str__(self) -> str:
        return self._text

    __repr__ = object.__repr__


class Request(httpx.Request):
    """What AiohttpTransport reads of a request, and no more: the headers as a plain sequence of pairs."""

    def __init__(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        body: bytes | AsyncIterator[bytes] | None,
        *,
        connect: float,
        read: float,
    ) -> None:
        self.method = method
        self.url = _ExactUrl(url)
        self.headers = cast(httpx.Headers, headers)
        self.extensions = {"timeout": {"connect": connect, "pool": connect, "read": read}}
        self.body = body

    @property
    def content(self) -> bytes:
        return cast(bytes, self.body or b"")


class Pool:
    """A connection pool behind httpx's transport interface.

    It takes the place of the ClientSession that AiohttpTransport would make, for three reasons: URLs go out
    byte for byte (str → yarl would quote them anew), bodies under way are passed as they are, and sessions
    keep no cookies, read no environment and add no headers.
    """

    def __init__(
        self,
        lookup: Lookup,
        *,
        allow_private_networks: bool,
        limit: int,
        limit_per_host: int,
        keepalive: float,
        tls: ssl.SSLContext,
    ) -> None:
        self._resolver = _GuardedResolver(lookup, allow_private_networks)
        self._limit = limit
        self._limit_per_host = limit_per_host
        self._keepalive = keepalive
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._transport = httpx_aiohttp.AiohttpTransport(verify=tls, trust_env=False, client=cast(Any, self))

    async def send(self, request: Request) -> OutboundStream:
        if self._closed:
            raise OutboundFailed("the client is closed")
        try:
            response = await self._transport.handle_async_request(request)
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            raise _failure(request.method, error) from error
        except ValueError as error:
            # aiohttp's writer on line breaks in a header or method; it refuses before it writes.
            raise OutboundRefused("headers: a header or method holds characters it must not") from error
        return OutboundStream(request.method, response)

    async def close(self) -> None:
        self._closed = True
        if self._session is not None:
            await self._session.close()

    def __call__(self) -> Pool:
        return self

    def request(self, method: str, url: str, data: Any, **options: Any) -> Any:
        if self._session is None:
            self._session = self._make_session()
        return self._session.request(method, yarl.URL(url, encoded=True), data=data, **options)

    def _make_session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            resolver=self._resolver,
            ssl=self._tls,
            limit=self._limit,
            limit_per_host=self._limit_per_host,
            keepalive_timeout=self._keepalive,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=_NoCookies(),
            trust_env=False,
            skip_auto_headers=_AUTOMATIC_HEADERS,
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
        )


class _NoCookies(aiohttp.DummyCookieJar):
    """Keeps no cookie, and makes no new object to say so at every request."""

    def __init__(self) -> None:
        super().__init__()
        self._none: SimpleCookie = SimpleCookie()

    def filter_cookies(self, request_url: yarl.URL) -> SimpleCookie:
        return self._none


class _GuardedResolver(aiohttp.abc.AbstractResolver):
    """Resolves names for the connection pool, and refuses a name with any address that is not allowed."""

    def __init__(self, lookup: Lookup, allow_private_networks: bool) -> None:
        self._lookup = lookup
        self._allow_private_networks = allow_private_networks

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        # RFC 6761 6.3: names below localhost are loopback, whatever a name server says.
        loopback = url_rules.is_loopback_name(host)
        addresses = ("127.0.0.1", "::1") if loopback else await self._lookup(host)
        if not addresses:
            raise OSError("the name has no address")
        for address in addresses:
            url_rules.check_address(address, allow_private_networks=self._allow_private_networks)
        return [
            aiohttp.abc.ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in dict.fromkeys(addresses)
        ]

    async def close(self) -> None:
        """Nothing is held."""


def system_tls_context() -> ssl.SSLContext:
    """A context that trusts the system's certificate authorities; where there are none, certifi's."""
    paths = ssl.get_default_verify_paths()
    has_system_store = bool(paths.cafile) or (bool(paths.capath) and any(Path(paths.capath).iterdir()))
    context = ssl.create_default_context() if has_system_store else httpx.create_ssl_context(trust_env=False)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _failure(method: str, error: Exception) -> PortalError:
    """What went wrong, in words that hold no path, query, header or body."""
    # httpx-aiohttp calls a refused connection a time-out; the cause is what happened.
    original = error.__cause__ if isinstance(error, httpx.HTTPError) and error.__cause__ else error
    if isinstance(original.__cause__, PortalError):
        return original.__cause__  # raised by the body that was being sent
    reason = str(original) if isinstance(original, aiohttp.ClientConnectorError) else type(original).__name__
    kind = OutboundTimeout if isinstance(original, TimeoutError) else OutboundFailed
    return kind(f"{method}: {reason}")
