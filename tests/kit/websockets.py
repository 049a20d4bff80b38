"""WebSockets by hand: a browser's, and the API's, which may break every rule."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.kit.browser import Browser
from tests.kit.raw import PATIENCE, RawApi, RawConnection, RawResponse, connected, cookies, raw_api
from tests.kit.world import SERVER, World

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
KEY = base64.b64encode(b"0123456789abcdef").decode()
needs_own_server = pytest.mark.skipif(SERVER == "tornado", reason="WebSockets need the portal's own server")
"""For tests of WebSockets: with `server: tornado` there are none (docs/reference/http.md)."""


def accept(key: str) -> str:
    digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode(), usedforsecurity=False)
    return base64.b64encode(digest.digest()).decode()


def frame(opcode: int, payload: bytes = b"", *, masked: bool = True, final: bool = True) -> bytes:
    """One frame; that of a browser is masked."""
    size = len(payload)
    if size < 126:
        length = bytes([size])
    elif size < 65_536:
        length = b"\x7e" + size.to_bytes(2, "big")
    else:
        length = b"\x7f" + size.to_bytes(8, "big")
    first = bytes([(0x80 if final else 0) | opcode])
    if not masked:
        return first + length + payload
    return first + bytes([length[0] | 0x80]) + length[1:] + masked_payload(payload)


def masked_payload(payload: bytes) -> bytes:
    key = secrets.token_bytes(4)
    stream = (key * (len(payload) // 4 + 1))[: len(payload)]
    return key + (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(
        len(payload), "big"
    )


def socket_head(
    world: World,
    browser: Browser | None,
    target: str = "/t/acme/api/live",
    *,
    changes: dict[str, str | None] | None = None,
    extra: Sequence[str] = (),
    start: str = "GET {} HTTP/1.1",
) -> bytes:
    """The head of a page's handshake. Parameters: changes, header fields by name; None removes one."""
    fields: dict[str, str | None] = {
        "Host": urlsplit(world.url).netloc,
        "Origin": world.url,
        "Connection": "keep-alive, Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
        "Cookie": cookies(browser) if browser is not None else None,
        **(changes or {}),
    }
    lines = [start.format(target)]
    lines += [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([*lines, *extra, "", ""]).encode("latin-1")


@dataclass(frozen=True)
class Frame:
    opcode: int
    payload: bytes
    masked: bool
    first: int

    @property
    def code(self) -> int:
        assert self.opcode == CLOSE
        return int.from_bytes(self.payload[:2], "big")

    @property
    def document(self) -> Any:
        return json.loads(self.payload)


async def read_frame(reader: asyncio.StreamReader) -> Frame | None:
    """Read the next frame; None at the end of the connection."""
    try:
        async with asyncio.timeout(PATIENCE):
            first, second = await reader.readexactly(2)
            size = second & 127
            if size > 125:
                size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
            key = await reader.readexactly(4) if second & 128 else b""
            payload = await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    if key:
        payload = bytes(byte ^ key[place % 4] for place, byte in enumerate(payload))
    return Frame(first & 15, payload, bool(key), first)


class BrowserSocket:
    """The browser's end of an open socket."""

    def __init__(self, connection: RawConnection, response: RawResponse) -> None:
        self.connection = connection
        self.response = response

    async def send(self, opcode: int, payload: bytes = b"", *, final: bool = True) -> None:
        await self.connection.send(frame(opcode, payload, final=final))

    async def say(self, document: object) -> None:
        await self.send(TEXT, json.dumps(document).encode())

    async def receive(self) -> Frame | None:
        return await read_frame(self.connection.reader)

    async def closed(self) -> int:
        """Read up to the Close frame and return its code; 1006 when the connection ends without one."""
        while (got := await self.receive()) is not None:
            if got.opcode == CLOSE:
                return got.code
        return 1006


@contextlib.asynccontextmanager
async def handshake(
    world: World, browser: Browser | None, target: str = "/t/acme/api/live", **options: Any
) -> AsyncIterator[tuple[RawConnection, RawResponse | None]]:
    """Ask for a socket; the response may be any."""
    async with connected(world) as connection:
        await connection.send(socket_head(world, browser, target, **options))
        yield connection, await read_handshake_response(connection)


async def read_handshake_response(connection: RawConnection) -> RawResponse | None:
    """The next response, which may be 101."""
    try:
        head = await asyncio.wait_for(connection.reader.readuntil(b"\r\n\r\n"), PATIENCE)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    pairs = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    response = RawResponse(int(first.split(" ")[1]), pairs, b"")
    length = response.header("Content-Length")
    if response.status == 101 or length is None:
        return response
    return RawResponse(response.status, pairs, await connection.reader.readexactly(int(length)))


@contextlib.asynccontextmanager
async def opened(
    world: World, browser: Browser, target: str = "/t/acme/api/live", **options: Any
) -> AsyncIterator[BrowserSocket]:
    """Open a socket of a page."""
    async with handshake(world, browser, target, **options) as (connection, response):
        assert response is not None
        assert response.status == 101, response
        assert response.header("Sec-WebSocket-Accept") == accept(KEY)
        yield BrowserSocket(connection, response)


@dataclass
class ApiSocket:
    """The API's end of a socket."""

    head: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def header(self, name: str) -> list[str]:
        lines = [line.partition(": ") for line in self.head.decode("latin-1").split("\r\n")[1:]]
        return [value for key, _, value in lines if key.lower() == name.lower()]

    async def send(self, opcode: int, payload: bytes = b"", *, final: bool = True) -> None:
        await self.write(frame(opcode, payload, masked=False, final=final))

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self) -> Frame | None:
        return await read_frame(self.reader)


@dataclass
class SocketApi:
    """An API that accepts sockets by hand."""

    api: RawApi
    sockets: asyncio.Queue[ApiSocket] = field(default_factory=asyncio.Queue)
    ended: int = 0

    async def next(self) -> ApiSocket:
        return await asyncio.wait_for(self.sockets.get(), PATIENCE)


Respond = Callable[[ApiSocket], Awaitable[bytes]]


async def accepting(socket: ApiSocket) -> bytes:
    """A correct response."""
    (key,) = socket.header("Sec-WebSocket-Key")
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    return "\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept(key)}", "", ""]).encode()


@contextlib.asynccontextmanager
async def socket_api(respond: Respond = accepting) -> AsyncIterator[SocketApi]:
    """An API whose sockets a test drives; it keeps them open until the portal closes them."""
    made: SocketApi

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        socket = ApiSocket(made.api.heads[-1], reader, writer)
        writer.write(await respond(socket))
        await writer.drain()
        made.sockets.put_nowait(socket)
        closing = asyncio.ensure_future(writer.wait_closed())
        try:
            while not writer.is_closing() and not reader.at_eof():
                await asyncio.wait((closing,), timeout=0.01)
        finally:
            closing.cancel()
            made.ended += 1

    async with raw_api(serve) as api:
        made = SocketApi(api)
        yield made
