"""Parses one HTTP/1.1 response from the bytes of a connection: strict, bounded, without I/O (RFC 9112).

llhttp parses chunks; this module parses heads, finds the end of a response and rejects invalid ones. Rule for
changes: everything that a server can repeat forever (interim responses, header lines, chunk extensions,
trailers) needs a limit here, and a case in tests/unit/outbound/test_response_growth.py.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from portal.errors import OutboundFailed

MAX_HEAD_BYTES = 65_536
"""Limit of the heads of a response, those of interim responses included."""
MAX_INTERIM_RESPONSES = 16
MAX_HEADER_FIELDS = 256
MAX_FRAMING_BYTES = 65_536
"""Limit of chunk sizes, extensions and trailers, plus `_FRAMING_PER_BODY_BYTE` for each byte of the body."""
_FRAMING_PER_BODY_BYTE = 16
"""The shortest chunk, with its size written in eight digits, needs 12."""
_LENGTH = re.compile(r"[0-9]{1,15}")
_HEAD = re.compile(
    rb"HTTP/(1\.[01]) ([0-9]{3})(?: ([\t\x20-\x7e\x80-\xff]*+))?+\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+)\r\n"
)
"""A complete head (RFC 9112 4 and 5), without obsolete line folding."""
_START = b"HTTP/1."
_HEAD_END = b"\r\n\r\n"
_LONGEST_TAIL = len(_HEAD_END) + 1
_NO_BODY = frozenset({204, 304})
_FRAMING = frozenset({"content-length", "transfer-encoding", "connection"})


class MalformedResponse(OutboundFailed):
    """The server sent an invalid HTTP/1.1 response, or exceeded a limit."""


class ResponseHead(NamedTuple):
    """Status line and header fields as received: order, case and repeated names are kept."""

    status: int
    reason: str
    headers: list[tuple[str, str]]


class ResponseParser:
    """The parser of one response; call `feed` with the received bytes.

    Parameters: method, of the request: a response to HEAD has no body (RFC 9112 6.3); accepts_upgrade,
    whether the request names another protocol: all that follows a response 101 is then returned as its body.
    """

    __slots__ = (
        "_accepts_upgrade",
        "_buffer",
        "_chunks",
        "_head_bytes",
        "_interim",
        "_method",
        "_remaining",
        "complete",
        "head",
        "persistent",
        "pieces",
        "surplus",
    )

    def __init__(self, method: str, *, accepts_upgrade: bool = False) -> None:
        self._method = method
        self._accepts_upgrade = accepts_upgrade
        self._buffer = bytearray()
        self._head_bytes = 0
        self._interim = 0
        self._chunks: _ChunkedBody | None = None
        self._remaining: int | None = None
        self.head: ResponseHead | None = None
        """The head of the final response; None until it is complete."""
        self.complete = False
        """Whether the whole response has been received."""
        self.persistent = False
        """Whether the server keeps the connection open after this response (RFC 9112 9.3)."""
        self.surplus = False
        """Whether bytes followed the end of the response: the connection must not be reused."""
        self.pieces = 1
        """Number of pieces of the body in the last call of `feed`: one, or the number of chunks."""

    @property
    def is_chunked(self) -> bool:
        """Whether the body is chunked."""
        return self._chunks is not None

    def feed(self, data: bytes) -> bytes:
        """Parse bytes of the connection; return the part of the body that they contain.

        Raises: MalformedResponse.
        """
        if self.head is None:
            data = self._feed_head(data)
        if not data:
            return b""
        if self.complete:
            self.surplus = True
            return b""
        if self._chunks is not None:
            body = self._chunks.feed(data)
            self.complete, self.surplus = self._chunks.complete, self._chunks.surplus
            self.pieces = self._chunks.pieces
            return body
        if self._remaining is None:
            return data
        return self._feed_counted(data, self._remaining)

    def feed_eof(self, *, is_certain: bool = True) -> None:
        """Process the end of the connection.

        Parameters: is_certain, whether the server closed it; a TLS connection without close_notify may have
        been truncated by an attacker (RFC 9112 9.8).
        Raises: MalformedResponse when the response is not complete.
        """
        if self.complete:
            return
        if self.head is None:
            raise MalformedResponse("the connection was closed before a response arrived")
        if self._chunks is not None or self._remaining is not None:
            raise MalformedResponse("the connection was closed before the end of the response")
        if not is_certain:
            raise MalformedResponse(
                "the connection was closed without close_notify of TLS (truncated response)"
            )
        self.complete = True

    def _feed_counted(self, data: bytes, remaining: int) -> bytes:
        if len(data) > remaining:
            self.surplus = True
            data = data[:remaining]
        self._remaining = remaining - len(data)
        self.complete = self._remaining == 0
        return data

    def _feed_head(self, data: bytes) -> bytes:
        """Parse heads up to that of the final response; return the bytes after it."""
        buffer = self._buffer
        end = data.find(_HEAD_END) + len(_HEAD_END)
        if (
            not buffer
            and len(_HEAD_END) <= end <= MAX_HEAD_BYTES - self._head_bytes
            and data.startswith(_START)
        ):
            self._head_bytes += end
            self._read_head(data[:end])
            if self.head is not None:
                return data[end:]
            data = data[end:]
        searched = max(0, len(buffer) - len(_HEAD_END) + 1)
        buffer += data
        while buffer and self.head is None:
            if not buffer.startswith(_START[: len(buffer)]):
                raise MalformedResponse("the response is not HTTP/1.1")
            end = buffer.find(_HEAD_END, searched)
            size = len(buffer) if end < 0 else end + len(_HEAD_END)
            if self._head_bytes + size > MAX_HEAD_BYTES:
                raise MalformedResponse(f"the head of the response has more than {MAX_HEAD_BYTES} bytes")
            if end < 0:
                return b""
            self._head_bytes += size
            self._read_head(bytes(buffer[:size]))
            del buffer[:size]
            searched = 0
        rest = bytes(buffer)
        buffer.clear()
        return rest

    def _read_head(self, block: bytes) -> None:
        match = _HEAD.fullmatch(block)
        if match is None:
            raise MalformedResponse("the head of the response is not valid HTTP/1.1")
        version, status, reason = match[1], int(match[2]), match[3] or b""
        lines = match[4].decode("latin-1").split("\r\n")[:-1]
        if len(lines) > MAX_HEADER_FIELDS:
            raise MalformedResponse(f"the response has more than {MAX_HEADER_FIELDS} header fields")
        upgraded = status == 101 and self._accepts_upgrade and version == b"1.1"
        if (status == 101 and not upgraded) or status < 100:
            # RFC 9110 7.8: a server must not switch to a protocol that the request does not name
            raise MalformedResponse(f"the server sent the status {status}")
        if status < 200 and not upgraded:
            self._interim += 1
            if self._interim > MAX_INTERIM_RESPONSES:
                raise MalformedResponse(f"more than {MAX_INTERIM_RESPONSES} interim responses")
            return
        headers = []
        for line in lines:
            name, _, value = line.partition(":")
            headers.append((name, value.strip(" \t")))
        framing = _read_framing(version, headers)
        if upgraded and (framing.chunked or framing.length is not None):
            raise MalformedResponse("the response 101 has a length")  # RFC 9110 8.6, RFC 9112 6.1
        if self._method == "HEAD" or status in _NO_BODY:
            self.complete = True
        elif framing.chunked:
            self._chunks = _ChunkedBody(block)
        else:
            self._remaining = framing.length
            self.complete = framing.length == 0
        delimited = self.complete or framing.chunked or framing.length is not None
        self.persistent = delimited and not framing.close and not self._accepts_upgrade
        self.head = ResponseHead(status, reason.decode("latin-1"), headers)


class _Framing(NamedTuple):
    length: int | None
    chunked: bool
    close: bool


def _read_framing(version: bytes, headers: list[tuple[str, str]]) -> _Framing:
    """How the end of the response is found (RFC 9112 6.3); ambiguous headers are rejected."""
    lengths, codings, options = [], [], []
    for name, value in headers:
        lowered = name.lower()
        if lowered not in _FRAMING:
            continue
        if lowered == "content-length":
            lengths.append(value)
        elif lowered == "transfer-encoding":
            codings.append(value.lower())
        else:
            options += [option.strip() for option in value.lower().split(",")]
    if len(lengths) + len(codings) > 1:
        raise MalformedResponse("the response states its length more than once")
    if codings and (codings != ["chunked"] or version == b"1.0"):
        raise MalformedResponse("the response has an unsupported transfer coding")
    if lengths and not _LENGTH.fullmatch(lengths[0]):
        raise MalformedResponse("the Content-Length of the response is not a number")
    return _Framing(
        length=int(lengths[0]) if lengths else None,
        chunked=bool(codings),
        close=version == b"1.0" or "close" in options,
    )


class _ChunkedBody:
    """A chunked body (RFC 9112 7.1). Extensions and trailers are limited in size and ignored."""

    __slots__ = (
        "_bytes_since_body",
        "_events",
        "_parser",
        "_spare",
        "_tail",
        "complete",
        "pieces",
        "surplus",
    )

    def __init__(self, head: bytes) -> None:
        """Raises: MalformedResponse. Parameters: head, of the response, with which llhttp begins."""
        self._events = _Events()
        self._parser = HttpResponseParser(self._events)
        try:
            self._parser.feed_data(head)
        except (HttpParserError, HttpParserUpgrade):
            raise MalformedResponse("the head of the response is not valid HTTP/1.1") from None
        self._spare = MAX_FRAMING_BYTES
        self._bytes_since_body = 0
        self._tail = b""
        self.complete = False
        self.surplus = False
        self.pieces = 1

    def feed(self, data: bytes) -> bytes:
        events = self._events
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            if not events.message_complete:
                raise MalformedResponse("a chunk of the response is not valid HTTP/1.1") from None
            self.surplus = True
        body = b"".join(events.pieces)
        self.pieces = max(1, len(events.pieces))
        events.pieces.clear()
        # Two limits: one for the extensions of many small chunks, one for a trailer after a large body.
        self._spare += (1 + _FRAMING_PER_BODY_BYTE) * len(body) - len(data)
        self._bytes_since_body = 0 if body else self._bytes_since_body + len(data)
        if self._spare < 0 or self._bytes_since_body > MAX_FRAMING_BYTES:
            raise MalformedResponse("the response has too large chunk extensions or trailers")
        self._tail = (self._tail + data[-_LONGEST_TAIL:])[-_LONGEST_TAIL:]
        if events.message_complete:
            self.complete = True
            # llhttp skips line breaks after a response; here they are surplus like any other byte.
            ends_well = self._tail.endswith(_HEAD_END) and not self._tail.startswith(b"\n")
            self.surplus = self.surplus or events.another_began or not ends_well
        return body


class _Events:
    """Collects the events of llhttp. httptools prescribes the method names."""

    __slots__ = ("another_began", "message_complete", "pieces")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.message_complete = False
        self.another_began = False

    def on_message_begin(self) -> None:
        self.another_began = self.message_complete

    def on_body(self, body: bytes) -> None:
        if not self.message_complete:
            self.pieces.append(body)

    def on_message_complete(self) -> None:
        self.message_complete = True
