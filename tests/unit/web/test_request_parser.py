"""What the parser of requests accepts, refuses and reads, for any segmentation of the bytes."""

from __future__ import annotations

import time
from typing import Any

import pytest

from portal.web.server import request_fields
from portal.web.server.request_error import RequestError
from portal.web.server.request_fields import MAX_HEADER_FIELDS, MAX_NAME_BYTES, FieldsCache
from portal.web.server.request_parser import (
    MAX_HEAD_BYTES,
    RequestHead,
    RequestParser,
)

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def read(data: bytes, *, step: int | None = None, chunks: int = 1024) -> list[tuple[RequestHead, bytes]]:
    """Parse bytes that arrive in segments of `step` bytes; return the complete requests."""
    parser, found, head, body = RequestParser(FieldsCache()), [], None, b""
    for start in range(0, len(data), step or len(data)):
        parser.receive(data[start : start + (step or len(data))])
        while parser.buffered:
            if head is None:
                head, body = parser.read_head(), b""
                if head is None:
                    break
            if not parser.complete:
                body += parser.read_body(chunks)
            if parser.complete:
                found.append((head, body))
                head = None
    return found


def refused(data: bytes, *, step: int | None = None) -> int:
    """Return the status with which a request is refused."""
    with pytest.raises(RequestError) as caught:
        read(data, step=step)
    return caught.value.status


@pytest.mark.parametrize("step", [None, 1, 2, 3, 7])
def test_requests_are_read_in_order_however_they_are_segmented(step: int | None) -> None:
    found = read(
        POST
        + b"Content-Length: 5\r\n\r\nhello"
        + GET
        + b"X: 1\r\nX:  2 \r\n\r\n"
        + CHUNKED
        + b"3\r\nabc\r\n00A\r\n0123456789\r\n0\r\n\r\n"
        + GET
        + b"Connection: Close\r\n\r\n",
        step=step,
    )
    assert [(head.start_line.method, body) for head, body in found] == [
        ("POST", b"hello"),
        ("GET", b""),
        ("POST", b"abc0123456789"),
        ("GET", b""),
    ]
    assert found[1][0].headers.get_list("X") == ["1", "2"]
    assert [head.persistent for head, _ in found] == [True, True, True, False]


SMUGGLING = {
    "both lengths": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "both lengths, other order": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "two equal lengths": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
    "a list of lengths": POST + b"Content-Length: 5, 5\r\n\r\n",
    "a signed length": POST + b"Content-Length: +5\r\n\r\n",
    "a negative length": POST + b"Content-Length: -5\r\n\r\n",
    "a hexadecimal length": POST + b"Content-Length: 0x5\r\n\r\n",
    "a length with a space": POST + b"Content-Length: 1 2\r\n\r\n",
    "no digits in the length": POST + b"Content-Length:\r\n\r\n",
    "another coding": POST + b"Transfer-Encoding: gzip\r\n\r\n",
    "two codings": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunked and identity": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
    "an unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n",
    "a quoted coding": POST + b'Transfer-Encoding: "chunked"\r\n\r\n',
    "a coding with a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n",
    "no coding": POST + b"Transfer-Encoding:\r\n\r\n",
    "a coding of HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a folded line": GET + b"A: b\r\n c\r\n\r\n",
    "a folded line with a tab": GET + b"A: b\r\n\tc\r\n\r\n",
    "a folded empty value": GET + b"A:\r\n b\r\n\r\n",
    "a folded first line": b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
    "a folded coding": POST + b"A: b\r\n Transfer-Encoding: chunked\r\n\r\n",
    "line feeds alone": b"GET / HTTP/1.1\nHost: x\n\n",
    "one line feed alone": GET + b"A: b\nC: d\r\n\r\n",
    "a carriage return alone": GET + b"A: b\rC: d\r\n\r\n",
    "two carriage returns": GET + b"A: b\r\r\nC: d\r\n\r\n",
    "a line feed at the end": GET + b"A: b\r\n\n",
    "a space before the colon": GET + b"A : b\r\n\r\n",
    "a tab before the colon": GET + b"A\t: b\r\n\r\n",
    "no colon": GET + b"A\r\n\r\n",
    "no name": GET + b": b\r\n\r\n",
    "NUL in a value": GET + b"A: b\x00\r\n\r\n",
    "NUL in a name": GET + b"A\x00: b\r\n\r\n",
    "DEL in a value": GET + b"A: \x7f\r\n\r\n",
    "a control character in a value": GET + b"A: \x01\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": GET + b"Host: y\r\n\r\n",
    "two equal Hosts": GET + b"Host: x\r\n\r\n",
    "a list of Hosts": b"GET / HTTP/1.1\r\nHost: x, y\r\n\r\n",
    "a Host with a path": b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n",
    "a Host with a user": b"GET / HTTP/1.1\r\nHost: a@x\r\n\r\n",
    "another absolute host": b"GET http://y/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "another absolute port": b"GET http://x:81/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "an absolute user": b"GET http://y@x/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "an absolute target alone": b"GET http://x/ HTTP/1.0\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n",
    "HTTP/0.9 with headers": b"GET /\r\nHost: x\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: x\r\n\r\n",
    "HTTP/2": b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a ClientHello of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tab in the request line": b"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "a space at the end": b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "two empty lines before": b"\r\n\r\n" + GET + b"\r\n",
    "a method that is no token": b"GE(T / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a chunk extension": CHUNKED + b"5;a=b\r\nhello\r\n0\r\n\r\n",
    "a chunk extension without a name": CHUNKED + b"5;\r\nhello\r\n0\r\n\r\n",
    "a chunk extension with a line feed": CHUNKED + b"5;\nhello\r\n0\r\n\r\n",
    "a space after the chunk size": CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n",
    "a space before the chunk size": CHUNKED + b" 5\r\nhello\r\n0\r\n\r\n",
    "a signed chunk size": CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n",
    "a hexadecimal prefix": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "no chunk size": CHUNKED + b"\r\nhello\r\n0\r\n\r\n",
    "a very long chunk size": CHUNKED + b"0000000000000005\r\nhello\r\n0\r\n\r\n",
    "a chunk size that overflows": CHUNKED + b"ffffffffffffffff1\r\nhello\r\n0\r\n\r\n",
    "a chunk size with a line feed": CHUNKED + b"5\nhello\r\n0\r\n\r\n",
    "a chunk that is longer": CHUNKED + b"5\r\nhello!\r\n0\r\n\r\n",
    "a chunk that ends with a line feed": CHUNKED + b"5\r\nhello\n0\r\n\r\n",
    "a trailer": CHUNKED + b"5\r\nhello\r\n0\r\nA: b\r\n\r\n",
    "a last chunk with a line feed": CHUNKED + b"5\r\nhello\r\n0\r\n\n",
}


@pytest.mark.parametrize("step", [None, 1, 5])
@pytest.mark.parametrize("case", SMUGGLING)
def test_what_servers_could_understand_differently_is_refused(case: str, step: int | None) -> None:
    assert refused(SMUGGLING[case], step=step) == 400


def test_a_line_that_llhttp_takes_for_a_part_of_another_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version of llhttp that accepts folded lines again would change what a request says."""

    class Lenient:
        def __init__(self, events: Any) -> None:
            self.events = events

        def feed_data(self, data: bytes) -> None:
            self.events.on_header(b"Host", b"x")
            self.events.on_header(b"A", b"b Transfer-Encoding: chunked")
            self.events.on_headers_complete()

    assert len(read(GET + b"A: b\r\n\r\n")) == 1
    monkeypatch.setattr(request_fields, "HttpRequestParser", Lenient)
    assert refused(GET + b"A: b\r\n Transfer-Encoding: chunked\r\n\r\n") == 400


@pytest.mark.parametrize("digits", [16, 19, 20, 100, 20_000])
def test_a_length_with_too_many_digits_is_too_long(digits: int) -> None:
    assert refused(POST + b"Content-Length: " + b"9" * digits + b"\r\n\r\n") == 413
    assert refused(POST + b"Content-Length: " + b"0" * digits + b"\r\n\r\n") == 413


def test_each_byte_of_a_value_is_accepted_or_refused_as_rfc_9110_says() -> None:
    for byte in range(256):
        data = GET + b"A: x" + bytes([byte]) + b"y\r\n\r\n"
        if byte == 9 or (byte >= 32 and byte != 127):
            assert len(read(data)) == 1, byte
        else:
            assert refused(data) == 400, byte


def test_each_byte_of_a_name_is_accepted_or_refused_as_rfc_9110_says() -> None:
    token = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for byte in range(256):
        data = GET + b"A" + bytes([byte]) + b"B: x\r\n\r\n"
        if byte in token:
            assert len(read(data)) == 1, byte
        elif byte != ord(":"):
            assert refused(data) == 400, byte


def test_an_empty_line_may_precede_a_request() -> None:
    for step in (None, 1):
        assert len(read(b"\r\n" + GET + b"\r\n", step=step)) == 1


def test_an_absolute_target_may_name_the_host() -> None:
    [(head, _)] = read(b"GET http://X:80/a HTTP/1.1\r\nHost: x:80\r\n\r\n")
    assert head.start_line.path == "http://X:80/a"


def test_heads_are_limited_in_bytes_and_fields() -> None:
    for step in (None, 1000):
        assert refused(GET + b"A: " + b"x" * MAX_HEAD_BYTES, step=step) == 431
        assert refused(GET + b"A: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n", step=step) == 431
    assert len(read(GET + b"A: b\r\n" * (MAX_HEADER_FIELDS - 1) + b"\r\n")) == 1
    assert refused(GET + b"A: b\r\n" * MAX_HEADER_FIELDS + b"\r\n") == 431
    longest = b"a" * MAX_NAME_BYTES
    assert read(GET + longest + b": b\r\n\r\n")
    assert refused(GET + longest + b"a: b\r\n\r\n") == 431


def test_an_upgrade_is_a_request_like_any_other() -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    assert [body for _, body in read((POST + upgrade + b"Content-Length: 2\r\n\r\nhi") * 2)] == [b"hi", b"hi"]
    assert len(read((GET + upgrade + b"\r\n") * 2)) == 2


def test_a_body_is_read_with_a_limited_number_of_chunks_at_a_time() -> None:
    parser = RequestParser(FieldsCache())
    parser.receive(CHUNKED + b"1\r\nx\r\n" * 10 + b"0\r\n\r\n")
    parser.read_head()
    assert [(parser.read_body(4), parser.chunks) for _ in range(3)] == [
        (b"xxxx", 4),
        (b"xxxx", 8),
        (b"xx", 11),
    ]
    assert parser.complete
    assert parser.buffered == 0


def test_large_pieces_of_a_body_are_not_copied() -> None:
    large = b"x" * 100_000
    for head in (POST + b"Content-Length: 300000\r\n\r\n", CHUNKED + b"493e0\r\n"):
        parser = RequestParser(FieldsCache())
        parser.receive(head)
        parser.read_head()
        parser.read_body(10)
        parser.receive(large)
        assert parser.read_body(10) is large


@pytest.mark.parametrize(
    "data", [GET + b"A: " + b"x" * 32_000, b"GET /" + b"a" * 32_000, GET + b"A: b\r\n" * 5_000]
)
def test_a_head_that_arrives_byte_by_byte_costs_little_per_byte(data: bytes) -> None:
    parser = RequestParser(FieldsCache())
    began = time.thread_time()
    for byte in data:
        parser.receive(bytes([byte]))
        parser.read_head()
    assert time.thread_time() - began < len(data) * 50e-6
