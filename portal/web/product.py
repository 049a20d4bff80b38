"""Serves the files of the operator's product, and its icon."""

from __future__ import annotations

from portal.errors import NotFound
from portal.web.base import PortalHandler
from portal.web.product_files import MEDIA_TYPES

_MAX_AGE = 31_536_000
_ICON_MAX_AGE = 86_400
LOGO_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'none'"
"""Of a logo that is opened as a page: an SVG file may have styles and embedded pictures, and nothing else."""


class ProductFileHandler(PortalHandler):
    """`GET /product/{file}`: the operator's logo, and the style sheet with the operator's colour.

    The address has a hash of the content, so browsers keep it. A logo that is opened as a page can run no
    script and load nothing.
    """

    async def get(self, file: str) -> None:
        content = self.portal.product.files.get(file)
        if content is None:
            raise NotFound("the product has no such file")
        self.set_header("Content-Type", MEDIA_TYPES[file.rpartition(".")[2]])
        self.set_header("Cache-Control", f"public, max-age={_MAX_AGE}, immutable")
        self.set_header("Content-Security-Policy", LOGO_POLICY)
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.finish(content)

    head = get


class FaviconHandler(PortalHandler):
    """`GET /favicon.ico`: the product's logo, which pages name as their icon."""

    async def get(self) -> None:
        send_icon(self)

    head = get


def send_icon(handler: PortalHandler) -> None:
    """Respond with the product's icon. Browsers keep it for a day: its address does not change with it."""
    icon = handler.portal.product.icon
    handler.set_header("Content-Type", icon.media_type)
    handler.set_header("Cache-Control", f"public, max-age={_ICON_MAX_AGE}")
    handler.set_header("Content-Security-Policy", LOGO_POLICY)
    handler.set_header("Cross-Origin-Resource-Policy", "same-origin")
    handler.finish(icon.content)
