"""A TCP proxy in front of a server, which cuts, refuses and resets connections on command."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from enum import Enum


class Fate(Enum):
    """What becomes of a piece of data that a client sent."""

    PASSES = "it reaches the server, and the response the client"
    IS_LOST = "the connection is reset before the server has it"
    IS_NOT_ACKNOWLEDGED = "the server has it, and the connection is reset before its response"


class TcpProxy:
    """Passes connections on to a server on loopback. `fate` decides about each piece that a client sends."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._connections: set[asyncio.StreamWriter] = set()
        self._listener: asyncio.Server | None = None
        self._is_cut = False
        self.port = 0
        self.fate: Callable[[bytes], Fate] = lambda data: Fate.PASSES
        self.resets = 0

    async def start(self) -> None:
        """Listen on any free port of loopback."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End every connection and listen no more."""
        if self._listener is not None:
            self._listener.close()
        self._reset_all()

    def cut(self) -> None:
        """Reset every connection, and each new one, until `mend`."""
        self._is_cut = True
        self._reset_all()

    def mend(self) -> None:
        """Pass connections on again."""
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
                await asyncio.sleep(0.05)  # the server must have read it before the connection ends
                return


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST, at once."""
    transport = writer.transport
    made = transport.get_extra_info("socket")
    if made is not None and made.fileno() >= 0:
        with contextlib.suppress(OSError):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


@contextlib.asynccontextmanager
async def proxy_before(server_port: int) -> AsyncIterator[TcpProxy]:
    """A proxy that listens while the block runs."""
    proxy = TcpProxy(server_port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
