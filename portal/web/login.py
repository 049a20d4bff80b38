"""Sign-in: the authorization request to the provider. `callback` handles the response."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlencode

from portal.display_text import display_text
from portal.errors import BadRequest, CrossSiteRequest, NewLoginsRefused, NotFound, PortalError
from portal.oidc.api_target import ApiTarget, ApiTokenMethod
from portal.oidc.authorization import AuthorizationOptions
from portal.oidc.errors import IssuerMissing, IssuerUnknown, LoginRejected, ProviderUnavailable
from portal.oidc.provider import Provider
from portal.oidc.step_up import StepUp, StepUpMalformed
from portal.ops.limit_metrics import Limit
from portal.sentences import message
from portal.stores.model import Login
from portal.tenancy.model import ApiAccess, Tenant
from portal.web.api_proxy.step_up import allowed_acr_values, allowed_scopes, scope_lists
from portal.web.base import PageHandler, PortalHandler
from portal.web.forms import posted_form
from portal.web.return_to import safe_return_to, safe_target
from portal.web.sign_in_page import show_sign_in
from portal.web.sign_in_window import passes_by_itself, window_end
from portal.web.step_up_errors import StepUpLinkMalformed, StepUpScopeRefused

_PROMPTS = frozenset({"none", "login", "select_account"})
"""Values of `prompt` that a link may request. Only a tenant file may set others."""
_PASSED_ON = ("prompt", "login_hint", "acr_values", "max_age", "scope", "scope_api", "api", "ui_locales")
"""Parameters of a link that stay when the user has to choose a provider."""
_LONGEST_HINT = 254
_LONGEST_ISSUER = 200
_LONGEST_ISSUERS = 1000


class LoginStartHandler(PageHandler):
    """Base of the handlers that start a login attempt and send the browser to a provider."""

    head = PortalHandler.head
    shows_page = False

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
        self.portal.client_limits.require(Limit.ATTEMPTS_PER_CLIENT, self.client_address())
        language = self.requested_language
        logins = self.portal.metrics.logins
        try:
            url = await self.portal.sessions.begin_login(
                provider,
                redirect_uri=self.site.callback_url(tenant, provider.id),
                return_to=return_to,
                binding=self.bind_attempt(provider),
                options=replace(options, ui_locales=language.tag if language else None),
                renews=renews,
            )
        except PortalError as error:
            logins.refused(tenant.slug, error)
            raise
        logins.started(tenant.slug)
        self.redirect(url, status=303)

    def optional(self, name: str) -> str | None:
        """Return an optional parameter: None when it is missing, repeated or not UTF-8."""
        values = self.request.query_arguments.get(name, [])
        try:
            return values[0].decode() if len(values) == 1 else None
        except UnicodeDecodeError:
            return None

    @property
    def in_window(self) -> bool:
        tenant = self.path_tenant
        return tenant is not None and self.optional("return_to") == window_end(tenant)

    def retry_url(self, error: PortalError) -> str | None:
        return self.request.uri if self._can_try_again(error) else super().retry_url(error)

    def retry_label(self, error: PortalError) -> str:
        return message("Try again") if self._can_try_again(error) else super().retry_label(error)

    def _can_try_again(self, error: PortalError) -> bool:
        return isinstance(error, ProviderUnavailable) or (self.in_window and passes_by_itself(error))


class LoginHandler(LoginStartHandler):
    """`GET /t/{tenant}/login?return_to=&provider=&prompt=&login_hint=&api=`: begins a sign-in.

    `&acr_values=&max_age=&scope=&scope_api=` ask for a step-up, as the `login_url` of a problem does; see
    `portal.oidc.step_up`.
    """

    async def get(self, tenant: str) -> None:
        live = self.tenant(tenant)
        provider_id = self.get_query_argument("provider", None)
        return_to = safe_return_to(
            self.optional("return_to"), tenant, belongs_to_other=self.portal.front_ends.belongs_to_other
        )
        if provider_id is None and len(live.providers) > 1:
            self._required_step_up()
            show_sign_in(self, live, return_to=return_to, query=self._passed_on())
            return
        provider = live.providers.get(provider_id) if provider_id is not None else live.default_provider
        if provider is None:
            raise NotFound(f"tenant {tenant} does not have this provider")
        prompt = self.optional("prompt")
        current = self.request_session.login if self.request_session else None
        await self.start_login(
            live,
            provider,
            return_to=return_to,
            options=AuthorizationOptions(
                prompt=prompt if prompt in _PROMPTS else None,
                login_hint=_hint(self.optional("login_hint")),
                target=self._target(live, provider, current),
                step_up=self._step_up(live, provider),
            ),
            renews=current,
        )

    def _target(self, tenant: Tenant, provider: Provider, current: Login | None) -> ApiTarget | None:
        """The API that the login gets an access token for, with the scopes that a step-up has added."""
        target = _target_of(tenant, provider, self.optional("api"), current)
        if target is None or current is None:
            return None
        return self.portal.sessions.api_target(current, target)

    def retry_url(self, error: PortalError) -> str | None:
        return self._choice_url() if self._other_may_work(error) else super().retry_url(error)

    def retry_label(self, error: PortalError) -> str:
        if self._other_may_work(error):
            return message("Choose a sign-in service")
        return super().retry_label(error)

    def _other_may_work(self, error: PortalError) -> bool:
        """Whether the provider has failed, and the organisation has another one."""
        live = self.portal.registry.get(self.path_tenant or "")
        failed = isinstance(error, ProviderUnavailable | LoginRejected)
        return failed and live is not None and len(live.providers) > 1

    def _choice_url(self) -> str:
        return_to = self.optional("return_to")
        query = {**self._passed_on(), **({} if return_to is None else {"return_to": return_to})}
        return f"{self.request.path}?{urlencode(query)}" if query else self.request.path

    def _passed_on(self) -> dict[str, str]:
        """The parameters of this link that do not depend on the provider that the user chooses."""
        found = {name: self.optional(name) for name in _PASSED_ON}
        return {name: value for name, value in found.items() if value is not None}

    def _required_step_up(self) -> StepUp:
        """What the link asks for. Raises: StepUpLinkMalformed."""
        names = ("acr_values", "max_age", "scope")
        if any(len(self.request.query_arguments.get(name, ())) > 1 for name in (*names, "scope_api")):
            raise StepUpLinkMalformed("a parameter of the step-up is repeated")
        try:
            return StepUp.read(**{name: self.get_query_argument(name, None, strip=False) for name in names})
        except StepUpMalformed as error:
            raise StepUpLinkMalformed(str(error)) from error

    def _step_up(self, tenant: Tenant, provider: Provider) -> StepUp | None:
        """What an API requires of the login; None when the link does not ask for a step-up.

        Raises: StepUpLinkMalformed, StepUpScopeRefused.
        """
        required = self._required_step_up()
        if allowed_acr_values(provider, required.acr_values) != required.acr_values:
            raise StepUpLinkMalformed(f"acr_values of {provider.key} does not list what the link asks for")
        api = self.optional("scope_api")
        target = _target_of_scope(tenant, provider, api) if api is not None else None
        refused = set(required.scope) - allowed_scopes(provider, target)
        if refused:
            named = display_text(", ".join(sorted(refused)), limit=300)
            raise StepUpScopeRefused(f"{scope_lists(provider, target)} have no {named}")
        return replace(required, api_key=target.key) if required and target is not None else required or None


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
            return_to=self._target(self.optional("target_link_uri"), tenant),
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
        target = self._target(parameters.get("target_link_uri"), tenant)
        query = {"iss": parameters["iss"], "target_link_uri": target}
        hint = _hint(parameters.get("login_hint"))
        if hint is not None:
            query["login_hint"] = hint
        self.redirect(f"/t/{tenant}/initiate-login?{urlencode(query)}", status=303)

    def _target(self, requested: str | None, tenant: str) -> str:
        of_other = self.portal.front_ends.belongs_to_other
        return safe_target(requested, tenant, origin=self.site.origin, belongs_to_other=of_other)

    def retry_url(self, error: PortalError) -> str | None:
        return f"/t/{self.path_tenant}/" if isinstance(error, BadRequest) else super().retry_url(error)

    def retry_label(self, error: PortalError) -> str:
        if isinstance(error, BadRequest):
            return message("Sign in from the organisation’s page")
        return super().retry_label(error)


def _target_of(
    tenant: Tenant, provider: Provider, name: str | None, current: Login | None
) -> ApiTarget | None:
    """The API that a login gets an access token for, to add it to the current login.

    None without a current login at this provider: signing in comes first. Raises: NotFound.
    """
    if name is None:
        return None
    api = tenant.api_named(name)
    target = api.targets.get(provider.id) if api is not None and api.access is ApiAccess.USER else None
    if target is None or ApiTokenMethod.LOGIN not in target.methods:
        raise NotFound(f"tenant {tenant.slug} has no API {name[:63]!r} that needs a login of its own")
    return target if current is not None and current.provider == provider.id else None


def _target_of_scope(tenant: Tenant, provider: Provider, name: str) -> ApiTarget | None:
    """The API whose own access token a scope is for; None for one that gets the login's.

    Raises: StepUpLinkMalformed.
    """
    api = tenant.api_named(name)
    if api is None or api.access is not ApiAccess.USER:
        raise StepUpLinkMalformed(f"tenant {tenant.slug} has no API {name[:63]!r} that needs a sign-in")
    target = api.targets.get(provider.id)
    return target if target is not None and target.methods else None


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
