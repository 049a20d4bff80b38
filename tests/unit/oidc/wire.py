"""A loopback server that answers byte for byte what a test says, and remembers what it was sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from portal.oidc.http import OutboundClient


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came in; `target` is the raw request target."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]
Script = Callable[[Received], Answer]


@dataclass(slots=True)
class Wire:
    """The server: where it listens, what it was sent, how often it was connected to."""

    port: int
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def targets(self) -> list[str]:
        return [request.target for request in self.received]


def answer(
    status: int = 200,
    body: bytes | str = b"",
    headers: list[tuple[str, str]] | None = None,
    *,
    reason: str = "Some Reason",
) -> bytes:
    """An HTTP/1.1 answer with a Content-Length."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers or [])]
    return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]).encode() + content


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[Wire]:
    """Serve on a free loopback port until the block ends."""
    wire = Wire(0)
    conversations: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire.connections += 1
        wire.open_connections += 1
        try:
            while (request := await _read_request(reader)) is not None:
                wire.received.append(request)
                said = script(request)
                if isinstance(said, bytes):
                    writer.write(said)
                    await writer.drain()
                else:
                    await said(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            wire.open_connections -= 1
            writer.close()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(converse(reader, writer))
        conversations.add(task)
        task.add_done_callback(conversations.discard)

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        for conversation in list(conversations):
            conversation.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)
        await server.wait_closed()


@asynccontextmanager
async def calling(client: OutboundClient | None = None) -> AsyncIterator[OutboundClient]:
    """A guarded client that may call loopback, closed when the block ends."""
    made = client or OutboundClient(allow_private_networks=True)
    try:
        yield made
    finally:
        await made.close()


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until something has become true; fail when it has not in time."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
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
