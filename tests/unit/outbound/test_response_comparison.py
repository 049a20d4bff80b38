"""Heads of responses, compared with llhttp: what the portal accepts, llhttp reads in the same way."""

from __future__ import annotations

import pytest
from httptools import HttpParserError, HttpResponseParser
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.outbound.response_parser import MalformedResponse, ResponseParser

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-A:  b\t\r\nSet-Cookie: c=d; Path=/\r\n\r\n"
PIECES = (
    b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\0", b"\x0b", b"\x7f", b"\x85", b"\xff", b"HTTP/1.1 ",
    b"HTTP/1.0 204",
    b"\r\n b", b"\r\nContent-Length: 5", b"X: y\r\n", b"(", b"@", b"", b"200", b"99", b"1000", b"\r\n\r\n",
)  # fmt: skip


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """Heads of which some parts are replaced, removed or added."""
    made = HEAD
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(made)))
        end = start + draw(st.integers(0, 3))
        made = made[:start] + draw(st.sampled_from(PIECES)) + made[end:]
    return made


class _Seen:
    def __init__(self) -> None:
        self.fields: list[tuple[str, str]] = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.decode("latin-1"), value.strip(b" \t").decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.complete = True


@settings(max_examples=2_000, deadline=None)
@given(heads())
def test_S7a_a_head_that_is_accepted_is_read_as_llhttp_reads_it(data: bytes) -> None:
    parser = ResponseParser("HEAD")
    try:
        parser.feed(data)
    except MalformedResponse:
        return
    if parser.head is None:
        return
    seen = _Seen()
    other = HttpResponseParser(seen)
    try:
        other.feed_data(data[: data.index(b"\r\n\r\n") + 4])
    except HttpParserError as error:
        pytest.fail(f"llhttp refuses it: {error}")
    assert seen.complete
    assert (other.get_status_code(), seen.fields) == (parser.head.status, parser.head.headers)
