"""Bodies of requests to the portal's own addresses: judged by their head, bounded, and only then read.

Every form of the portal is small. A body that is announced as short is read at once; one that is long or of
unknown length must first show by its head that it can matter. A refused body is not read at all: the response
is sent, and the connection is closed. An application sees a request when its body has come to the end.

Whoever adds an address that takes a larger body adds a BodyRule in routes.py.
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
from portal.web.server.client_stream import ClientStream, client_stream
from portal.web.server.tornado_private import close_after_response

SMALL_BODY = 16 * 1024
"""Bytes that any address takes without looking at the head first."""
_MOST_CHUNKS = 1024
_ANY_LENGTH = 1 << 60


@dataclass(frozen=True, slots=True)
class BodyRule:
    """What a body may be at the addresses whose path matches `path`.

    `largest` is in bytes. Of `cookies` (names without the prefix of the site), one must be there before a
    body that is not small is read.
    """

    path: re.Pattern[str]
    largest: int
    cookies: tuple[str, ...] = ()

    def lacks_cookie(self, headers: httputil.HTTPHeaders) -> bool:
        """Whether none of the cookies is there. What they hold is for the handler to judge."""
        if not self.cookies:
            return False
        held = [
            part.strip().partition("=")[0] for line in headers.get_list("Cookie") for part in line.split(";")
        ]
        return not any(name.removeprefix("__Host-") in self.cookies for name in held)


_OTHERS = BodyRule(re.compile(".*", re.DOTALL), SMALL_BODY)


class BodyRules:
    """Finds the rule of a request's address."""

    def __init__(self, rules: Sequence[BodyRule]) -> None:
        self._rules = (*rules, _OTHERS)

    def find(self, path: str) -> BodyRule:
        return next(rule for rule in self._rules if rule.path.fullmatch(path))


def has_body(headers: httputil.HTTPHeaders) -> bool:
    """Whether a body follows the head (RFC 9112 6.3)."""
    return "Transfer-Encoding" in headers or headers.get("Content-Length", "0") != "0"


class BoundedBody(httputil.HTTPMessageDelegate):
    """A request to the application; `delegate` gets it when its body is complete or refused."""

    def __init__(
        self, delegate: httputil.HTTPMessageDelegate, connection: httputil.HTTPConnection, rules: BodyRules
    ) -> None:
        self._delegate = delegate
        self._connection = cast(HTTP1Connection, connection)
        self._stream = client_stream(connection)
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
        self._connection.set_max_body_size(_ANY_LENGTH)  # bounded here, where the client gets a response
        self._rule = self._rules.find(self._start_line.path.partition("?")[0])
        error = self._judge()
        if error is not None:
            return self._refuse(error)
        if self._stream is not None:
            self._stream.most_chunks = _MOST_CHUNKS
        return None

    def _judge(self) -> PortalError | None:
        """Find out from the head alone whether the request is refused."""
        length = self._headers.get("Content-Length", "")
        announced = int(length) if length.isascii() and length.isdigit() and len(length) < 19 else _ANY_LENGTH
        if not has_body(self._headers) or (
            "Transfer-Encoding" not in self._headers and announced <= SMALL_BODY
        ):
            return None
        if self._rule.lacks_cookie(self._headers):
            if SESSION_COOKIE in self._rule.cookies:
                return LoginRequired("a long body without a session cookie")
            return AttemptUnknown("a long body without a binding cookie")
        if length and announced > self._rule.largest:
            return PayloadTooLarge(f"the body has more than {self._rule.largest} bytes")
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        if self._handed_over:
            return self._never()
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
        """Let the handler send the error; nothing more is read, and the connection is closed afterwards."""
        if self._stream is not None:
            self._stream.refusal = error
        self._body.clear()
        close_after_response(self._connection)
        for name in ("Content-Type", "Content-Encoding"):
            if name in self._headers:
                del self._headers[name]
        self._hand_over(b"")
        return self._never()

    def _never(self) -> Awaitable[None] | None:
        return None if self._stream is None else self._stream.until_closed()

    def _hand_over(self, body: bytes) -> None:
        self._handed_over = True
        self._delegate.headers_received(self._start_line, self._headers)
        if body:
            self._delegate.data_received(body)
        self._delegate.finish()


def refusal_of(connection: object) -> PortalError | None:
    """Return why the request under way on this connection is refused, for its handler to raise."""
    stream: ClientStream | None = client_stream(connection)
    return stream.refusal if stream is not None else None
