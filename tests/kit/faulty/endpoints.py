"""Faults of individual endpoints of a development server."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.iostream import StreamClosedError
from tornado.web import Application, RequestHandler

_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Response:
    """A response that replaces the regular one: a status, a redirect, broken JSON, compressed bytes."""

    status: int = 500
    body: bytes = b'{"error": "server_error"}'
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


@dataclass(slots=True)
class EndpointFault:
    """The faults of one endpoint, applied in the order below.

    If the client disconnects during a delay, the request is dropped without any effect.
    """

    delay: float = 0.0
    """Seconds to wait before the request is handled."""
    hold: asyncio.Event | None = None
    """An event to wait for before the request is handled: a slow response without a fixed time."""
    never_responds: bool = False
    """Keep the connection open without a response."""
    drip: float = 0.0
    """Seconds between the bytes of a response that never ends."""
    huge: int = 0
    """The size in bytes of a large streamed JSON text."""
    response: Response | None = None
    """A response that replaces the regular one; the request has no effect."""
    drop_response: bool = False
    """Handle the request, then close the connection without a response."""
    remaining: int | None = None
    """The number of requests to which it still applies; None: until it is cleared."""

    def apply(self) -> bool:
        """Return whether the fault applies to this request; decrements `remaining`."""
        if self.remaining is None:
            return True
        self.remaining -= 1
        return self.remaining >= 0


class EndpointFaults:
    """Faults by endpoint name; an endpoint without an entry works normally."""

    def __init__(self) -> None:
        self._by_endpoint: dict[str, EndpointFault] = {}

    def __setitem__(self, endpoint: str, fault: EndpointFault) -> None:
        self._by_endpoint[endpoint] = fault

    def __delitem__(self, endpoint: str) -> None:
        del self._by_endpoint[endpoint]

    def clear(self) -> None:
        """Remove all faults. Delayed requests stay delayed."""
        self._by_endpoint.clear()

    def due(self, endpoints: Iterable[str]) -> EndpointFault | None:
        """Return the fault to apply, of the first of these endpoints that has one."""
        for endpoint in endpoints:
            fault = self._by_endpoint.get(endpoint)
            if fault is not None and fault.apply():
                return fault
        return None


class FaultyHandler(RequestHandler):
    """Mixin of request handlers that applies an EndpointFault.

    `drops_response`: whether the response of this request is lost.
    """

    def __init__(self, application: Application, request: HTTPServerRequest, **kwargs: Any) -> None:
        self._client_gone = asyncio.Event()
        self.drops_response = False
        super().__init__(application, request, **kwargs)

    def on_connection_close(self) -> None:
        """The client disconnected before the response."""
        self._client_gone.set()
        super().on_connection_close()

    def record_request(self) -> EndpointFault | None:
        """Record the request; return the fault to apply to it."""
        raise NotImplementedError

    async def prepare(self) -> None:
        """Record the request and apply its fault, then continue with the handler."""
        fault = self.record_request()
        if fault is not None:
            await self._apply(fault)
        if not self._finished:
            prepared = super().prepare()
            if prepared is not None:
                await prepared

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> Future[None]:
        """Send the response, or close the connection instead."""
        if not self.drops_response:
            return super().finish(chunk)
        self.detach().close()
        cut: Future[None] = Future()
        cut.set_result(None)
        return cut

    async def _apply(self, fault: EndpointFault) -> None:
        """Apply the fault; this may finish the request."""
        if fault.delay:
            await self._wait(asyncio.sleep(fault.delay))
        if fault.hold is not None:
            await self._wait(fault.hold.wait())
        if fault.never_responds:
            await self._client_gone.wait()
        if self._client_gone.is_set():
            self.detach()
            return
        self.drops_response = fault.drop_response
        if fault.drip:
            await self._stream(b" ", 10**9, pause=fault.drip)
        elif fault.huge:
            await self._stream(b"x" * _PIECE, fault.huge, prefix=b'{"filler": "', suffix=b'"}')
        elif fault.response is not None:
            self.set_status(fault.response.status)
            for name, value in fault.response.headers.items():
                self.set_header(name, value)
            self.finish(fault.response.body)

    async def _wait(self, something: Coroutine[object, object, object]) -> None:
        """Wait until `something` is done or the client disconnects."""
        waits = {asyncio.ensure_future(something), asyncio.ensure_future(self._client_gone.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _stream(
        self, piece: bytes, size: int, *, pause: float = 0.0, prefix: bytes = b"", suffix: bytes = b""
    ) -> None:
        self.set_header("Content-Type", "application/json")
        sent = 0
        try:
            self.write(prefix)
            while sent < size and not self._client_gone.is_set():
                self.write(piece)
                sent += len(piece)
                await self.flush()
                if pause:
                    await self._wait(asyncio.sleep(pause))
            await self.finish(suffix)
        except StreamClosedError:
            self._client_gone.set()
