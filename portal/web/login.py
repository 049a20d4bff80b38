"""Sign-in: the authorization request to the provider. `callback` handles the response."""

from __future__ import annotations

from urllib.parse import urlencode

from portal.display_text import display_text
from portal.errors import BadRequest, CrossSiteRequest, NewLoginsRefused, NotFound, PortalError
from portal.oidc.authorization import AuthorizationOptions
from portal.oidc.errors import IssuerMissing, IssuerUnknown, ProviderUnavailable
from portal.oidc.provider import Provider
from portal.stores.model import Login
from portal.tenancy.model import Tenant
from portal.web.base import PageHandler
from portal.web.forms import posted_form
from portal.web.return_to import safe_return_to, safe_target

_PROMPTS = frozenset({"none", "login", "select_account"})
"""Values of `prompt` that a link may request. Only a tenant file may set others."""
_LONGEST_HINT = 254
_LONGEST_ISSUER = 200
_LONGEST_ISSUERS = 1000


class LoginStartHandler(PageHandler):
    """Base of the handlers that start a login attempt and send the browser to a provider."""

    async def start_login(
        self,
        tenant: Tenant,
        provider: Provider,
        *,
        return_to: str,
        options: AuthorizationOptions,
        renews: Login | None = None,
    ) -> None:
        """Start a login attempt at a provider of a tenant that this site serves.

        Only a top-level navigation may: a request that a page makes in the background would replace cookies
        that a login in another tab depends on.
        """
        if self.request.headers.get("Sec-Fetch-Dest", "document") != "document":
            raise CrossSiteRequest("a login must start with a navigation, not with a subresource request")
        require_new_logins(tenant)
        url = await self.portal.sessions.begin_login(
            provider,
            redirect_uri=self.site.callback_url(tenant, provider.id),
            return_to=return_to,
            binding=self.bind_attempt(provider),
            options=options,
            renews=renews,
        )
        self.redirect(url, status=303)

    def optional(self, name: str) -> str | None:
        """Return an optional parameter: None when it is missing, repeated or not UTF-8."""
        values = self.request.query_arguments.get(name, [])
        try:
            return values[0].decode() if len(values) == 1 else None
        except UnicodeDecodeError:
            return None

    def retry_url(self, error: PortalError) -> str | None:
        return self.request.uri if isinstance(error, ProviderUnavailable) else super().retry_url(error)

    def retry_label(self, error: PortalError) -> str:
        return "Try again" if isinstance(error, ProviderUnavailable) else super().retry_label(error)


class LoginHandler(LoginStartHandler):
    """`GET /t/{tenant}/login?return_to=&provider=&prompt=&login_hint=`."""

    async def get(self, tenant: str) -> None:
        live = self.tenant(tenant)
        provider_id = self.get_query_argument("provider", None)
        if provider_id is None and len(live.providers) > 1:
            self.redirect(f"/t/{tenant}/", status=303)
            return
        provider = live.providers.get(provider_id) if provider_id is not None else live.default_provider
        if provider is None:
            raise NotFound(f"tenant {tenant} does not have this provider")
        prompt = self.optional("prompt")
        await self.start_login(
            live,
            provider,
            return_to=safe_return_to(self.optional("return_to"), tenant),
            options=AuthorizationOptions(
                prompt=prompt if prompt in _PROMPTS else None,
                login_hint=_hint(self.optional("login_hint")),
            ),
            renews=self.request_session.login if self.request_session else None,
        )


class InitiateLoginHandler(LoginStartHandler):
    """`GET, POST /t/{tenant}/initiate-login`: a login that another site starts (OIDC Core 4).

    It only starts a login. The provider and the final page are restricted as in a link to the login, and the
    response is accepted from this browser only.
    """

    def require_own_origin(self) -> None:
        """Accept any origin: other sites post here by design, and a POST changes no state."""

    async def get(self, tenant: str) -> None:
        live = self.tenant(tenant)
        await self.start_login(
            live,
            _provider_of(live, self.optional("iss")),
            return_to=safe_target(self.optional("target_link_uri"), tenant, origin=self.site.origin),
            options=AuthorizationOptions(login_hint=_hint(self.optional("login_hint"))),
        )

    async def post(self, tenant: str) -> None:
        """Redirect the browser to the GET: a cross-site form post does not carry its cookies."""
        live = self.tenant(tenant)
        form = posted_form(self.request)
        if any(len(form.get(name, ())) > 1 for name in ("login_hint", "target_link_uri")):
            raise BadRequest("a parameter is repeated")
        parameters = {name: values[0] for name, values in form.items() if len(values) == 1}
        _provider_of(live, parameters.get("iss"))
        target = safe_target(parameters.get("target_link_uri"), tenant, origin=self.site.origin)
        query = {"iss": parameters["iss"], "target_link_uri": target}
        hint = _hint(parameters.get("login_hint"))
        if hint is not None:
            query["login_hint"] = hint
        self.redirect(f"/t/{tenant}/initiate-login?{urlencode(query)}", status=303)

    def retry_url(self, error: PortalError) -> str | None:
        return f"/t/{self.path_tenant}/" if isinstance(error, BadRequest) else super().retry_url(error)

    def retry_label(self, error: PortalError) -> str:
        if isinstance(error, BadRequest):
            return "Sign in from the organisation’s page"
        return super().retry_label(error)


def require_new_logins(tenant: Tenant | None) -> None:
    """Refuse a login at a tenant that is closed to new ones. Raises NewLoginsRefused."""
    if tenant is not None and not tenant.accepts_logins:
        raise NewLoginsRefused(f"the tenant {tenant.slug} accepts no new logins")


def _provider_of(tenant: Tenant, issuer: str | None) -> Provider:
    """The tenant's first provider with this issuer. Raises: IssuerMissing, IssuerUnknown."""
    issuers = ", ".join(provider.issuer for provider in tenant.providers.values())
    expected = f"expected exactly: {display_text(issuers, limit=_LONGEST_ISSUERS)}"
    if not issuer:
        raise IssuerMissing(f"iss is missing, empty, repeated or not UTF-8; {expected}")
    for provider in tenant.providers.values():
        if provider.accepts_issuer(issuer):
            return provider
    raise IssuerUnknown(f"iss is {display_text(issuer, limit=_LONGEST_ISSUER)!r}; {expected}")


def _hint(text: str | None) -> str | None:
    return display_text(text, limit=_LONGEST_HINT) or None if text else None
