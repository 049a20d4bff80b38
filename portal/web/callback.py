"""Sign-in: the authorization response from the provider. `login` sends the request."""

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
from portal.web.cards import account_name
from portal.web.cookies import BINDING_COOKIE, POSTED_BINDING_COOKIE, SESSION_COOKIE
from portal.web.forms import decoded, posted_form
from portal.web.login import require_new_logins
from portal.web.views import NotAllowedPage


class LoginCompletionHandler(PageHandler):
    """Base of the handlers that finish a login attempt."""

    _can_sign_out_at_provider = False

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Referrer-Policy", "no-referrer")

    def redirect_after_login(self, outcome: FinishedLogin | InteractiveRetry) -> None:
        """Redirect the browser to its destination in the portal, or to the provider again."""
        if isinstance(outcome, InteractiveRetry):
            self.bind_attempt(outcome.provider)
            self.redirect(outcome.url, status=303)
            return
        self.send_cookie(SESSION_COOKIE, Secret(outcome.cookie.value))
        self.redirect(outcome.return_to, status=303)

    async def finished(self, login: Awaitable[FinishedLogin | InteractiveRetry]) -> None:
        """Wait for a login attempt and redirect the browser. Raises what the attempt raises."""
        try:
            self.redirect_after_login(await login)
        except SignInNotAllowed as error:
            url = await self.portal.logouts.logout_url_without_login(
                self.path_kwargs["tenant"], error.provider, signed_out_url=self.site.signed_out_url
            )
            self._can_sign_out_at_provider = url is not None
            raise

    def render_error(self, error: PortalError) -> None:
        """Render the error. A login that could not be stored must not end the browser's other logins."""
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
                tenant=self.card(tenant),
                account=account_name(tenant, error.claims, str(error.claims.get("sub", ""))),
                email=display_text(email, limit=120) if isinstance(email, str) else "",
                contact=tenant.contact(error.provider) or "",
                other_account_url=f"/t/{tenant.slug}/login?{query}",
                sign_out_provider=error.provider if self._can_sign_out_at_provider else None,
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


class CallbackHandler(LoginCompletionHandler):
    """`GET, POST /t/{tenant}/callback[/{provider}]`: the authorization response, in the URL or as a form.

    Each provider of a tenant with several has its own redirect URI, which ends with its id. The URI without
    an id belongs to the only provider of a tenant. A tenant with several providers rejects it, because any of
    them may have been registered with it (RFC 9700 4.4.2.2, THREATS T1).
    """

    def require_own_origin(self) -> None:
        """Accept any origin: the provider posts its response from another site by design.

        The response has an effect only with the binding cookie of the browser that started the attempt
        (THREATS L1); see `post`.
        """

    async def get(self, tenant: str, provider: str | None = None) -> None:
        redirect_uri = self._redirect_uri(tenant, provider)
        login = self.portal.sessions.finish_login(
            tenant,
            self._query_parameters(),
            redirect_uri=redirect_uri,
            binding=self.read_cookie(BINDING_COOKIE),
            cookie=self.session_cookie(),
            device=self.device(),
        )
        await self.finished(login)

    async def post(self, tenant: str, provider: str | None = None) -> None:
        """Store the response and redirect the browser to a GET, which carries its session cookie."""
        redirect_uri = self._redirect_uri(tenant, provider)
        reference = await self.portal.sessions.store_posted_response(
            tenant,
            self._form_parameters(),
            redirect_uri=redirect_uri,
            binding=self.read_cookie(POSTED_BINDING_COOKIE) or self.read_cookie(BINDING_COOKIE),
        )
        self.redirect(f"/t/{tenant}/finish-login?reference={reference}", status=303)

    def _redirect_uri(self, tenant: str, provider: str | None) -> str:
        """The redirect URI at which the response arrived.

        Raises NotFound, NewLoginsRefused or AttemptUnknown.
        """
        live = self.tenant(tenant)
        require_new_logins(live)
        if provider is None and len(live.providers) > 1:
            raise AttemptUnknown("the tenant has several providers, and none of them uses this redirect URI")
        return f"{self.site.origin}{self.request.path}"

    def _query_parameters(self) -> dict[str, list[str]]:
        try:
            return decoded(self.request.query_arguments)
        except BadRequest as error:
            raise ResponseMalformed(error.detail) from error

    def _form_parameters(self) -> dict[str, list[str]]:
        try:
            return posted_form(self.request)
        except BadRequest as error:
            raise ResponseMalformed(error.detail) from error


class PostedCallbackHandler(LoginCompletionHandler):
    """`GET /t/{tenant}/finish-login?reference=`: finishes a login whose response was posted."""

    async def get(self, tenant: str) -> None:
        require_new_logins(self.tenant(tenant))
        login = self.portal.sessions.finish_posted_login(
            tenant,
            self.get_query_argument("reference", ""),
            binding=self.read_cookie(BINDING_COOKIE),
            cookie=self.session_cookie(),
            device=self.device(),
        )
        await self.finished(login)
