"""Serves the files of a front end.

Hashed files are cached by browsers for ever, all others are checked at every use. An address of the
application itself, such as `/desk/acme/orders/7`, is its `index.html`; a missing file never is.
"""

from __future__ import annotations

from typing import Any

import structlog
from tornado.iostream import StreamClosedError

from portal.config.front_ends import ICON_PATH, INDEX
from portal.errors import NotFound, PortalError
from portal.web.base import PageHandler
from portal.web.cache_control import FOREVER
from portal.web.front_ends.conditions import (
    RangeNotSatisfiable,
    accepted_codings,
    byte_range,
    matches,
)
from portal.web.front_ends.files import CODINGS, FilesUnavailable, FoundFile
from portal.web.front_ends.paths import file_path, is_hashed, is_page
from portal.web.front_ends.policy import content_policy
from portal.web.front_ends.service import FrontEndTarget
from portal.web.product import send_icon
from portal.web.server.client_connection import abort

_log = structlog.get_logger("portal.front_ends")

_CHECKED = "no-cache"
_CHUNK = 128 * 1024
"""Bytes of a large file that are in memory at a time."""


class FrontEndPageHandler(PageHandler):
    """The part that files and development servers have in common. It reads no session."""

    def initialize(self, target: FrontEndTarget) -> None:
        """Parameters: target, from `FrontEnds.find`."""
        self.target = target

    async def prepare(self) -> None:
        self.begin()
        self.send_strict_transport_security()

    def send_policy(self) -> None:
        """Replace the policy of the portal's own pages by that of the front end."""
        front_end = self.target.front_end
        redirects = "https: http:" if self.portal.settings.allow_private_networks else "https:"
        self.set_header("Content-Security-Policy", content_policy(front_end, form_targets=redirects))
        if front_end.csp.get("frame-ancestors"):
            self.clear_header("X-Frame-Options")

    def add_slash(self) -> None:
        """Redirect to the front end's root, so that relative links of its page are below it."""
        query = f"?{self.request.query}" if self.request.query else ""
        self.redirect(f"{self.target.front_end.path}/{query}", status=303)

    def render_error(self, error: PortalError) -> None:
        """Show a page to a person who opens an address, and a problem to everything else."""
        if "text/html" in self.request.headers.get("Accept", ""):
            super().render_error(error)
        else:
            super(PageHandler, self).render_error(error)


class FrontEndHandler(FrontEndPageHandler):
    """`GET /{path}/…` of a front end: a file of its folder."""

    async def get(self) -> None:
        if not self.target.path:
            self.add_slash()
            return
        try:
            relative, found = await self._find()
        except NotFound:
            if self.target.path != ICON_PATH or self.target.front_end.path:
                raise
            send_icon(self)
            return
        self.send_policy()
        self.set_header("Cache-Control", FOREVER if is_hashed(relative) else _CHECKED)
        self.set_header("ETag", found.etag)
        if found.varies:
            self.add_header("Vary", "Accept-Encoding")
        if matches(self.request.headers.get("If-None-Match", ""), found.etag):
            self.set_status(304)
            self.finish()
            return
        self.set_header("Content-Type", found.media_type)
        self.set_header("Accept-Ranges", "bytes")
        if found.coding:
            self.set_header("Content-Encoding", found.coding)
        await self._send(found, self._range(found))

    head = get

    async def _find(self) -> tuple[str, FoundFile]:
        """Return the name of a file and the file, or the application's page. Raises: NotFound."""
        path, front_end = self.target.path, self.target.front_end
        relative = file_path(path, source_maps=front_end.source_maps)
        if relative is None:
            raise NotFound("no file can have this path")
        found = await self._file(relative)
        if found is None and is_page(path) and "text/html" in self.request.headers.get("Accept", ""):
            self.add_header("Vary", "Accept")
            relative, found = INDEX, await self._file(INDEX)
        if found is None:
            raise NotFound("no such file in the folder of the front end")
        return relative, found

    async def _file(self, relative: str) -> FoundFile | None:
        folder = self.target.front_end.directory
        if folder is None:
            return None
        header = ",".join(self.request.headers.get_list("Accept-Encoding"))
        return await self.portal.front_ends.files.find(
            folder, relative, accepted_codings(header, tuple(CODINGS))
        )

    def _range(self, found: FoundFile) -> range | None:
        """Return the bytes to send; None for all. Raises: RangeNotSatisfiable."""
        headers = self.request.headers
        if self.request.method != "GET" or "Range" not in headers:
            return None
        if_range = headers.get("If-Range", "")
        try:
            return byte_range(headers["Range"], if_range=if_range, etag=found.etag, size=found.size)
        except RangeNotSatisfiable:
            self._unsatisfied_size = found.size
            raise

    _unsatisfied_size: int | None = None

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if self._unsatisfied_size is not None:
            self.set_header("Content-Range", f"bytes */{self._unsatisfied_size}")
        super().write_error(status_code, **kwargs)

    async def _send(self, found: FoundFile, part: range | None) -> None:
        if part is not None:
            self.set_status(206)
            self.set_header("Content-Range", f"bytes {part.start}-{part.stop - 1}/{found.size}")
        part = range(found.size) if part is None else part
        self.set_header("Content-Length", str(len(part)))
        if self.request.method == "HEAD":
            self.finish()
        elif found.content is not None:
            self.finish(found.content[part.start : part.stop])
        else:
            await self._stream(found, part)

    async def _stream(self, found: FoundFile, part: range) -> None:
        """Send a large file piece by piece, no faster than the client reads."""
        files = self.portal.front_ends.files
        file = await files.open(found)
        try:
            for offset in range(part.start, part.stop, _CHUNK):
                self.write(await files.read(file, offset, min(_CHUNK, part.stop - offset)))
                await self.flush()
        except (FilesUnavailable, StreamClosedError) as error:
            if isinstance(error, FilesUnavailable):
                _log.warning("response_broke_off", path=found.path, error=error.detail)
            abort(self.request.connection)  # the client must not take a part for the whole file
        finally:
            file.close()
        self.finish()
