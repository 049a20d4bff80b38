"""2,000 generated requests: what the portal's parser accepts, Tornado's accepts in the same way.

The parser of the portal may refuse more. For which reasons is listed here and in docs/decisions/044.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from random import Random
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tornado import httputil
from tornado.http1connection import HTTP1ConnectionParameters, HTTP1ServerConnection
from tornado.iostream import IOStream

from portal.web.server.request_error import RequestError
from portal.web.server.request_fields import FieldsCache
from portal.web.server.request_parser import RequestHead, RequestParser

EXAMPLES = 2_000
STRICTER = {
    "the request is not HTTP/1.1",  # line feeds alone; HTTP/0.9 without the end of the head
    "the request line is invalid",  # HTTP/1.2 to 1.9, methods in lower case, several empty lines before it
    "the head of the request is not valid HTTP/1.1",  # unknown methods; odd targets; equal lengths twice
    "the request target names another host than the Host",
    "the Content-Length is too long",  # 16 digits, such as leading zeros
    "the transfer coding is not supported, or stands beside a length",  # in HTTP/1.0
}
"""Reasons for which the portal's parser refuses requests that Tornado's accepts."""

Message = tuple[str, str, str, tuple[tuple[str, str], ...], bytes]


@dataclass
class Outcome:
    """What a parser made of the bytes of a connection."""

    messages: list[Message] = field(default_factory=list)
    refused: str = ""
    """Why the connection was closed."""
    closed: bool = False
    """Whether the last request was not persistent."""


def _message(start: httputil.RequestStartLine, headers: httputil.HTTPHeaders, body: bytes) -> Message:
    return (start.method, start.path, start.version, tuple(sorted(headers.get_all())), body)


def own(data: bytes, cuts: list[int]) -> Outcome:
    """Parse with the portal's parser, in segments."""
    outcome, parser, body = Outcome(), RequestParser(FieldsCache()), b""
    head: RequestHead | None = None
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    try:
        for start, end in itertools.pairwise(edges):
            if start < end:
                parser.receive(data[start:end])
            while parser.buffered and not outcome.closed:
                if head is None:
                    head, body = parser.read_head(), b""
                    if head is None:
                        break
                if not parser.complete:
                    body += parser.read_body(1024)
                if parser.complete:
                    outcome.messages.append(_message(head.start_line, head.headers, body))
                    outcome.closed = not head.persistent
                    head = None
    except RequestError as error:
        outcome.refused = str(error)
    return outcome


class _Recorder(httputil.HTTPServerConnectionDelegate):
    """Records requests and responds to each."""

    def __init__(self) -> None:
        self.outcome = Outcome()
        self.ended = asyncio.Event()

    def start_request(self, server_conn: object, request_conn: httputil.HTTPConnection) -> _Recording:
        return _Recording(self.outcome, request_conn)

    def on_close(self, server_conn: object) -> None:
        self.ended.set()


class _Recording(httputil.HTTPMessageDelegate):
    def __init__(self, outcome: Outcome, connection: httputil.HTTPConnection) -> None:
        self._outcome = outcome
        self._connection = connection
        self._body = b""

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        self._start = cast(httputil.RequestStartLine, start_line)
        self._headers = headers
        httputil.HTTPServerRequest(start_line=self._start, headers=headers)  # checks Host, as the router does
        return None

    def data_received(self, chunk: bytes) -> None:
        self._body += chunk

    def finish(self) -> None:
        self._outcome.messages.append(_message(self._start, self._headers, self._body))
        empty = httputil.HTTPHeaders({"Content-Length": "0"})
        self._connection.write_headers(httputil.ResponseStartLine("", 200, "OK"), empty)
        self._connection.finish()


async def tornado(data: bytes) -> Outcome:
    """Parse with Tornado's server."""
    server_end, client_end = socket.socketpair()
    recorder = _Recorder()
    client_end.sendall(data)
    client_end.shutdown(socket.SHUT_WR)
    stream = IOStream(server_end)
    limits = HTTP1ConnectionParameters(max_header_size=32 * 1024, max_body_size=1 << 40)
    HTTP1ServerConnection(stream, limits).start_serving(recorder)
    await asyncio.wait_for(recorder.ended.wait(), 10)
    client_end.setblocking(False)
    with contextlib.suppress(BlockingIOError, ConnectionError):
        if b" 400 " in client_end.recv(65_536):
            recorder.outcome.refused = "400"
    client_end.close()
    stream.close()
    return recorder.outcome


_ENDS = [b"\n", b"\r", b"\r\r\n", b"\n\r", b" \r\n", b"\r\n ", b""]
_METHODS = [b"FOO", b"get", b"CONNECT", b"PRI", b"", b"M-SEARCH"]
_TARGETS = [b"*", b"http://x/", b"http://y/", b"x:80", b"a", b"/\xff", b"/ a", b"//x", b"/#a"]
_VERSIONS = [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/1.1 ", b"http/1.1", b"HTTP/1.10"]
_FIELDS = [
    b"Host: x",
    b"Host: y",
    b"Host: x, y",
    b"Host:",
    b"Content-Length: 5",
    b"Content-Length: 0",
    b"Content-Length: 5, 5",
    b"Content-Length: 0000000000000005",
    b"Content-Length: +5",
    b"Content-Length : 5",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding : chunked",
    b"Connection: close",
    b"Connection: keep-alive, close",
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"A: \xff",
    b"A:",
    b"A: \x7f",
    b"A: \x00",
    b" folded",
    b"\tfolded",
    b"no colon",
    b": no name",
]
_BODIES = [
    b"hello",
    b"5;a=b\r\nhello\r\n0\r\n\r\n",
    b"5 \r\nhello\r\n0\r\n\r\n",
    b"5\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n0\r\nA: b\r\n\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello!\r\n0\r\n\r\n",
    b"5\r\nhello\r\n0\r\n",
]
_FRAMINGS = [
    (b"A: b", b""),
    (b"Content-Length: 5", b"hello"),
    (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: Chunked", b"2\r\nhe\r\n003\r\nllo\r\n0\r\n\r\n"),
]
_ODD_FRAMINGS = [
    (b"Content-Length: 0000000000000005", b"hello"),
    (b"Content-Length: 5, 5", b"hello"),
    (b"Content-Length: 5\r\nContent-Length: 5", b"hello"),
    (b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: gzip", b"5\r\nhello\r\n0\r\n\r\n"),
]


def _request(random: Random, oddness: float) -> bytes:
    """Return a request, each part of which is odd with this probability."""

    def pick(usual: bytes, odd: list[bytes]) -> bytes:
        return random.choice(odd) if random.random() < oddness else usual

    framings = _ODD_FRAMINGS if random.random() < oddness else _FRAMINGS
    field_line, body = random.choice(framings)
    line = b" ".join((pick(b"POST", _METHODS), pick(b"/a?b", _TARGETS), pick(b"HTTP/1.1", _VERSIONS)))
    fields = [field_line, pick(b"C: d", _FIELDS)]
    fields.insert(random.randrange(2), pick(b"Host: x", _FIELDS))
    parts = [pick(b"", [b"\r\n", b"\n", b"\r\n\r\n"]) + line, *fields, b""]
    return b"".join(part + pick(b"\r\n", _ENDS) for part in parts) + pick(body, _BODIES)


@st.composite
def _connections(draw: st.DrawFn) -> tuple[bytes, list[int]]:
    """The bytes of a connection with up to three requests, and where they are cut into segments."""
    random = Random(draw(st.integers(0, 1 << 64)))
    oddness = random.choice((0.0, 0.03, 0.06, 0.12))
    data = bytearray().join(_request(random, oddness) for _ in range(random.randint(1, 3)))
    if random.random() < 0.2:
        data[random.randrange(len(data))] = random.randrange(256)
    return bytes(data), [random.randrange(1000) for _ in range(random.randrange(4))]


def test_the_portals_parser_accepts_only_what_tornados_accepts_in_the_same_way() -> None:
    reasons: Counter[str] = Counter()
    accepted: Counter[str] = Counter()

    with asyncio.Runner() as runner:

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(_connections())
        def compare(connection: tuple[bytes, list[int]]) -> None:
            data, cuts = connection
            ours, theirs = own(data, cuts), runner.run(tornado(data))
            assert ours.messages == theirs.messages[: len(ours.messages)], (data, ours, theirs)
            accepted["both"] += len(ours.messages)
            if ours.closed:
                return
            if len(theirs.messages) > len(ours.messages):
                assert ours.refused in STRICTER, (data, ours, theirs)
                reasons[ours.refused] += 1
            elif theirs.refused:
                accepted["refused by both"] += 1
                assert ours.refused, (data, ours, theirs)

        compare()
    print(accepted, reasons)
    assert accepted["both"] > EXAMPLES / 4
    assert accepted["refused by both"] > EXAMPLES / 10
    assert set(reasons) == STRICTER, "a difference is not generated, or does not exist"


@pytest.mark.parametrize("cuts", [[], [3, 20, 40]])
def test_the_comparison_sees_requests(cuts: list[int]) -> None:
    data = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi" * 2
    ours = own(data, cuts)
    assert len(ours.messages) == 2
    with asyncio.Runner() as runner:
        assert runner.run(tornado(data)) == ours
