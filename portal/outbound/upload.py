"""The body of a request that is sent piece by piece, as fast as the server reads it."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from portal.errors import OutboundFailed, OutboundTimeout
from portal.outbound.time_limit import TimeLimit

_TURNS_TO_READ = 3
"""Iterations of the event loop within which it reads the data that has arrived."""


class Sender(Protocol):
    """The part of a connection that an upload uses."""

    writable: asyncio.Future[None] | None
    """Done when the connection takes more data; None when it does so now."""

    def write_body(self, pieces: Sequence[bytes]) -> None: ...

    def has_read_all(self) -> bool: ...

    def fail(self, error: BaseException) -> None: ...


class PushedBody(AsyncIterator[bytes]):
    """A body whose source also writes pieces to the connection itself.

    It does so while the upload waits for the next piece, so that no task has to run for each of them.
    """

    @abstractmethod
    def connect(self, upload: Upload) -> None:
        """Receive the upload before the first piece is read. From now on its `write` may be called."""


class Upload:
    """One body in progress.

    Parameters: length, Content-Length of the request, or None for a chunked body; idle_timeout, seconds that
    the server may take to read a piece.
    """

    def __init__(
        self, sender: Sender, body: AsyncIterator[bytes], *, length: int | None, idle_timeout: float
    ) -> None:
        self._sender = sender
        self._body = body
        self._length = length
        self._idle_timeout = idle_timeout
        self._sent = 0
        self._task: asyncio.Task[None] | None = None
        self._limit: TimeLimit | None = None

    def start(self, ended: Callable[[BaseException | None], None]) -> None:
        """Send the body. Parameters: ended, called with the error, if any, unless the upload is cancelled."""
        if isinstance(self._body, PushedBody):
            self._body.connect(self)
        self._task = asyncio.ensure_future(self._run())
        self._task.add_done_callback(lambda task: self._ended(task, ended))

    def cancel(self) -> None:
        """Send nothing more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        self._close_limit()

    def write(self, piece: bytes) -> bool:
        """Write a piece now, if possible; return whether it was written.

        Only the source of a `PushedBody` may call this, and only while the upload waits for its next piece.
        """
        sender = self._sender
        if self._task is None or sender.writable is not None or not sender.has_read_all():
            return False
        try:
            self._write(piece)
        except OutboundFailed as error:
            sender.fail(error)
        return True

    def room(self) -> asyncio.Future[None] | None:
        """What to await before the next piece; None when there is room for it. The caller may end it."""
        writable = self._sender.writable
        if writable is None:
            return None
        room = asyncio.get_running_loop().create_future()
        writable.add_done_callback(lambda _: _end(room))
        return room

    async def _run(self) -> None:
        async for piece in self._body:
            if not piece:
                continue
            await self._wait_for_room()
            await self._read_first()
            self._write(piece)
        await self._wait_for_room()
        if self._length is None:
            self._sender.write_body((b"0\r\n\r\n",))
        elif self._sent < self._length:
            raise OutboundFailed("the body is shorter than its Content-Length")

    async def _wait_for_room(self) -> None:
        room = self.room()
        if room is not None:
            await room

    async def _read_first(self) -> None:
        """Let the event loop read an early response before more is written.

        A server that closes the connection without reading all data resets it; the next write would then
        fail, and the event loop would drop the response that has already arrived.
        """
        for _ in range(_TURNS_TO_READ):
            if self._sender.has_read_all():
                return
            await asyncio.sleep(0)

    def _write(self, piece: bytes) -> None:
        self._sent += len(piece)
        if self._length is None:
            self._sender.write_body((b"%x\r\n" % len(piece), piece, b"\r\n"))
        elif self._sent > self._length:
            raise OutboundFailed("the body is longer than its Content-Length")
        else:
            self._sender.write_body((piece,))
        writable = self._sender.writable
        if writable is not None:
            if self._limit is None:
                self._limit = TimeLimit(self._is_late)
            self._limit.start(self._idle_timeout)
            writable.add_done_callback(self._was_read)

    def _was_read(self, writable: asyncio.Future[None]) -> None:
        """End the time limit, unless a later piece waits: callbacks run an iteration later."""
        if self._limit is not None and self._sender.writable is None:
            self._limit.stop()

    def _is_late(self) -> None:
        self._sender.fail(OutboundTimeout(f"the server has not read the body for {self._idle_timeout:g} s"))

    def _ended(self, task: asyncio.Task[None], ended: Callable[[BaseException | None], None]) -> None:
        self._task = None
        self._close_limit()
        if not task.cancelled():
            ended(task.exception())

    def _close_limit(self) -> None:
        if self._limit is not None:
            self._limit.close()
            self._limit = None


def _end(room: asyncio.Future[None]) -> None:
    if not room.done():
        room.set_result(None)
