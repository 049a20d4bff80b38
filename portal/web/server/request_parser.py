"""Parses the HTTP/1.1 requests of one connection: strict, bounded, without I/O (RFC 9112).

llhttp parses heads; this module finds the end of each request. Rule for changes: whatever two servers could
understand differently (where a request ends, which host it is for) is an error, never repaired. Everything
that a client can repeat forever needs a limit here.
"""

from __future__ import annotations

import re
from collections import deque
from typing import NamedTuple

from tornado.httputil import HTTPHeaders, RequestStartLine

from portal.web.server.chunked_body import ChunkedBody
from portal.web.server.request_error import RequestError
from portal.web.server.request_fields import FieldsCache, RequestHeaders

MAX_HEAD_BYTES = 32 * 1024
_HEAD_END = b"\r\n\r\n"
_LINE_FEED = 0x0A
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e\x80-\xff]+) HTTP/1\.([01])")
_UNFINISHED = re.compile(rb"(?:[^\x00-\x08\x0a-\x1f\x7f]++|\r\n)*+\r?")
"""What can still become a head: control characters and single line breaks never can."""
_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*://([^/?#]*)")
_HOST = re.compile(r"[A-Za-z0-9.\-_~!$&'()*+;=%:\[\]]*")
"""RFC 9110 7.2, without commas: a proxy may have joined several hosts."""
_LENGTH = re.compile(r"[0-9]+")
_LONGEST_LENGTH = 15
"""Digits of a Content-Length."""


class RequestHead(NamedTuple):
    """Request line and header fields, and how the body is framed (RFC 9112 6.3)."""

    start_line: RequestStartLine
    headers: RequestHeaders
    """Without Cookie, if `cookie` is not None."""
    cookie: str | None
    length: int | None
    """Bytes of the body; None: it is chunked."""
    persistent: bool
    """Whether the connection may carry another request (RFC 9112 9.3)."""
    expects_continue: bool
    """Whether the client waits for a response before it sends the body (RFC 9110 10.1.1)."""

    def all_headers(self) -> HTTPHeaders:
        """A copy of the header fields, with Cookie, that may be changed."""
        headers = self.headers.copy()
        if self.cookie is not None:
            headers["Cookie"] = self.cookie
        return headers


class RequestParser:
    """The requests of a connection, one after another: `read_head`, then `read_body` until `complete`.

    Parameters: fields, shared by the connections of a server; max_head_bytes, of one request.
    """

    __slots__ = (
        "_chunks",
        "_fields",
        "_line_checked",
        "_max_head_bytes",
        "_pieces",
        "_remaining",
        "_searched",
        "buffered",
        "complete",
    )

    def __init__(self, fields: FieldsCache, max_head_bytes: int = MAX_HEAD_BYTES) -> None:
        self._fields = fields
        self._max_head_bytes = max_head_bytes
        self._pieces: deque[bytes | bytearray] = deque()
        self._searched = 0
        self._line_checked = False
        self._remaining = 0
        self._chunks: ChunkedBody | None = None
        self.buffered = 0
        """Bytes that were received and not read yet."""
        self.complete = True
        """Whether the last request, with its body, has been read."""

    @property
    def chunks(self) -> int:
        """Number of chunks of the current body that have been read."""
        return self._chunks.count if self._chunks is not None else 0

    def receive(self, data: bytes) -> None:
        """Add bytes of the connection."""
        self._pieces.append(data)
        self.buffered += len(data)

    def take_rest(self) -> bytes:
        """Return what was received after the current request, for another protocol."""
        rest = b"".join(self._pieces)
        self._pieces.clear()
        self.buffered = 0
        return rest

    # --- the head

    def read_head(self) -> RequestHead | None:
        """Return the head of the next request; None while it is incomplete. Raises: RequestError."""
        if not self._pieces:
            return None
        first = self._pieces[0]
        if len(self._pieces) > 1:
            first = self._join()
        searched = self._searched
        end = first.find(_HEAD_END, searched)
        if end < 0:
            self._check_unfinished(first)
            return None
        size = end + len(_HEAD_END)
        if size > self._max_head_bytes:
            raise RequestError("the head of the request is too long", status=431)
        self._searched, self._line_checked = 0, False
        self.buffered -= size
        if len(first) == size:
            self._pieces.clear()
            return self._read(bytes(first))
        self._pieces[0] = bytes(first[size:])
        return self._read(bytes(first[:size]))

    def _join(self) -> bytearray:
        """Append what arrived since the last call to the incomplete head."""
        pieces = self._pieces
        first = pieces.popleft()
        joined = first if isinstance(first, bytearray) else bytearray(first)
        while pieces:
            joined += pieces.popleft()
        pieces.append(joined)
        return joined

    def _check_unfinished(self, data: bytes | bytearray) -> None:
        """Refuse at once what is not HTTP/1.1, in place of waiting for the end of the head."""
        if len(data) > self._max_head_bytes:
            raise RequestError("the head of the request is too long", status=431)
        start = max(0, self._searched - 1)
        if start and data[start] == _LINE_FEED:  # it was checked with the byte before it
            start += 1
        if _UNFINISHED.fullmatch(data, start) is None:
            raise RequestError("the request is not HTTP/1.1")
        if not self._line_checked:
            line_start = 2 if data.startswith(b"\r\n") else 0
            line_end = data.find(b"\r\n", line_start)
            self._line_checked = line_end >= 0
            if line_end >= 0 and _REQUEST_LINE.fullmatch(data, line_start, line_end) is None:
                raise RequestError("the request line is invalid")
        self._searched = max(0, len(data) - len(_HEAD_END) + 1)

    def _read(self, block: bytes) -> RequestHead:
        if block.startswith(b"\r\n"):
            block = block[2:]  # RFC 9112 2.2: some clients send a line break after a body
        line = _REQUEST_LINE.fullmatch(block, 0, block.find(b"\r\n"))
        if line is None:
            raise RequestError("the request line is invalid")
        method, target, minor = line.groups()
        is_current = minor == b"1"
        fields, cookie = self._fields.read(block[line.end() :])
        _check_host(fields.known.get("Host"), target, is_current=is_current)
        length = _framing(fields.known, is_current=is_current)
        self._remaining = length or 0
        self._chunks = ChunkedBody() if length is None else None
        self.complete = length == 0
        return RequestHead(
            RequestStartLine(
                method.decode("ascii"), target.decode("latin-1"), "HTTP/1.1" if is_current else "HTTP/1.0"
            ),
            fields.headers,
            cookie,
            length,
            is_current and not fields.closes,
            is_current and fields.expects_continue,
        )

    # --- the body

    def read_body(self, most_chunks: int) -> bytes:
        """Return the bytes of the body that have arrived, from at most this many chunks.

        Raises: RequestError.
        """
        if not self._pieces:
            return b""
        data = bytes(self._pieces.popleft())
        if self._chunks is None:
            body, rest = data, b""
            if len(data) > self._remaining:
                body, rest = data[: self._remaining], data[self._remaining :]
            self._remaining -= len(body)
            self.complete = self._remaining == 0
        else:
            body, rest = self._chunks.decode(data, most_chunks)
            self.complete = self._chunks.complete
        self.buffered -= len(data) - len(rest)
        if rest:
            self._pieces.appendleft(rest)
        return body


def _check_host(host: str | None, target: bytes, *, is_current: bool) -> None:
    """RFC 9112 3.2: one valid Host, which an absolute target must agree with."""
    if host is None and is_current:
        raise RequestError("the request needs a Host")
    if host is not None and _HOST.fullmatch(host) is None:
        raise RequestError("the Host is invalid")
    if target.startswith(b"/") or (absolute := _ABSOLUTE.match(target)) is None:
        return
    if host is None or absolute[1].decode("latin-1").lower() != host.lower():
        raise RequestError("the request target names another host than the Host")


def _framing(known: dict[str, str], *, is_current: bool) -> int | None:
    """Return the length of the body; None if it is chunked (RFC 9112 6.3). Raises: RequestError."""
    length, coding = known.get("Content-Length"), known.get("Transfer-Encoding")
    if coding is not None:
        if length is not None or coding.lower() != "chunked" or not is_current:
            raise RequestError("the transfer coding is not supported, or stands beside a length")
        return None
    if length is None:
        return 0
    if _LENGTH.fullmatch(length) is None:
        raise RequestError("the Content-Length is not a number")
    if len(length) > _LONGEST_LENGTH:
        raise RequestError("the Content-Length is too long", status=413)
    return int(length)
