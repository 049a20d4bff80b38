"""A loopback server that responds byte for byte as a test specifies, and records the requests."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from portal.outbound.client import OutboundClient
from portal.outbound.read_pace import LARGE_READ_BYTES
from portal.outbound.upload import PushedBody, Upload


@dataclass(frozen=True, slots=True)
class Received:
    """A request as received; `target` is the raw request target."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


Response = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]
Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Script = Callable[[Received], Response]


@dataclass(slots=True)
class Wire:
    """The server: its port, the requests it received, and the number of connections."""

    port: int
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def targets(self) -> list[str]:
        return [request.target for request in self.received]


def http_response(
    status: int = 200,
    body: bytes | str = b"",
    headers: list[tuple[str, str]] | None = None,
    *,
    reason: str = "Some Reason",
) -> bytes:
    """An HTTP/1.1 response with a Content-Length."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers or [])]
    return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]).encode() + content


class PushedPieces(PushedBody):
    """Pieces of a body that are read one after another; the last one is None."""

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.upload: Upload | None = None
        self.is_awaited = False

    def connect(self, upload: Upload) -> None:
        self.upload = upload

    async def __anext__(self) -> bytes:
        self.is_awaited = True
        try:
            piece = await self.pieces.get()
        finally:
            self.is_awaited = False
        if piece is None:
            raise StopAsyncIteration
        return piece


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[Wire]:
    """Serve on a free loopback port until the block ends."""
    wire = Wire(0)

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire.connections += 1
        wire.open_connections += 1
        try:
            while (request := await read_request(reader)) is not None:
                wire.received.append(request)
                response = script(request)
                if isinstance(response, bytes):
                    writer.write(response)
                    await writer.drain()
                else:
                    await response(writer)
        finally:
            wire.open_connections -= 1

    async with conversing(converse) as wire.port:
        yield wire


@asynccontextmanager
async def conversing(converse: Conversation, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Call `converse` for every connection to a free loopback port, until the block ends; yields the port."""
    conversations: set[asyncio.Task[None]] = set()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await converse(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(hold(reader, writer))
        conversations.add(task)
        task.add_done_callback(conversations.discard)

    server = await asyncio.start_server(begin, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for conversation in list(conversations):
            conversation.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)
        await server.wait_closed()


@asynccontextmanager
async def calling(client: OutboundClient | None = None) -> AsyncIterator[OutboundClient]:
    """A client that may call loopback, closed when the block ends."""
    made = client or OutboundClient(allow_private_networks=True)
    try:
        yield made
    finally:
        await made.close()


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until the condition is true; fail after `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def read_request(reader: asyncio.StreamReader) -> Received | None:
    """The next request of a connection, with its body; None at the end."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    request_line, *lines = head[:-4].split("\r\n")
    method, target, _ = request_line.split(" ")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    received = Received(method, target, headers, b"")
    if received.header("Transfer-Encoding") == "chunked":
        body = await _read_chunks(reader)
    else:
        body = await reader.readexactly(int(received.header("Content-Length") or 0))
    return Received(method, target, headers, body)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body


@asynccontextmanager
async def self_signed(folder: Path) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A TLS server on loopback with a self-signed certificate; yields its port and the received bytes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = folder / "server.pem"
    certificate.write_bytes(_certificate())
    context.load_cert_chain(certificate)
    sent: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent.append(await reader.read(10))

    async with conversing(listen, context) as port:
        yield port, sent


def _certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    today = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)


def read_memory() -> memoryview:
    """What a connection reads into."""
    return memoryview(bytearray(LARGE_READ_BYTES))
