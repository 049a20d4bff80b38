"""The reader's choice of a language."""

from __future__ import annotations

import re

from portal.secret import Secret
from portal.web.base import PageHandler
from portal.web.cookies import LANGUAGE_COOKIE
from portal.web.page_addresses import PageAddresses

_PATH = re.compile(r"(?:/[A-Za-z0-9][A-Za-z0-9._~-]*)*/?")
"""Of a page of the portal, without a query."""
_LONGEST = 1_000
_YEAR = 365 * 24 * 3600


class LanguageHandler(PageHandler):
    """`POST /language`: keeps the language that the reader chose in a cookie, and goes back to the page."""

    def initialize(self, pages: PageAddresses) -> None:
        """Parameters: pages, the addresses of the application."""
        self._pages = pages

    async def get(self) -> None:
        """The start page; this address has none of its own."""
        self.redirect("/", status=303)

    async def post(self) -> None:
        found = self.portal.languages.find([self.get_body_argument("language", "").lower()])
        if found is not None:
            self.send_cookie(LANGUAGE_COOKIE, Secret(found.tag), max_age=_YEAR)
        self.redirect(self._page(), status=303)

    def _page(self) -> str:
        """The path of the page with the form, from the Referer, or of one above it; `/` without a Referer.

        The form does not name it: a page about an address must not differ by that address (THREATS A1), nor
        repeat a token in it (A2).
        """
        page = self.request.headers.get("Referer", "")
        path = page.removeprefix(self.site.origin).partition("?")[0]
        is_own = page.startswith(f"{self.site.origin}/") and len(page) <= _LONGEST
        return self._pages.nearest(path) if is_own and _PATH.fullmatch(path) else "/"
