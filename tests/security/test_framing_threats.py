"""THREATS S4 on real sockets: message framing for HTTP/1.0 clients and invalid lengths."""

from __future__ import annotations

import asyncio
import io
import json

import pytest

from tests.kit.raw import api_head, ask, change_tenant, connected, raw_api, signed_in, until
from tests.kit.world import World

# --- HTTP/1.0 with keep-alive


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nhello"
WITH_LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
NO_BODY = b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.mark.parametrize("connection_option", ["keep-alive", "Keep-Alive"])
@pytest.mark.parametrize(
    ("response", "body"),
    [(CHUNKED, b"hello"), (UNTIL_CLOSE, b"hello"), (WITH_LENGTH, b"hello"), (NO_BODY, b"")],
)
@pytest.mark.gen_test
async def test_S4_a_response_to_http_1_0_closes_the_connection_despite_keep_alive(
    world: World, response: bytes, body: bytes, connection_option: str
) -> None:
    """Without a length, only the close marks the end of the response for such a client."""
    browser = await signed_in(world)
    extra = [f"Connection: {connection_option}"]
    async with raw_api(response) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        async with connected(world) as connection:
            await connection.send(api_head(world, browser, "/t/acme/api/x", version="HTTP/1.0", extra=extra))
            whole = await connection.ended()
    head, _, rest = whole.partition(b"\r\n\r\n")
    assert rest == body
    assert b"keep-alive" not in head.lower()
    assert b"transfer-encoding" not in head.lower()


@pytest.mark.gen_test
async def test_S4_nothing_is_appended_to_a_response_for_http_1_0(world: World) -> None:
    browser = await signed_in(world)
    extra = ["Connection: keep-alive"]
    one = api_head(
        world, browser, "/t/acme/api/stream?count=3&interval=0.01", version="HTTP/1.0", extra=extra
    )
    two = api_head(world, browser, "/t/acme/api/orders", version="HTTP/1.0", extra=extra)
    async with connected(world) as connection:
        await connection.send(one + two + two)
        whole = await connection.ended()
    assert whole.count(b"HTTP/1.1 ") == 1
    assert b"keep-alive" not in whole.lower()
    assert b'"tick": 3' in whole
    assert world.acme_api.calls["orders"] == 0


@pytest.mark.gen_test
async def test_S4_a_connection_of_http_1_1_is_kept(world: World) -> None:
    browser = await signed_in(world)
    async with connected(world) as connection:
        for target in ("/t/acme/api/stream?count=3&interval=0.01", "/t/acme/api/orders"):
            await connection.send(api_head(world, browser, target, extra=["Connection: keep-alive"]))
            response = await connection.read_response()
            assert response is not None
            assert response.status == 200
            assert response.header("Connection") is None


# --- lengths that exceed every integer type


@pytest.mark.parametrize("digits", [16, 100, 4_300, 4_301, 5_000, 20_000])
@pytest.mark.parametrize("digit", ["9", "0"])
@pytest.mark.parametrize("target", ["/t/acme/api/x", "/t/acme/", "/"])
@pytest.mark.gen_test
async def test_S4_a_length_with_very_many_digits_is_refused_without_an_error_500(
    world: World, log_lines: io.StringIO, target: str, digit: str, digits: int
) -> None:
    browser = await signed_in(world)
    extra = ["Content-Length: " + digit * digits]
    async with connected(world) as connection:
        await connection.send(api_head(world, browser, target, method="POST", extra=extra))
        if digit == "9":
            response = await connection.read_response()
            if target == "/t/acme/api/x":
                assert response is None or response.status in {400, 413}  # from either server
            else:  # the portal's own pages decide by the head
                assert response is not None
                assert response.status == 413
            await connection.ended()
    await until(lambda: not world.running.portal.in_flight.count, "the request stays in flight")
    assert world.acme_api.calls.total() == 0
    logged = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    assert not [line for line in logged if line["level"] in {"error", "critical"}]
    assert not [line for line in logged if line["event"] == "unexpected_error"]
    assert "Traceback" not in log_lines.getvalue()


@pytest.mark.gen_test
async def test_S4_an_upload_with_leading_zeros_in_its_length_is_forwarded(world: World) -> None:
    browser = await signed_in(world)
    for length in (f"{2:015}", f"{100_000:015}"):
        head = api_head(
            world, browser, "/t/acme/api/upload", method="POST", extra=[f"Content-Length: {length}"]
        )
        response = await ask(world, head + b"x" * int(length))
        assert response is not None
        assert response.status == 200
        assert json.loads(response.body)["received_bytes"] == int(length)


@pytest.mark.gen_test
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
async def test_a_truncated_response_is_never_taken_for_complete(world: World, version: str) -> None:
    """An HTTP/1.0 client, such as many proxies, takes an orderly close for the end of the response."""

    async def break_off(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()

    async with raw_api(break_off) as api:
        browser = await signed_in(world)
        change_tenant(world, "acme", api={"base_url": api.url})
        async with connected(world) as connection:
            await connection.send(api_head(world, browser, "/t/acme/api/x", version=version))
            await connection.reader.readuntil(b"half")
            if version == "HTTP/1.0":
                with pytest.raises(ConnectionResetError):
                    await connection.reader.read()
            else:
                assert b"0\r\n" not in await connection.ended()
