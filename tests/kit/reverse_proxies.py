"""nginx and Caddy with the configurations of deploy/forward-auth, in front of a portal and an application."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

from tests.kit.raw import RawConnection, RawResponse
from tests.kit.world import World

_ROOT = Path(__file__).resolve().parents[2]
_CONFIGURATIONS = _ROOT / "deploy" / "forward-auth"
_START_SECONDS = 30.0


def _program(name: str, *folders: str) -> str | None:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", *(str(_ROOT / one) for one in folders)])
    return shutil.which(name, path=path)


NGINX = _program("nginx", ".cache/nginx/usr/sbin")
CADDY = _program("caddy", ".cache/caddy/usr/bin")


class _Echo(RequestHandler):
    """The application: says what it received, and sets a cookie."""

    def initialize(self, received: list[HTTPHeaders]) -> None:
        self.received = received

    def prepare(self) -> None:
        self.received.append(self.request.headers)

    def _respond(self) -> None:
        self.set_header("Set-Cookie", "desk_session=1")
        fields = [[name, value] for name, value in self.request.headers.get_all()]
        self.finish(json.dumps({"uri": self.request.uri, "body": len(self.request.body), "fields": fields}))

    get = post = put = delete = head = _respond


class _Socket(WebSocketHandler):
    def initialize(self, received: list[HTTPHeaders]) -> None:
        self.received = received

    def prepare(self) -> None:
        self.received.append(self.request.headers)

    def check_origin(self, origin: str) -> bool:
        return True

    def on_message(self, message: str | bytes) -> None:
        self.write_message(message)


@dataclass(frozen=True, slots=True)
class Proxied:
    """A running reverse proxy. `received` has the headers of each request that reached the application."""

    world: World
    port: int
    received: list[HTTPHeaders]

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[RawConnection]:
        """A connection to the proxy."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield RawConnection(reader, writer)
        finally:
            writer.transport.abort()

    async def ask(
        self, target: str, lines: Sequence[str], *, method: str = "GET", body: bytes = b""
    ) -> RawResponse:
        """Send one request with these lines, to the portal's host."""
        host = self.world.url.partition("://")[2]
        head = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *lines, "", ""]
        async with self.connected() as connection:
            await connection.send("\r\n".join(head).encode("latin-1") + body)
            response = await connection.read_response(to_head=method == "HEAD")
        assert response is not None
        return response


def echoed(response: RawResponse) -> dict[str, list[str]]:
    """The fields that the application received, by their names as an application may normalize them."""
    found: dict[str, list[str]] = {}
    document: dict[str, Any] = json.loads(response.body)
    for name, value in document["fields"]:
        found.setdefault(name.lower().replace("_", "-"), []).append(value)
    return found


@contextlib.asynccontextmanager
async def nginx(
    world: World, folder: Path, *, secret: str = "", edits: Sequence[tuple[str, str]] = ()
) -> AsyncIterator[Proxied]:
    """nginx with deploy/forward-auth/nginx.conf.

    Parameters: secret, `forward_auth.secret`; edits, what else is replaced in the configuration.
    """
    assert NGINX is not None
    folder.chmod(0o755)

    def replacements(port: int, application: int) -> list[tuple[str, str]]:
        return [
            ("server 127.0.0.1:8081;", f"server {world.settings.listen};"),
            ("server 127.0.0.1:3000;", f"server 127.0.0.1:{application};"),
            ("listen 8080;", f"listen 127.0.0.1:{port};"),
            ("/dev/stderr", f"{folder}/error.log"),
            ("/dev/stdout", f"{folder}/access.log"),
            (" /run/", f" {folder}/"),
            ('X-Portal-Forward-Auth ""', f'X-Portal-Forward-Auth "{secret}"'),
            ("worker_processes auto", "worker_processes 1"),
            *edits,
        ]

    def command(file: Path) -> list[str]:
        errors = f"{folder}/error.log"
        return [str(NGINX), "-p", str(folder), "-c", str(file), "-e", errors, "-g", "daemon off;"]

    async with _running("nginx.conf", folder, world, replacements, command) as proxied:
        yield proxied


@contextlib.asynccontextmanager
async def caddy(world: World, folder: Path, *, secret: str = "") -> AsyncIterator[Proxied]:
    """Caddy with deploy/forward-auth/Caddyfile. Parameters: secret, `forward_auth.secret`."""
    assert CADDY is not None

    def replacements(port: int, application: int) -> list[tuple[str, str]]:
        return [
            ("http://portal.localhost:8080", f"http://:{port}"),
            ("127.0.0.1:8081", world.settings.listen),
            ("127.0.0.1:3000", f"127.0.0.1:{application}"),
            ("# With forward_auth.secret in portal.yaml: ", ""),
            ("{env.FORWARD_AUTH_SECRET}", secret or '""'),
            *([("# Where the tenant has forward_auth.token: ", "")] if secret else []),
        ]

    def command(file: Path) -> list[str]:
        return [str(CADDY), "run", "--config", str(file), "--adapter", "caddyfile"]

    async with _running("Caddyfile", folder, world, replacements, command) as proxied:
        yield proxied


@contextlib.asynccontextmanager
async def _running(
    name: str,
    folder: Path,
    world: World,
    replacements: Callable[[int, int], list[tuple[str, str]]],
    command: Callable[[Path], list[str]],
) -> AsyncIterator[Proxied]:
    received: list[HTTPHeaders] = []
    shared = {"received": received}
    application = HTTPServer(Application([(r"/desk/socket", _Socket, shared), (r".*", _Echo, shared)]))
    sockets = bind_sockets(0, address="127.0.0.1")
    application.add_sockets(sockets)
    free = bind_sockets(0, address="127.0.0.1")
    port = free[0].getsockname()[1]
    for one in free:
        one.close()
    text = (_CONFIGURATIONS / name).read_text()
    for ours, here in replacements(port, sockets[0].getsockname()[1]):
        assert ours in text, ours
        text = text.replace(ours, here)
    file = folder / name
    file.write_text(text)
    environment = {
        **os.environ,
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
    }
    with (folder / "proxy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command(file), stdout=log, stderr=log, env=environment
        )
    try:
        await _accepts(port, process, folder)
        yield Proxied(world, port, received)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        application.stop()
        await application.close_all_connections()


async def _accepts(port: int, process: asyncio.subprocess.Process, folder: Path) -> None:
    async with asyncio.timeout(_START_SECONDS):
        while True:
            assert process.returncode is None, (folder / "proxy.log").read_text()[-2000:]
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return
