"""`/files` of a sample API: an upload of any size, which is counted and not kept."""

from __future__ import annotations

import hashlib
from typing import cast

from tornado.httputil import HTTPConnection
from tornado.web import stream_request_body

from portal.demo.api_handlers import ApiHandler

_LARGEST = 16 * 1024**3


@stream_request_body
class FilesHandler(ApiHandler):
    """`POST /files`: reads the body as it arrives; responds with its size and SHA-256."""

    async def prepare(self) -> None:
        """Check the access token before the body is read."""
        self._hash = hashlib.sha256()
        self._bytes = 0
        connection = cast(HTTPConnection, self.request.connection)
        connection.set_max_body_size(_LARGEST)  # type: ignore[attr-defined]
        await super().prepare()

    def data_received(self, chunk: bytes) -> None:
        """Count a piece of the body."""
        self._bytes += len(chunk)
        self._hash.update(chunk)

    async def post(self) -> None:
        self.respond({"bytes": self._bytes, "sha256": self._hash.hexdigest()}, status=201)
