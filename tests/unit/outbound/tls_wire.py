"""A TLS server on loopback that sends byte for byte what a test says, below and above the records."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.unit.outbound.certificates import Issued
from tests.unit.outbound.wire import conversing


class ServerTls:
    """The server's end of one connection; `seal` gives the records that `send` would write."""

    def __init__(
        self, context: ssl.SSLContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader, self.writer = reader, writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def accept(self, send: Callable[[bytes], Awaitable[None]] | None = None, then: bytes = b"") -> None:
        """Make the handshake; `then` goes with its last flight."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                complete = False
            else:
                complete = True
            task = self._outgoing.read() + (self.seal(then) if complete else b"")
            await (send or self._send)(task)
            if complete:
                return
            self._take(await self.reader.read(65_536))

    async def request(self) -> bytes:
        """The next data of the client, which ends in an empty line."""
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            try:
                data += self.tls.read(65_536)
            except ssl.SSLWantReadError:
                self._take(await self.reader.read(65_536))
        return data

    def seal(self, data: bytes, size: int = 16_384) -> bytes:
        """Records for this data, each with `size` bytes of it at most."""
        for start in range(0, len(data), size):
            self.tls.write(data[start : start + size])
        return self._outgoing.read()

    def close_notify(self) -> bytes:
        """The record with which TLS ends."""
        with suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self._outgoing.read()

    async def _send(self, task: bytes) -> None:
        self.writer.write(task)
        await self.writer.drain()

    def _take(self, received: bytes) -> None:
        if not received:
            raise ConnectionResetError
        self._incoming.write(received)


def server_context(folder: Path, server: Issued, more: str = "") -> ssl.SSLContext:
    """A context that presents this certificate, and `more` (PEM) behind it."""
    pem = folder / f"{server.certificate.serial_number}.pem"
    pem.write_text(server.private_key() + server.chain + more)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


Converse = Callable[[ServerTls], Awaitable[None]]


@asynccontextmanager
async def tls_conversing(context: ssl.SSLContext, converse: Converse) -> AsyncIterator[str]:
    """Hold a conversation on every connection, from before its handshake; gives the server's URL."""

    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await converse(ServerTls(context, reader, writer))

    async with conversing(begin) as port:
        yield f"https://localhost:{port}/"
