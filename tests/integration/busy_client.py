"""A client that notices every request without a response."""

from __future__ import annotations

import asyncio

_PAUSE = 0.01
"""Seconds between two requests of a client: the portal needs the processor to start workers."""


class BusyClient:
    """Sends requests one after the other until it is refused or stopped.

    Parameters: keep_alive, whether it sends several requests on a connection. A request on such a connection
    is sent again on another one when the server closes it without any byte of a response, as browsers and
    proxies do (RFC 9112 9.3.1); a request on a new connection never is.
    """

    def __init__(self, port: int, *, keep_alive: bool, path: str = "/healthz") -> None:
        self._port = port
        self._head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n"
        self._head += "\r\n" if keep_alive else "Connection: close\r\n\r\n"
        self._stopped = False
        self.responses = 0

    def stop(self) -> None:
        """Send no more requests."""
        self._stopped = True

    async def run(self) -> str:
        """Return "refused", "stopped", or the error of a request without a response."""
        while not self._stopped:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except ConnectionRefusedError:
                return "refused"
            sent = 0
            try:
                while not self._stopped:
                    sent += 1
                    writer.write(self._head.encode())
                    is_closed = await self._receive(reader)
                    await asyncio.sleep(_PAUSE)
                    if is_closed:
                        break
            except (OSError, asyncio.IncompleteReadError) as error:
                has_begun = isinstance(error, asyncio.IncompleteReadError) and error.partial
                if sent == 1 or has_begun:
                    return f"{error!r} after {self.responses} responses"
            finally:
                writer.close()
        return "stopped"

    async def _receive(self, reader: asyncio.StreamReader) -> bool:
        """Read a response; return whether the server closes the connection."""
        received = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(received.split(b"Content-Length: ")[1].split(b"\r")[0]))
        if not received.startswith(b"HTTP/1.1 200 "):
            raise OSError(received.partition(b"\r")[0])
        self.responses += 1
        return b"Connection: close" in received
