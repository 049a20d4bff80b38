"""The time to parse a response is linear in its size, in whatever pieces it arrives (THREATS D1, D2).

Add a case for each kind of bytes that a server can repeat.
"""

from __future__ import annotations

import time

import pytest

from portal.outbound.response_parser import MAX_HEAD_BYTES, ResponseParser
from tests.kit.tracing import untraced

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
SHAPES = {
    "one header line": (OK + b"X: ", b"y"),
    "header lines": (OK, b"X: " + b"y" * 250 + b"\r\n"),
    "reason": (b"HTTP/1.1 200 ", b"y"),
    "one-byte chunks": (CHUNKED, b"1\r\nx\r\n"),
    "a chunk extension": (CHUNKED + b"1;", b"y"),
    "a trailer": (CHUNKED + b"0\r\nX: ", b"y"),
    "trailers": (CHUNKED + b"0\r\n", b"X: y\r\n"),
    "a body of counted bytes": (OK + b"Content-Length: 1000000\r\n\r\n", b"x"),
    "a body until the end": (OK + b"\r\n", b"x"),
}


def seconds(start: bytes, unit: bytes, size: int, piece: int) -> float:
    """CPU time of the fastest of several runs, without the time to make the pieces."""
    data = start + unit * (size // len(unit))
    pieces = [data[place : place + piece] for place in range(0, len(data), piece)]
    best = float("inf")
    for _ in range(5):
        parser = ResponseParser("GET")
        with untraced():
            begun = time.thread_time()
            for one in pieces:
                parser.feed(one)
            best = min(best, time.thread_time() - begun)
    return best


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("piece", [8, MAX_HEAD_BYTES])
def test_twice_the_bytes_take_about_twice_the_time(shape: tuple[bytes, bytes], piece: int) -> None:
    size = MAX_HEAD_BYTES // 2 - 1_000
    once, twice = seconds(*shape, size, piece), seconds(*shape, 2 * size, piece)
    # a millisecond for fixed costs; quadratic parsing would take four times as long
    assert twice < 3 * once + 0.001


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_one_read_is_parsed_within_ten_milliseconds(shape: tuple[bytes, bytes]) -> None:
    assert seconds(*shape, MAX_HEAD_BYTES - 1_000, MAX_HEAD_BYTES) < 0.01
