"""Serves the files of the operator's product."""

from __future__ import annotations

from portal.errors import NotFound
from portal.web.base import PortalHandler
from portal.web.product_files import MEDIA_TYPES

_MAX_AGE = 31_536_000
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
