"""A TLS server on loopback for which a test controls every byte, of the records and in them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.unit.outbound.certificates import Issued
from tests.unit.outbound.wire import conversing


class ServerTls:
    """The server's end of one connection; `seal` returns records, which the test sends."""

    def __init__(
        self, context: ssl.SSLContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader, self.writer = reader, writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def accept(self, send: Callable[[bytes], Awaitable[None]] | None = None, then: bytes = b"") -> None:
        """Perform the handshake; send `then` with its last flight."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                complete = False
            else:
                complete = True
            data = self._outgoing.read() + (self.seal(then) if complete else b"")
            await (send or self._send)(data)
            if complete:
                return
            self._take(await self.reader.read(65_536))

    async def request(self) -> bytes:
        """Read data of the client up to an empty line."""
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            try:
                data += self.tls.read(65_536)
            except ssl.SSLWantReadError:
                self._take(await self.reader.read(65_536))
        return data

    def seal(self, data: bytes, size: int = 16_384) -> bytes:
        """Records for this data, each with at most `size` bytes of it."""
        for start in range(0, len(data), size):
            self.tls.write(data[start : start + size])
        return self._outgoing.read()

    def close_notify(self) -> bytes:
        """The record that ends TLS."""
        with suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self._outgoing.read()

    async def _send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def _take(self, received: bytes) -> None:
        if not received:
            raise ConnectionResetError
        self._incoming.write(received)


def server_context(folder: Path, server: Issued, more: str = "") -> ssl.SSLContext:
    """A context that presents this certificate, followed by `more` (PEM)."""
    pem = folder / f"{server.certificate.serial_number}.pem"
    pem.write_text(server.private_key() + server.chain + more)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


Converse = Callable[[ServerTls], Awaitable[None]]


@asynccontextmanager
async def tls_conversing(context: ssl.SSLContext, converse: Converse) -> AsyncIterator[str]:
    """Call `converse` for every connection before its handshake; yields the server's URL."""

    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await converse(ServerTls(context, reader, writer))

    async with conversing(begin) as port:
        yield f"https://localhost:{port}/"
