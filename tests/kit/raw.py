"""Hand-written HTTP: requests and API responses that regular clients and servers do not send."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sqlite3
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import yaml

from tests.kit.browser import Browser
from tests.kit.world import World

PATIENCE = 10.0
"""Seconds after which a waiting test fails."""


@dataclass(frozen=True)
class RawResponse:
    """One response as received."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        return next(iter(self.all(name)), None)

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


class RawConnection:
    """A connection for arbitrary bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def read_response(self, *, to_head: bool = False) -> RawResponse | None:
        """Read the next response; None if the server closed the connection. Skips 100 Continue."""
        while True:
            try:
                head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
            first, *lines = head.decode("latin-1").split("\r\n")[:-2]
            status = int(first.split(" ")[1])
            if status >= 200:
                break
        pairs = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        response = RawResponse(status, pairs, b"")
        if to_head or status in {204, 304}:
            return response
        try:
            return RawResponse(status, pairs, await asyncio.wait_for(self._body(response), PATIENCE))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def ended(self) -> bytes:
        """Read until the server closes the connection."""
        try:
            return await asyncio.wait_for(self.reader.read(), PATIENCE)
        except ConnectionError:
            return b""

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Abort the connection with RST."""
        connection: socket.socket = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def _body(self, response: RawResponse) -> bytes:
        length = response.header("Content-Length")
        if length is not None:
            return await self.reader.readexactly(int(length))
        if response.header("Transfer-Encoding") == "chunked":
            body = bytearray()
            while size := int(await self.reader.readline(), 16):
                body += await self.reader.readexactly(size)
                await self.reader.readexactly(2)
            await self.reader.readexactly(2)
            return bytes(body)
        return await self.reader.read()


@contextlib.asynccontextmanager
async def connected(world: World) -> AsyncIterator[RawConnection]:
    """Open a connection to the portal."""
    port = urlsplit(world.url).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield RawConnection(reader, writer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def signed_in(world: World, tenant: str = "acme") -> Browser:
    """Return a browser that is signed in to one tenant."""
    browser = world.browser()
    await world.quick_sign_in(browser, tenant)
    return browser


def cookies(browser: Browser, host: str = "localhost") -> str:
    """Return the browser's Cookie header."""
    return "; ".join(f"{name}={value}" for name, value in browser.cookies.get(host, {}).items())


def api_head(
    world: World,
    browser: Browser,
    target: str,
    *,
    method: str = "GET",
    extra: Sequence[str] = (),
    version: str = "HTTP/1.1",
) -> bytes:
    """Return the head of a request of a script on the portal's page; `target` is sent unchanged."""
    lines = [
        f"{method} {target} {version}",
        f"Host: {urlsplit(world.url).netloc}",
        f"Cookie: {cookies(browser)}",
        "Sec-Fetch-Site: same-origin",
        "X-Portal-CSRF: 1",
        *extra,
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


async def ask(world: World, data: bytes) -> RawResponse | None:
    """Send bytes on a new connection and read one response."""
    async with connected(world) as connection:
        await connection.send(data)
        return await connection.read_response()


async def until(condition: Callable[[], object], what: str, *, seconds: float = PATIENCE) -> None:
    """Wait until a condition is true; `what` is the failure message."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not condition():
        assert loop.time() < end, what
        await asyncio.sleep(0.005)


ConnectionHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RawApi:
    """An API with the same response to every request, or with a custom connection handler."""

    url: str
    heads: list[bytes] = field(default_factory=list)
    """Heads of the received requests."""


@contextlib.asynccontextmanager
async def raw_api(response: bytes | ConnectionHandler) -> AsyncIterator[RawApi]:
    """Serve on a loopback port; with `response` as bytes, the connection is closed after each response."""
    made = RawApi("")
    open_writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_writers.add(writer)
        try:
            made.heads.append(await reader.readuntil(b"\r\n\r\n"))
            if callable(response):
                await response(reader, writer)
            else:
                writer.write(response)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()
            open_writers.discard(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield made
    finally:
        server.close()
        for writer in list(open_writers):
            writer.transport.abort()
        await until(lambda: not open_writers, "a connection of the API stayed open")


def change_tenant(world: World, tenant: str, **changes: object) -> None:
    """Change keys of a tenant file and reload it in the portal."""
    path = world.parts.tenants_folder / f"{tenant}.yaml"
    document = yaml.safe_load(path.read_text())
    for key, value in changes.items():
        document[key] = {**document.get(key, {}), **value} if isinstance(value, dict) else value
    path.write_text(yaml.safe_dump(document))
    world.running.portal.registry.load()
    assert not world.running.portal.registry.problems


def add_second_provider(world: World) -> None:
    """Give Acme a second provider: its own is `staff`, and Globex's, which comes first, is `partners`."""
    path = world.parts.tenants_folder / "acme.yaml"
    acme = yaml.safe_load(path.read_text())
    globex = yaml.safe_load((world.parts.tenants_folder / "globex.yaml").read_text())
    keys = ("issuer", "client", "scopes")
    acme["providers"] = {
        "partners": {key: globex[key] for key in keys},
        "staff": {key: acme.pop(key) for key in (*keys, "audience", "step_up_scopes")},
    }
    path.write_text(yaml.safe_dump(acme))
    world.running.portal.registry.load()
    assert not world.running.portal.registry.problems


def stored(world: World) -> dict[str, list[tuple[object, ...]]]:
    """Return all rows of the portal's SQLite file by table, without the state of the tenant files.

    The portal writes that by itself, some time after its start.
    """
    path = world.settings.database.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: database.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() for name in names}
    return {**rows, "meta": [row for row in rows["meta"] if row[0] != "tenant-files"]}
