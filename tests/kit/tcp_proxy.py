"""A TCP proxy that refuses and resets connections for tests."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from enum import Enum


class Fate(Enum):
    """What the proxy does with a chunk of data from a client."""

    PASSES = "the server receives it, and the client the response"
    IS_LOST = "the connection is reset before the server receives it"
    IS_NOT_ACKNOWLEDGED = "the server receives it, and the connection is reset before the response"


class TcpProxy:
    """Forwards connections to a server on loopback. `fate` returns what happens to a chunk from a client."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._connections: set[asyncio.StreamWriter] = set()
        self._listener: asyncio.Server | None = None
        self._is_cut = False
        self.port = 0
        self.fate: Callable[[bytes], Fate] = lambda data: Fate.PASSES
        self.resets = 0

    async def start(self) -> None:
        """Listen on a free loopback port."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close all connections and stop listening."""
        if self._listener is not None:
            self._listener.close()
        self._reset_all()

    def cut(self) -> None:
        """Reset all connections, including new ones, until `restore`."""
        self._is_cut = True
        self._reset_all()

    def restore(self) -> None:
        """Forward connections again."""
        self._is_cut = False

    def _reset_all(self) -> None:
        for writer in [*self._connections]:
            _reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            _reset(writer)
            return
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        self._connections |= {writer, server_writer}
        try:
            responses = asyncio.ensure_future(_copy(server_reader, writer))
            with contextlib.suppress(OSError):
                await self._pass_on(reader, writer, server_writer)
            responses.cancel()
        finally:
            self._connections -= {writer, server_writer}
            _reset(writer)
            server_writer.close()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65536):
            fate = self.fate(data)
            if fate is not Fate.PASSES:
                self.resets += 1
                _reset(writer)
            if fate is Fate.IS_LOST:
                return
            server.write(data)
            await server.drain()
            if fate is Fate.IS_NOT_ACKNOWLEDGED:
                await asyncio.sleep(0.05)  # the server must read it before the connection ends
                return


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Abort a connection with RST."""
    transport = writer.transport
    made = transport.get_extra_info("socket")
    if made is not None and made.fileno() >= 0:
        with contextlib.suppress(OSError):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


@contextlib.asynccontextmanager
async def proxy_before(server_port: int) -> AsyncIterator[TcpProxy]:
    """Run a proxy during the block."""
    proxy = TcpProxy(server_port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
