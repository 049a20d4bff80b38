"""`/events` and `/live` of the sample APIs."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from portal.demo.announcements import Announcements
from tests.unit.demo.test_api import Caller, calling

PATIENCE = 10.0
ALL = ("openid", "read:orders", "write:orders")


@contextlib.asynccontextmanager
async def live(caller: Caller, token: str) -> AsyncIterator[WebSocketClientConnection]:
    url = caller.url.replace("http://", "ws://") + "/live"
    connection = await websocket_connect(HTTPRequest(url, headers={"Authorization": f"Bearer {token}"}))
    try:
        yield connection
    finally:
        connection.close()


async def received(connection: WebSocketClientConnection) -> Any:
    message = await asyncio.wait_for(connection.read_message(), PATIENCE)
    return None if message is None else json.loads(message)


async def order(caller: Caller, item: str) -> Any:
    body = json.dumps({"item": item})
    response = await caller.call("/orders", caller.token(ALL), method="POST", body=body)
    assert response.code == 201
    return json.loads(response.body)


@pytest.mark.gen_test
async def test_a_new_order_is_announced_to_those_who_may_read_orders(signing_key: RSAPrivateKey) -> None:
    async with calling(signing_key) as caller, live(caller, caller.token()) as allowed:
        async with live(caller, caller.token(("openid",))) as other:
            record = await order(caller, "anvil")
            assert await received(allowed) == {"type": "order", "order": record}
            await other.write_message('{"type": "say", "text": "hello"}')
            said = {"type": "say", "text": "hello", "from": "sub-alice"}
            assert await received(other) == said, "it got the order"
            assert await received(allowed) == said


@pytest.mark.gen_test
async def test_other_messages_are_refused_for_their_author_only(signing_key: RSAPrivateKey) -> None:
    async with calling(signing_key) as caller, live(caller, caller.token()) as connection:
        for message in ("nonsense", "[]", '{"type": "say"}', '{"type": "order", "text": "x"}'):
            await connection.write_message(message)
            assert (await received(connection))["type"] == "error"


@pytest.mark.gen_test
async def test_a_socket_needs_an_access_token(signing_key: RSAPrivateKey) -> None:
    async with calling(signing_key) as caller:
        with pytest.raises(HTTPClientError, match="401"):
            async with live(caller, "invalid"):
                pass


@pytest.mark.gen_test
async def test_events_arrive_as_a_stream(signing_key: RSAPrivateKey) -> None:
    async with calling(signing_key) as caller:
        arrived: asyncio.Queue[bytes] = asyncio.Queue()
        stream = asyncio.ensure_future(
            caller.call("/events", streaming_callback=arrived.put_nowait, request_timeout=PATIENCE)
        )
        assert await asyncio.wait_for(arrived.get(), PATIENCE) == b": connected\n\n"
        record = await order(caller, "anvil")
        event = (await asyncio.wait_for(arrived.get(), PATIENCE)).decode()
        assert event == f"event: order\ndata: {json.dumps(record)}\n\n"
        stream.cancel()


@pytest.mark.gen_test
async def test_a_slow_listener_holds_a_bounded_number_of_announcements() -> None:
    announcements = Announcements()
    listener = announcements.listen(frozenset({"read:orders"}))
    for number in range(1000):
        announcements.added("orders", {"id": number})
    found = [await listener.next() for _ in range(256)]
    assert [one.document["id"] for one in found] == list(range(256))
    announcements.leave(listener)
    announcements.added("orders", {"id": 1})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await listener.next()
