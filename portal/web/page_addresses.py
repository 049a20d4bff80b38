"""Which addresses show a page with GET: where the language form of any page leads."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from tornado.web import RequestHandler

from portal.web.base import PageHandler

_DEEPEST = 8
"""Segments of a path that are looked at: no address of a page has more."""


class PageAddresses:
    """The addresses of the application. Parameters: table, the patterns of paths with their handlers."""

    def __init__(self, table: Iterable[tuple[str, type[Any]]]) -> None:
        self._routes = [(re.compile(pattern), handler) for pattern, handler in table]

    def nearest(self, path: str) -> str:
        """Return a path if GET shows a page there, else the nearest above it where it does.

        A page may be the response to a POST at an address that has nothing else. Paths that no route matches
        stay as they are: they have the same error page, or one of a front end.
        """
        handler = self._handler(path)
        if handler is None or _shows_page(handler):
            return path
        parent = "/".join(path.split("/", _DEEPEST + 1)[: _DEEPEST + 1]).rstrip("/")
        while parent:
            parent = parent.rpartition("/")[0]
            for above in (f"{parent}/", parent):
                handler = self._handler(above)
                if handler is not None and _shows_page(handler):
                    return above
        return "/"

    def _handler(self, path: str) -> type[Any] | None:
        return next((handler for pattern, handler in self._routes if pattern.fullmatch(path)), None)


def _shows_page(handler: type[Any]) -> bool:
    has_get = getattr(handler, "get", None) is not RequestHandler.get
    return has_get and issubclass(handler, PageHandler) and handler.shows_page
