"""Data of a connection that the event loop has not read yet."""

from __future__ import annotations

import asyncio
import select


class UnreadData:
    """Asks the system whether data has arrived at a transport's socket."""

    __slots__ = ("_poll",)

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def is_there(self) -> bool:
        """Whether there is data, or the end of the stream."""
        return bool(self._poll.poll(0))
