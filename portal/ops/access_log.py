"""The access log: one line per request, written without structlog's processors.

There is one line for every API call, so this module formats it directly; structlog takes several times as
long. Format and stream are the same as for other log lines.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from functools import lru_cache

import structlog

_SHORT = 64
"""Characters. Methods and addresses are short, and the same ones come again."""


class AccessLog:
    """Writes a line per request to the stream of structlog, as JSON or for a console.

    `style` and `level` are those of the portal's settings; nothing is written above level `info`.
    """

    def __init__(self, *, style: str, level: str) -> None:
        self._as_json = style == "json"
        self._put: Callable[[str], object] | None = None
        if level in {"debug", "info"}:
            self._put = structlog.get_config()["logger_factory"]().msg
        self._second = 0
        self._stamp = ""
        self._lines: list[str] = []

    def write(
        self,
        *,
        method: str,
        path: str,
        status: int,
        milliseconds: float,
        client: str,
        request_id: str,
        socket_bytes: tuple[int, int] | None = None,
    ) -> None:
        """Write the line of one request, with the others of this iteration of the event loop.

        `path` must not include the query, which may contain a code.
        Parameters: socket_bytes, of a WebSocket: how many were received from the browser and sent to it.
        """
        if self._put is None:
            return
        stamp = self._timestamp()
        if self._as_json:
            line = (
                f'{{"event": "request", "level": "info", "timestamp": "{stamp}", '
                f'"method": {_short(method)}, "path": {json.dumps(path)}, "status": {status}, '
                f'"ms": {milliseconds}, "client": {_short(client)}, "request_id": "{request_id}"'
            )
            if socket_bytes is not None:
                line += f', "received": {socket_bytes[0]}, "sent": {socket_bytes[1]}'
            line += "}"
        else:
            escaped = path.encode("unicode_escape").decode()
            line = (
                f"{stamp} [info     ] {method} {escaped} {status} {milliseconds} ms "
                f"client={client} request_id={request_id}"
            )
            if socket_bytes is not None:
                line += f" received={socket_bytes[0]} sent={socket_bytes[1]}"
        self._lines.append(line)
        if len(self._lines) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Write the lines of this iteration of the event loop at once."""
        lines, self._lines = self._lines, []
        if self._put is not None and lines:
            self._put("\n".join(lines))

    def _timestamp(self) -> str:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{int((now - second) * 1_000_000):06d}Z"


def _short(text: str) -> str:
    """A text as JSON."""
    return _short_json(text) if len(text) <= _SHORT else json.dumps(text)


@lru_cache(1024)
def _short_json(text: str) -> str:
    return json.dumps(text)
