"""Style sheet, scripts and images of the portal's pages."""

from __future__ import annotations

from http.client import responses
from typing import Any

from tornado.web import StaticFileHandler


class AssetHandler(StaticFileHandler):
    """Serves files of the static folder with the headers that every response carries."""

    def set_default_headers(self) -> None:
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.clear_header("Server")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(responses.get(status_code, "Unknown"))
