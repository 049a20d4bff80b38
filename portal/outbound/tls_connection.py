"""TLS of one outgoing connection: OpenSSL on memory buffers, without I/O (decision 042).

The handshake runs on the plain socket, its steps in threads, before the event loop gets a transport for it.
Afterwards `Connection` calls `decrypt` for the bytes it reads and `encrypt` for those it writes. Rule for
changes: work that a server can make slow belongs in `handshake_step`; nothing else may use the object then.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from portal.errors import OutboundFailed
from portal.outbound.handshake_budget import HandshakeTurn
from portal.outbound.request import Origin
from portal.outbound.tls_sessions import TlsSessions

_RECORD_BYTES = 16_384
"""The largest plaintext of one record (RFC 8446 5.1)."""
_RECEIVE_BYTES = 16_384
"""The most bytes of a handshake to read at once; the rest stays in the socket."""


RECORDS_AT_ONCE = 256
"""Records to decrypt in one iteration of the event loop; a key update of 27 bytes takes up to 21 us."""
_HEAD_BYTES = 5
"""Size of a record's header: type, version, and length in two bytes (RFC 8446 5.1)."""


class TlsConnection:
    """Both directions of one TLS connection. Only one thread may use it at a time.

    Parameters: host_name, the server's certificate must be valid for it; session, to resume.
    """

    __slots__ = (
        "_ahead",
        "_head",
        "_incoming",
        "_outgoing",
        "_received",
        "_take_session",
        "_tls",
        "ended",
        "failure",
        "records",
    )

    def __init__(
        self, context: ssl.SSLContext, host_name: str, session: ssl.SSLSession | None = None
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=host_name, session=session
        )
        self._received = 0
        self._ahead = 0
        """Bytes of the last record that have not arrived yet."""
        self._head = b""
        """The received part of an incomplete record header."""
        self._take_session: Callable[[ssl.SSLSession, int], None] | None = None
        self.ended = False
        """Whether the connection can receive no more: the server sent close_notify or invalid TLS."""
        self.failure: ssl.SSLError | None = None
        """The error that ended the connection; None after close_notify."""
        self.records = 0
        """Number of records whose data the last call of `decrypt` returned."""

    @property
    def resumed(self) -> bool:
        """Whether the server resumed the offered session: its certificate was not verified again."""
        return bool(self._tls.session_reused)

    @property
    def certificate(self) -> bytes | None:
        """The server's certificate in DER; None before the handshake is complete."""
        return self._tls.getpeercert(binary_form=True)

    def handshake_step(self, received: bytes) -> bool:
        """Continue the handshake with bytes of the server; return whether it is complete.

        Raises: ssl.SSLError; OutboundFailed when the server sent data before the request, or closed.
        """
        self._received += len(received)
        self._walk(received, len(received))
        self._incoming.write(received)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        early = self.decrypt(b"")
        if self.failure is not None:
            raise self.failure
        if early or self.ended:
            raise OutboundFailed("the server sent data before the request, or closed the connection")
        return True

    def end_of_turn(self, received: bytes) -> int:
        """How many of these bytes to decrypt in this iteration; call it again for the rest."""
        return self._walk(received, RECORDS_AT_ONCE)

    def _walk(self, received: bytes, most: int) -> int:
        """Skip up to `most` records; return the index after them."""
        data = self._head + received if self._head else received
        place, walked = self._ahead, 0
        while place + _HEAD_BYTES <= len(data):
            if walked == most:
                end = place - len(self._head)
                self._ahead, self._head = 0, b""
                return end
            place += _HEAD_BYTES + int.from_bytes(data[place + 3 : place + 5], "big")
            walked += 1
        self._ahead, self._head = max(0, place - len(data)), data[place:]
        return len(received)

    def on_session(self, take: Callable[[ssl.SSLSession, int], None]) -> None:
        """Call `take` with the session and an upper bound of its bytes when the first data has arrived.

        With TLS 1.3 the session has no ticket before that (RFC 8446 4.6.1).
        """
        self._take_session = take

    def outgoing(self) -> bytes:
        """Bytes of TLS itself that must be sent: handshake messages, alerts, key updates."""
        return self._outgoing.read()

    def encrypt(self, data: bytes) -> bytes:
        """The bytes to send for this data.

        Raises: OutboundFailed when the connection has failed.
        """
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._tls.write(rest) :]
        except ssl.SSLError as error:
            raise OutboundFailed(f"the connection failed: {type(error).__name__}") from error
        return self._outgoing.read()

    def decrypt(self, received: bytes | memoryview) -> bytes:
        """All data in the received bytes, including a record whose first part arrived earlier."""
        self._incoming.write(received)
        self._received += len(received)
        pieces = []
        try:
            while self._incoming.pending and not self.ended:
                piece = self._tls.read(_RECORD_BYTES)
                if not piece:
                    self.ended = True
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:  # the record is incomplete, or carried no data
            pass
        except ssl.SSLError as error:
            self.ended, self.failure = True, error
        self.records = len(pieces)
        if pieces and self._take_session is not None:
            take, self._take_session = self._take_session, None
            if self._tls.session is not None:
                take(self._tls.session, self._received)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


@dataclass(frozen=True, slots=True)
class TlsClient:
    """Performs the handshakes of one tenant with one TLS context."""

    context: ssl.SSLContext
    sessions: TlsSessions
    turn: HandshakeTurn
    tenant: str

    async def handshake(self, connected: socket.socket, origin: Origin) -> TlsConnection:
        """Perform the handshake on a connected, non-blocking socket; the caller closes the socket.

        Raises: ssl.SSLError, OSError; OutboundFailed.
        """
        tls = TlsConnection(self.context, origin.host_name, self.sessions.get(self.tenant, origin))
        try:
            await self._exchange(connected, tls)
        except (OutboundFailed, asyncio.CancelledError):  # a server may be silent when a session is offered
            self.sessions.discard(self.tenant, origin)
            raise
        except OSError:  # ssl.SSLError is one
            self.sessions.discard(self.tenant, origin)
            with contextlib.suppress(OSError):  # send the alert; the server may have closed already
                connected.send(tls.outgoing())
            raise
        if not tls.resumed:
            tls.on_session(lambda session, size: self.sessions.put(self.tenant, origin, session, size=size))
        return tls

    async def _exchange(self, connected: socket.socket, tls: TlsConnection) -> None:
        loop = asyncio.get_running_loop()
        complete = tls.handshake_step(b"")  # the ClientHello: no server can make it slow
        step = total = 0
        while True:
            if to_send := tls.outgoing():
                await loop.sock_sendall(connected, to_send)
            if complete:
                return
            received = await loop.sock_recv(connected, _RECEIVE_BYTES)
            if not received:
                raise ConnectionResetError
            step, total = step + 1, total + len(received)
            complete = await self.turn.run(partial(tls.handshake_step, received), step=step, received=total)
