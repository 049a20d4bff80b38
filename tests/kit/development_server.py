"""A development server of a front end, like Vite's: files under /desk/ and a hot-reload WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler, stream_request_body
from tornado.websocket import WebSocketHandler


@dataclass
class DevelopmentServer:
    """A development server, and the requests that it got."""

    url: str = ""
    requests: list[HTTPServerRequest] = field(default_factory=list)
    page: str | None = None
    """The content of every file, in place of what was requested."""
    may_read: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether uploads are read."""
    began_reading: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether the first piece of an upload that may not be read yet has arrived."""
    read_bytes: int = 0
    """Of uploads."""

    def __post_init__(self) -> None:
        self.may_read.set()


class _Files(RequestHandler):
    def initialize(self, server: DevelopmentServer) -> None:
        self.server = server

    async def get(self, path: str) -> None:
        self.server.requests.append(self.request)
        self.set_header("Set-Cookie", "portal=stolen")
        self.set_header("Content-Security-Policy", "default-src *")
        self.set_header("Access-Control-Allow-Origin", "*")
        self.set_header("Service-Worker-Allowed", "/")
        self.set_header("Cache-Control", "max-age=31536000, immutable")
        if path == "redirect":
            self.redirect(self.get_argument("to"))
        elif path == "stream":
            for number in range(3):
                self.write(f"{number};")
                await self.flush()
        elif path == "bare":
            self.set_status(304)
        elif self.server.page is not None:
            self.write(self.server.page)
        else:
            self.set_header("Content-Type", "text/javascript")
            self.write(f"{self.request.method} {self.request.uri} ".encode() + self.request.body)

    head = post = put = get


@stream_request_body
class _Upload(RequestHandler):
    """Responds with what it got: number of bytes, their hash, and how the length was stated."""

    def initialize(self, server: DevelopmentServer) -> None:
        self.server = server
        self._hash = hashlib.sha256()
        self._size = 0

    def prepare(self) -> None:
        self.server.requests.append(self.request)
        if self.request.query == "refuse":
            self.set_status(413)
            self.finish("too large")

    async def data_received(self, chunk: bytes) -> None:
        if not self.server.may_read.is_set():
            self.server.began_reading.set()
            await self.server.may_read.wait()
        self._hash.update(chunk)
        self._size += len(chunk)
        self.server.read_bytes += len(chunk)

    def post(self) -> None:
        self.write(
            {
                "size": self._size,
                "sha256": self._hash.hexdigest(),
                "type": self.request.headers.get("Content-Type"),
                "length": self.request.headers.get("Content-Length"),
                "coding": self.request.headers.get("Transfer-Encoding"),
            }
        )


class _Reload(WebSocketHandler):
    def initialize(self, server: DevelopmentServer) -> None:
        self.server = server

    def check_origin(self, origin: str) -> bool:
        return True

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return "vite-hmr" if "vite-hmr" in subprotocols else None

    def open(self, *args: str, **kwargs: str) -> None:
        self.server.requests.append(self.request)
        self.write_message("connected")

    def on_message(self, message: str | bytes) -> None:
        self.write_message(f"you said {message!r}")


@contextlib.contextmanager
def development_server(page: str | None = None) -> Iterator[DevelopmentServer]:
    """Serve in the current event loop."""
    made = DevelopmentServer(page=page)
    options = {"server": made}
    server = HTTPServer(
        Application(
            [
                (r"/desk/hmr", _Reload, options),
                (r"/desk/upload", _Upload, options),
                (r"/desk/(.*)", _Files, options),
            ],
            log_function=_no_log,
        ),
        max_body_size=1 << 40,
    )
    sockets = bind_sockets(0, address="127.0.0.1")
    server.add_sockets(sockets)
    made.url = f"http://localhost:{sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.stop()


def _no_log(handler: RequestHandler) -> None:
    pass


@contextlib.contextmanager
def in_thread(serving: AbstractContextManager[DevelopmentServer]) -> Iterator[DevelopmentServer]:
    """Serve in the event loop of another thread: Playwright uses the thread of the test."""
    ready: Future[DevelopmentServer] = Future()
    stop = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        with serving as made:
            ready.set_result(made)
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        yield ready.result(10)
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(10)
