"""A client's connection on asyncio's protocol interface: reads requests and passes them to their handlers.

One request at a time: while its response is under way, what the client sends is kept up to a limit, beyond
which reading pauses. Time limits are checked once a second by ConnectionServer, so a request sets no timer.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from http.client import responses
from typing import cast

import structlog
from tornado import httputil
from tornado.httputil import HTTPInputError

from portal.web.server.client_connection import (
    CHUNKS_AT_ONCE,
    PAUSE_SECONDS,
    SMALL_CHUNK,
    ClientConnection,
    Socket,
    is_established,
)
from portal.web.server.http_exchange import ClientContext, HttpExchange, RequestLimits, failed_write
from portal.web.server.lingering import LingeringConnections
from portal.web.server.request_error import RequestError, reason_of
from portal.web.server.request_fields import FieldsCache
from portal.web.server.request_parser import RequestHead, RequestParser
from portal.web.server.upgraded import UpgradedConnection

_log = structlog.get_logger("portal.connections")

_MOST_BUFFERED = 64 * 1024
"""Bytes that are kept while earlier ones are being processed; with more, reading pauses."""
_MOST_IN_A_ROW = 1024 * 1024
"""Bytes after which other connections get a turn: uvloop reads 256,000 bytes up to 32 times in a row."""
_COST_OF_CHUNKS = 256 * 1024
"""What `CHUNKS_AT_ONCE` chunks add to these bytes."""
_REFUSAL = (
    "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\nX-Content-Type-Options: nosniff\r\n"
    "Content-Length: {length}\r\nConnection: close\r\n\r\n"
)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_STOP_SECONDS = 5.0
"""A stop waits this long for the rest of a head, from its first byte."""


class HttpConnection(asyncio.Protocol, ClientConnection):
    """The connection of one client.

    Parameters: connection, the accepted socket; requests, which gets each request.
    """

    def __init__(
        self,
        connection: Socket,
        context: ClientContext,
        requests: httputil.HTTPServerConnectionDelegate,
        limits: RequestLimits,
        fields: FieldsCache,
        *,
        lingering: LingeringConnections,
        closed: Callable[[], None],
    ) -> None:
        ClientConnection.__init__(self, lingering=lingering, closed=closed)
        self._loop = asyncio.get_running_loop()
        self.socket = connection
        self.context = context
        self._requests = requests
        self._limits = limits
        self._parser = RequestParser(fields, limits.head_bytes)
        self._transport: asyncio.Transport | None = None
        self._exchange: HttpExchange | None = None
        self._is_upgraded = False
        self._closed = False
        self._paused = False
        self._in_a_row = 0
        """Bytes that were read since other connections got a turn."""
        self._has_head_begun = False
        self._batch = (0, 0)
        """How many chunks had been read when the current batch of them began, and the bytes since then."""
        self._waiting: asyncio.Future[None] | asyncio.TimerHandle | None = None
        """What must end before more of the request is processed: work of its handler, or a pause."""
        self._written: asyncio.Future[None] = self._loop.create_future()
        self._written.set_result(None)
        self._writable: asyncio.Future[None] | None = None
        self.deadline = self._loop.time() + limits.idle_seconds

    # --- the interface of ClientConnection

    def closed(self) -> bool:
        return self._closed

    def reading(self) -> bool:
        return self._waiting is None

    def writing(self) -> bool:
        return self._writable is not None

    def has_disconnected(self) -> bool:
        """Whether the client has disconnected while reading is paused, so that asyncio does not see it."""
        return self._paused and not is_established(self.socket)

    def sent(self) -> int:
        return self.written_bytes - (
            self._transport.get_write_buffer_size() if self._transport is not None else 0
        )

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """The same as that of HttpExchange; Tornado's streams have it too."""
        if self._exchange is not None:
            self._exchange.set_close_callback(callback)

    def close(self) -> None:
        if not self._closed:
            exchange = self._exchange
            self._end()
            if exchange is not None:  # later: the caller may be its handler
                self._loop.call_soon(exchange.report_close)

    def _end(self) -> None:
        """Close the socket, or let it linger, without a report to the handler."""
        self._closed = True
        self._exchange = None
        self.deadline = None
        if isinstance(self._waiting, asyncio.TimerHandle):
            self._waiting.cancel()
        lingering = self._duplicate() if self._writable is None and self.must_linger() else None
        if lingering is not None:
            self.lingering.add(lingering, self.on_closed)
        else:
            self.on_closed()
        if self._transport is not None:
            self._transport.abort()
        if self._writable is not None:
            failed_write(self._writable)
        self.release_waiting()

    def _duplicate(self) -> socket.socket | None:
        """Another descriptor of the socket, to linger with; None when the process has no more of them."""
        try:
            return self.socket.dup()
        except OSError:
            return None

    # --- asyncio's protocol interface

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)  # `writing` whenever the kernel did not take all
        if self._closed:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        self.count_received(len(data))
        self._in_a_row += len(data)
        self._parser.receive(data)
        self._process()

    def eof_received(self) -> bool | None:
        """Without an upgrade, a client that ends its direction has disconnected."""
        self.client_ended = True
        self.close()
        return None

    def connection_lost(self, error: Exception | None) -> None:
        self.client_ended = True
        self.close()

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)
        if self._exchange is not None and self._exchange.is_finished:
            self.response_finished(self._exchange)

    # --- requests

    def _process(self) -> None:
        """Process what has arrived, until something must be awaited."""
        self._guarded(self._advance)

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except HTTPInputError as error:
            self._refuse(error)
        except Exception as error:  # noqa: BLE001 - a failing handler must not affect other connections
            _log.error("request_failed", exc_info=error)
            self.close()
        self._control_reading()

    def _control_reading(self) -> None:
        """Pause reading while enough is buffered, and let other connections go first after long reads."""
        if self._transport is None or self._closed or self._is_upgraded:
            return
        gives_way = self._in_a_row > _MOST_IN_A_ROW
        if gives_way:
            self._in_a_row = 0
            self._loop.call_soon(self._control_reading)
        pauses = gives_way or self._parser.buffered > _MOST_BUFFERED
        if pauses is not self._paused:
            self._paused = pauses
            (self._transport.pause_reading if pauses else self._transport.resume_reading)()

    def _advance(self) -> None:
        while self._waiting is None and self._parser.buffered and not self._closed and not self._is_upgraded:
            exchange = self._exchange
            if exchange is None:
                head = self._parser.read_head()
                if head is None:
                    if not self._has_head_begun:
                        self._has_head_begun = True
                        self.deadline = self._loop.time() + self._limits.head_seconds
                    return
                self._begin(head)
                if self._exchange is None:  # `response_finished` goes on, after other connections
                    return
            elif exchange.request_complete:
                return
            else:
                self._read_body(exchange)

    def _begin(self, head: RequestHead) -> None:
        self.deadline, self._has_head_begun = None, False
        self.begin_request(body=head.length != 0)
        self._batch = (0, 0)
        self._exchange = exchange = HttpExchange(self, head, self._limits)
        exchange.delegate = delegate = self._requests.start_request(self, exchange)
        self._after(delegate.headers_received(head.start_line, head.headers), self._head_delivered)

    def _head_delivered(self) -> None:
        exchange = self._exchange
        if exchange is None or self._is_upgraded:
            return
        if self._parser.complete:
            self._complete(exchange)
            return
        if (exchange.head.length or 0) > exchange.max_body_size:
            raise RequestError("the body of the request is too long", status=413)
        self.deadline = self._loop.time() + exchange.body_seconds
        if exchange.head.expects_continue and not exchange.has_head and not self._parser.buffered:
            self.write(_CONTINUE)

    def _read_body(self, exchange: HttpExchange) -> None:
        first, size = self._batch
        most = first + CHUNKS_AT_ONCE
        if self.max_chunks is not None:
            most = min(most, self.max_chunks + 1)
        body = self._parser.read_body(most - self._parser.chunks)
        self._batch = (first, size + len(body))
        exchange.body_bytes += len(body)
        if self.max_chunks is not None and self._parser.chunks > self.max_chunks:
            raise RequestError("the body of the request has too many chunks", status=413)
        if exchange.body_bytes > exchange.max_body_size:
            raise RequestError("the body of the request is too long", status=413)
        self._after(exchange.delegate.data_received(body) if body else None, self._body_delivered)

    def _body_delivered(self) -> None:
        first, size = self._batch
        if self._exchange is None:
            return
        if self._parser.complete:
            self._complete(self._exchange)
        elif self._parser.chunks - first >= CHUNKS_AT_ONCE:
            self._batch = (self._parser.chunks, 0)
            self._in_a_row += _COST_OF_CHUNKS
            if size < CHUNKS_AT_ONCE * SMALL_CHUNK:
                self._pause()

    def _pause(self) -> None:
        """Small chunks cost more than they bring: let other connections go first."""
        self._waiting = self._loop.call_later(PAUSE_SECONDS, self._pause_ended)

    def _pause_ended(self) -> None:
        self._waiting = None
        self._process()

    def _complete(self, exchange: HttpExchange) -> None:
        exchange.request_complete = True
        self.body_incomplete = False
        self.deadline = None
        exchange.delegate.finish()

    def _after(self, result: Awaitable[None] | None, then: Callable[[], None]) -> None:
        """Continue with `then` when the handler has processed what it got."""
        if result is None:
            then()
            return

        def ended(task: asyncio.Future[None]) -> None:
            self._waiting = None
            if task.cancelled() or self._closed:
                self.close()
                _ = task.cancelled() or task.exception()
                return
            self._guarded(resumed)

        def resumed() -> None:
            task.result()
            then()
            self._advance()

        self._waiting = task = asyncio.ensure_future(result)
        task.add_done_callback(ended)

    def _refuse(self, error: HTTPInputError) -> None:
        """Respond to an invalid request and close; what follows it must not be taken for a request."""
        status = error.status if isinstance(error, RequestError) else 400
        _log.info("request_refused", client=self.context.remote_ip, status=status, reason=reason_of(error))
        if self._exchange is not None and self._exchange.has_head:
            self.abort()
            return
        body = f"{status} {responses[status]}\n"
        head = _REFUSAL.format(status=status, reason=responses[status], length=len(body))
        self.write((head + body).encode("ascii"))
        self.body_incomplete = True  # the client may still be sending
        self.close()

    # --- responses

    def write(self, data: bytes) -> asyncio.Future[None]:
        """Write bytes; the result is done when the kernel has taken them."""
        if self._closed or self._transport is None:
            return failed_write(self._loop.create_future())
        self.responding = True
        self.written_bytes += len(data)
        self._transport.write(data)
        return self._writable or self._written

    def write_pieces(self, pieces: Sequence[bytes]) -> asyncio.Future[None]:
        """Write several pieces at once, without copying them."""
        if self._closed or self._transport is None:
            return failed_write(self._loop.create_future())
        self.responding = True
        self.written_bytes += sum(map(len, pieces))
        self._transport.writelines(pieces)
        if self._writable is None and self._transport.get_write_buffer_size():
            # `writelines` of Python 3.12.0 to 3.12.8, 3.13.0 and 3.13.1 does not call `pause_writing`.
            self._transport.set_write_buffer_limits(high=0)
        return self._writable or self._written

    def response_finished(self, exchange: HttpExchange) -> None:
        """Go on to the next request when the kernel has taken the response, or close the connection."""
        if exchange is not self._exchange or self._writable is not None:
            return
        if exchange.close_after or not exchange.request_complete:
            self._end()
            return
        self._exchange = None
        self.await_request()
        self.deadline = self._loop.time() + self._limits.idle_seconds
        if self._parser.buffered:
            self._loop.call_soon(self._process)

    # --- another protocol

    @property
    def has_begun(self) -> bool:
        """Whether a request, or a part of a head that is not late, has arrived since the last response."""
        if self._exchange is not None or self._is_upgraded:
            return True
        if not self._has_head_begun or self.deadline is None:
            return self._parser.buffered > 0
        return self._loop.time() < self.deadline - self._limits.head_seconds + _STOP_SECONDS

    def upgrade(self, protocol: asyncio.Protocol, memory: memoryview | None) -> asyncio.Transport:
        """See HttpExchange.upgrade."""
        exchange, transport = self._exchange, self._transport
        if exchange is None or transport is None or exchange.has_head or not self._parser.complete:
            raise RuntimeError("only a request without a body and without a response can be upgraded")
        self._exchange, self._is_upgraded, self.deadline = None, True, None
        transport.set_protocol(UpgradedConnection(self, protocol, memory))
        if self._paused:
            self._paused = False
            transport.resume_reading()
        protocol.connection_made(transport)
        rest = self._parser.take_rest()
        if rest:
            self._loop.call_soon(protocol.data_received, rest)
        return transport
