"""Sign-out from one tenant or from all."""

from __future__ import annotations

from portal.web.base import PageHandler
from portal.web.cookies import BINDING_COOKIE, SESSION_COOKIE
from portal.web.views import SignedOutPage, TenantCard


class TenantLogoutHandler(PageHandler):
    """`POST /t/{tenant}/logout`: signs out of one tenant, in the portal and at its provider.

    With `provider` in the form, it signs out only at that provider, for an account without a login here.
    """

    async def post(self, tenant: str) -> None:
        self.tenant(tenant)
        url = None
        provider = self.get_body_argument("provider", None)
        if provider is not None:
            url = await self.portal.logouts.logout_url_without_login(
                tenant, provider, signed_out_url=self.site.signed_out_url
            )
        elif self.request_session is not None:
            url = await self.portal.logouts.end_login(
                self.request_session.session,
                tenant,
                signed_out_url=self.site.signed_out_url,
                binding=self.ensure_binding(),
            )
        self.redirect(url or f"/t/{tenant}/signed-out", status=303)


class LogoutHandler(PageHandler):
    """`POST /logout`: ends the session and all its logins."""

    async def post(self) -> None:
        url = None
        if self.request_session is not None:
            url = await self.portal.logouts.end_session(
                self.request_session.session,
                signed_out_url=self.site.signed_out_url,
                binding=self.ensure_binding(),
            )
        self.drop_cookie(SESSION_COOKIE)
        self.redirect(url or "/signed-out", status=303)


class SignedOutHandler(PageHandler):
    """`GET /t/{tenant}/signed-out`: the page after a logout, and the post_logout_redirect_uri."""

    async def get(self, tenant: str) -> None:
        live = self.tenant(tenant)
        state = self.get_query_argument("state", None)
        if state is not None:
            url = await self.portal.logouts.next_step(tenant, state, binding=self.read_cookie(BINDING_COOKIE))
            if url is None and self.request_session is None:
                url = "/signed-out"
            self.redirect(url or f"/t/{tenant}/signed-out", status=303)
            return
        remaining = self.cards()
        left: tuple[TenantCard, ...] = ()
        if all(card.slug != tenant for card in remaining):
            left = (self.card(live),)
        self.show("signed_out.html", SignedOutPage(tenants=left, remaining=remaining))


class AllSignedOutHandler(PageHandler):
    """`GET /signed-out`: the page after signing out of all tenants."""

    async def get(self) -> None:
        self.show("signed_out.html", SignedOutPage(tenants=(), remaining=self.cards()))
