"""Limits for bodies of requests to the portal's own addresses, checked from the head before reading.

Every form of the portal is small. A body with a short Content-Length is read at once; a long body, or one of
unknown length, must first satisfy the rule of its address. A refused body is not read at all: the response is
sent and the connection is closed. The application sees a request when its body is complete.

To accept a larger body at an address, add a BodyRule in routes.py. It may let a handler read the body itself.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import cast

from tornado import httputil
from tornado.http1connection import HTTP1Connection

from portal.errors import LoginRequired, PayloadTooLarge, PortalError
from portal.oidc.errors import AttemptUnknown
from portal.web.cookies import SESSION_COOKIE
from portal.web.server.client_connection import client_connection
from portal.web.server.tornado_private import close_after_response

SMALL_BODY = 16 * 1024
"""Bytes that every address accepts without a check of the head."""
_MOST_CHUNKS = 1024
_ANY_LENGTH = 1 << 60
_MOST_DIGITS = 18


@dataclass(frozen=True, slots=True)
class BodyRule:
    """The limits for bodies at addresses whose path matches `path`.

    `largest` is in bytes. A body above SMALL_BODY is read only if the request has one of `cookies` (names
    without the `__Host-` prefix). A body at a `streamed` address passes to its handler as it arrives, which
    limits it itself.
    """

    path: re.Pattern[str]
    largest: int
    cookies: tuple[str, ...] = ()
    streamed: bool = False

    def lacks_cookie(self, headers: httputil.HTTPHeaders) -> bool:
        """Whether the request has none of the cookies. The handler checks their values."""
        if not self.cookies:
            return False
        names = [
            part.strip(" \t").partition("=")[0]
            for line in headers.get_list("Cookie")
            for part in line.split(";")
        ]
        return not any(name.removeprefix("__Host-") in self.cookies for name in names)


_DEFAULT_RULE = BodyRule(re.compile(".*", re.DOTALL), SMALL_BODY)


class BodyRules:
    """Finds the rule of a request's address."""

    def __init__(self, rules: Sequence[BodyRule]) -> None:
        self._rules = (*rules, _DEFAULT_RULE)

    def find(self, path: str) -> BodyRule:
        return next(rule for rule in self._rules if rule.path.fullmatch(path))


def has_body(headers: httputil.HTTPHeaders) -> bool:
    """Whether a body follows the head (RFC 9112 6.3)."""
    return "Transfer-Encoding" in headers or (
        "Content-Length" in headers and headers["Content-Length"] != "0"
    )


def declared_length(headers: httputil.HTTPHeaders) -> int | None:
    """Return the Content-Length of a request in bytes (RFC 9110 8.6); None when it does not state one.

    A longer number than any body can have is 2^60, so that no one pays for reading it.
    """
    length = headers.get("Content-Length", "")
    if not (length.isascii() and length.isdigit()):
        return None
    return int(length) if len(length) <= _MOST_DIGITS else _ANY_LENGTH


class BoundedBody(httputil.HTTPMessageDelegate):
    """A request to the application. It passes to `delegate` when its body is complete or refused."""

    def __init__(
        self, delegate: httputil.HTTPMessageDelegate, connection: httputil.HTTPConnection, rules: BodyRules
    ) -> None:
        self._delegate = delegate
        self._connection = cast(HTTP1Connection, connection)
        self._stream = client_connection(connection)
        self._rules = rules
        self._body = bytearray()
        self._handed_over = False

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        self._start_line = cast(httputil.RequestStartLine, start_line)
        self._headers = headers
        self._connection.set_max_body_size(_ANY_LENGTH)  # limited here, so that the client gets a response
        self._rule = self._rules.find(self._start_line.path.partition("?")[0])
        error = self._check_head()
        if error is not None:
            return self._refuse(error)
        if self._stream is not None:
            self._stream.max_chunks = _MOST_CHUNKS
        return None

    def _check_head(self) -> PortalError | None:
        """Return the error if the head alone shows that the body must be refused."""
        if not has_body(self._headers):
            return None
        length = declared_length(self._headers)
        if length is not None and length <= SMALL_BODY:
            return None
        if self._rule.lacks_cookie(self._headers):
            if SESSION_COOKIE in self._rule.cookies:
                return LoginRequired("a long body without a session cookie")
            return AttemptUnknown("a long body without a binding cookie")
        if length is not None and length > self._rule.largest:
            return PayloadTooLarge(f"the body has more than {self._rule.largest} bytes")
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        if self._handed_over:
            return self._stop_reading()
        self._body += chunk
        if len(self._body) > self._rule.largest:
            return self._refuse(PayloadTooLarge(f"the body has more than {self._rule.largest} bytes"))
        return None

    def finish(self) -> None:
        if not self._handed_over:
            self._hand_over(bytes(self._body))

    def on_connection_close(self) -> None:
        if self._handed_over:
            self._delegate.on_connection_close()

    def _refuse(self, error: PortalError) -> Awaitable[None] | None:
        """Let the handler send the error. Nothing more is read, and the connection closes afterwards."""
        if self._stream is not None:
            self._stream.refusal = error
        self._body.clear()
        close_after_response(self._connection)
        for name in ("Content-Type", "Content-Encoding"):
            if name in self._headers:
                del self._headers[name]
        self._hand_over(b"")
        return self._stop_reading()

    def _stop_reading(self) -> Awaitable[None] | None:
        return None if self._stream is None else self._stream.until_closed()

    def _hand_over(self, body: bytes) -> None:
        self._handed_over = True
        self._delegate.headers_received(self._start_line, self._headers)
        if body:
            self._delegate.data_received(body)
        self._delegate.finish()


def refusal_of(connection: object) -> PortalError | None:
    """Return the error with which the current request is refused, for its handler to raise."""
    stream = client_connection(connection)
    return stream.refusal if stream is not None else None
