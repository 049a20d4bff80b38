"""Templates, style sheets, scripts and images of the portal's pages."""

from __future__ import annotations

import re
from http.client import responses
from pathlib import Path
from typing import Any

from tornado.template import Loader, Template
from tornado.web import StaticFileHandler

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


def assets_folder(name: str) -> Path:
    """Return the folder `templates` or `static`, of the project or of the installed package."""
    package = Path(__file__).parent.parent
    installed = package / f"_{name}"
    return installed if installed.is_dir() else package.parent / name


def load_templates() -> Loader:
    """Compile every template at start-up, so that no request waits for it."""
    folder = assets_folder("templates")
    loader = Loader(str(folder), autoescape="escaped", namespace={"escaped": escaped})
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
    """Serves files of the static folder with the portal's security headers."""

    def set_default_headers(self) -> None:
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.clear_header("Server")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(responses.get(status_code, "Unknown"))
