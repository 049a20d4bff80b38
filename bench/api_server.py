"""The API behind every product that a benchmark measures.

    python -m bench.api_server PORT

`GET /…/N` returns N bytes; any request with a body gets two bytes once the body has arrived, of which nothing
is kept. `GET /close` closes every other connection: a benchmark can see what a product still holds then. It
uses as little CPU time as Python allows, but it is no server for anything else: it reads one request at a
time, and recognizes the end of a chunked body by its last bytes.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import cast

_HEAD_END = b"\r\n\r\n"
_PIECE = b"x" * 262_144
_AT_ONCE = 1_000_000
"""Bytes of the largest body that is written in one piece."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect: *100-continue", re.IGNORECASE)
_CONNECTIONS: set[ApiConnection] = set()


class ApiConnection(asyncio.Protocol):
    """One client connection."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._head = b""
        self._missing = 0
        self._chunked = False
        self._tail = b""
        self._writable = asyncio.Event()
        self._writable.set()
        self._writing: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass
        _CONNECTIONS.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        _CONNECTIONS.discard(self)
        if self._writing is not None:
            self._writing.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        if self._missing or self._chunked:
            self._body_received(data)
            return
        self._head += data
        end = self._head.find(_HEAD_END)
        if end < 0:
            return
        head, rest = self._head[: end + 2], self._head[end + 4 :]
        self._head = b""
        self._head_received(head, rest)

    def _head_received(self, head: bytes, rest: bytes) -> None:
        if length := _LENGTH.search(head):
            self._missing = int(length[1])
        self._chunked = _CHUNKED.search(head) is not None
        if not self._missing and not self._chunked:
            self._respond(head.split(b" ", 2)[1])
            return
        if _EXPECT.search(head):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if rest:
            self._body_received(rest)

    def _body_received(self, data: bytes) -> None:
        if self._chunked:
            self._tail = (self._tail + data)[-5:] if len(data) < 5 else data[-5:]
            if self._tail == b"0\r\n\r\n":
                self._chunked, self._tail = False, b""
                self._respond(b"/2")
            return
        self._missing -= len(data)
        if self._missing <= 0:
            self._missing = 0
            self._respond(b"/2")

    def _respond(self, path: bytes) -> None:
        number = path.partition(b"?")[0].rpartition(b"/")[2]
        if number == b"close":
            for connection in [*_CONNECTIONS]:
                if connection is not self:
                    connection._transport.close()
        size = int(number) if number.isdigit() else 2
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % size
        if size <= _AT_ONCE:
            self._transport.write(head + b"x" * size)
            return
        self._transport.write(head)
        self._writing = asyncio.get_running_loop().create_task(self._write(size))

    async def _write(self, size: int) -> None:
        while size > 0:
            await self._writable.wait()
            self._transport.write(_PIECE[:size])
            size -= len(_PIECE)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(ApiConnection, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1])))
