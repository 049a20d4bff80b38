"""TLS of one outgoing connection: OpenSSL between memory buffers, without I/O of its own (decision 042).

The handshake is made on the socket, its steps in threads, before the event loop has a transport for it.
Afterwards `Connection` passes through `decrypt` what it reads and through `encrypt` what it writes. Rule for
changes: whatever a server can make slow belongs into `handshake_step`, and nothing else uses the object then.
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
"""Plaintext of one record at most (RFC 8446 5.1)."""
_RECEIVE_BYTES = 16_384
"""Bytes of a handshake that are read at once; what TLS does not need yet stays in the socket."""


RECORDS_AT_ONCE = 256
"""Records that are decrypted in one turn of the event loop; a key update of 27 bytes takes up to 21 us."""
_HEAD_BYTES = 5
"""Bytes before each record: its type, a version, and its length in two bytes (RFC 8446 5.1)."""


class TlsConnection:
    """Both directions of one TLS connection. Only one thread may use it at a time.

    Parameters: host_name, which the server's certificate must name; session, one to resume.
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
        """Bytes of the last record that are still to come."""
        self._head = b""
        """What has come of a head that is incomplete."""
        self._take_session: Callable[[ssl.SSLSession, int], None] | None = None
        self.ended = False
        """Whether nothing can follow: the server has sent close_notify, or what is not TLS."""
        self.failure: ssl.SSLError | None = None
        """Why it ended, when that was not by close_notify."""
        self.records = 0
        """Records that held what `decrypt` returned last."""

    @property
    def resumed(self) -> bool:
        """Whether the server took the session that was offered: its certificate was not verified again."""
        return bool(self._tls.session_reused)

    def handshake_step(self, received: bytes) -> bool:
        """Take bytes of the server and go on with the handshake; return whether it is complete.

        Raises: ssl.SSLError; OutboundFailed when data came with the handshake, before a request was sent.
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
        """How many of these bytes to decrypt now; what follows is to be asked for again."""
        return self._walk(received, RECORDS_AT_ONCE)

    def _walk(self, received: bytes, most: int) -> int:
        """Go from record to record, over so many at most; return the place of the end."""
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
        """Have the session and its size in bytes, an upper bound, taken with the first data of the server.

        With TLS 1.3 a session has its ticket only then (RFC 8446 4.6.1).
        """
        self._take_session = take

    def outgoing(self) -> bytes:
        """What TLS itself wants to send: handshake messages, alerts, key updates."""
        return self._outgoing.read()

    def encrypt(self, data: bytes) -> bytes:
        """The bytes to send for this data.

        Raises: OutboundFailed when the connection is broken.
        """
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._tls.write(rest) :]
        except ssl.SSLError as error:
            raise OutboundFailed(f"the connection broke: {type(error).__name__}") from error
        return self._outgoing.read()

    def decrypt(self, received: bytes | memoryview) -> bytes:
        """All data in the bytes that were received and in those of an incomplete record before them."""
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
        except ssl.SSLWantReadError:  # a record is incomplete, or was not data
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
    """What one tenant needs for handshakes with one context."""

    context: ssl.SSLContext
    sessions: TlsSessions
    turn: HandshakeTurn
    tenant: str

    async def handshake(self, connected: socket.socket, origin: Origin) -> TlsConnection:
        """Make the handshake on a connected socket that does not block; the caller closes it.

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
            with contextlib.suppress(OSError):  # the alert that says why; the server may be gone
                connected.send(tls.outgoing())
            raise
        if not tls.resumed:
            tls.on_session(lambda session, size: self.sessions.put(self.tenant, origin, session, size=size))
        return tls

    async def _exchange(self, connected: socket.socket, tls: TlsConnection) -> None:
        loop = asyncio.get_running_loop()
        complete = tls.handshake_step(b"")  # the ClientHello: the server has no part in it
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
