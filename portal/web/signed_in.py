"""Where a sign-in in a window of its own ends (`login({popup: true})` of portal.js)."""

from __future__ import annotations

from portal.errors import PortalError
from portal.sentences import message
from portal.web.base import PageHandler
from portal.web.sign_in_page import show_sign_in
from portal.web.sign_in_window import passes_by_itself, window_end
from portal.web.views import SignedInPage


class SignedInHandler(PageHandler):
    """`GET /t/{tenant}/signed-in`: tells the browser's other tabs about the login, and closes its window.

    The message names the tenant only, and is no proof: portal.js asks `GET /session` what it may believe.
    """

    @property
    def in_window(self) -> bool:
        return self.request_session is None or self.request_session.login is None

    def retry_url(self, error: PortalError) -> str | None:
        return self.request.path if passes_by_itself(error) else super().retry_url(error)

    def retry_label(self, error: PortalError) -> str:
        return message("Try again") if passes_by_itself(error) else super().retry_label(error)

    async def get(self, tenant: str) -> None:
        live = self.tenant(tenant)
        login = self.request_session.login if self.request_session else None
        if login is None:
            show_sign_in(self, live, return_to=window_end(tenant))
            return
        self.show("signed_in.html", SignedInPage(self.card(live, login)))
