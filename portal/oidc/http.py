"""The one guarded client for everything the portal sends (DESIGN rule 3).

Every URL a tenant can influence goes through here: https, public addresses unless the operator allows
others, no redirects, no cookies, no proxies from the environment, bounded size and time. Addresses are
judged by the resolver of the connection pool, so that what was checked is what is connected to.

httpx and aiohttp are imported in this module only.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, cast

import aiohttp
import aiohttp.abc
import httpx
import httpx_aiohttp
import yarl

from portal.errors import OutboundFailed, OutboundRefused, OutboundTimeout, PortalError
from portal.oidc import outbound_rules

Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""Finds the IP addresses of a host name; raises OSError when there are none."""

_AUTOMATIC_HEADERS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
_LONGEST_HEADER = 32_768
_CHECKED_ORIGINS = 4_096
_LOOKUP_THREADS = 32
_FETCH_KEEPALIVE = 2.0
"""Seconds. Shorter than any server's, so that a token request seldom meets a connection just closed."""
_STREAM_KEEPALIVE = 15.0


@dataclass(frozen=True, slots=True)
class OutboundResponse:
    """An answer that was read to its end."""

    status: int
    header_list: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first header of this name, in any case of letters; None when there is none."""
        wanted = name.lower()
        return next((value for key, value in self.header_list if key.lower() == wanted), None)


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

    async def aclose(self) -> None:
        """Let go; before the end of the body this closes the connection to the server."""
        try:
            await self._stream.aclose()
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            raise _failure(self._method, error) from error


class OutboundClient:
    """Sends requests to providers (`fetch`) and to tenants' APIs (`open_stream`).

    May be made before there is an event loop; belongs to the loop of its first request. TLS certificates
    are always verified, against the system's store or, where there is none, certifi's.

    Parameters: allow_private_networks, whether private and loopback addresses may be called and plain http
    may be used to loopback; connect_timeout, seconds for name lookup, TCP and TLS together; connections and
    connections_per_host, bounds of each of the two pools, 0 for none; lookup, in place of the system's.
    """

    def __init__(
        self,
        *,
        allow_private_networks: bool = False,
        connect_timeout: float = 5.0,
        connections: int = 0,
        connections_per_host: int = 0,
        lookup: Lookup | None = None,
    ) -> None:
        self._allow_private_networks = allow_private_networks
        self._connect_timeout = connect_timeout
        self._checked_origins: dict[str, None] = {}
        self._threads = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="lookup")
        resolve = lookup or self._system_lookup

        def pool(keepalive: float) -> _Pool:
            return _Pool(
                resolve,
                allow_private_networks=allow_private_networks,
                limit=connections,
                limit_per_host=connections_per_host,
                keepalive=keepalive,
                tls=tls,
            )

        tls = _tls_context()
        self._fetch_pool = pool(_FETCH_KEEPALIVE)
        self._stream_pool = pool(_STREAM_KEEPALIVE)

    def check_url(self, url: str) -> None:
        """Refuse a URL that requests would be refused to, as far as it can be told without a lookup.

        Raises: OutboundRefused, naming the rule.
        """
        outbound_rules.check_url(url, allow_private_networks=self._allow_private_networks)

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        max_bytes: int = 1_000_000,
        timeout: float = 10.0,  # noqa: ASYNC109
    ) -> OutboundResponse:
        """Send a request to a provider and read the whole answer; redirects are returned, not followed.

        Parameters: max_bytes, bound of the answer; timeout, seconds for everything together.
        Raises: OutboundRefused, nothing was sent; OutboundTimeout; OutboundFailed.
        """
        self.check_url(url)
        sent = (("User-Agent", "tenant-portal"), ("Accept-Encoding", "identity"), *headers)
        request = _Request(method, url, sent, body, connect=self._connect_timeout, read=timeout)
        try:
            async with asyncio.timeout(timeout):
                stream = await self._fetch_pool.send(request)
                try:
                    return await _read(stream, max_bytes)
                finally:
                    await stream.aclose()
        except TimeoutError as error:
            raise OutboundTimeout(f"{method}: no complete answer within {timeout:g} s") from error

    async def open_stream(
        self,
        method: str,
        url: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | AsyncIterator[bytes] | None = None,
        connect_timeout: float | None = None,
        read_timeout: float = 60.0,
    ) -> OutboundStream:
        """Send a request to a tenant's API and return when the head of the answer is there.

        Path and query are sent byte for byte as given; no header is added but Host and the framing of the
        body. A body without a Content-Length header and of unknown length is sent chunked.

        Parameters: connect_timeout, seconds, the client's by default; read_timeout, seconds that may pass
        without a byte of the answer.
        Raises: OutboundRefused, nothing was sent; OutboundTimeout; OutboundFailed; a PortalError that the
        body raised while it was sent.
        """
        self._check_stream_url(url)
        connect = self._connect_timeout if connect_timeout is None else connect_timeout
        return await self._stream_pool.send(
            _Request(method, url, headers, body, connect=connect, read=read_timeout)
        )

    async def close(self) -> None:
        """Close every connection; requests under way fail. Closing twice is allowed."""
        await self._fetch_pool.close()
        await self._stream_pool.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _check_stream_url(self, url: str) -> None:
        """As check_url, with the verdict over scheme and host remembered: there is one API and many calls."""
        end_of_origin = url.find("/", 8)
        origin = url[:end_of_origin] if end_of_origin > 0 else ""
        if origin not in self._checked_origins or not outbound_rules.is_plain_path(url[end_of_origin:]):
            self.check_url(url)
            if len(self._checked_origins) >= _CHECKED_ORIGINS:
                self._checked_origins.clear()
            if origin:
                self._checked_origins[origin] = None

    async def _system_lookup(self, host: str) -> Sequence[str]:
        """Addresses of a name, found in threads of this client's own: slow names delay nobody else."""
        infos = await asyncio.get_running_loop().run_in_executor(
            self._threads,
            lambda: socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG),
        )
        return [str(info[4][0]) for info in infos]


async def _read(stream: OutboundStream, max_bytes: int) -> OutboundResponse:
    response = OutboundResponse(stream.status, tuple(stream.headers), b"")
    coding = (response.header("Content-Encoding") or "identity").strip().lower()
    if coding != "identity":
        raise OutboundFailed("the answer is compressed, which was not asked for")
    body = bytearray()
    async for chunk in stream.chunks():
        body += chunk
        if len(body) > max_bytes:
            raise OutboundFailed(f"the answer has more than {max_bytes} bytes")
    return OutboundResponse(stream.status, response.header_list, bytes(body))


class _ExactUrl(httpx.URL):
    """Carries a checked URL through the transport without parsing or quoting it again."""

    def __init__(self, url: str) -> None:
        self._text = url

    def __str__(self) -> str:
        return self._text

    __repr__ = object.__repr__


class _Request(httpx.Request):
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


class _Pool:
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

    async def send(self, request: _Request) -> OutboundStream:
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

    def __call__(self) -> _Pool:
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
        loopback = outbound_rules.is_loopback_name(host)
        addresses = ("127.0.0.1", "::1") if loopback else await self._lookup(host)
        if not addresses:
            raise OSError("the name has no address")
        for address in addresses:
            outbound_rules.check_address(address, allow_private_networks=self._allow_private_networks)
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


def _tls_context() -> ssl.SSLContext:
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
