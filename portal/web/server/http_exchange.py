"""One request and its response on a connection: the interface that Tornado's handlers write to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from tornado import httputil
from tornado.httputil import HTTPOutputError
from tornado.iostream import StreamClosedError

from portal.web.server.request_parser import MAX_HEAD_BYTES, RequestHead

_NO_BODY = frozenset({204, 304})
_LARGE_CHUNK = 16 * 1024
"""Bytes of a chunk that is written without being copied."""
_NO_DELEGATE = httputil.HTTPMessageDelegate()
_LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Limits in bytes and seconds. A handler may change those of its request's body."""

    head_bytes: int = MAX_HEAD_BYTES
    body_bytes: int = 128 * 1024
    idle_seconds: float = 75.0
    """For the first byte of a request, from the last response or the beginning of the connection."""
    head_seconds: float = 30.0
    """For the head, from its first byte."""
    body_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class ClientContext:
    """What is known about a client. Tornado prescribes the names."""

    remote_ip: str
    protocol: str = "http"


class ResponseStream(Protocol):
    """The part of a connection that an exchange uses."""

    context: ClientContext

    def closed(self) -> bool: ...

    def close(self) -> None: ...

    def write(self, data: bytes) -> asyncio.Future[None]: ...

    def write_pieces(self, pieces: Sequence[bytes]) -> asyncio.Future[None]: ...

    def response_finished(self, exchange: HttpExchange) -> None: ...

    def upgrade(self, protocol: asyncio.Protocol, memory: memoryview | None) -> asyncio.Transport: ...


class HttpExchange(httputil.HTTPConnection):
    """A request and its response. Handlers call `write_headers`, then `write`, then `finish`.

    Parameters: stream, the connection; limits, whose limits for a body the handler may change before it is
    read.
    """

    def __init__(self, stream: ResponseStream, head: RequestHead, limits: RequestLimits) -> None:
        self.stream = stream
        self.context = stream.context
        self.head = head
        self.body_seconds = limits.body_seconds
        self.max_body_size = limits.body_bytes
        self.body_bytes = 0
        """Bytes of the body that were read."""
        self.delegate = _NO_DELEGATE
        """The handler of the request."""
        self.request_complete = False
        self.has_head = False
        """Whether the head of the response has been written."""
        self.is_finished = False
        """Whether the whole response has been written."""
        self.close_after = not head.persistent
        """Whether the connection is closed after the response."""
        self._close_callback: Callable[[], None] | None = None
        self._chunked = False
        self._remaining: int | None = None

    # --- what handlers set

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Set what is called when the client disconnects after its request is complete."""
        self._close_callback = callback

    def report_close(self) -> None:
        """Tell the handler that the client disconnected."""
        if self.is_finished:
            return
        if not self.request_complete:
            self.delegate.on_connection_close()
        elif self._close_callback is not None:
            self._close_callback()

    def set_body_timeout(self, timeout: float) -> None:
        """Set the time limit for the body of this request, in seconds."""
        self.body_seconds = timeout

    def set_max_body_size(self, max_body_size: int) -> None:
        """Set the limit for the body of this request, in bytes."""
        self.max_body_size = max_body_size

    def close_after_response(self) -> None:
        """Close the connection when the response has been written."""
        self.close_after = True

    def upgrade(self, protocol: asyncio.Protocol, memory: memoryview | None = None) -> asyncio.Transport:
        """Hand the connection to another protocol (RFC 9110 7.8), and return its transport.

        Call it before `write_headers`; the caller writes the response. Bytes that follow the request go to
        `protocol.data_received`, after its `connection_made`. The connection still counts. The protocol's
        `pause_writing` is called whenever the kernel has not taken all bytes.
        Parameters: memory, to read into; all connections of an event loop may share it. None: of its own.
        """
        return self.stream.upgrade(protocol, memory)

    # --- the response

    def write_headers(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
        chunk: bytes | None = None,
    ) -> asyncio.Future[None]:
        """Write the head and the first bytes of the body. Raises: ValueError for a line break in a header."""
        _, status, reason = cast(httputil.ResponseStartLine, start_line)
        request = self.head.start_line
        is_current, is_head = request.version == "HTTP/1.1", request.method == "HEAD"
        has_length = "Content-Length" in headers
        self._chunked = is_current and not has_length and not is_head and status not in _NO_BODY
        if not is_current or self.close_after:
            self.close_after = True
            headers["Connection"] = "close"
        elif "Connection" in headers and headers["Connection"].lower() == "close":
            self.close_after = True
        if self._chunked:
            headers["Transfer-Encoding"] = "chunked"
        self._remaining = None
        if is_head or status in _NO_BODY:
            self._remaining = 0
        elif has_length:
            self._remaining = int(headers["Content-Length"])
        encoded = _encode_head(status, reason, headers)
        if self.has_head:
            raise RuntimeError("the head of the response has been written")
        self.has_head = True
        return self._send(encoded, chunk)

    def write(self, chunk: bytes) -> asyncio.Future[None]:
        """Write bytes of the body. The result is done when the kernel has taken them (back-pressure)."""
        return self._send(b"", chunk)

    def _send(self, head: bytes, chunk: bytes | None) -> asyncio.Future[None]:
        if self.is_finished:  # what follows belongs to the next response
            raise RuntimeError("the response is finished")
        if not chunk:
            return self.stream.write(head)
        if self._remaining is not None:
            self._remaining -= len(chunk)
            if self._remaining < 0:
                self.stream.close()
                raise HTTPOutputError("Tried to write more data than Content-Length")
        if self._chunked:
            head += b"%x\r\n" % len(chunk)
            if len(chunk) < _LARGE_CHUNK:
                return self.stream.write(b"%b%b\r\n" % (head, chunk))
            return self.stream.write_pieces((head, chunk, b"\r\n"))
        if len(chunk) < _LARGE_CHUNK or not head:
            return self.stream.write(head + chunk if head else chunk)
        return self.stream.write_pieces((head, chunk))

    def finish(self) -> None:
        """End the response. Raises HTTPOutputError when it is shorter than its Content-Length."""
        if self.is_finished:
            raise RuntimeError("the response is finished")
        if self._remaining and not self.stream.closed():
            self.stream.close()
            raise HTTPOutputError(f"Tried to write {self._remaining} bytes less than Content-Length")
        if self._chunked:
            self.stream.write(_LAST_CHUNK)
        self.is_finished = True
        self.delegate, self._close_callback = _NO_DELEGATE, None  # no reference cycle remains
        self.stream.response_finished(self)


class EncodedHeaders(Protocol):
    """Headers of which some are the same in every response, and encoded already."""

    encoded: bytes
    """Lines with their line breaks; `get_all` contains them too."""

    def get_others(self) -> Iterable[tuple[str, str]]:
        """Like `get_all`, without those of `encoded`."""


def _encode_head(status: int, reason: str, headers: httputil.HTTPHeaders) -> bytes:
    encoded = getattr(headers, "encoded", b"")
    pairs = cast(EncodedHeaders, headers).get_others() if encoded else headers.get_all()
    lines = [f"HTTP/1.1 {status} {reason}", *[f"{name}: {value}" for name, value in pairs], ""]
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
        raise ValueError("Illegal characters (CR or LF) in a header")
    return b"%b%b\r\n" % (text.encode("latin-1"), encoded)


def failed_write(future: asyncio.Future[None]) -> asyncio.Future[None]:
    """Let the result of a write fail, because the connection is closed."""
    if not future.done():
        future.set_exception(StreamClosedError())
        future.exception()  # nobody has to await it
    return future
