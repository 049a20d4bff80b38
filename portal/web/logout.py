"""Sign-out from one tenant or from all."""

from __future__ import annotations

from portal.admin.actors import Actor, ActorType
from portal.stores.model import Login
from portal.web.admin.acts import act_of
from portal.web.base import PageHandler
from portal.web.cookies import BINDING_COOKIE, SESSION_COOKIE
from portal.web.return_to import safe_return_to
from portal.web.views import SignedOutPage, TenantCard


class LogoutPageHandler(PageHandler):
    """A request that signs the user out."""

    def report(self, login: Login) -> None:
        """Record that the user signed out of a login that was deleted."""
        self.portal.user_events.signed_out(login, act_of(self, Actor(ActorType.USER)))


class TenantLogoutHandler(LogoutPageHandler):
    """`POST /t/{tenant}/logout`: signs out of one tenant, in the portal and at its provider.

    With `provider` in the form, it signs out only at that provider, for an account without a login here.
    With `return_to`, the browser goes there afterwards, by the rules of a sign-in (THREATS L5).
    """

    async def post(self, tenant: str) -> None:
        self.tenant(tenant)
        url = None
        requested = self.get_body_argument("return_to", None, strip=False)
        of_other = self.portal.front_ends.belongs_to_other
        after = f"/t/{tenant}/signed-out"
        if requested is not None:
            after = safe_return_to(requested, tenant, belongs_to_other=of_other)
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
                after=after if requested is not None else "",
                ended=self.report,
            )
        self.redirect(url or after, status=303)


class LogoutHandler(LogoutPageHandler):
    """`POST /logout`: ends the session and all its logins."""

    async def post(self) -> None:
        url = None
        if self.request_session is not None:
            url = await self.portal.logouts.end_session(
                self.request_session.session,
                signed_out_url=self.site.signed_out_url,
                binding=self.ensure_binding(),
                ended=self.report,
            )
        self.drop_cookie(SESSION_COOKIE)
        self.redirect(url or "/signed-out", status=303)


class SignedOutHandler(PageHandler):
    """`GET /t/{tenant}/signed-out`: the page after a logout, and the post_logout_redirect_uri."""

    async def get(self, tenant: str) -> None:
        live = self.tenant(tenant)
        state = self.get_query_argument("state", None)
        if state is not None and self.request.method != "HEAD":  # a step of a logout is taken once
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
