"""The header fields of requests: parsed once for all requests that repeat them byte for byte.

A page sends the same fields with each of its calls, so most requests of a busy portal repeat the fields of an
earlier one. What is kept depends on the bytes alone: who the user is and what they may do is decided for each
request anew.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from tornado.httputil import HTTPHeaders

from portal.bounded_cache import ByteBoundedCache
from portal.web.server.request_error import RequestError

MAX_HEADER_FIELDS = 256
MAX_NAME_BYTES = 256
"""Bytes of the name of a header field. Names are cached, here and by Tornado's HTTPHeaders."""
_NEUTRAL_LINE = b"POST / HTTP/1.1"
"""llhttp knows only registered methods; the portal has an error page for the others."""
_ONCE = frozenset({"Host", "Content-Length", "Transfer-Encoding"})
_OVERFLOW = "Content-Length overflow"
"""llhttp's message for a length that exceeds 64 bits."""
_CACHE_BYTES = 12_000_000
"""Enough for about 1,700 heads of browsers. A garbage collection visits each of them, in about 5 µs."""
_COOKIE_LINE = b"\r\nCookie: "
_COOKIE_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*+\r\n(?![ \t])")
"""The value (RFC 9110 5.5) and its end. A line that continues it is left to llhttp, which refuses it."""
_LARGEST_CACHED = 4096
"""Bytes."""
_MEMORY_PER_BYTE = 3
_MEMORY_PER_FIELD = 300
_MEMORY_PER_BLOCK = 1_500
"""Bytes of memory that the parsed fields of a block take, with what is derived from them."""


class RequestHeaders(HTTPHeaders):
    """The header fields of requests. Several requests share one object: `copy` it to change them.

    `derived` holds what others made of the fields alone, by a key of their own. Nothing in it refers to these
    headers: a reference cycle would keep them in memory until the next garbage collection, which holds the
    event loop the longer the more of them there are.
    """

    _complete = False

    def __init__(self, *arguments: Any, **fields: str) -> None:
        super().__init__(*arguments, **fields)
        self.derived: dict[object, Any] = {}

    def complete(self) -> None:
        """Allow no further change."""
        self._complete = True

    def copy(self) -> HTTPHeaders:
        """A copy that may be changed."""
        return HTTPHeaders(self)

    __copy__ = copy

    def __setitem__(self, name: str, value: str) -> None:
        self._check_incomplete()
        super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        self._check_incomplete()
        super().__delitem__(name)

    def add(self, name: str, value: str, *, _chars_are_bytes: bool = True) -> None:
        self._check_incomplete()
        super().add(name, value)

    def _check_incomplete(self) -> None:
        if self._complete:
            raise TypeError("other requests share these headers: copy them before a change")


class RequestFields(NamedTuple):
    """Parsed header fields."""

    headers: RequestHeaders
    known: dict[str, str]
    """The first value of each field."""
    closes: bool
    """Whether Connection contains `close`."""
    expects_continue: bool
    size: int
    """How many fields there are."""


class FieldsCache:
    """The parsed fields of the last different requests, bounded by bytes.

    Cookie is not among them: the other fields are the same for all users of one browser.
    """

    def __init__(self, max_bytes: int = _CACHE_BYTES) -> None:
        self._parsed: ByteBoundedCache[bytes, RequestFields] = ByteBoundedCache(max_bytes)

    @property
    def size(self) -> int:
        """Estimated bytes in memory."""
        return self._parsed.size

    def read(self, block: bytes) -> tuple[RequestFields, str | None]:
        """Parse the bytes of a head from the end of the request line on. Raises: RequestError.

        Return the fields and, beside them, the value of Cookie. None: there is none, or it is unusual and one
        of the fields.
        """
        others, cookie = _without_cookie(block)
        fields = self._find(others)
        if cookie is None:
            return fields, None
        if "Cookie" in fields.known:  # a second one
            return _read(block), None
        if fields.size >= MAX_HEADER_FIELDS:
            raise _too_many_fields()
        return fields, cookie

    def _find(self, block: bytes) -> RequestFields:
        found = self._parsed.get(block)
        if found is None:
            found = _read(block)
            if len(block) <= _LARGEST_CACHED and _may_come_again(found):
                size = _MEMORY_PER_BYTE * len(block) + _MEMORY_PER_FIELD * block.count(b"\n")
                self._parsed.put(block, found, size=size + _MEMORY_PER_BLOCK, owner="")
        return found


def _may_come_again(fields: RequestFields) -> bool:
    """Whether other requests may have the same fields.

    A body has its own length, a WebSocket its key; what a reverse proxy asks about often has its own query.
    """
    known = fields.known
    described = known.get("X-Original-Uri", "") + known.get("X-Forwarded-Uri", "")
    is_own = "Sec-Websocket-Key" in known or "?" in described
    return not is_own and known.get("Content-Length", "0") == "0"


def _without_cookie(block: bytes) -> tuple[bytes, str | None]:
    """Cut the first line of Cookie out, as browsers write it: a line that llhttp would accept, or none."""
    start = block.find(_COOKIE_LINE)
    if start < 0:
        return block, None
    line = _COOKIE_VALUE.match(block, start + len(_COOKIE_LINE))
    if line is None:
        return block, None
    value = line[0][:-2].strip(b" \t").decode("latin-1")
    return block[:start] + block[line.end() - 2 :], value


def _read(block: bytes) -> RequestFields:
    headers, known = RequestHeaders(), dict[str, str]()
    fields = _parse(_NEUTRAL_LINE + block)
    for name, value in fields:
        if len(name) > MAX_NAME_BYTES:
            raise RequestError("the name of a header field is too long", status=431)
        normalized, text = _normalized(name), value.strip(b" \t").decode("latin-1")
        if normalized not in known:
            known[normalized] = headers[normalized] = text
        elif normalized in _ONCE:
            raise RequestError(f"the request has more than one {normalized}")
        else:
            headers.add(normalized, text)
    headers.complete()
    return RequestFields(
        headers,
        known,
        closes="Connection" in known and "close" in _options(headers, "Connection"),
        expects_continue="Expect" in known and "100-continue" in _options(headers, "Expect"),
        size=len(fields),
    )


def _parse(block: bytes) -> list[tuple[bytes, bytes]]:
    """Return the header fields of a complete head."""
    events = _Events()
    try:
        HttpRequestParser(events).feed_data(block)
    except HttpParserUpgrade:
        pass  # the portal decides about upgrades, not llhttp
    except HttpParserError as error:
        if str(error) == _OVERFLOW:
            raise RequestError("the Content-Length is too long", status=413) from None
        raise RequestError("the head of the request is not valid HTTP/1.1") from None
    fields = events.fields
    if len(fields) > MAX_HEADER_FIELDS:
        raise _too_many_fields()
    if not events.head_complete or block.count(b"\n") != len(fields) + 2:  # one line for each field
        raise RequestError("the head of the request is not valid HTTP/1.1")
    return fields


def _too_many_fields() -> RequestError:
    return RequestError("the request has too many header fields", status=431)


@lru_cache(1024)
def _normalized(name: bytes) -> str:
    """The name as HTTPHeaders has it. The cache holds at most 1,024 names of MAX_NAME_BYTES."""
    return "-".join([word.capitalize() for word in name.decode("latin-1").split("-")])


def _options(headers: HTTPHeaders, name: str) -> list[str]:
    """The comma-separated values of a header field, in lower case."""
    return [option.strip() for option in headers[name].lower().split(",")]


class _Events:
    """Collects the events of llhttp. httptools prescribes the method names."""

    __slots__ = ("fields", "head_complete")

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.head_complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.head_complete = True
