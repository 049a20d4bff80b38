"""Bodies that are written to the connection as they arrive, on real sockets and on both event loops."""

from __future__ import annotations

import asyncio

import pytest

from portal.errors import OutboundFailed
from portal.outbound.connection import Connection
from portal.outbound.read_budget import LoopLoad, ReadBudget
from tests.kit.loops import ON_BOTH_LOOPS
from tests.unit.outbound.wire import (
    PushedPieces,
    Received,
    calling,
    conversing,
    http_response,
    read_memory,
    read_request,
    serving,
    until,
)

pytestmark = ON_BOTH_LOOPS

PIECE = bytes(range(256)) * 1024
MOST_BUFFERED = 100
"""Pieces (of 256 KB) that fit into the buffers of two sockets, with room to spare."""


@pytest.mark.parametrize(("framing", "unaware"), [("length", False), ("chunked", False), ("chunked", True)])
@pytest.mark.gen_test
async def test_a_pushed_body_waits_for_its_server_and_arrives_whole(framing: str, unaware: bool) -> None:
    """`unaware`: as with the bug of some versions: `writelines` does not say that the server is slow."""
    received: list[Received] = []
    reads = asyncio.Event()

    async def read_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reads.wait()
        if (request := await read_request(reader)) is not None:
            received.append(request)
        writer.write(http_response(200, "ok"))

    body, count = PushedPieces(), 0
    headers = [("Content-Length", str(len(PIECE) * MOST_BUFFERED))] if framing == "length" else []
    async with conversing(read_late) as port, calling() as client:
        url = f"http://127.0.0.1:{port}/"
        call = asyncio.ensure_future(
            client.open_stream("POST", url, tenant="acme", body=body, headers=headers)
        )
        await until(lambda: body.upload is not None)
        assert body.upload is not None
        await asyncio.sleep(0)
        if unaware:
            connection = body.upload._sender
            assert isinstance(connection, Connection)
            assert connection._transport is not None
            connection._transport.set_write_buffer_limits(high=len(PIECE) * MOST_BUFFERED)
        while body.upload.room() is None:
            assert body.upload.write(PIECE)
            count += 1
            assert count < MOST_BUFFERED, "everything is kept in memory"
        assert not body.upload.write(PIECE)
        reads.set()
        while count < MOST_BUFFERED:
            if body.upload.write(PIECE):
                count += 1
            elif (room := body.upload.room()) is not None:
                await asyncio.wait_for(room, 5)
        body.pieces.put_nowait(None)
        stream = await asyncio.wait_for(call, 5)
        assert await stream.read() == b"ok"
    assert received[0].body == PIECE * MOST_BUFFERED


@pytest.mark.gen_test
async def test_a_server_that_resets_the_connection_ends_a_pushed_body() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    body = PushedPieces()
    async with conversing(reset) as port, calling() as client:
        url = f"http://127.0.0.1:{port}/"
        call = asyncio.ensure_future(client.open_stream("POST", url, tenant="acme", body=body))
        await until(lambda: body.upload is not None)
        assert body.upload is not None
        async with asyncio.timeout(5):
            while not call.done():
                body.upload.write(PIECE)
                await asyncio.sleep(0)
        with pytest.raises(OutboundFailed):
            await call
        assert not body.upload.write(PIECE)
        await until(lambda: not body.is_awaited)


@pytest.mark.gen_test
async def test_an_early_response_ends_a_pushed_body_before_its_own_body_is_complete() -> None:
    async def respond_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http_response(413, "no")[:-1])
        await asyncio.Event().wait()

    body = PushedPieces()
    async with conversing(respond_early) as port, calling() as client:
        stream = await client.open_stream("POST", f"http://127.0.0.1:{port}/", tenant="acme", body=body)
        assert stream.status == 413
        assert body.upload is not None
        assert not body.upload.write(PIECE)
        await until(lambda: not body.is_awaited)
        await stream.aclose()


@pytest.mark.gen_test
async def test_a_connection_is_reused_after_a_pushed_body() -> None:
    async with serving(lambda _: http_response(200, "ok")) as wire, calling() as client:
        for _ in range(3):
            body = PushedPieces()
            call = asyncio.ensure_future(client.open_stream("POST", wire.url(), tenant="acme", body=body))
            await until(lambda: body.is_awaited)  # noqa: B023
            assert body.upload is not None
            assert body.upload.write(PIECE)
            body.pieces.put_nowait(None)
            assert await (await asyncio.wait_for(call, 5)).read() == b"ok"
    assert [request.body for request in wire.received] == [PIECE] * 3
    assert wire.connections == 1


@pytest.mark.gen_test
async def test_nothing_is_written_to_a_connection_that_is_not_open() -> None:
    nothing = lambda _: None  # noqa: E731
    connection = Connection(ReadBudget(LoopLoad()), read_memory(), None, on_free=nothing, on_closed=nothing)
    with pytest.raises(OutboundFailed, match="was closed"):
        connection.write_body((PIECE,))
