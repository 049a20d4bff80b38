"""The API of `bench.sockets`: WebSockets on asyncio, as cheap as Python allows.

    python -m bench.socket_server PORT

`/echo` sends each message back. `/source?mb=200` sends this many megabytes in frames of 64 KB, then a Close
frame. Every other request gets 200.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import cast

from portal.outbound.websocket import accept_of

_KEY = re.compile(rb"\r\nsec-websocket-key: *([^\r]+)", re.IGNORECASE)
_MEGABYTES = re.compile(rb"[?&]mb=(\d+)")
_PIECE = b"\x82\x7f" + (65_536).to_bytes(8, "big") + bytes(65_536)
_CLOSE = b"\x88\x02\x03\xe8"


class SocketServer(asyncio.Protocol):
    """One connection. It expects frames of less than 126 bytes, each read completely."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._rest = b""
        self._is_open = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._sending: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        if self._sending is not None:
            self._sending.cancel()

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        if self._is_open:
            self._rest = self._echo(data)
            return
        head, end, rest = data.partition(b"\r\n\r\n")
        self._rest = data
        if end:
            self._rest = b""
            self._open(head)
            if rest:
                self.data_received(rest)

    def _open(self, head: bytes) -> None:
        key = _KEY.search(head)
        if key is None:
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            return
        self._is_open = True
        lines = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        accept = f"Sec-WebSocket-Accept: {accept_of(key[1].decode())}\r\n\r\n"
        self._transport.write((lines + accept).encode())
        if (wanted := _MEGABYTES.search(head)) is not None:
            self._sending = asyncio.ensure_future(self._send(int(wanted[1]) * 16))

    async def _send(self, pieces: int) -> None:
        for _ in range(pieces):
            self._transport.write(_PIECE)
            await self._writable.wait()
        self._transport.write(_CLOSE)

    def _echo(self, data: bytes) -> bytes:
        """Send complete frames back, unmasked; return the rest."""
        replies = []
        while len(data) >= 6:
            size = data[1] & 127
            if len(data) < 6 + size:
                break
            key = data[2:6] * (size // 4 + 1)
            masked = int.from_bytes(data[6 : 6 + size], "big") ^ int.from_bytes(key[:size], "big")
            replies.append(bytes((data[0], size)) + masked.to_bytes(size, "big"))
            if data[0] == 0x88:
                self._transport.write(b"".join(replies))
                self._transport.close()
                return b""
            data = data[6 + size :]
        self._transport.write(b"".join(replies))
        return data


async def _serve(port: int) -> None:
    await asyncio.get_running_loop().create_server(SocketServer, "127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1])))
