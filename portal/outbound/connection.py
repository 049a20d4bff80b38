"""One HTTP/1.1 connection of the outbound client, on asyncio's protocol interface.

A connection carries one request at a time. It is reused only after a response without any irregularity; a
byte that arrives while no request is in progress closes it (THREATS S7a). Rule for changes: when a server
sends anything that this module does not fully understand, close the connection; never reuse it.

HTTP/1.1 cannot detect an unsolicited response that arrives after the next request was sent. The damage stays
within one tenant and destination, since no other uses the connection, and the real response to that request
then closes it.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Sequence
from typing import cast

from portal.errors import OutboundFailed, OutboundTimeout
from portal.outbound.exchange import ConnectionClosedEarly, Exchange
from portal.outbound.read_budget import ReadBudget
from portal.outbound.read_pace import READ_BYTES, TLS_READ_BYTES, ReadPace
from portal.outbound.request import OutboundRequest
from portal.outbound.response_parser import ResponseHead, ResponseParser
from portal.outbound.stream import OutboundStream
from portal.outbound.time_limit import TimeLimit
from portal.outbound.tls_connection import TlsConnection
from portal.outbound.tunnel import Tunnel
from portal.outbound.unacknowledged import LEAST_SECONDS, UnacknowledgedLimit
from portal.outbound.unread_data import UnreadData
from portal.outbound.upload import Upload

_WRITE_HIGH_WATER = 65_536
_MOST_TLS_REPLIES = 4_096
"""Bytes that TLS may send by itself on a connection: replies to messages that a server can repeat forever."""


class Connection(asyncio.BufferedProtocol):
    """A connection to one origin, for one tenant.

    Parameters: budget, of the tenant; memory, to read into: all connections of an event loop share it; tls,
    with a complete handshake, or None for plain http; on_free, called when the response has been received and
    the connection can carry the next request; on_closed, called once when the connection is closed.
    """

    def __init__(
        self,
        budget: ReadBudget,
        memory: memoryview,
        tls: TlsConnection | None,
        on_free: Callable[[Connection], None],
        on_closed: Callable[[Connection], None],
    ) -> None:
        self._budget = budget
        self._tls = tls
        self._on_free = on_free
        self._on_closed = on_closed
        self.loop = asyncio.get_running_loop()
        self._pace = ReadPace(READ_BYTES if tls is None else TLS_READ_BYTES)
        self._memory = memory
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self.writable: asyncio.Future[None] | None = None
        """Done when the transport takes more data; None when it does so now."""
        self._body_paused = False
        self._pause: asyncio.Handle | None = None
        self._head_limit = TimeLimit(self._head_is_late)
        self._unread: UnreadData | None = None
        self._tls_replies = 0
        self._rest = b""
        """Bytes that were read and will be processed when the pause ends."""
        self._tunnel: Tunnel | None = None
        self._awaits_turn = False
        """Whether what was read from a tunnel waits for its turn."""
        self._ends_after_rest = False
        """Whether the server has ended the connection, and `_rest` comes before that end."""
        self.closed = False
        self.requests = 0
        """Number of requests sent on it."""
        self.idle_since = 0.0
        """When it became free, on the loop's clock."""
        self.unacknowledged: UnacknowledgedLimit | None = None

    # --- the request

    async def send(self, request: OutboundRequest, head: bytes) -> OutboundStream:
        """Send a request, whose serialized head is `head`, and wait for the head of the response.

        Raises: ConnectionClosedEarly, OutboundTimeout, OutboundFailed; any exception of the body's iterator.
        """
        self.requests += 1
        transport = self._transport
        if self.closed or transport is None:
            raise ConnectionClosedEarly("the connection was closed")
        self._limit_unacknowledged(max(request.head_timeout, request.idle_timeout))
        self._pace.begin_response()
        self._exchange = exchange = Exchange(
            request.method,
            request.head_timeout,
            request.idle_timeout,
            transport,
            ResponseParser(request.method, accepts_upgrade=request.handshake is not None),
            self.loop.create_future(),
            request.handshake,
        )
        try:
            if request.body is None or isinstance(request.body, bytes):
                self._write(exchange, head + request.body if request.body else head)
                self._head_limit.start(exchange.head_timeout)
            else:
                self._write(exchange, head)
                length, idle_timeout = request.declared_length(), exchange.idle_timeout
                exchange.upload = Upload(self, request.body, length=length, idle_timeout=idle_timeout)
                exchange.upload.start(lambda error: self._upload_ended(exchange, error))
            return await exchange.head
        except BaseException:
            if self._exchange is exchange:  # else the response is complete; another request may use this
                self.close()
            raise

    def _limit_unacknowledged(self, seconds: float) -> None:
        if self.unacknowledged is not None:
            self.unacknowledged.allow(seconds)

    def _write(self, exchange: Exchange, data: bytes) -> None:
        exchange.transport.write(data if self._tls is None else self._tls.encrypt(data))

    def write_body(self, pieces: Sequence[bytes]) -> None:
        """Write pieces of the request's body. Raises: OutboundFailed."""
        transport = self._transport
        if self.closed or transport is None:
            raise OutboundFailed("the connection was closed")
        if self._tls is not None:
            transport.write(self._tls.encrypt(b"".join(pieces)))
        elif len(pieces) == 1:
            transport.write(pieces[0])
        else:
            transport.writelines(pieces)
            if self.writable is None and transport.get_write_buffer_size() > _WRITE_HIGH_WATER:
                # `writelines` of Python 3.12.0 to 3.12.8, 3.13.0 and 3.13.1 does not call `pause_writing`.
                transport.set_write_buffer_limits(high=_WRITE_HIGH_WATER)

    def _upload_ended(self, exchange: Exchange, error: BaseException | None) -> None:
        if error is None:
            exchange.upload = None
        if exchange.head.done():
            return
        if error is None:
            self._head_limit.start(exchange.head_timeout)
        else:
            self.fail(error)

    def _head_is_late(self) -> None:
        seconds = self._exchange.head_timeout if self._exchange is not None else 0.0
        self.fail(OutboundTimeout(f"no response within {seconds:g} s"))

    def is_quiet(self) -> bool:
        """Whether no data has arrived since the last response; checked before each request.

        When it is false, the caller must close the connection. TLS buffers no complete record; the rest of
        an incomplete one still has to arrive and is noticed then.
        """
        return not self._rest and self.has_read_all()

    def has_read_all(self) -> bool:
        """Whether the event loop has read all data that has arrived."""
        if self.closed or self._transport is None:
            return False
        if self._unread is None:
            self._unread = UnreadData(self._transport)
        return not self._unread.is_there()

    # --- the response

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._memory[: self._pace.next_bytes]

    def buffer_updated(self, nbytes: int) -> None:
        received = bytes(self._memory[:nbytes])
        if self._tunnel is None:
            self._take(received)
        elif self._awaits_turn:
            self._rest += received
            self._apply_pauses()
        elif self._tunnel.may_receive(self):
            self._take(received)
        else:
            self._rest, self._awaits_turn = received, True

    def take_turn(self) -> None:
        """Process what was read from a tunnel, even before TLS: decrypting is most of the work."""
        if self._awaits_turn:
            self._awaits_turn = False
            self._pause_ended()

    def _take(self, received: bytes) -> None:
        """Process received bytes; if the TLS records are tiny, some now and the rest in later iterations."""
        began = time.thread_time()
        if self._tls is not None:
            end = self._tls.end_of_turn(received)
            received, self._rest = received[:end], received[end:]
        exchange, body = self._exchange, b""
        data = received if self._tls is None else self._tls.decrypt(received)
        if data:
            if exchange is None:
                self.close()
                return
            exchange.has_begun = True
            try:
                body = exchange.parser.feed(data)
            except OutboundFailed as error:
                self.fail(error)
                return
        pieces = self._tls.records if self._tls is not None else 1
        if exchange is not None:
            pieces = max(pieces, exchange.parser.pieces)
        seconds = time.thread_time() - began
        if self._pace.is_charged(len(received), len(data), pieces, seconds):
            self._charge(seconds)
        if (self._rest or len(received) == self._pace.most) and self._pause is None:
            # The event loop would read again at once, up to 32 times; let other tasks run in between.
            self._pause = self.loop.call_soon(self._pause_ended)
            self._apply_pauses()
        if exchange is not None and data:
            self._deliver(exchange, body)
        if self._tls is not None:
            self._handle_tls(self._tls)

    def _handle_tls(self, tls: TlsConnection) -> None:
        """Send the messages of TLS itself; close the connection when TLS has failed or ended."""
        reply = tls.outgoing()
        if reply and self._transport is not None and not self.closed:
            self._tls_replies += len(reply)
            self._transport.write(reply)
        if self._tls_replies > _MOST_TLS_REPLIES:
            self.fail(OutboundFailed("the server sent too many TLS messages without data"))
        elif tls.failure is not None:
            self._connection_failed(tls.failure)
        elif tls.ended:
            self.eof_received()

    def eof_received(self) -> bool:
        self.take_turn()
        tls_open = self._tls is not None and not self._tls.ended
        self._ends_after_rest = tls_open and not self.closed and bool(self._rest)
        if not self._ends_after_rest:
            self._connection_ended()
            self.close()
        return self._ends_after_rest

    def _connection_ended(self) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        try:
            exchange.parser.feed_eof(is_certain=self._tls is None or self._tls.ended)
        except OutboundFailed as error:
            early = ConnectionClosedEarly("the connection was closed without a response")
            self.fail(error if exchange.has_begun else early)
            return
        self._deliver(exchange, b"")

    def _deliver(self, exchange: Exchange, body: bytes) -> None:
        head = exchange.parser.head
        if head is None:
            return
        try:
            stream = exchange.stream or self._head_arrived(exchange, head)
        except OutboundFailed as error:
            self.fail(error)
            return
        stream.receive(body)
        if exchange.parser.complete:
            self._exchange = None
            stream.end()
            self._response_ended(exchange)

    def _head_arrived(self, exchange: Exchange, head: ResponseHead) -> OutboundStream:
        if head.status == 101 and exchange.handshake is not None:
            self._tunnel = tunnel = Tunnel(head, self, exchange.handshake.choice(head))
            stream: OutboundStream = tunnel
            exchange.transport.set_write_buffer_limits(high=0)
            self._limit_unacknowledged(LEAST_SECONDS)
        else:
            stream = OutboundStream(head, self, idle_timeout=exchange.idle_timeout)
        exchange.stream = stream
        self._head_limit.stop()
        if self._tls is None and not exchange.parser.is_chunked and head.status != 101:
            self._pace.allow_large_reads()
        if exchange.upload is not None:
            exchange.upload.cancel()  # the server responded without reading the rest
        if not exchange.head.done():
            exchange.head.set_result(stream)
        return stream

    def _response_ended(self, exchange: Exchange) -> None:
        parser = exchange.parser
        sent = exchange.upload is None and exchange.transport.get_write_buffer_size() == 0
        if self.closed or not sent or not parser.persistent or parser.surplus:
            self.close()
            return
        self.resume_body()
        self.idle_since = self.loop.time()
        self._on_free(self)

    # --- pauses of reading

    def pause_body(self) -> None:
        """Stop reading: enough of the body is buffered."""
        self._body_paused = True
        self._apply_pauses()

    def resume_body(self) -> None:
        """Continue to read."""
        if self._body_paused:
            self._body_paused = False
            self._apply_pauses()

    def _charge(self, seconds: float) -> None:
        """Charge a read of small pieces; the pause lets each later read get more and other tasks run."""
        pause = self._budget.spend(seconds, self.loop.time())
        if pause and self._pause is None:
            self._pause = self.loop.call_later(pause, self._pause_ended)
            self._apply_pauses()

    def _pause_ended(self) -> None:
        self._pause = None
        if self._rest and not self.closed:
            rest, self._rest = self._rest, b""
            self._take(rest)
        if self._ends_after_rest:
            self.eof_received()
        self._apply_pauses()

    def _apply_pauses(self) -> None:
        if self.closed or self._transport is None or self._ends_after_rest:
            return
        if self._body_paused or self._pause is not None or self._awaits_turn:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # --- the end

    def close(self) -> None:
        """Close at once; a request in progress fails."""
        if not self.closed:
            self.fail(OutboundFailed("the connection was closed"))

    def fail(self, error: BaseException) -> None:
        """Close at once; a request in progress fails with this error."""
        exchange, self._exchange = self._exchange, None
        if not self.closed:
            self.closed = True
            self._head_limit.close()
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

    def _connection_failed(self, error: Exception) -> None:
        received = self._exchange is not None and self._exchange.has_begun
        kind = OutboundFailed if received else ConnectionClosedEarly
        reason = f" ({error.reason})" if isinstance(error, ssl.SSLError) and error.reason else ""
        self.fail(kind(f"the connection failed: {type(error).__name__}{reason}"))

    # --- asyncio's protocol interface

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH_WATER)
        if self.closed:
            self._transport.abort()

    def pause_writing(self) -> None:
        self.writable = self.loop.create_future()

    def resume_writing(self) -> None:
        writable, self.writable = self.writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self.take_turn()
        if error is None:
            self._connection_ended()
        else:
            self._connection_failed(error)
        self.close()
        self.resume_writing()
        self._on_closed(self)
