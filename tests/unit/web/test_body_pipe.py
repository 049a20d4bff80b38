"""BodyPipe: chunks of a request body wait for their reader, up to a timeout."""

from __future__ import annotations

import asyncio

import pytest

from portal.errors import UpstreamTimeout
from portal.outbound.upload import Upload
from portal.web.api_proxy.body_pipe import BodyPipe


class _Upload(Upload):
    """Records what is written to it; `refuses` while the connection takes nothing."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.refuses = False
        self.blocked: asyncio.Future[None] | None = None

    def write(self, piece: bytes) -> bool:
        if not self.refuses:
            self.written.append(piece)
        return not self.refuses

    def room(self) -> asyncio.Future[None] | None:
        return self.blocked


async def let_run() -> None:
    """Let every task run as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.gen_test
async def test_S11_chunks_come_out_in_order_up_to_the_end() -> None:
    pipe = BodyPipe(timeout=60.0)

    async def write() -> None:
        for chunk in (b"a", b"b", b"c", None):
            await pipe.put(chunk)

    writing = asyncio.ensure_future(write())
    assert [chunk async for chunk in pipe] == [b"a", b"b", b"c"]
    await writing


@pytest.mark.gen_test
async def test_S11_a_second_chunk_waits_until_the_first_is_taken() -> None:
    pipe = BodyPipe(timeout=60.0)
    await pipe.put(b"a")
    second = asyncio.ensure_future(pipe.put(b"b"))
    await let_run()
    assert not second.done()
    assert await anext(pipe) == b"a"
    await asyncio.wait_for(second, 5)
    assert await anext(pipe) == b"b"


@pytest.mark.gen_test
async def test_S11_a_waiting_chunk_is_dropped_when_the_reader_closes() -> None:
    pipe = BodyPipe(timeout=60.0)
    await pipe.put(b"a")
    second = asyncio.ensure_future(pipe.put(b"b"))
    await let_run()
    pipe.close()
    await asyncio.wait_for(second, 5)
    for _ in range(3):
        await asyncio.wait_for(pipe.put(b"late"), 5)
    assert await anext(pipe) == b"a"
    rest = asyncio.ensure_future(anext(pipe))
    await let_run()
    assert not rest.done(), "a chunk that was dropped came out"
    rest.cancel()
    await asyncio.gather(rest, return_exceptions=True)


@pytest.mark.gen_test
async def test_S11_a_reader_that_reads_nothing_times_out() -> None:
    pipe = BodyPipe(timeout=0.05)
    await pipe.put(b"a")
    for end in (b"b", None):
        with pytest.raises(UpstreamTimeout, match="does not read the body"):
            await asyncio.wait_for(pipe.put(end), 5)
    assert await anext(pipe) == b"a"


@pytest.mark.gen_test
async def test_S11_a_cancelled_or_timed_out_writer_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    pipe = BodyPipe(timeout=0.05)
    await pipe.put(b"a")
    cancelled = asyncio.ensure_future(pipe.put(b"b"))
    await let_run()
    cancelled.cancel()
    timed_out = asyncio.ensure_future(pipe.put(b"c"))
    outcomes = await asyncio.gather(cancelled, timed_out, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError, UpstreamTimeout]
    await let_run()
    assert asyncio.all_tasks() == before
    assert await anext(pipe) == b"a"
    await pipe.put(b"d")
    assert await anext(pipe) == b"d"


@pytest.mark.gen_test
async def test_S11_a_chunk_goes_straight_to_the_connection_while_the_reader_waits() -> None:
    pipe, upload = BodyPipe(timeout=60.0), _Upload()
    pipe.connect(upload)
    assert pipe.offer(b"a")
    assert upload.written == [], "the reader may be writing an earlier chunk"
    assert await anext(pipe) == b"a"
    reading = asyncio.ensure_future(anext(pipe))
    await let_run()
    assert pipe.offer(b"b")
    assert upload.written == [b"b"]
    upload.refuses = True
    assert pipe.offer(b"c")
    upload.refuses = False
    assert not pipe.offer(b"d"), "a chunk overtook another"
    assert await asyncio.wait_for(reading, 5) == b"c"
    assert pipe.offer(b"d")
    assert upload.written == [b"b"]
    assert await anext(pipe) == b"d"


@pytest.mark.gen_test
async def test_S11_the_writer_waits_for_room_until_the_reader_closes() -> None:
    pipe, upload = BodyPipe(timeout=60.0), _Upload()
    assert pipe.room() is None
    pipe.connect(upload)
    upload.blocked = asyncio.get_running_loop().create_future()
    room = pipe.room()
    assert room is not None
    waiting = asyncio.ensure_future(room)
    await let_run()
    assert not waiting.done()
    pipe.close()
    await asyncio.wait_for(waiting, 5)
    assert pipe.room() is None
