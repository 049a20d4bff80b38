"""Upload: a pushed piece is written at once, in order, and only when the server can take it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from portal.errors import OutboundFailed, OutboundTimeout
from portal.outbound.time_limit import TimeLimit
from portal.outbound.upload import Upload
from tests.kit.raw import until
from tests.unit.outbound.wire import PushedPieces


class _Sender:
    """A connection that records what is written; `blocks` after the next write."""

    def __init__(self) -> None:
        self.writable: asyncio.Future[None] | None = None
        self.written: list[bytes] = []
        self.failures: list[BaseException] = []
        self.blocks = False
        self.is_broken = False
        self.unread_turns = 0

    def write_body(self, pieces: Sequence[bytes]) -> None:
        if self.is_broken:
            raise OutboundFailed("the connection was closed")
        self.written.append(b"".join(pieces))
        if self.blocks:
            self.writable = asyncio.get_running_loop().create_future()

    def unblock(self) -> None:
        writable, self.writable, self.blocks = self.writable, None, False
        assert writable is not None
        writable.set_result(None)

    def has_read_all(self) -> bool:
        self.unread_turns -= 1
        return self.unread_turns < 0

    def fail(self, error: BaseException) -> None:
        self.failures.append(error)


class _Running:
    def __init__(self, *, length: int | None, idle_timeout: float = 60.0) -> None:
        self.sender, self.body = _Sender(), PushedPieces()
        self.ended: list[BaseException | None] = []
        self.upload = Upload(self.sender, self.body, length=length, idle_timeout=idle_timeout)
        self.upload.start(self.ended.append)

    async def end(self) -> BaseException | None:
        self.body.pieces.put_nowait(None)
        await until(lambda: self.ended, "the upload does not end")
        assert len(self.ended) == 1
        return self.ended[0]


@pytest.mark.gen_test
async def test_a_pushed_piece_is_written_without_a_turn_of_the_loop() -> None:
    running = _Running(length=4)
    assert running.body.upload is running.upload
    await asyncio.sleep(0)
    assert running.upload.write(b"ab")
    assert running.sender.written == [b"ab"]
    assert running.upload.room() is None
    running.body.pieces.put_nowait(b"cd")
    assert await running.end() is None
    assert running.sender.written == [b"ab", b"cd"]


@pytest.mark.gen_test
async def test_pushed_and_read_pieces_are_chunks_when_the_length_is_unknown() -> None:
    running = _Running(length=None)
    assert running.upload.write(b"x" * 26)
    running.body.pieces.put_nowait(b"yz")
    assert await running.end() is None
    assert b"".join(running.sender.written) == b"1a\r\n" + b"x" * 26 + b"\r\n2\r\nyz\r\n0\r\n\r\n"


@pytest.mark.gen_test
async def test_nothing_is_pushed_while_the_server_does_not_read() -> None:
    running = _Running(length=4)
    running.sender.blocks = True
    assert running.upload.write(b"ab")
    room = running.upload.room()
    assert room is not None
    waiting = asyncio.ensure_future(room)
    assert not running.upload.write(b"cd")
    await asyncio.sleep(0)
    assert not waiting.done()
    running.sender.unblock()
    await asyncio.wait_for(waiting, 5)
    assert running.upload.write(b"cd")
    assert running.sender.written == [b"ab", b"cd"]


@pytest.mark.gen_test
async def test_the_next_piece_is_not_read_before_the_server_has_read_the_last() -> None:
    running = _Running(length=4)
    running.sender.blocks = True
    for piece in (b"ab", b"cd", None):
        running.body.pieces.put_nowait(piece)
    for _ in range(10):
        await asyncio.sleep(0)
    assert running.sender.written == [b"ab"]
    running.sender.unblock()
    await until(lambda: running.ended, "the upload does not end")
    assert running.sender.written == [b"ab", b"cd"]


@pytest.mark.gen_test
async def test_who_stops_waiting_for_room_does_not_end_the_upload() -> None:
    running = _Running(length=4)
    running.sender.blocks = True
    running.body.pieces.put_nowait(b"ab")
    await until(lambda: running.sender.written, "the piece is not written")
    room = running.upload.room()
    assert room is not None
    waiting = asyncio.ensure_future(room)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    running.sender.unblock()
    running.body.pieces.put_nowait(b"cd")
    assert await running.end() is None
    assert running.sender.written == [b"ab", b"cd"]


@pytest.mark.gen_test
async def test_nothing_is_pushed_before_an_early_response_is_read() -> None:
    running = _Running(length=2)
    running.sender.unread_turns = 1
    assert not running.upload.write(b"ab")
    running.sender.unread_turns = 2
    running.body.pieces.put_nowait(b"ab")
    assert await running.end() is None
    assert running.sender.unread_turns < 0, "the piece was written before the response was read"
    assert running.sender.written == [b"ab"]


@pytest.mark.gen_test
async def test_nothing_is_pushed_after_the_upload_was_cancelled_or_ended() -> None:
    cancelled = _Running(length=4)
    cancelled.upload.cancel()
    assert not cancelled.upload.write(b"ab")
    await asyncio.sleep(0)
    assert cancelled.ended == []
    ended = _Running(length=0)
    await ended.end()
    assert not ended.upload.write(b"ab")
    assert (cancelled.sender.written, ended.sender.written) == ([], [])


@pytest.mark.parametrize("pushed", [True, False])
@pytest.mark.gen_test
async def test_a_server_that_does_not_read_a_piece_in_time_fails_the_request(pushed: bool) -> None:
    running = _Running(length=4, idle_timeout=0.05)
    running.sender.blocks = True
    if pushed:
        assert running.upload.write(b"ab")
    else:
        running.body.pieces.put_nowait(b"ab")
    await until(lambda: running.sender.failures, "the request does not fail")
    [failure] = running.sender.failures
    assert isinstance(failure, OutboundTimeout)
    assert "has not read the body for 0.05 s" in failure.detail
    running.upload.cancel()


@pytest.mark.gen_test
async def test_the_time_limit_ends_when_the_server_has_read_the_piece() -> None:
    running = _Running(length=4, idle_timeout=0.05)
    running.sender.blocks = True
    assert running.upload.write(b"ab")
    running.sender.unblock()
    later: list[bool] = []
    TimeLimit(lambda: later.append(True)).start(0.06)
    await until(lambda: later, "the clock stands still")
    assert running.sender.failures == []


@pytest.mark.parametrize(("length", "sent"), [(1, b"ab"), (3, b"ab")])
@pytest.mark.parametrize("pushed", [True, False])
@pytest.mark.gen_test
async def test_a_body_of_another_length_than_announced_fails(pushed: bool, length: int, sent: bytes) -> None:
    running = _Running(length=length)
    if pushed:
        assert running.upload.write(sent)
    else:
        running.body.pieces.put_nowait(sent)
    if length < len(sent) and pushed:
        [failure] = running.sender.failures
    else:
        failure = await running.end() or AssertionError("no error")
    assert isinstance(failure, OutboundFailed)
    assert "than its Content-Length" in failure.detail
    assert running.sender.written == ([sent] if length > len(sent) else [])


@pytest.mark.gen_test
async def test_a_push_to_a_broken_connection_fails_the_request() -> None:
    running = _Running(length=2)
    running.sender.is_broken = True
    assert running.upload.write(b"ab")
    assert [type(failure) for failure in running.sender.failures] == [OutboundFailed]
    running.upload.cancel()


@pytest.mark.gen_test
async def test_S11_the_limit_of_a_later_piece_is_not_ended_by_the_wait_for_an_earlier_one() -> None:
    running = _Running(length=None, idle_timeout=0.1)
    await until(lambda: running.body.is_awaited, "the upload does not begin")
    running.sender.blocks = True
    running.body.pieces.put_nowait(b"1")
    await until(lambda: running.sender.writable is not None, "the first piece is not written")
    running.body.pieces.put_nowait(b"2")
    earlier = running.sender.writable
    assert earlier is not None
    earlier.set_result(None)  # its callbacks run in the next iteration of the loop,
    running.sender.writable = asyncio.get_running_loop().create_future()  # when a later piece waits
    await until(lambda: running.sender.failures, "the server may stop reading for ever")
    running.upload.cancel()
