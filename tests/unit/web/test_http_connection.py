"""The portal's own HTTP server on real sockets: keep-alive, pipelining, back-pressure, limits, upgrades."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

import pytest
from tornado import httputil
from tornado.httputil import HTTPHeaders, HTTPOutputError, RequestStartLine, ResponseStartLine
from tornado.iostream import StreamClosedError
from tornado.testing import bind_unused_port

from portal.ops.metrics import Metrics
from portal.web.server.http_connection import HttpConnection
from portal.web.server.http_exchange import HttpExchange, RequestLimits
from portal.web.server.http_server import HttpServer
from portal.web.server.listener import ConnectionServer
from tests.kit.loops import ON_BOTH_LOOPS
from tests.kit.raw import PATIENCE, RawConnection, until

pytestmark = ON_BOTH_LOOPS

LARGE = 8 * 1024 * 1024
GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
LIMITS = RequestLimits(head_bytes=4096, body_bytes=1000, idle_seconds=75, head_seconds=30, body_seconds=60)

Handler = Callable[["Request"], Awaitable[None]]


@dataclass
class Request(httputil.HTTPMessageDelegate):
    """A request, and what happened to it. `handler` responds when it is complete."""

    exchange: HttpExchange
    handler: Handler
    on_head: Callable[[Request], Awaitable[None] | None] | None
    on_data: Callable[[Request], Awaitable[None] | None] | None
    body: bytes = b""
    pieces: int = 0
    finished: bool = False
    disconnected: int = 0

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        self.line = cast(RequestStartLine, start_line)
        self.headers = headers
        self.exchange.set_close_callback(self.on_connection_close)
        return self.on_head(self) if self.on_head is not None else None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self.body += chunk
        self.pieces += 1
        return self.on_data(self) if self.on_data is not None else None

    def finish(self) -> None:
        self.finished = True
        self.task = asyncio.ensure_future(self.handler(self))

    def on_connection_close(self) -> None:
        self.disconnected += 1

    async def respond(
        self, body: bytes = b"ok", status: int = 200, *, length: bool = True, **headers: str
    ) -> None:
        """Send a response; wait until the kernel has it."""
        made = HTTPHeaders({name.replace("_", "-"): value for name, value in headers.items()})
        if length:
            made["Content-Length"] = str(len(body))
        line = ResponseStartLine("", status, "Reason")
        await self.exchange.write_headers(line, made, None if self.line.method == "HEAD" else body)
        self.exchange.finish()


async def _echo(request: Request) -> None:
    await request.respond(request.line.path.encode() + request.body)


@dataclass
class Served(httputil.HTTPServerConnectionDelegate):
    """A server on a loopback port, and the requests that it got."""

    handler: Handler
    on_head: Callable[[Request], Awaitable[None] | None] | None = None
    on_data: Callable[[Request], Awaitable[None] | None] | None = None
    requests: list[Request] = field(default_factory=list)
    ended: int = 0

    def start_request(self, server_conn: object, request_conn: httputil.HTTPConnection) -> Request:
        made = Request(cast(HttpExchange, request_conn), self.handler, self.on_head, self.on_data)
        self.requests.append(made)
        return made

    def on_close(self, server_conn: object) -> None:
        self.ended += 1

    def open(self) -> None:
        self.metrics = Metrics()
        self.http = HttpServer(self, LIMITS)
        self.server = ConnectionServer(self.http, most=10, metrics=self.metrics)
        listener, self.port = bind_unused_port()
        self.server.add_sockets([listener])

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[RawConnection]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield RawConnection(reader, writer)
        finally:
            writer.transport.abort()

    async def check(self, later: float) -> None:
        """Run the periodic check as if `later` seconds had passed."""
        await self.server.check(asyncio.get_running_loop().time() + later)

    @property
    def connection(self) -> HttpConnection:
        [found] = [stream for stream, _ in self.http.exchanges()]
        return cast(HttpConnection, found)


@contextlib.asynccontextmanager
async def serving(
    handler: Handler = _echo,
    *,
    on_head: Callable[[Request], Awaitable[None] | None] | None = None,
    on_data: Callable[[Request], Awaitable[None] | None] | None = None,
) -> AsyncIterator[Served]:
    served = Served(handler, on_head, on_data)
    served.open()
    try:
        yield served
    finally:
        served.server.stop()
        await served.server.close_all_connections()
        assert b"portal_connections 0.0" in served.metrics.render()


@contextlib.asynccontextmanager
async def asking(served: Served, data: bytes) -> AsyncIterator[RawConnection]:
    async with served.connected() as connection:
        await connection.send(data)
        yield connection


# --- requests


@pytest.mark.gen_test
async def test_requests_of_a_connection_get_their_responses_in_order() -> None:
    async def slower_first(request: Request) -> None:
        await asyncio.sleep(0.05 if request.line.path == "/a" else 0)
        await _echo(request)

    async with serving(slower_first) as served, asking(served, GET % b"a" + GET % b"b") as connection:
        await connection.send(GET % b"c")
        for expected in (b"/a", b"/b", b"/c"):
            response = await connection.read_response()
            assert response is not None
            assert response.body == expected
        assert len(served.requests) == 3
        assert served.ended == 0


@pytest.mark.gen_test
async def test_a_request_is_not_begun_while_an_earlier_response_is_under_way() -> None:
    release = asyncio.Event()

    async def wait(request: Request) -> None:
        await release.wait()
        await _echo(request)

    async with serving(wait) as served, asking(served, GET % b"a" + GET % b"b") as connection:
        await until(lambda: served.requests, "no request")
        await asyncio.sleep(0.02)
        assert len(served.requests) == 1
        release.set()
        assert await connection.read_response()
        assert await connection.read_response()


@pytest.mark.gen_test
async def test_other_tasks_run_between_pipelined_requests() -> None:
    def at_once(request: Request) -> None:
        headers = HTTPHeaders({"Content-Length": "2"})
        request.exchange.write_headers(ResponseStartLine("", 200, "OK"), headers, b"ok")
        request.exchange.request_complete = True
        request.exchange.finish()

    turns = 0
    async with serving(on_head=at_once) as served, asking(served, GET % b"" * 200):
        while len(served.requests) < 200:
            turns += 1
            await asyncio.sleep(0)
    assert turns >= 200


@pytest.mark.gen_test
async def test_reading_pauses_while_many_pipelined_requests_wait() -> None:
    release = asyncio.Event()

    async def wait(request: Request) -> None:
        await release.wait()
        await _echo(request)

    count = 20_000
    async with serving(wait) as served, served.connected() as connection:
        connection.writer.write(GET % b"a" * count)
        await until(lambda: served.requests, "no request")
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert served.connection.received < count * len(GET) / 2, "everything is kept in memory"
        release.set()
        received = 0
        while received < count:
            received += (await asyncio.wait_for(connection.reader.read(1 << 20), PATIENCE)).count(
                b"HTTP/1.1 200"
            )


@pytest.mark.gen_test
async def test_a_body_is_read_only_as_fast_as_its_handler_takes_it() -> None:
    release = asyncio.Event()

    async def wait() -> None:
        await release.wait()

    def on_head(request: Request) -> None:
        request.exchange.set_max_body_size(LARGE)

    async with serving(on_head=on_head, on_data=lambda request: wait()) as served:
        async with served.connected() as connection:
            connection.writer.write(POST + b"Content-Length: %d\r\n\r\n" % LARGE + b"x" * LARGE)
            await until(lambda: served.requests and served.requests[0].body, "no body")
            await asyncio.sleep(0.1)
            assert served.requests[0].pieces == 1
            assert served.connection.received < LARGE / 2, "the rest is kept in memory"
            release.set()
            response = await connection.read_response()
            assert response is not None
            assert len(response.body) == LARGE + 1


@pytest.mark.gen_test
async def test_the_next_request_waits_for_work_of_the_head() -> None:
    async def on_head(request: Request) -> None:
        await asyncio.sleep(0.02)

    async with serving(on_head=lambda request: on_head(request)) as served:
        async with asking(served, POST + b"Content-Length: 2\r\n\r\nhi" + GET % b"b") as connection:
            for expected in (b"/hi", b"/b"):
                response = await connection.read_response()
                assert response is not None
                assert response.body == expected


@pytest.mark.gen_test
async def test_continue_is_sent_when_the_handler_wants_the_body() -> None:
    head = POST + b"Content-Length: 2\r\nExpect: 100-Continue\r\n\r\n"
    async with serving() as served:
        async with asking(served, head) as connection:
            assert await connection.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await connection.send(b"hi")
            response = await connection.read_response()
            assert response is not None
            assert response.body == b"/hi"
        async with asking(served, head + b"hi") as connection:  # it did not wait
            assert (await connection.reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        async with asking(served, head.replace(b"HTTP/1.1", b"HTTP/1.0")) as connection:
            await connection.send(b"hi")
            assert (await connection.reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")


@pytest.mark.gen_test
async def test_a_response_before_the_body_replaces_continue_and_closes_the_connection() -> None:
    head = POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"

    async def refuse(request: Request) -> None:
        await request.respond(b"no", 403)

    async with serving(on_head=refuse) as served, asking(served, head) as connection:
        assert (await connection.ended()).startswith(b"HTTP/1.1 403")
        assert not served.requests[0].finished


# --- responses


@pytest.mark.gen_test
async def test_a_response_without_a_length_is_chunked() -> None:
    async def stream(request: Request) -> None:
        await request.exchange.write_headers(ResponseStartLine("", 200, "OK"), HTTPHeaders(), b"first")
        await request.exchange.write(b"")
        await request.exchange.write(b"x" * 100_000)
        request.exchange.finish()

    async with serving(stream) as served, asking(served, GET % b"" * 2) as connection:
        for _ in range(2):
            response = await connection.read_response()
            assert response is not None
            assert response.body == b"first" + b"x" * 100_000


@pytest.mark.parametrize("extra", [b"", b"Connection: keep-alive\r\n"])
@pytest.mark.gen_test
async def test_the_end_of_a_connection_ends_a_response_to_http_1_0(extra: bytes) -> None:
    async def respond(request: Request) -> None:
        await request.respond(b"hello", length=False)

    data = b"GET / HTTP/1.0\r\n" + extra + b"\r\n"
    async with serving(respond) as served, asking(served, data) as connection:
        head, _, body = (await connection.ended()).partition(b"\r\n\r\n")
        assert body == b"hello"
        assert b"Transfer-Encoding" not in head
        assert b"Connection: close" in head


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 304), (b"GET", 204)])
@pytest.mark.gen_test
async def test_a_response_without_a_body_ends_with_its_head(method: bytes, status: int) -> None:
    async def respond(request: Request) -> None:
        if request.line.path == "/":
            await request.respond(b"", status, length=False)
        else:
            await _echo(request)

    data = method + b" / HTTP/1.1\r\nHost: x\r\n\r\n" + GET % b"next"
    async with serving(respond) as served, asking(served, data) as connection:
        head = await connection.reader.readuntil(b"\r\n\r\n")
        assert b"Transfer-Encoding" not in head
        response = await connection.read_response()
        assert response is not None
        assert response.body == b"/next"


@pytest.mark.parametrize("says", ["client", "handler", "server"])
@pytest.mark.gen_test
async def test_a_connection_is_closed_when_either_side_says_so(says: str) -> None:
    async def respond(request: Request) -> None:
        if says == "server":
            request.exchange.close_after_response()
        if says == "handler":
            await request.respond(b"x" * LARGE, Connection="close")
        else:
            await request.respond(b"x" * LARGE)

    data = GET % b"" + GET % b""
    if says == "client":
        data = data.replace(b"Host: x", b"Host: x\r\nConnection: foo, Close")
    async with serving(respond) as served, asking(served, data) as connection:
        head, _, body = (await connection.ended()).partition(b"\r\n\r\n")
        assert b"Connection: close" in head
        assert len(body) == LARGE, "the response was cut off"
        assert len(served.requests) == 1


@pytest.mark.gen_test
async def test_a_response_of_another_length_than_it_says_breaks_the_connection() -> None:
    errors: list[BaseException] = []

    async def respond(request: Request) -> None:
        headers = HTTPHeaders({"Content-Length": "3"})
        body = b"four" if request.line.path == "/long" else b"2!"
        try:
            await request.exchange.write_headers(ResponseStartLine("", 200, "OK"), headers, body)
            request.exchange.finish()
        except HTTPOutputError as error:
            errors.append(error)

    async with serving(respond) as served:
        for path in (b"long", b"short"):
            async with asking(served, GET % path) as connection:
                assert (await connection.read_response()) is None
    assert len(errors) == 2


@pytest.mark.parametrize("text", ["a\r\nSet-Cookie: b", "a\nb", "a\rb"])
@pytest.mark.gen_test
async def test_a_header_with_a_line_break_is_not_written(text: str) -> None:
    async def respond(request: Request) -> None:
        headers = HTTPHeaders()
        headers["Location"] = text
        with pytest.raises(ValueError, match="Illegal characters"):
            request.exchange.write_headers(ResponseStartLine("", 303, "See Other"), headers)
        await _echo(request)

    async with serving(respond) as served, asking(served, GET % b"") as connection:
        response = await connection.read_response()
        assert response is not None
        assert response.status == 200


@pytest.mark.gen_test
async def test_nothing_is_written_after_the_end_of_a_response() -> None:
    """It would be a part of the next response."""
    errors: list[str] = []

    async def respond(request: Request) -> None:
        head = (ResponseStartLine("", 200, "OK"), HTTPHeaders())
        request.exchange.write_headers(*head, b"ok")
        late: list[Callable[[], object]] = [
            lambda: request.exchange.write_headers(*head),
            lambda: request.exchange.write(b"more"),
            request.exchange.finish,
        ]
        for index, call in enumerate(late):
            if index == 1:
                request.exchange.finish()
            try:
                call()
            except RuntimeError as error:
                errors.append(str(error))

    async with serving(respond) as served, asking(served, GET % b"" * 2) as connection:
        for _ in range(2):
            response = await connection.read_response()
            assert response is not None
            assert response.body == b"ok"
    assert len(errors) == 6


@pytest.mark.gen_test
async def test_a_head_and_a_small_body_are_one_segment() -> None:
    async with serving() as served:
        raw = socket.create_connection(("127.0.0.1", served.port))
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(raw, GET % b"")
        first = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(raw, 65_536), PATIENCE)
        assert re.search(rb"\r\n\r\n/$", first)
        raw.close()


# --- clients that disconnect


@pytest.mark.gen_test
async def test_a_response_in_pieces_waits_for_its_client_on_every_python() -> None:
    """The bug of some versions: `writelines` keeps everything, and does not say that the client is slow."""
    waiting: list[asyncio.Future[None]] = []

    async def stream(request: Request) -> None:
        transport = served.connection._transport
        assert transport is not None
        transport.set_write_buffer_limits(high=4 * LARGE)  # as if nobody looked
        request.exchange.write_headers(ResponseStartLine("", 200, "OK"), HTTPHeaders())
        waiting.append(request.exchange.write(b"x" * LARGE))
        request.exchange.finish()

    async with serving(stream) as served, asking(served, GET % b"") as connection:
        await until(lambda: waiting, "no request")
        assert not waiting[0].done()
        response = await connection.read_response()
        assert response is not None
        assert len(response.body) == LARGE


@pytest.mark.gen_test
async def test_a_handler_learns_that_its_client_disconnected() -> None:
    async def never(request: Request) -> None:
        await asyncio.Event().wait()

    async with serving(never) as served:
        for data in (GET % b"", POST + b"Content-Length: 5\r\n\r\nhel", POST + b"Content-Length: 5\r\n\r\n"):
            async with asking(served, data):
                await until(lambda: served.requests, "no request")
            request = served.requests.pop()
            await until(lambda: request.disconnected, "the handler was not told")  # noqa: B023
            assert request.disconnected == 1
            with pytest.raises(StreamClosedError):
                await request.exchange.write(b"x")
    assert served.ended == 3


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.gen_test
async def test_a_disconnect_behind_unread_bytes_is_noticed_by_the_next_check(how: str) -> None:
    """asyncio reports the end of a stream only after the bytes before it."""

    async def never(request: Request) -> None:
        await asyncio.Event().wait()

    async with serving(never) as served, asking(served, GET % b"" * 5_000) as connection:
        await until(lambda: served.requests and served.connection.received > 70_000, "not read")
        await asyncio.sleep(0.02)
        await served.check(0)
        assert not served.requests[0].disconnected
        connection.reset() if how == "reset" else connection.close()
        await asyncio.sleep(0.02)
        await served.check(0)
        await until(lambda: served.requests[0].disconnected, "the handler was not told")


@pytest.mark.gen_test
async def test_a_write_that_waits_fails_when_the_client_disconnects() -> None:
    failed: list[BaseException] = []

    async def large(request: Request) -> None:
        try:
            await request.respond(b"x" * LARGE * 4)
        except StreamClosedError as error:
            failed.append(error)
            raise

    async with serving(large) as served:
        async with asking(served, GET % b"") as connection:
            await connection.reader.readexactly(100)
            assert served.connection.writing()
        await until(lambda: failed, "the write waits for ever")
        with pytest.raises(StreamClosedError):
            await served.requests[0].task


@pytest.mark.parametrize("where", ["head", "data", "finish"])
@pytest.mark.gen_test
async def test_a_handler_that_fails_ends_its_connection_alone(where: str) -> None:
    def fail(request: Request) -> None:
        if request.line.method == "POST":
            raise LookupError("a bug")

    async def fails(request: Request) -> None:
        await asyncio.sleep(0)
        fail(request)

    on_head, on_data = (fail if where == "head" else None), (fails if where == "data" else None)
    async with serving(on_head=on_head, on_data=on_data) as served:
        if where == "finish":
            Request.finish, finish = fail, Request.finish  # type: ignore[method-assign, assignment]
        try:
            async with asking(served, POST + b"Content-Length: 1\r\n\r\nx") as connection:
                assert await connection.ended() == b""
        finally:
            if where == "finish":
                Request.finish = finish  # type: ignore[method-assign]
        async with asking(served, GET % b"") as connection:
            assert await connection.read_response()


# --- limits


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 4096, 431),
        (POST + b"Content-Length: 1001\r\n\r\n", 413),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n", 413),
        (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nx", 400),
        (b"GET /\r\n", 400),
    ],
)
@pytest.mark.gen_test
async def test_a_refused_request_gets_a_response_and_ends_the_connection(data: bytes, status: int) -> None:
    async with serving() as served, asking(served, data + GET % b"smuggled") as connection:
        response = await connection.read_response()
        assert response is not None
        assert response.status == status
        assert await connection.ended() == b""
        assert not [request for request in served.requests if request.finished]


@pytest.mark.gen_test
async def test_D5_a_refused_request_frees_its_connection_without_a_descriptor_to_linger_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_descriptor(self: socket.socket) -> socket.socket:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(socket.socket, "dup", no_descriptor)
    async with serving() as served, asking(served, b"GET /\r\n" + b"x" * 100) as connection:
        await connection.ended()
        await until(lambda: served.ended == 1, "the connection was not closed")
        assert b"portal_connections 0.0" in served.metrics.render()


@pytest.mark.parametrize(
    ("data", "seconds"),
    [
        (b"", LIMITS.idle_seconds),
        (b"GET / HT", LIMITS.head_seconds),
        (POST + b"Content-Length: 5\r\n\r\nhel", LIMITS.body_seconds),
    ],
)
@pytest.mark.parametrize("earlier", [b"", GET % b"earlier"])
@pytest.mark.gen_test
async def test_a_client_that_sends_nothing_is_disconnected_in_time(
    data: bytes, seconds: float, earlier: bytes
) -> None:
    async with serving() as served, asking(served, earlier + data) as connection:
        if earlier:
            assert await connection.read_response()
        begun = not data.startswith(b"POST")
        await until(lambda: begun or (served.requests[-1:] and served.requests[-1].body), "no body")
        await until(lambda: not data or served.connection.has_begun, "no data")
        await served.check(seconds - 1)
        assert served.ended == 0
        await served.check(seconds + 1)
        assert served.ended == 1
        assert await connection.ended() == b""


@pytest.mark.gen_test
async def test_bytes_of_a_head_that_trickle_in_do_not_extend_its_time() -> None:
    async with serving() as served, asking(served, b"GET / ") as connection:
        await until(lambda: served.http.in_flight, "no data")
        deadline = served.connection.deadline
        await asyncio.sleep(0.02)
        await connection.send(b"HTTP/1.1\r\n")
        await until(lambda: served.connection.received > 6, "no data")
        assert served.connection.deadline == deadline


@pytest.mark.gen_test
async def test_a_response_has_no_time_limit() -> None:
    release = asyncio.Event()

    async def wait(request: Request) -> None:
        await release.wait()
        await _echo(request)

    async with serving(wait) as served, asking(served, GET % b"") as connection:
        await until(lambda: served.requests, "no request")
        await served.check(100_000)
        release.set()
        assert await connection.read_response()


@pytest.mark.gen_test
async def test_a_handler_may_extend_the_time_for_a_body() -> None:
    async with serving(on_head=lambda request: request.exchange.set_body_timeout(1000)) as served:
        async with asking(served, POST + b"Content-Length: 5\r\n\r\n") as connection:
            await until(lambda: served.requests, "no request")
            await served.check(900)
            await connection.send(b"hello")
            assert await connection.read_response()


# --- upgrades, stopping


class _Upper(asyncio.Protocol):
    """Sends back what it gets in capital letters."""

    def __init__(self) -> None:
        self.lost = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data.upper())

    def eof_received(self) -> bool:
        self.transport.write(b"EOF")
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.lost += 1


@pytest.mark.parametrize("during", ["head", "finish"])
@pytest.mark.gen_test
async def test_an_upgrade_hands_over_the_connection_with_the_bytes_that_follow(during: str) -> None:
    protocol = _Upper()

    def upgrade(request: Request) -> None:
        transport = request.exchange.upgrade(protocol)
        transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")

    async def handler(request: Request) -> None:
        upgrade(request)

    head = GET.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: upper\r\n\r\n") % b""
    async with serving(handler, on_head=upgrade if during == "head" else None) as served:
        async with asking(served, head + b"early") as connection:
            await connection.reader.readuntil(b"\r\n\r\n")
            assert await connection.reader.readexactly(5) == b"EARLY"
            await connection.send(b"get / http/1.1\r\n\r\n")
            assert await connection.reader.readexactly(18) == b"GET / HTTP/1.1\r\n\r\n"
            await served.check(100_000)
            assert served.http.in_flight == 1
            connection.writer.write_eof()
            assert await connection.ended() == b"EOF"
        await until(lambda: protocol.lost, "the protocol was not told")
        assert served.ended == 1
        assert len(served.requests) == 1


@pytest.mark.gen_test
async def test_an_upgraded_connection_is_read_on_after_many_early_bytes() -> None:
    release, protocol, size = asyncio.Event(), _Upper(), 1_000_000

    async def late(request: Request) -> None:
        await release.wait()
        request.exchange.upgrade(protocol)

    async with serving(late) as served, asking(served, GET % b"") as connection:
        connection.writer.write(b"x" * size)
        await until(lambda: served.requests, "no request")
        for _ in range(20):
            await asyncio.sleep(0.005)
        release.set()
        assert await asyncio.wait_for(connection.reader.readexactly(size), PATIENCE) == b"X" * size


@pytest.mark.gen_test
async def test_an_upgraded_connection_is_read_in_small_pieces_and_reports_back_pressure() -> None:
    memory, calls = memoryview(bytearray(1000)), list[str]()

    class Protocol(_Upper):
        def data_received(self, data: bytes) -> None:
            assert len(data) <= len(memory)
            super().data_received(data)

        def pause_writing(self) -> None:
            calls.append("pause")

        def resume_writing(self) -> None:
            calls.append("resume")

    def upgrade(request: Request) -> None:
        request.exchange.upgrade(Protocol(), memory)

    async with serving(on_head=upgrade) as served, asking(served, GET % b"") as connection:
        size = 20_000_000
        await until(lambda: served.requests, "no request")
        connection.writer.write(b"x" * size)
        await until(lambda: "pause" in calls, "no back-pressure")
        assert served.connection.writing(), "the connection does not know that its client reads nothing"
        left = size
        while left:
            left -= len(await asyncio.wait_for(connection.reader.read(left), PATIENCE))
        await until(lambda: calls[-1] == "resume", "the protocol is not told")
        assert not served.connection.writing()


@pytest.mark.gen_test
async def test_a_request_with_a_body_is_not_upgraded() -> None:
    refused: list[BaseException] = []

    def upgrade(request: Request) -> None:
        try:
            request.exchange.upgrade(_Upper())
        except RuntimeError as error:
            refused.append(error)

    async with serving(on_head=upgrade) as served:
        async with asking(served, POST + b"Content-Length: 1\r\n\r\nx") as connection:
            assert await connection.read_response()
    assert len(refused) == 1


@pytest.mark.gen_test
async def test_a_stop_does_not_wait_for_clients_of_refused_requests() -> None:
    async with serving() as served, asking(served, b"GET /\r\n" + GET % b"smuggled") as connection:
        assert await connection.read_response()
        assert served.ended == 0, "the connection does not linger"
        served.server.stop()
        assert await served.http.drain(quiet=0.01, longest=5)
        assert served.ended == 0, "the stop waited for the client"


@pytest.mark.parametrize("data", [b"\r\n", b"GET / HTTP/1.1\r\nHost: x"])
@pytest.mark.gen_test
async def test_a_stop_does_not_wait_long_for_the_rest_of_a_head(data: bytes) -> None:
    async with serving() as served, asking(served, data):
        await until(lambda: served.http.in_flight, "no data")
        served.server.stop()
        assert not await served.http.drain(quiet=0.01, longest=0.05), "a request in transit is lost"
        assert served.connection.deadline is not None
        served.connection.deadline -= 5.0
        assert await served.http.drain(quiet=0.01, longest=5)
        assert served.ended == 1


@pytest.mark.gen_test
async def test_a_stop_waits_for_responses_and_closes_idle_connections() -> None:
    release = asyncio.Event()

    async def wait(request: Request) -> None:
        await release.wait()
        request.exchange.close_after_response()
        await _echo(request)

    async with serving(wait) as served, served.connected() as idle, asking(served, GET % b"") as busy:
        await until(lambda: served.http.in_flight, "no request")
        served.server.stop()
        draining = asyncio.create_task(served.http.drain(quiet=0.01, longest=5))
        assert await idle.ended() == b""
        assert not draining.done()
        release.set()
        assert await busy.read_response()
        assert await draining
