"""The client of `bench.sockets`: opens WebSockets, measures echoes, and records how they end."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

_MASK = b"\x00\x00\x00\x00"
_HANDSHAKE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
_KEY = "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
_AT_ONCE = 50
_PAYLOAD = 64


@dataclass(slots=True)
class Echoes:
    """Seconds from sending a message until it was back."""

    seconds: list[float] = field(default_factory=list)

    def percentile(self, percent: float) -> float:
        """In milliseconds."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1e3


class ClientSocket(asyncio.Protocol):
    """One WebSocket. `code` is that of the Close frame that it got."""

    def __init__(self, head: bytes, echoes: Echoes | None) -> None:
        loop = asyncio.get_running_loop()
        self._head = head
        self._echoes = echoes
        self.transport: asyncio.Transport
        self.opened: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.code: int | None = None
        self.received = 0
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._head)

    def connection_lost(self, error: Exception | None) -> None:
        for future in (self.opened, self.ended):
            if not future.done():
                future.set_result(None)

    def data_received(self, data: bytes) -> None:
        if not self.opened.done():
            head, end, rest = (self._data + data).partition(b"\r\n\r\n")
            self._data = head
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                raise SystemExit(f"no WebSocket: {head.decode('latin-1')}")
            self._data = b""
            self.opened.set_result(None)
            data = rest
        self.received += len(data)
        if self._echoes is not None and data:
            self._data = self._frames(self._data + data, self._echoes)

    def _frames(self, data: bytes, echoes: Echoes) -> bytes:
        while len(data) >= 2 and len(data) >= 2 + data[1]:
            payload = data[2 : 2 + data[1]]
            if data[0] == 0x82:
                echoes.seconds.append(time.perf_counter() - struct.unpack("d", payload[:8])[0])
            elif data[0] == 0x88:
                self.code = int.from_bytes(payload[:2], "big")
                self.transport.close()
            elif data[0] == 0x89:
                self.transport.write(b"\x8a\x80" + _MASK)
            data = data[2 + data[1] :]
        return data

    def send(self) -> None:
        """Send a message with the time."""
        payload = struct.pack("d", time.perf_counter()).ljust(_PAYLOAD, b"x")
        self.transport.write(bytes((0x82, 0x80 | _PAYLOAD)) + _MASK + payload)


async def open_sockets(
    url: str, count: int, headers: Mapping[str, str], echoes: Echoes | None
) -> Sequence[ClientSocket]:
    """Open this many sockets to a URL. Parameters: echoes, None to count bytes and read no frames."""
    parts = urlsplit(url)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    head = f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n{_HANDSHAKE}{_KEY}{lines}\r\n".encode()
    made: list[ClientSocket] = []
    loop = asyncio.get_running_loop()
    while len(made) < count:
        some = min(_AT_ONCE, count - len(made))
        pairs = [
            await loop.create_connection(lambda: ClientSocket(head, echoes), "127.0.0.1", parts.port or 80)
            for _ in range(some)
        ]
        new = [protocol for _, protocol in pairs]
        await asyncio.gather(*(protocol.opened for protocol in new))
        made += new
    return made
