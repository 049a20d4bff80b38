"""`api.timeout` and `api.idle_timeout`: the time limits of API calls, on real sockets."""

from __future__ import annotations

import asyncio
import io
import json
import time

import pytest

from tests.kit.browser import Response
from tests.kit.raw import ConnectionHandler, api_head, change_tenant, connected, raw_api, signed_in
from tests.kit.world import World

NEVER = "1h"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
INTERIM = b"HTTP/1.1 103 Early Hints\r\n\r\n"


async def _is_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _sends_half_a_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(INTERIM + HEAD)
    await reader.read()


async def _stops_in_a_short_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Content-Length: 10\r\n\r\nhalf ")
    await reader.read()


async def _stops_in_a_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhalf \r\n")
    await reader.read()


def _assert_timed_out(response: Response) -> None:
    assert response.status == 504
    assert response.headers["Content-Type"] == "application/problem+json"
    assert json.loads(response.body)["code"] == "upstream_timeout"


@pytest.mark.parametrize("talk", [_is_silent, _sends_half_a_head])
@pytest.mark.gen_test
async def test_an_api_without_a_response_in_time_gives_504(world: World, talk: ConnectionHandler) -> None:
    browser = await signed_in(world)
    async with raw_api(talk) as api:
        change_tenant(world, "acme", api={"base_url": api.url, "timeout": "1s", "idle_timeout": NEVER})
        began = time.monotonic()
        _assert_timed_out(await browser.fetch(world.at("/t/acme/api/x")))
        assert time.monotonic() - began > 0.9
        assert len(api.heads) == 1


@pytest.mark.gen_test
async def test_an_api_that_stops_in_a_short_body_gives_504(world: World) -> None:
    browser = await signed_in(world)
    async with raw_api(_stops_in_a_short_body) as api:
        change_tenant(world, "acme", api={"base_url": api.url, "timeout": NEVER, "idle_timeout": "1s"})
        _assert_timed_out(await browser.fetch(world.at("/t/acme/api/x")))


@pytest.mark.gen_test
async def test_an_api_that_stops_in_a_stream_is_disconnected(world: World, log_lines: io.StringIO) -> None:
    browser = await signed_in(world)
    async with raw_api(_stops_in_a_stream) as api, connected(world) as connection:
        change_tenant(world, "acme", api={"base_url": api.url, "timeout": NEVER, "idle_timeout": "1s"})
        await connection.send(api_head(world, browser, "/t/acme/api/x"))
        received = await connection.ended()
        assert received.startswith(b"HTTP/1.1 200 OK\r\n")
        assert received.endswith(
            b"\r\n5\r\nhalf \r\n"
        )  # no final chunk: the browser can detect that the response is incomplete
    assert '"error": "OutboundTimeout"' in log_lines.getvalue()
