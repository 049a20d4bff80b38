"""Templates, style sheets, scripts and images of the portal's pages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http.client import responses
from pathlib import Path
from typing import Any

from tornado.template import Loader, Template
from tornado.web import HTTPError, RequestHandler

from portal.web.asset_files import Asset, Representation
from portal.web.cache_control import FOREVER
from portal.web.languages import ENGLISH
from portal.web.markup import escaped

_WRITE_VALUE = re.compile(
    r"""
    ^(?P<indent>\ +) _tt_tmp\ =\ (?P<value>.*?) (?P<comment>\ \ \#\ \S+\.html:\d+.*) \n
    (?P=indent) if\ isinstance\(_tt_tmp,\ _tt_string_types\):\ _tt_tmp\ =\ _tt_utf8\(_tt_tmp\) (?P=comment) \n
    (?P=indent) else:\ _tt_tmp\ =\ _tt_utf8\(str\(_tt_tmp\)\) (?P=comment) \n
    (?P=indent) _tt_tmp\ =\ _tt_utf8\(escaped\(_tt_tmp\)\) (?P=comment) \n
    (?P=indent) _tt_append\(_tt_tmp\)
    """,
    re.MULTILINE | re.VERBOSE,
)
"""What Tornado generates for `{{ value }}`."""
_CLIENT = re.compile(r"portal-(?P<version>[0-9a-f]{16})\.js")


def assets_folder(name: str) -> Path:
    """Return the folder `templates` or `static`, of the project or of the installed package."""
    package = Path(__file__).parent.parent
    installed = package / f"_{name}"
    return installed if installed.is_dir() else package.parent / name


def load_templates() -> Loader:
    """Compile every template at start-up, so that no request waits for it."""
    folder = assets_folder("templates")
    loader = Loader(
        str(folder),
        autoescape="escaped",
        namespace={"escaped": escaped, "languages": (), **ENGLISH.namespace},
    )
    for path in sorted(folder.rglob("[!_]*.html")):
        _shorten(loader.load(path.relative_to(folder).as_posix()))
    return loader


def _shorten(template: Template) -> None:
    """Write each value of a template with one call, instead of the five lines that Tornado generates.

    A page with 50 logins has 600 values. Code that does not look as expected stays as it is.
    """
    template.code = _WRITE_VALUE.sub(r"\g<indent>_tt_append(escaped(\g<value>))", template.code)
    name = template.name.replace(".", "_").replace("/", "_")
    template.compiled = compile(template.code, f"{name}.generated.py", "exec", dont_inherit=True)


class AssetHandler(RequestHandler):
    """Serves files of the static folder with the portal's security headers.

    portal.js, the script for pages of front ends, also has a name with the hash of its content.
    """

    _sent: Representation | None = None

    def initialize(self, path: str) -> None:
        """Parameters: path, the static folder, as Tornado passes it; the files are in memory."""
        self._assets: Mapping[str, Asset] = self.settings["assets"]

    @classmethod
    def make_static_url(cls, settings: dict[str, Any], path: str, include_version: bool = True) -> str:
        """The URL of a file, for Tornado's `static_url`."""
        url: str = settings["static_url_prefix"] + path
        return f"{url}?v={settings['assets'][path].version}" if include_version else url

    def get(self, path: str) -> None:
        named = _CLIENT.fullmatch(path)
        name = "portal.js" if named else path
        asset = self._assets.get(name)
        if asset is None:
            raise HTTPError(404)
        if named and named["version"] != asset.version:
            # A page that names another version, during an update of the portal, gets this one.
            self.set_header("Cache-Control", "no-store")
            self.redirect("/static/portal.js")
            return
        is_versioned = bool(named) or self.request.query_arguments.get("v") == [asset.version.encode()]
        self.set_header("Cache-Control", FOREVER if is_versioned else "no-cache")
        if name == "portal.js":
            self.set_header("Content-Location", f"/static/portal-{asset.version}.js")
        self._send(asset)

    head = get

    def _send(self, asset: Asset) -> None:
        self._sent = asset.representation(",".join(self.request.headers.get_list("Accept-Encoding")))
        self.set_header("Content-Type", asset.media_type)
        if asset.compressed is not None:
            self.set_header("Vary", "Accept-Encoding")
        if self._sent.coding:
            self.set_header("Content-Encoding", self._sent.coding)
        self.finish(self._sent.content)

    def compute_etag(self) -> str | None:
        """Tornado sends it, and compares it with If-None-Match."""
        return self._sent.etag if self._sent is not None else None

    def set_default_headers(self) -> None:
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.clear_header("Server")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(responses.get(status_code, "Unknown"))
