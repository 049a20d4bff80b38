"""Templates, style sheets, scripts and images of the portal's pages."""

from __future__ import annotations

import re
from http.client import responses
from pathlib import Path
from typing import Any

from tornado.template import Loader, Template
from tornado.web import StaticFileHandler

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


class AssetHandler(StaticFileHandler):
    """Serves files of the static folder with the portal's security headers.

    portal.js, the script for pages of front ends, also has a name with the hash of its content.
    """

    _version: str | None = None
    """The hash in the requested name of portal.js; None for every other name."""

    async def get(self, path: str, include_body: bool = True) -> None:
        if self._version not in {None, self._client_version()}:
            # A page that names another version, during an update of the portal, gets this one.
            self.set_header("Cache-Control", "no-store")
            self.redirect("/static/portal.js")
            return
        await super().get(path, include_body)

    def prepare(self) -> None:
        named = _CLIENT.fullmatch(self.path_args[0])
        self._version = named["version"] if named else None

    def parse_url_path(self, url_path: str) -> str:
        return super().parse_url_path("portal.js" if self._version else url_path)

    def set_default_headers(self) -> None:
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.clear_header("Server")

    def set_extra_headers(self, path: str) -> None:
        if self._version:
            self.set_header("Cache-Control", "public, max-age=31536000, immutable")
        elif "v" not in self.request.query_arguments:
            self.set_header("Cache-Control", "no-cache")
        if path == "portal.js":
            self.set_header("Content-Location", f"/static/portal-{self._client_version()}.js")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(responses.get(status_code, "Unknown"))

    def _client_version(self) -> str:
        return (self.get_version(self.settings, "portal.js") or "")[:16]
