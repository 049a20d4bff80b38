"""Decodes the chunked body of a request (RFC 9112 7.1), without I/O.

Extensions and trailers are refused: no browser sends them, and servers that skip them differ in how. A chunk
of the shortest form costs about as much time as 100 bytes, so the caller limits the chunks of one call.
"""

from __future__ import annotations

import re

from portal.web.server.request_error import RequestError

_FIRST = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")
_NEXT = re.compile(rb"\r\n([0-9A-Fa-f]{1,15})\r\n")
_END = re.compile(rb"()\r\n")
_LARGE_CHUNK = 4096
"""Bytes of a chunk that is copied only once."""
_UNFINISHED = {
    _FIRST: re.compile(rb"(?:[0-9A-Fa-f]{1,15}\r?)?"),
    _NEXT: re.compile(rb"(?:\r(?:\n(?:[0-9A-Fa-f]{1,15}\r?)?)?)?"),
    _END: re.compile(rb"\r?"),
}
"""What can still become the line that is expected."""


class ChunkedBody:
    """The decoder of one body."""

    __slots__ = ("_expected", "_left", "_rest", "complete", "count")

    def __init__(self) -> None:
        self._expected = _FIRST
        self._left = 0
        """Bytes of the current chunk that have not arrived."""
        self._rest = b""
        """An incomplete line."""
        self.count = 0
        """Chunks that have begun."""
        self.complete = False

    def decode(self, data: bytes, most_chunks: int) -> tuple[bytes, bytes]:
        """Return the part of the body in `data`, and the bytes after it that were not decoded.

        Those are not empty after the end of the body, and when `most_chunks` have begun in this call.
        Raises: RequestError.
        """
        if self._left > len(data):
            self._left -= len(data)
            return data, b""
        if self._rest:
            data, self._rest = self._rest + data, b""
        pieces: list[bytes | memoryview] = []
        position, last = 0, self.count + most_chunks
        while True:
            if self._left:
                whole = data if self._left < _LARGE_CHUNK else memoryview(data)
                piece = whole[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
            if self.count >= last and position < len(data):
                break
            line = self._expected.match(data, position)
            if line is None:
                self._rest = data[position:]
                if _UNFINISHED[self._expected].fullmatch(self._rest) is None:
                    raise RequestError("a chunk of the request is invalid")
                return b"".join(pieces), b""
            position = line.end()
            if self._expected is _END:
                self.complete = True
                break
            self._left = int(line[1], 16)
            self._expected = _NEXT if self._left else _END
            self.count += 1
        return b"".join(pieces), data[position:]
