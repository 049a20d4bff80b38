"""Parsing of one response: what is accepted, what is rejected, and where it ends."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.outbound.response_parser import (
    MAX_FRAMING_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADER_FIELDS,
    MAX_INTERIM_RESPONSES,
    MalformedResponse,
    ResponseParser,
)

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = OK + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"3;ext=1\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: x\r\n\r\n"


def parse(data: bytes, *, method: str = "GET", cuts: tuple[int, ...] = ()) -> tuple[ResponseParser, bytes]:
    """Parse the bytes, split at these indexes."""
    parser = ResponseParser(method)
    places = sorted({0, *(cut % (len(data) + 1) for cut in cuts), len(data)})
    return parser, b"".join(parser.feed(data[one:other]) for one, other in pairwise(places))


CUTS = st.lists(st.integers(0, 10_000), max_size=8).map(tuple)


@pytest.mark.parametrize(
    "data", [LENGTH, CHUNKED + CHUNKS, b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + LENGTH]
)
@given(cuts=CUTS)
@settings(max_examples=15, deadline=None)
def test_a_response_is_parsed_alike_in_any_pieces(data: bytes, cuts: tuple[int, ...]) -> None:
    parser, body = parse(data, cuts=cuts)
    assert parser.head is not None
    assert (parser.head.status, parser.head.reason, body) == (200, "OK", b"hello")
    assert (parser.complete, parser.persistent, parser.surplus) == (True, True, False)


@pytest.mark.parametrize(
    "data", [LENGTH, CHUNKED + CHUNKS, b"HTTP/1.1 204 No\r\n\r\n", OK + b"Content-Length: 0\r\n\r\n"]
)
@pytest.mark.parametrize("more", [b"\n", b"\r\n", b"\r", b"\r\n\r\n", b"x", b"0", LENGTH, OK])
@given(cuts=CUTS)
@settings(max_examples=15, deadline=None)
def test_a_byte_after_the_response_is_noticed(data: bytes, more: bytes, cuts: tuple[int, ...]) -> None:
    parser, body = parse(data + more, cuts=cuts)
    assert (parser.complete, parser.surplus) == (True, True)
    assert body in {b"hello", b""}


@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked", b"X: y"])
@pytest.mark.parametrize(("method", "status"), [("HEAD", b"200"), ("GET", b"204"), ("GET", b"304")])
def test_a_response_without_body_ends_with_its_head(method: str, status: bytes, framing: bytes) -> None:
    head = b"HTTP/1.1 " + status + b" X\r\n" + framing + b"\r\n\r\n"
    parser, body = parse(head, method=method)
    assert (parser.complete, parser.persistent, parser.surplus, body) == (True, True, False, b"")
    parser, body = parse(head + b"hello", method=method)
    assert (parser.surplus, body) == (True, b"")


def test_without_framing_the_end_of_the_connection_ends_the_body() -> None:
    parser, body = parse(OK + b"\r\nhello")
    assert (body, parser.complete) == (b"hello", False)
    parser.feed_eof()
    assert (parser.complete, parser.persistent) == (True, False)


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200", OK, LENGTH[:-1], CHUNKED + CHUNKS[:-1], CHUNKED])
def test_a_connection_that_ends_within_the_response_is_an_error(data: bytes) -> None:
    parser, _ = parse(data)
    with pytest.raises(MalformedResponse):
        parser.feed_eof()


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_connections_that_the_server_closes_are_not_persistent(head: bytes) -> None:
    parser, _ = parse(head)
    assert (parser.complete, parser.persistent) == (True, False)


REFUSED = {
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "two equal lengths": OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
    "lengths in one line": OK + b"Content-Length: 5, 5\r\n\r\n",
    "length with a sign": OK + b"Content-Length: +5\r\n\r\n",
    "negative length": OK + b"Content-Length: -5\r\n\r\n",
    "hexadecimal length": OK + b"Content-Length: 0x5\r\n\r\n",
    "empty length": OK + b"Content-Length:\r\n\r\n",
    "huge length": OK + b"Content-Length: 99999999999999999\r\n\r\n",
    "length and chunks": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunks and length": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    "chunks twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunked, chunked": OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n",
    "gzip, chunked": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "chunked, gzip": OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n",
    "another coding": OK + b"Transfer-Encoding: xchunked\r\n\r\n",
    "chunks of HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "folded line": OK + b"X: a\r\n b\r\n\r\n",
    "folded framing": OK + b"Transfer-Encoding:\r\n chunked\r\n\r\n",
    "space before colon": OK + b"Content-Length : 5\r\n\r\n",
    "space in a name": OK + b"Content Length: 5\r\n\r\n",
    "line without colon": OK + b"Content-Length\r\n\r\n",
    "null byte": OK + b"X: a\0b\r\n\r\n",
    "lone CR": OK + b"X: a\rb\r\n\r\n",
    "lone LF": OK + b"X: a\nContent-Length: 5\r\n\r\n",
    "upgrade": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "bare 101": b"HTTP/1.1 101 Switching\r\n\r\n",
    "status 0": b"HTTP/1.1 000 X\r\n\r\n",
    "status of two digits": b"HTTP/1.1 99 X\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 X\r\n\r\n",
    "HTTP/2": b"HTTP/2.0 200 OK\r\n\r\n",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\n\r\n",
    "a request": b"GET / HTTP/1.1\r\n\r\n",
    "another protocol": b"SSH-2.0-x",
    "line breaks first": b"\r\n" + LENGTH,
    "chunk size with a sign": CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n",
    "chunk size 0x": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "chunk size with a space": CHUNKED + b" 5\r\nhello\r\n0\r\n\r\n",
    "huge chunk size": CHUNKED + b"fffffffffffffffff\r\nhello",
    "no line break after a chunk": CHUNKED + b"5\r\nhello0\r\n\r\n",
    "LF after a chunk size": CHUNKED + b"5\nhello\r\n0\r\n\r\n",
    "empty chunk size": CHUNKED + b"\r\nhello",
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
@given(cuts=CUTS)
@settings(max_examples=15, deadline=None)
def test_ambiguous_responses_are_rejected(data: bytes, cuts: tuple[int, ...]) -> None:
    with pytest.raises(MalformedResponse):
        parse(data, cuts=cuts)


def repeat(head: bytes, unit: bytes, size: int) -> bytes:
    return head + unit * (size // len(unit) + 1)


ENDLESS = {
    "header lines": repeat(OK, b"A: b\r\n", MAX_HEAD_BYTES),
    "one header line": repeat(OK + b"A: ", b"b", MAX_HEAD_BYTES),
    "reason": repeat(b"HTTP/1.1 200 ", b"b", MAX_HEAD_BYTES),
    "interim responses": b"HTTP/1.1 103 Early\r\n\r\n" * (MAX_INTERIM_RESPONSES + 1),
    "100 Continue": b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM_RESPONSES + 1),
    "headers of interim responses": repeat(
        b"", b"HTTP/1.1 103 X\r\nA: " + b"b" * 9_000 + b"\r\n\r\n", MAX_HEAD_BYTES
    ),
    "chunk extension": repeat(CHUNKED + b"1;", b"a", 2 * MAX_FRAMING_BYTES),
    "chunk extensions": repeat(CHUNKED, b"1;" + b"a" * 500 + b"\r\nx\r\n", 2 * MAX_FRAMING_BYTES),
    "trailer": repeat(CHUNKED + b"0\r\nT: ", b"a", 2 * MAX_FRAMING_BYTES),
    "trailers": repeat(CHUNKED + b"0\r\n", b"T: a\r\n", 2 * MAX_FRAMING_BYTES),
    "trailers after a large body": repeat(
        CHUNKED + b"f4240\r\n" + b"x" * 1_000_000 + b"\r\n0\r\n", b"T: a\r\n", 2 * MAX_FRAMING_BYTES
    ),
    "zeros of a chunk size": repeat(CHUNKED, b"0", 2 * MAX_FRAMING_BYTES),
}


@pytest.mark.parametrize("data", ENDLESS.values(), ids=ENDLESS.keys())
@pytest.mark.parametrize("size", [65_536, 1_000])
def test_everything_endless_is_rejected(data: bytes, size: int) -> None:
    with pytest.raises(MalformedResponse):
        parse(data, cuts=tuple(range(0, len(data), size)))


def test_too_many_header_fields_are_rejected() -> None:
    fields = b"A: b\r\n" * MAX_HEADER_FIELDS
    parse(OK + fields + b"\r\n")
    with pytest.raises(MalformedResponse, match="header fields"):
        parse(OK + fields + b"A: b\r\n\r\n")


def test_headers_keep_order_case_and_repetition_but_not_surrounding_whitespace() -> None:
    parser, _ = parse(OK + b"sEt-Cookie: \t a=1 \t\r\nX:\r\nSet-Cookie: b=\xe4\r\n\r\n")
    assert parser.head is not None
    assert parser.head.headers == [("sEt-Cookie", "a=1"), ("X", ""), ("Set-Cookie", "b=ä")]


@pytest.mark.parametrize("size", ["1", "01", "00000001"])
def test_a_body_of_one_byte_chunks_is_returned_in_one_piece(size: str) -> None:
    data = CHUNKED + f"{size}\r\nx\r\n".encode() * 20_000
    parser, body = parse(data)
    assert body == b"x" * 20_000
    parser.feed(b"0\r\n\r\n")
    assert (parser.complete, parser.surplus) == (True, False)
