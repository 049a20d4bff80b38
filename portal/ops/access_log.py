"""The access log: one line per request, written without the machinery of other log lines.

There is one such line for every API call, so it is put together here directly; a structlog line takes several
times as long. Format and stream are those of the other lines.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import structlog


class AccessLog:
    """Writes a line per request where structlog is set up to write, as JSON or for a console.

    `style` and `level` are those of the portal's settings; above level `info` nothing is written.
    """

    def __init__(self, *, style: str, level: str) -> None:
        self._as_json = style == "json"
        self._put: Callable[[str], object] | None = None
        if level in {"debug", "info"}:
            self._put = structlog.get_config()["logger_factory"]().msg
        self._second = 0
        self._stamp = ""

    def write(
        self, *, method: str, path: str, status: int, milliseconds: float, client: str, request_id: str
    ) -> None:
        """Write the line of one request. `path` comes without its query, which may hold a code."""
        if self._put is None:
            return
        stamp = self._timestamp()
        if self._as_json:
            line = (
                f'{{"event": "request", "level": "info", "timestamp": "{stamp}", '
                f'"method": {json.dumps(method)}, "path": {json.dumps(path)}, "status": {status}, '
                f'"ms": {milliseconds}, "client": {json.dumps(client)}, "request_id": "{request_id}"}}'
            )
        else:
            shown = path.encode("unicode_escape").decode()
            line = (
                f"{stamp} [info     ] {method} {shown} {status} {milliseconds} ms "
                f"client={client} request_id={request_id}"
            )
        self._put(line)

    def _timestamp(self) -> str:
        moment = time.time()
        second = int(moment)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{int((moment - second) * 1_000_000):06d}Z"
