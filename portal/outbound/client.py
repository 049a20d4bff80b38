"""The HTTP client for every request that the portal sends (docs/architecture.md rule 3).

It enforces https and public addresses (unless the operator allows others), follows no redirects, keeps no
cookies, ignores proxies in the environment, and bounds size and time. Rule for changes: every call names its
tenant, since connections, name lookups and limits are per tenant.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from portal.errors import OutboundBusy, OutboundRefused, OutboundTimeout, PortalError
from portal.outbound import url_rules
from portal.outbound.inspection import Inspection
from portal.outbound.pool import Limits, default_limits
from portal.outbound.provider_http import OutboundResponse, ProviderHttp
from portal.outbound.request import Origin, OutboundRequest, split_url
from portal.outbound.resolver import Lookup, Resolver
from portal.outbound.stream import OutboundStream
from portal.outbound.tls import DEFAULT_TLS, Tls
from portal.outbound.transport import Transport
from portal.outbound.websocket import ClientHandshake, WebSocketOffer
from portal.traces import Span, SpanKind, Tracer, child_span

__all__ = ["OutboundClient", "OutboundResponse"]

Observe = Callable[[str, str, str, float], None]
"""Called with the tenant of a request to a provider, its endpoint, its outcome, and the seconds it took."""

_CHECKED_ORIGINS = 4_096
_FETCH_KEEPALIVE = 2.0
"""Seconds. Shorter than that of usual servers: a token request seldom hits a connection just closed."""
_STREAM_KEEPALIVE = 15.0


class OutboundClient:
    """Sends requests to providers (`fetch`) and to tenants' APIs (`open_stream`).

    May be created before the event loop runs; belongs to the loop of its first request. TLS certificates are
    always verified, against the system's certificate store or, if there is none, certifi's.

    Parameters: is_trusted, whether a tenant may use private networks where they are allowed at all;
    allow_private_networks, whether to allow private and loopback addresses, and plain http to
    loopback; connect_timeout, seconds in total to wait for a free connection, look up the name, and set up
    TCP and TLS; limits, of connections; lookup, replaces the system's name lookup; clock, monotonic
    seconds, for the lifetime of cached addresses; observe, learns of requests to providers; traces,
    records them, and says in `traceparent` which trace they belong to.
    """

    def __init__(
        self,
        *,
        allow_private_networks: bool = False,
        is_trusted: Callable[[str], bool] = lambda tenant: True,
        connect_timeout: float = 5.0,
        limits: Limits | None = None,
        lookup: Lookup | None = None,
        clock: Callable[[], float] = time.monotonic,
        observe: Observe = lambda tenant, endpoint, outcome, seconds: None,
        traces: Tracer | None = None,
    ) -> None:
        self._traces = traces
        self._observe = observe
        self._allow_private_networks = allow_private_networks
        self._connect_timeout = connect_timeout
        self._checked_origins: dict[str, Origin] = {}
        self._transport = Transport(
            Resolver(lookup, clock=clock),
            allow_private_networks=lambda tenant: allow_private_networks and is_trusted(tenant),
            limits=limits or default_limits(),
            keepalive=_STREAM_KEEPALIVE,
        )
        self._providers = ProviderHttp(self._transport)

    def check_url(self, url: str) -> None:
        """Refuse a URL that breaks a rule, as far as that is known without a name lookup.

        Raises: OutboundRefused, which names the rule.
        """
        url_rules.check_url(url, allow_private_networks=self._allow_private_networks)

    async def addresses(self, url: str, *, tenant: str = "") -> tuple[str, ...]:
        """Return the addresses of a URL's host; all of them are allowed.

        Raises: OutboundRefused, which names the rule; OutboundFailed when there are none.
        """
        origin, _ = self._checked(url)
        return await self._transport.addresses(origin, tenant=tenant)

    async def inspect(self, url: str, *, tenant: str = "", tls: Tls = DEFAULT_TLS) -> Inspection:
        """Connect to a URL's host and look at its certificate; send no request.

        The caller bounds the time. Raises: OutboundRefused when nothing was sent; OutboundFailed.
        """
        origin, _ = self._checked(url)
        return await self._transport.inspect(origin, tenant=tenant, tls=tls)

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        tenant: str = "",
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        max_bytes: int = 1_000_000,
        timeout: float = 10.0,  # noqa: ASYNC109
        tls: Tls = DEFAULT_TLS,
        endpoint: str = "",
    ) -> OutboundResponse:
        """Send a request to a provider and read the whole response; redirects are returned, not followed.

        Parameters: tenant, on whose behalf; max_bytes, limit of the body; timeout, seconds for the whole
        call; tls, the certificate authorities to trust and the client certificate to present: requests with
        different values never share a connection; endpoint, the provider's, for the metrics; empty: the
        request is not counted.
        Raises: OutboundRefused when nothing was sent; OutboundTimeout; OutboundFailed.
        """
        with self._observed(tenant, endpoint) as statuses, self._traced(tenant, endpoint, method) as span:
            origin, target = self._checked(url)
            sent = OutboundRequest(
                method,
                origin,
                target,
                (
                    ("User-Agent", "tenant-portal"),
                    ("Accept-Encoding", "identity"),
                    *self._of_trace(span, endpoint),
                    *headers,
                ),
                body,
                tenant,
                tls=tls,
                connect_timeout=self._connect_timeout,
                head_timeout=timeout,
                idle_timeout=timeout,
                longest_idle=_FETCH_KEEPALIVE,
            )
            try:
                async with asyncio.timeout(timeout):
                    response = await self._providers.send(sent, max_bytes=max_bytes)
            except TimeoutError as error:
                raise OutboundTimeout(f"{method}: no complete response within {timeout:g} s") from error
            statuses.append(response.status)
            if span is not None:
                span.attributes["http.response.status_code"] = response.status
            return response

    def _traced(self, tenant: str, endpoint: str, method: str) -> AbstractContextManager[Span | None]:
        """The span of a request to an endpoint of a provider; other requests have none."""
        return child_span(
            self._traces if endpoint else None,
            f"provider {endpoint}",
            {"http.request.method": method, "portal.tenant": tenant, "portal.endpoint": endpoint},
            SpanKind.CLIENT,
        )

    @contextmanager
    def _observed(self, tenant: str, endpoint: str) -> Iterator[list[int]]:
        """Report the outcome of a request to a provider; the block adds the status of its response."""
        begun, outcome, statuses = time.perf_counter(), "cancelled", list[int]()
        try:
            yield statuses
            outcome = f"{min(statuses[-1], 599) // 100}xx"
        except PortalError as error:
            outcome = _outcome(error)
            raise
        finally:
            if endpoint:
                self._observe(tenant, endpoint, outcome, time.perf_counter() - begun)

    def _of_trace(self, span: Span | None, endpoint: str) -> list[tuple[str, str]]:
        traceparent = self._traces.traceparent(span) if self._traces is not None and endpoint else None
        return [] if traceparent is None else [("traceparent", traceparent)]

    async def open_stream(
        self,
        method: str,
        url: str,
        *,
        tenant: str = "",
        headers: Sequence[tuple[str, str]] = (),
        encoded: bytes = b"",
        body: bytes | AsyncIterator[bytes] | None = None,
        connect_timeout: float | None = None,
        head_timeout: float = 60.0,
        idle_timeout: float = 60.0,
        tls: Tls = DEFAULT_TLS,
        websocket: WebSocketOffer | None = None,
    ) -> OutboundStream:
        """Send a request to a tenant's API; return when the head of the response has arrived.

        Path and query are sent byte for byte as given; only Host and the framing headers of the body are
        added. A body of unknown length without a Content-Length header is sent chunked. A response that
        arrives before the whole body was sent ends the upload.

        Parameters: tenant, on whose behalf; encoded, more headers, made by `encode_headers`;
        connect_timeout, seconds, by default that of the client; head_timeout, seconds from the end of the
        request until the head of the response is complete;
        idle_timeout, longest pause in seconds between two pieces of a body, sent or received; tls, as in
        `fetch`; websocket, to open a WebSocket: a response with the status 101 is a `Tunnel`.
        Raises: OutboundRefused when nothing was sent; OutboundTimeout; OutboundFailed; a PortalError that
        the iterator of the body raised.
        """
        origin, target = self._checked(url)
        connect = self._connect_timeout if connect_timeout is None else connect_timeout
        return await self._transport.send(
            OutboundRequest(
                method,
                origin,
                target,
                headers,
                body,
                tenant,
                encoded=encoded,
                tls=tls,
                connect_timeout=connect,
                head_timeout=head_timeout,
                idle_timeout=idle_timeout,
                longest_idle=_STREAM_KEEPALIVE,
                of_browser=True,
                handshake=ClientHandshake(websocket) if websocket is not None else None,
            )
        )

    async def close(self) -> None:
        """Close every connection; requests in progress fail. Closing twice is allowed."""
        await self._transport.aclose()

    def _checked(self, url: str) -> tuple[Origin, str]:
        """Check and split a URL; the result for scheme and host is cached, since an API gets many calls."""
        end_of_origin = url.find("/", 8)
        if end_of_origin > 0:
            known = self._checked_origins.get(url[:end_of_origin])
            target = url[end_of_origin:]
            if known is not None and url_rules.is_plain_path(target):
                return known, target
        self.check_url(url)
        origin, target = split_url(url)
        if end_of_origin > 0:
            if len(self._checked_origins) >= _CHECKED_ORIGINS:
                self._checked_origins.clear()
            self._checked_origins[url[:end_of_origin]] = origin
        return origin, target


def _outcome(error: PortalError) -> str:
    """The outcome of a request that got no response."""
    if isinstance(error, OutboundBusy):
        return "busy"
    if isinstance(error, OutboundTimeout):
        return "timeout"
    return "refused" if isinstance(error, OutboundRefused) else "failed"
