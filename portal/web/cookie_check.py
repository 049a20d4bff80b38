"""Tells a browser that blocks cookies from one that did not begin the sign-in.

Both come back from the provider without the cookie of a login attempt. The callback sets a cookie and leads
here, and nothing leads on from here, so that there is no loop.
"""

from __future__ import annotations

from portal.errors import CookiesBlocked, PortalError
from portal.oidc.errors import AttemptNotLive
from portal.secret import Secret
from portal.sentences import message
from portal.web.base import PageHandler
from portal.web.cookies import CHECK_COOKIE
from portal.web.sign_in_window import MARK, passes_by_itself, sign_in_again_url

_SECONDS = 60


def check_cookies(handler: PageHandler) -> bool:
    """Redirect a navigation without any cookie to the check; return whether it was one."""
    request, tenant = handler.request, handler.path_tenant
    is_page = request.method == "GET" and "text/html" in request.headers.get("Accept", "")
    if not is_page or request.headers.get("Cookie"):
        return False
    handler.send_cookie(CHECK_COOKIE, Secret("1"), max_age=_SECONDS)
    window = f"&{MARK}=1" if handler.in_window else ""
    handler.redirect(f"/t/{tenant}/cookie-check?set=1{window}", status=303)
    return True


class CookieCheckHandler(PageHandler):
    """`GET /t/{tenant}/cookie-check`: why a sign-in could not be finished, after `check_cookies`."""

    async def get(self, tenant: str) -> None:
        self.tenant(tenant)
        if self.get_query_argument("set", "") != "1":
            self.redirect(f"/t/{tenant}/", status=303)
            return
        if not self.request.headers.get("Cookie"):
            raise CookiesBlocked("the browser did not send the cookie that the portal had set")
        self.drop_cookie(CHECK_COOKIE)
        raise AttemptNotLive("the browser keeps cookies, but did not begin this login")

    @property
    def in_window(self) -> bool:
        return self.get_query_argument(MARK, "") == "1"

    def retry_url(self, error: PortalError) -> str | None:
        if self._can_start_again(error):
            tenant = self.path_tenant or ""
            return sign_in_again_url(tenant) if self.in_window else f"/t/{tenant}/"
        return super().retry_url(error)

    def retry_label(self, error: PortalError) -> str:
        return message("Start again") if self._can_start_again(error) else super().retry_label(error)

    def _can_start_again(self, error: PortalError) -> bool:
        is_result = isinstance(error, AttemptNotLive | CookiesBlocked)
        return is_result or (self.in_window and passes_by_itself(error))
