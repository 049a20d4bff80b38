"""One HTTP/1.1 connection of the guarded client, on asyncio's protocol interface.

A connection carries one request at a time. It is used again only when nothing about the last response was
odd; a byte that arrives while no request is under way closes it (THREATS S7a). That is the rule for changes:
whatever is not understood completely ends with `close`, never with the next request.

What HTTP/1.1 cannot tell apart is a stray response that arrives after the next request was sent. It stays
within one tenant and destination, since nobody else uses the connection, and the response that it displaces
closes it.
"""

from __future__ import annotations

import asyncio
import select
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import cast

from portal.errors import OutboundFailed, OutboundTimeout
from portal.outbound.read_budget import ReadBudget
from portal.outbound.request import OutboundRequest
from portal.outbound.response_parser import ResponseHead, ResponseParser
from portal.outbound.stream import OutboundStream

READ_BYTES = 65_536
"""Bytes that one callback of the event loop reads and parses at most."""
_WRITE_HIGH_WATER = 65_536
_SMALL_READ_BYTES = 8_192
"""The same for a server that has just sent small pieces."""
_FIRST_READ_BYTES = 4_096
"""The same before it is known how long a read takes: TLS records may be of one byte each."""
_LEAST_READ_BYTES = 1_024
_READ_SECONDS = 0.003
"""Time of the event loop's thread that a read may take, by the pace of the one before."""
_SMALL_PIECE = 512
"""Bytes; a read whose pieces are smaller on average is charged to the tenant's `ReadBudget`."""
_SLOW_READ = 0.0005
_SLOW_BYTE = 2e-8
"""Seconds for a read and for each byte of it; one that takes longer is charged, too: it is not said how many
records TLS has opened for it."""
_FREE_READS = 16
"""Reads of a response that are not charged: many small responses are paid for by as many requests."""
_TURNS_TO_READ = 3
"""Turns of the event loop in which it reads what has arrived."""


def _next_read_bytes(nbytes: int, seconds: float, *, has_small_pieces: bool) -> int:
    """How many bytes a connection reads at once, after a read of so many that took so long."""
    most = _SMALL_READ_BYTES if has_small_pieces else READ_BYTES
    at_this_pace = int(nbytes * _READ_SECONDS / max(seconds, 1e-6))
    return min(most, max(_LEAST_READ_BYTES, at_this_pace))


class ConnectionClosedEarly(OutboundFailed):
    """The connection was closed before a byte of the response came."""


@dataclass(slots=True)
class _Exchange:
    """A request under way and its response."""

    method: str
    head_timeout: float
    idle_timeout: float
    transport: asyncio.Transport
    parser: ResponseParser
    head: asyncio.Future[OutboundStream]
    stream: OutboundStream | None = None
    head_timer: asyncio.TimerHandle | None = None
    upload: asyncio.Task[None] | None = None
    reads: int = 0


class Connection(asyncio.BufferedProtocol):
    """A connection to one origin, for one tenant.

    Parameters: budget, of the tenant; on_free, called when the response has been received and the connection
    can carry the next request; on_closed, called once when the connection is gone.
    """

    def __init__(
        self,
        budget: ReadBudget,
        on_free: Callable[[Connection], None],
        on_closed: Callable[[Connection], None],
    ) -> None:
        self._budget = budget
        self._on_free = on_free
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._memory = memoryview(bytearray(READ_BYTES))
        self._transport: asyncio.Transport | None = None
        self._exchange: _Exchange | None = None
        self._writable: asyncio.Future[None] | None = None
        self._body_paused = False
        self._pause: asyncio.Handle | None = None
        self._read_bytes = _FIRST_READ_BYTES
        self._read_began = 0.0
        self.closed = False
        self.requests = 0
        """Requests that were sent on it."""
        self.idle_since = 0.0
        """When it became free, on the loop's clock."""

    # --- the request

    async def send(self, request: OutboundRequest, head: bytes) -> OutboundStream:
        """Send a request, of which `head` is the written head, and wait for the head of its response.

        Raises: ConnectionClosedEarly, OutboundTimeout, OutboundFailed; what the body raised.
        """
        self.requests += 1
        transport = self._transport
        if self.closed or transport is None:
            raise ConnectionClosedEarly("the connection was closed")
        self._exchange = exchange = _Exchange(
            request.method,
            request.head_timeout,
            request.idle_timeout,
            transport,
            ResponseParser(request.method),
            self._loop.create_future(),
        )
        if request.body is None or isinstance(request.body, bytes):
            transport.write(head + request.body if request.body else head)
            self._start_head_timer(exchange)
        else:
            transport.write(head)
            exchange.upload = asyncio.ensure_future(
                self._send_body(exchange, request.body, request.declared_length())
            )
            exchange.upload.add_done_callback(lambda upload: self._upload_ended(exchange, upload))
        try:
            return await exchange.head
        except BaseException:
            if self._exchange is exchange:  # else the response has ended, and the connection may be another's
                self.close()
            raise
        finally:
            if exchange.head_timer is not None:
                exchange.head_timer.cancel()

    async def _send_body(self, exchange: _Exchange, body: AsyncIterator[bytes], length: int | None) -> None:
        write, sent = exchange.transport.write, 0
        async for piece in body:
            if not piece:
                continue
            await self._read_first()
            sent += len(piece)
            if length is None:
                write(b"%x\r\n%b\r\n" % (len(piece), piece))
            elif sent > length:
                raise OutboundFailed("the body is longer than its Content-Length")
            else:
                write(piece)
            await self._wait_until_writable(exchange.idle_timeout)
        if length is None:
            write(b"0\r\n\r\n")
        elif sent < length:
            raise OutboundFailed("the body is shorter than its Content-Length")

    async def _read_first(self) -> None:
        """Let an early response be read before more is written.

        A server that closes with unread data resets the connection; the next write would then fail, and
        the event loop would drop the response that has arrived already.
        """
        for _ in range(_TURNS_TO_READ):
            if self._has_read_all():
                return
            await asyncio.sleep(0)

    async def _wait_until_writable(self, seconds: float) -> None:
        if self._writable is None:
            return
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(self._writable)
        except TimeoutError:
            raise OutboundTimeout(f"the server has not taken the body for {seconds:g} s") from None

    def _upload_ended(self, exchange: _Exchange, upload: asyncio.Task[None]) -> None:
        if upload.cancelled():
            return
        error = upload.exception()
        if error is None:
            exchange.upload = None
        if exchange.head.done():
            return
        if error is None:
            self._start_head_timer(exchange)
        else:
            self._fail(error)

    def _start_head_timer(self, exchange: _Exchange) -> None:
        seconds = exchange.head_timeout
        exchange.head_timer = self._loop.call_later(
            seconds, lambda: self._fail(OutboundTimeout(f"no response within {seconds:g} s"))
        )

    def is_quiet(self) -> bool:
        """Whether nothing has arrived since the last response; asked before each request.

        When the response is no, the connection must be closed: a byte may have been taken and dropped.
        """
        return self._has_read_all() and self._tls_holds_nothing()

    def _has_read_all(self) -> bool:
        """Whether nothing has arrived that the event loop has not read yet."""
        if self.closed or self._transport is None:
            return False
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not poll.poll(0)

    def _tls_holds_nothing(self) -> bool:
        """Whether TLS keeps no bytes back: it reads on from the socket while the protocol pauses."""
        tls = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        if tls is None:
            return True
        try:
            tls.read(1)
        except ssl.SSLWantReadError:
            return True
        except ssl.SSLError:
            return False
        return False

    # --- the response

    def get_buffer(self, sizehint: int) -> memoryview:
        self._read_began = time.thread_time()  # what comes before buffer_updated is TLS opening its records
        return self._memory[: self._read_bytes]

    def buffer_updated(self, nbytes: int) -> None:
        exchange = self._exchange
        if exchange is None:
            self.close()
            return
        exchange.reads += 1
        try:
            body = exchange.parser.feed(bytes(self._memory[:nbytes]))
        except OutboundFailed as error:
            self._fail(error)
            return
        seconds = time.thread_time() - self._read_began
        is_slow = seconds > _SLOW_READ + nbytes * _SLOW_BYTE
        has_small_pieces = is_slow or nbytes < _SMALL_PIECE * exchange.parser.pieces
        self._read_bytes = _next_read_bytes(nbytes, seconds, has_small_pieces=has_small_pieces)
        if is_slow or (has_small_pieces and exchange.reads > _FREE_READS):
            self._charge(seconds)
        if nbytes == READ_BYTES and self._pause is None:
            # The event loop would read on at once, up to 32 times; let others have their turn between.
            self._pause = self._loop.call_soon(self._pause_ended)
            self._apply_pauses()
        self._deliver(exchange, body)

    def eof_received(self) -> None:
        self._connection_ended()
        self.close()

    def _connection_ended(self) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        try:
            exchange.parser.feed_eof()
        except OutboundFailed as error:
            early = ConnectionClosedEarly("the connection was closed without a response")
            self._fail(error if exchange.reads else early)
            return
        self._deliver(exchange, b"")

    def _deliver(self, exchange: _Exchange, body: bytes) -> None:
        head = exchange.parser.head
        if head is None:
            return
        stream = exchange.stream or self._head_arrived(exchange, head)
        stream.receive(body)
        if exchange.parser.complete:
            self._exchange = None
            stream.end()
            self._response_ended(exchange)

    def _head_arrived(self, exchange: _Exchange, head: ResponseHead) -> OutboundStream:
        stream = OutboundStream(head, self, idle_timeout=exchange.idle_timeout)
        exchange.stream = stream
        if exchange.upload is not None:
            exchange.upload.cancel()  # the server has decided without the rest
        if not exchange.head.done():
            exchange.head.set_result(stream)
        return stream

    def _response_ended(self, exchange: _Exchange) -> None:
        parser = exchange.parser
        sent = exchange.upload is None and exchange.transport.get_write_buffer_size() == 0
        if self.closed or not sent or not parser.persistent or parser.surplus:
            self.close()
            return
        self.resume_body()
        self.idle_since = self._loop.time()
        self._on_free(self)

    # --- pauses of reading

    def pause_body(self) -> None:
        """Stop reading: enough of the body waits to be taken."""
        self._body_paused = True
        self._apply_pauses()

    def resume_body(self) -> None:
        """Read on."""
        if self._body_paused:
            self._body_paused = False
            self._apply_pauses()

    def _charge(self, seconds: float) -> None:
        """A server that sends small pieces is read less often: each read has more, and others get on."""
        pause = self._budget.spend(seconds, self._loop.time())
        if pause and self._pause is None:
            self._pause = self._loop.call_later(pause, self._pause_ended)
            self._apply_pauses()

    def _pause_ended(self) -> None:
        self._pause = None
        self._apply_pauses()

    def _apply_pauses(self) -> None:
        if self.closed or self._transport is None:
            return
        if self._body_paused or self._pause is not None:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # --- the end

    def close(self) -> None:
        """Close at once; a request under way fails."""
        if not self.closed:
            self._fail(OutboundFailed("the connection was closed"))

    def _fail(self, error: BaseException) -> None:
        """Close at once, and let the request under way fail with an error."""
        exchange, self._exchange = self._exchange, None
        if not self.closed:
            self.closed = True
            if self._pause is not None:
                self._pause.cancel()
            if self._transport is not None:
                self._transport.abort()
        if exchange is None:
            return
        if exchange.upload is not None:
            exchange.upload.cancel()
        if exchange.stream is not None:
            exchange.stream.end(error)
        elif not exchange.head.done():
            exchange.head.set_exception(error)

    # --- asyncio's protocol interface

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH_WATER)
        if self.closed:
            self._transport.abort()

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if error is None:
            self._connection_ended()
        else:
            received = self._exchange is not None and self._exchange.reads > 0
            kind = OutboundFailed if received else ConnectionClosedEarly
            self._fail(kind(f"the connection broke: {type(error).__name__}"))
        self.close()
        self.resume_writing()
        self._on_closed(self)
