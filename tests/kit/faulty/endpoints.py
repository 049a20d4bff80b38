"""Making one endpoint of a development server misbehave."""

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
    """A response given instead of the true one: a status, a redirect, broken JSON, compressed bytes."""

    status: int = 500
    body: bytes = b'{"error": "server_error"}'
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


@dataclass(slots=True)
class EndpointFault:
    """What goes wrong at one endpoint. Several can be set at once; they happen in the order below.

    A request whose client goes away while it waits is dropped and changes nothing.
    """

    delay: float = 0.0
    """Seconds to wait before the request is looked at."""
    hold: asyncio.Event | None = None
    """Wait for this event before the request is looked at: a slow response without a clock."""
    never_responds: bool = False
    """Keep the connection open and say nothing."""
    drip: float = 0.0
    """Seconds between the bytes of a response that never ends."""
    huge: int = 0
    """Bytes of an endless-looking JSON text, streamed."""
    response: Response | None = None
    """A response given in place of the true one; the request has no effect."""
    drop_response: bool = False
    """Handle the request, then cut the connection in place of the response."""
    remaining: int | None = None
    """How many more requests it applies to; None: until it is cleared."""

    def apply(self) -> bool:
        """Whether the fault is to happen now; counts `remaining` down."""
        if self.remaining is None:
            return True
        self.remaining -= 1
        return self.remaining >= 0


class EndpointFaults:
    """Faults by endpoint name; an endpoint without an entry behaves."""

    def __init__(self) -> None:
        self._by_endpoint: dict[str, EndpointFault] = {}

    def __setitem__(self, endpoint: str, fault: EndpointFault) -> None:
        self._by_endpoint[endpoint] = fault

    def __delitem__(self, endpoint: str) -> None:
        del self._by_endpoint[endpoint]

    def clear(self) -> None:
        """Every endpoint behaves again. Requests that are waiting go on waiting."""
        self._by_endpoint.clear()

    def due(self, endpoints: Iterable[str]) -> EndpointFault | None:
        """The fault to happen at the first of these endpoints that has one."""
        for endpoint in endpoints:
            fault = self._by_endpoint.get(endpoint)
            if fault is not None and fault.apply():
                return fault
        return None


class FaultyHandler(RequestHandler):
    """What a request handler is mixed with so that an EndpointFault can act on it.

    `drops_response` says whether the response of this request gets lost.
    """

    def __init__(self, application: Application, request: HTTPServerRequest, **kwargs: Any) -> None:
        self._client_gone = asyncio.Event()
        self.drops_response = False
        super().__init__(application, request, **kwargs)

    def on_connection_close(self) -> None:
        """The client went away before its response."""
        self._client_gone.set()
        super().on_connection_close()

    def arrive(self) -> EndpointFault | None:
        """Record the request; return the fault that is to happen to it."""
        raise NotImplementedError

    async def prepare(self) -> None:
        """Record the request and let its fault happen, then go on as the handler does."""
        fault = self.arrive()
        if fault is not None:
            await self._suffer(fault)
        if not self._finished:
            prepared = super().prepare()
            if prepared is not None:
                await prepared

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> Future[None]:
        """Send the response, or cut the connection in its place."""
        if not self.drops_response:
            return super().finish(chunk)
        self.detach().close()
        cut: Future[None] = Future()
        cut.set_result(None)
        return cut

    async def _suffer(self, fault: EndpointFault) -> None:
        """Let the fault happen; afterwards the request may be finished already."""
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
        """Wait for something, but no longer than the client does."""
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
