"""A page that reads `GET /session/events`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tests.kit.browser import Browser
from tests.kit.raw import PATIENCE, RawConnection, RawResponse, connected
from tests.kit.world import World


@dataclass
class Events:
    """An open stream. `head` is that of the response."""

    connection: RawConnection
    head: RawResponse

    async def part(self) -> str:
        """The next part, as it was sent: an event, a comment, or `retry`; empty at the end."""
        reader = self.connection.reader
        size = int(await asyncio.wait_for(reader.readline(), PATIENCE), 16)
        body = await reader.readexactly(size)
        await reader.readexactly(2)
        return body.decode()

    async def event(self) -> tuple[str, dict[str, object]] | None:
        """The next event and its data; None at the end of the stream."""
        while part := await self.part():
            lines = dict(line.partition(": ")[::2] for line in part.strip().split("\n"))
            if "event" in lines:
                return lines["event"], json.loads(lines["data"])
        return None


def events_request(world: World, browser: Browser, *, site: str = "same-origin") -> bytes:
    """The request of an EventSource."""
    return (
        "GET /session/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
        f"Cookie: portal={browser.cookie('localhost', 'portal')}\r\nSec-Fetch-Site: {site}\r\n\r\n"
    ).encode()


@contextlib.asynccontextmanager
async def events_of(world: World, browser: Browser) -> AsyncIterator[Events]:
    """Open a stream for the session of a browser, and read its beginning."""
    async with connected(world) as connection:
        await connection.send(events_request(world, browser))
        head = await connection.read_response(to_head=True)
        assert head is not None
        stream = Events(connection, head)
        if head.status == 200:
            assert (await stream.part()).startswith("retry: ")
        yield stream
