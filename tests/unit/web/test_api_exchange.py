"""ApiExchange: whenever the browser disconnects or the login ends, nothing of the call is left."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from types import SimpleNamespace
from typing import cast

import pytest
from tornado import httputil
from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPHeaders, RequestStartLine

from portal.errors import LoginEndedDuringCall
from portal.outbound.stream import OutboundStream
from portal.web.api_proxy.handler import REPLAYABLE_BYTES, ApiServer
from portal.web.api_proxy.upstream import UpstreamCall
from portal.web.server.client_stream import ClientStream
from portal.web.server.lingering import LingeringConnections
from tests.kit.browser import Browser
from tests.kit.raw import api_head, signed_in, until
from tests.kit.world import World

UPLOAD = b"x" * (REPLAYABLE_BYTES + 1)


class Connection:
    """Stands in for the browser's connection, and records the head of the response."""

    def __init__(self) -> None:
        self.status = 0
        self.finished = False
        self.headers = HTTPHeaders()
        self.context = SimpleNamespace(remote_ip="127.0.0.1")
        self.stream: ClientStream | SimpleNamespace = SimpleNamespace(
            closed=lambda: False, set_close_callback=lambda callback: None
        )

    def set_close_callback(self, callback: object) -> None: ...

    def set_max_body_size(self, size: int) -> None: ...

    def set_body_timeout(self, seconds: float) -> None: ...

    def write_headers(
        self, line: httputil.ResponseStartLine, headers: HTTPHeaders, chunk: bytes | None
    ) -> None:
        self.status = line.code
        self.headers = headers

    def finish(self) -> None:
        self.finished = True


class ApiResponse:
    """Stands in for a response of the API."""

    is_closed = False

    async def aclose(self) -> None:
        self.is_closed = True


LINE = RequestStartLine("POST", "/t/acme/api/x", "HTTP/1.1")


def head(world: World, browser: Browser, *, length: int) -> HTTPHeaders:
    lines = api_head(world, browser, LINE.path, extra=[f"Content-Length: {length}"]).decode()
    return HTTPHeaders.parse(lines.partition("\r\n")[2])


def begun(
    world: World, browser: Browser, *, length: int = 0
) -> tuple[httputil.HTTPMessageDelegate, Connection]:
    """A call whose head arrived, on a connection that stands in for the browser's."""
    connection = Connection()
    delegate = ApiServer(world.running.portal).start_request(None, cast(HTTP1Connection, connection))
    assert delegate.headers_received(LINE, head(world, browser, length=length)) is None
    return delegate, connection


async def nothing_is_left(world: World) -> None:
    await until(lambda: not world.running.portal.in_flight.count, "the call is still in flight")
    assert len(world.running.portal.live_calls) == 0


def upload_that_responds(
    world: World, response: ApiResponse, then: Callable[[], object], *, before: bool
) -> Callable[..., object]:
    """A replacement of UpstreamCall.stream. Parameters: before, whether `then` runs before the exchange is
    told that the upload ended, or directly after it."""

    async def stream(*_: object, **__: object) -> OutboundStream:
        if before:
            asyncio.get_running_loop().call_soon(then)
        else:
            task = asyncio.current_task()
            assert task is not None
            task.add_done_callback(lambda _: then())
        return cast(OutboundStream, response)

    return stream


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.gen_test
async def test_S11_a_response_that_arrives_while_the_browser_disconnects_is_closed(
    world: World, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    exchange, _ = begun(world, await signed_in(world), length=len(UPLOAD) + 1)
    response = ApiResponse()
    stream = upload_that_responds(world, response, exchange.on_connection_close, before=before)
    monkeypatch.setattr(UpstreamCall, "stream", stream)
    received = exchange.data_received(UPLOAD)
    assert received is not None
    await received
    await until(lambda: response.is_closed, "the response of the API is still open")
    await nothing_is_left(world)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.gen_test
async def test_S7_a_response_that_arrives_while_the_login_ends_is_closed_and_not_sent(
    world: World, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    exchange, connection = begun(world, await signed_in(world), length=len(UPLOAD) + 1)
    response = ApiResponse()

    def cut() -> None:
        (call,) = world.running.portal.live_calls._calls
        call.cut(LoginEndedDuringCall("the login ended"))

    monkeypatch.setattr(UpstreamCall, "stream", upload_that_responds(world, response, cut, before=before))
    received = exchange.data_received(UPLOAD)
    assert received is not None
    await received
    await until(lambda: connection.finished, "no response was sent")
    await until(lambda: response.is_closed, "the response of the API is still open")
    assert connection.status == 401
    await nothing_is_left(world)


@pytest.mark.gen_test
async def test_S11_a_call_is_not_made_when_the_browser_disconnects_at_once(world: World) -> None:
    exchange, _ = begun(world, await signed_in(world))
    exchange.finish()
    exchange.on_connection_close()
    await nothing_is_left(world)
    assert world.acme_api.calls.total() == 0


@pytest.mark.gen_test
async def test_S11_an_upload_does_not_begin_when_the_browser_disconnects_during_the_checks(
    world: World,
) -> None:
    exchange, _ = begun(world, await signed_in(world), length=len(UPLOAD) + 1)
    received = exchange.data_received(UPLOAD)
    assert received is not None
    checking = asyncio.ensure_future(received)
    await asyncio.sleep(0)
    exchange.on_connection_close()
    await checking
    await nothing_is_left(world)
    assert world.acme_api.calls.total() == 0


@pytest.mark.gen_test
async def test_S4_the_rest_of_a_refused_body_is_dropped(world: World) -> None:
    exchange, connection = begun(world, world.browser(), length=2 * len(UPLOAD))
    received = exchange.data_received(UPLOAD)
    assert received is not None
    await received
    assert exchange.data_received(UPLOAD) is None
    exchange.finish()
    await until(lambda: connection.finished, "no response was sent")
    assert connection.status == 401
    assert connection.headers.get("Connection") is None
    await nothing_is_left(world)


@pytest.mark.gen_test
async def test_a_response_of_a_portal_that_stops_closes_the_connection(world: World) -> None:
    exchange, connection = begun(world, world.browser())
    world.running.portal.in_flight.draining = True
    exchange.finish()
    await until(lambda: connection.finished, "no response was sent")
    assert connection.headers["Connection"] == "close"


@pytest.mark.gen_test
async def test_an_unexpected_error_is_logged_with_its_place_and_without_its_message(
    world: World, log_lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def send(*_: object) -> OutboundStream:
        raise ValueError("a secret")

    monkeypatch.setattr(UpstreamCall, "send", send)
    exchange, connection = begun(world, await signed_in(world))
    exchange.finish()
    await until(lambda: connection.finished, "no response was sent")
    assert connection.status == 500
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    (line,) = [line for line in lines if line["event"] == "unexpected_error"]
    assert "handler.py" in str(line)
    assert "a secret" not in log_lines.getvalue()


@pytest.mark.gen_test
async def test_the_log_names_the_client_of_a_trusted_proxy(world: World, log_lines: io.StringIO) -> None:
    settings = replace(world.settings, trusted_proxies=(ip_network("127.0.0.1"),))
    server = ApiServer(replace(world.running.portal, settings=settings))
    exchange = server.start_request(None, cast(HTTP1Connection, Connection()))
    headers = head(world, world.browser(), length=0)
    headers["X-Forwarded-For"] = "203.0.113.9"
    exchange.headers_received(LINE, headers)
    exchange.finish()
    await nothing_is_left(world)
    assert '"client": "203.0.113.9"' in log_lines.getvalue()


@pytest.mark.gen_test
async def test_S11_no_more_of_a_refused_upload_is_read_until_the_connection_is_closed(world: World) -> None:
    ours, client = socket.socketpair()
    connection = Connection()
    connection.stream = ClientStream(ours, lingering=LingeringConnections(), closed=lambda: None)
    exchange = ApiServer(world.running.portal).start_request(None, cast(HTTP1Connection, connection))
    reading = exchange.headers_received(LINE, head(world, world.browser(), length=10_000_000))
    assert reading is not None
    waiting = asyncio.ensure_future(reading)
    await until(lambda: connection.finished, "no response was sent")
    await nothing_is_left(world)
    assert connection.status == 401
    assert not waiting.done()
    connection.stream.close()
    await waiting
    client.close()
