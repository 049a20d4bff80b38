"""Collectors that misbehave, on real sockets, each connection in a thread of its own."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass
class BadCollector:
    """What it got. Parameters: respond, called with each connection after the head of a request."""

    respond: Callable[[socket.socket], None]
    port: int = 0
    heads: list[str] = field(default_factory=list)
    connections: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    """Set at the end, for what waits until then."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/traces"


@contextlib.contextmanager
def bad_collector(respond: Callable[[socket.socket], None]) -> Iterator[BadCollector]:
    """Listen while the block runs."""
    made = BadCollector(respond)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        made.port = listening.getsockname()[1]
        threading.Thread(target=_accept, args=(listening, made), daemon=True).start()
        try:
            yield made
        finally:
            made.released.set()
            listening.shutdown(socket.SHUT_RDWR)


def _accept(listening: socket.socket, made: BadCollector) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return  # the end of the test
        made.connections += 1
        threading.Thread(target=_serve, args=(connection, made), daemon=True).start()


def _serve(connection: socket.socket, made: BadCollector) -> None:
    with connection, contextlib.suppress(OSError):  # the exporter may close it at any time
        while (head := _request(connection)) is not None:
            made.heads.append(head)
            made.respond(connection)


def _request(connection: socket.socket) -> str | None:
    """Read a request; return its head."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.recv(65_536)):
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
    )
    while len(body) < length:
        body += connection.recv(65_536)
    return head.decode()
