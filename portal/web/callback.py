"""Sign-in: the way back from the provider."""

from __future__ import annotations

from collections.abc import Awaitable
from urllib.parse import urlencode

from portal.display_text import display_text
from portal.errors import BadRequest, LoginNotStored, PortalError, SignInNotAllowed, StoreUnavailable
from portal.oidc.errors import AttemptUnknown, LoginRejected, ProviderUnavailable, ResponseMalformed
from portal.secret import Secret
from portal.sessions.service import FinishedLogin, InteractiveRetry
from portal.tenancy.model import Tenant
from portal.web.base import PageHandler, prefers_json
from portal.web.cards import account_name, tenant_card
from portal.web.cookies import BINDING_COOKIE, POSTED_BINDING_COOKIE, SESSION_COOKIE
from portal.web.forms import decoded, posted_form
from portal.web.views import NotAllowedPage


class LoginEnd(PageHandler):
    """What finishes a login attempt."""

    _signs_out_there = False

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Referrer-Policy", "no-referrer")

    def device(self) -> str:
        """What the browser says it is."""
        return display_text(self.request.headers.get("User-Agent", ""), limit=120)

    def conclude(self, outcome: FinishedLogin | InteractiveRetry) -> None:
        """Send the browser where the login ends: into the portal, or once more to the provider."""
        if isinstance(outcome, InteractiveRetry):
            self.bind_attempt(outcome.provider)
            self.redirect(outcome.url, status=303)
            return
        self.send_cookie(SESSION_COOKIE, Secret(outcome.cookie.value))
        self.redirect(outcome.return_to, status=303)

    async def finished(self, login: Awaitable[FinishedLogin | InteractiveRetry]) -> None:
        """Wait for the end of a login attempt and send the browser on. Raises what the attempt raises."""
        try:
            self.conclude(await login)
        except SignInNotAllowed as error:
            url = await self.portal.logouts.logout_url_without_login(
                self.path_kwargs["tenant"], error.provider, signed_out_url=self.site.signed_out_url
            )
            self._signs_out_there = url is not None
            raise

    def render_error(self, error: PortalError) -> None:
        """A login that could not be stored must not cost the browser its other logins."""
        tenant = self.portal.registry.get(self.path_tenant or "")
        if isinstance(error, SignInNotAllowed) and tenant and not prefers_json(self.request.headers):
            self._show_not_allowed(error, tenant)
            return
        if isinstance(error, LoginNotStored) and isinstance(error.cookie, Secret):
            self.send_cookie(SESSION_COOKIE, error.cookie)
        super().render_error(error)

    def _show_not_allowed(self, error: SignInNotAllowed, tenant: Tenant) -> None:
        email = error.claims.get(tenant.claims.email)
        query = urlencode(
            {"provider": error.provider, "prompt": "select_account", "return_to": f"/t/{tenant.slug}/"}
        )
        self.show(
            "not_allowed.html",
            NotAllowedPage(
                tenant=tenant_card(tenant, None),
                account=account_name(tenant, error.claims, str(error.claims.get("sub", ""))),
                email=display_text(email, limit=120) if isinstance(email, str) else "",
                contact=tenant.contact(error.provider) or "",
                other_account_url=f"/t/{tenant.slug}/login?{query}",
                sign_out_provider=error.provider if self._signs_out_there else None,
                request_id=self.request_id,
            ),
        )

    def retry_url(self, error: PortalError) -> str | None:
        if isinstance(error, LoginRejected | ProviderUnavailable | StoreUnavailable):
            return f"/t/{self.path_kwargs['tenant']}/"
        return super().retry_url(error)

    def retry_label(self, error: PortalError) -> str:
        if isinstance(error, LoginRejected | ProviderUnavailable | StoreUnavailable):
            return "Start again"
        return super().retry_label(error)


class CallbackHandler(LoginEnd):
    """`GET, POST /t/{tenant}/callback[/{provider}]`: the authorization response, in the URL or as a form.

    The address with a provider's name is the redirect URI of that provider alone. The address without one is
    that of a tenant's only provider: as soon as there are several it takes nothing, because any of them may
    have been registered there (RFC 9700 4.4.2.2, THREATS T1).
    """

    def require_own_origin(self) -> None:
        """A form of the provider's page comes from another site by design.

        What it says has an effect only together with the binding cookie of the browser that began the
        attempt (THREATS L1); see `post`.
        """

    async def get(self, tenant: str, provider: str | None = None) -> None:
        redirect_uri = self._redirect_uri(tenant, provider)
        login = self.portal.sessions.finish_login(
            tenant,
            self._in_url(),
            redirect_uri=redirect_uri,
            binding=self.read_cookie(BINDING_COOKIE),
            cookie=self.session_cookie(),
            device=self.device(),
        )
        await self.finished(login)

    async def post(self, tenant: str, provider: str | None = None) -> None:
        """Put the response aside and let the browser come back by GET, with its session's cookie."""
        redirect_uri = self._redirect_uri(tenant, provider)
        reference = await self.portal.sessions.store_posted_response(
            tenant,
            self._in_form(),
            redirect_uri=redirect_uri,
            binding=self.read_cookie(POSTED_BINDING_COOKIE) or self.read_cookie(BINDING_COOKIE),
        )
        self.redirect(f"/t/{tenant}/finish-login?reference={reference}", status=303)

    def _redirect_uri(self, tenant: str, provider: str | None) -> str:
        """The redirect URI at which the response arrived. Raises NotFound or AttemptUnknown."""
        live = self.tenant(tenant)
        if provider is None and len(live.providers) > 1:
            raise AttemptUnknown("the tenant has several providers, and this is the address of none of them")
        return f"{self.site.origin}{self.request.path}"

    def _in_url(self) -> dict[str, list[str]]:
        try:
            return decoded(self.request.query_arguments)
        except BadRequest as error:
            raise ResponseMalformed(error.detail) from error

    def _in_form(self) -> dict[str, list[str]]:
        try:
            return posted_form(self.request)
        except BadRequest as error:
            raise ResponseMalformed(error.detail) from error


class PostedCallbackHandler(LoginEnd):
    """`GET /t/{tenant}/finish-login?reference=`: finishes a login whose response was posted."""

    async def get(self, tenant: str) -> None:
        self.tenant(tenant)
        login = self.portal.sessions.finish_posted_login(
            tenant,
            self.get_query_argument("reference", ""),
            binding=self.read_cookie(BINDING_COOKIE),
            cookie=self.session_cookie(),
            device=self.device(),
        )
        await self.finished(login)
