"""Templates, style sheets, scripts and images of the portal's pages."""

from __future__ import annotations

from http.client import responses
from pathlib import Path
from typing import Any

from tornado.template import Loader
from tornado.web import StaticFileHandler

from portal.web.markup import escaped


def assets_folder(name: str) -> Path:
    """Return the folder `templates` or `static`, of the project or of the installed package."""
    package = Path(__file__).parent.parent
    installed = package / f"_{name}"
    return installed if installed.is_dir() else package.parent / name


def load_templates() -> Loader:
    """Compile every template at start-up, so that no request waits for it."""
    folder = assets_folder("templates")
    loader = Loader(str(folder), autoescape="escaped", namespace={"escaped": escaped})
    for path in sorted(folder.glob("[!_]*.html")):
        loader.load(path.name)
    return loader


class AssetHandler(StaticFileHandler):
    """Serves files of the static folder with the portal's security headers."""

    def set_default_headers(self) -> None:
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.clear_header("Server")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(responses.get(status_code, "Unknown"))
