"""The base of a tenant's own pages, which need a login at the tenant."""

from __future__ import annotations

from portal.sentences import message
from portal.stores.model import Login
from portal.tenancy.model import Tenant
from portal.web.base import PageHandler
from portal.web.kept_form import kept_form
from portal.web.sign_in_page import show_sign_in

SIGN_IN_ENDED = message("Your sign-in here has ended. Sign in again to continue.")


class TenantPageHandler(PageHandler):
    """A page of one tenant: of its user, or the tenant's sign-in, which leads back to the page."""

    def login_at(self, tenant: str) -> Login | None:
        """The browser's login at a tenant."""
        return next((login for login in self.logins if login.tenant == tenant), None)

    def show_sign_in(self, tenant: Tenant, notice: str = "") -> None:
        """Show the tenant's sign-in page. Parameters: notice, a sentence above the choices."""
        show_sign_in(self, tenant, notice, kept=kept_form(self.request, origin=self.site.origin))
