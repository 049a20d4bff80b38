"""The one guarded client for everything the portal sends (DESIGN rule 3).

Every URL a tenant can influence goes through here: https, public addresses unless the operator allows
others, no redirects, no cookies, no proxies from the environment, bounded size and time.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from portal.errors import OutboundFailed, OutboundTimeout
from portal.outbound import url_rules
from portal.outbound.connections import Lookup, OutboundStream, Pool, Request, system_tls_context
from portal.outbound.tls import PLAIN, Tls
from portal.outbound.tls_pools import TlsPools

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


class OutboundClient:
    """Sends requests to providers (`fetch`) and to tenants' APIs (`open_stream`).

    May be made before there is an event loop; belongs to the loop of its first request. TLS certificates
    are always verified, against the system's store or, where there is none, certifi's.

    Parameters: allow_private_networks, whether private and loopback addresses may be called and plain http
    may be used to loopback; connect_timeout, seconds for name lookup, TCP and TLS together; connections and
    connections_per_host, bounds of each pool, 0 for none; lookup, in place of the system's.
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

        def pool(keepalive: float, tls: ssl.SSLContext) -> Pool:
            return Pool(
                resolve,
                allow_private_networks=allow_private_networks,
                limit=connections,
                limit_per_host=connections_per_host,
                keepalive=keepalive,
                tls=tls,
            )

        usual = system_tls_context()
        self._fetch_pool = pool(_FETCH_KEEPALIVE, usual)
        self._stream_pool = pool(_STREAM_KEEPALIVE, usual)
        self._tls_pools = TlsPools(lambda tls: pool(_FETCH_KEEPALIVE, tls))

    def check_url(self, url: str) -> None:
        """Refuse a URL that requests would be refused to, as far as it can be told without a lookup.

        Raises: OutboundRefused, naming the rule.
        """
        url_rules.check_url(url, allow_private_networks=self._allow_private_networks)

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        max_bytes: int = 1_000_000,
        timeout: float = 10.0,  # noqa: ASYNC109
        tls: Tls = PLAIN,
    ) -> OutboundResponse:
        """Send a request to a provider and read the whole answer; redirects are returned, not followed.

        Parameters: max_bytes, bound of the answer; timeout, seconds for everything together; tls, the
        provider's own authorities and the certificate to present. Connections are never shared between
        different ones.
        Raises: OutboundRefused, nothing was sent; OutboundTimeout; OutboundFailed.
        """
        self.check_url(url)
        sent = (("User-Agent", "tenant-portal"), ("Accept-Encoding", "identity"), *headers)
        request = Request(method, url, sent, body, connect=self._connect_timeout, read=timeout)
        try:
            async with asyncio.timeout(timeout), self._pool_of(tls) as pool:
                stream = await pool.send(request)
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
            Request(method, url, headers, body, connect=connect, read=read_timeout)
        )

    async def close(self) -> None:
        """Close every connection; requests under way fail. Closing twice is allowed."""
        await self._fetch_pool.close()
        await self._stream_pool.close()
        await self._tls_pools.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _pool_of(self, tls: Tls) -> contextlib.AbstractAsyncContextManager[Pool]:
        return contextlib.nullcontext(self._fetch_pool) if tls == PLAIN else self._tls_pools.pool(tls)

    def _check_stream_url(self, url: str) -> None:
        """As check_url, with the verdict over scheme and host remembered: there is one API and many calls."""
        end_of_origin = url.find("/", 8)
        origin = url[:end_of_origin] if end_of_origin > 0 else ""
        if origin not in self._checked_origins or not url_rules.is_plain_path(url[end_of_origin:]):
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
