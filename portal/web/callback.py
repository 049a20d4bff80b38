"""Sign-in: the authorization response from the provider. `login` sends the request."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from urllib.parse import urlencode

from portal.admin.actors import Actor, ActorType
from portal.admin.draft_state import FailedTest, TestResult
from portal.admin.test_logins import BegunTest
from portal.admin.viewers import Viewer
from portal.display_text import display_text
from portal.errors import BadRequest, LoginNotStored, PortalError, SignInNotAllowed, StoreUnavailable
from portal.oidc.errors import (
    AttemptNotLive,
    AttemptUnknown,
    LoginRejected,
    ProviderDenied,
    ProviderUnavailable,
    ResponseMalformed,
)
from portal.oidc.step_up_errors import StepUpNotDone
from portal.secret import Secret
from portal.sentences import message
from portal.sessions.outcomes import FinishedLogin, InteractiveRetry, LoginOutcome, WaitingLogin
from portal.sessions.revoked_users import LoginRevoked
from portal.sessions.stored_attempts import (
    AttemptKind,
    is_of_window,
    kind_of_response,
    names_window,
    state_prefix,
)
from portal.stores.model import Login
from portal.tenancy.model import Tenant
from portal.web.admin.acts import act_of
from portal.web.base import PortalHandler
from portal.web.cards import account_name, user_name
from portal.web.cookie_check import check_cookies
from portal.web.cookies import (
    BINDING_COOKIE,
    POSTED_BINDING_COOKIE,
    REMEMBERED_COOKIE,
    SESSION_COOKIE,
    SETUP_COOKIE,
)
from portal.web.counted_logins import CountedLoginHandler
from portal.web.forms import decoded, posted_form
from portal.web.login import require_new_logins
from portal.web.problems import prefers_json
from portal.web.remembered import MAX_AGE, Remembered
from portal.web.session_limit import end_oldest_logins
from portal.web.sign_in_window import passes_by_itself, sign_in_again_url, window_end
from portal.web.try_again import try_again_url
from portal.web.views import CancelledPage, NotAllowedPage, OtherAccountPage

_GONE = "gone"
"""In place of the reference of a posted response: its attempt is gone. The request that posted it carried no
session cookie, so that only the next one can tell whether the browser is signed in."""


class LoginCompletionHandler(CountedLoginHandler):
    """Base of the handlers that finish a login attempt."""

    _can_sign_out_at_provider = False
    shows_page = False
    head = PortalHandler.head

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Referrer-Policy", "no-referrer")

    def redirect_after_login(self, outcome: LoginOutcome) -> None:
        """Redirect the browser to its destination in the portal, the provider again, or a second step."""
        if isinstance(outcome, WaitingLogin):
            self.continue_with(outcome.reference)
            return
        if isinstance(outcome, InteractiveRetry):
            self.bind_attempt(outcome.provider)
            self.redirect(outcome.url, status=303)
            return
        if outcome.cookie is not None:
            self.send_cookie(SESSION_COOKIE, Secret(outcome.cookie.value))
        if outcome.replaced is not None:
            self._show_other_account(outcome, outcome.replaced)
            return
        self.redirect(outcome.return_to, status=303)

    def _show_other_account(self, outcome: FinishedLogin, replaced: Login) -> None:
        """Say that a step-up has signed in another user: the page that asked for it is about the former."""
        login = outcome.login
        self.logins = (*(one for one in self.logins if one.tenant != login.tenant), login)
        tenant = self.tenant(login.tenant)
        again = {"provider": login.provider, "prompt": "select_account", "return_to": outcome.return_to}
        self.show(
            "other_account.html",
            OtherAccountPage(
                tenant=self.card(tenant, login),
                user=user_name(tenant, login),
                former_user=user_name(tenant, replaced),
                continue_url=outcome.return_to,
                former_user_url=f"/t/{tenant.slug}/login?{urlencode(again)}",
            ),
        )

    def continue_with(self, reference: str) -> None:
        """Redirect the browser to the second step of a login."""
        self.redirect(f"/t/{self.path_tenant}/finish-login?reference={reference}", status=303)

    async def finished(self, login: Awaitable[LoginOutcome]) -> None:
        """Wait for a login attempt and redirect the browser. Raises what the attempt raises."""
        try:
            outcome = await login
        except SignInNotAllowed as error:
            url = await self.portal.logouts.logout_url_without_login(
                self.path_kwargs["tenant"], error.provider, signed_out_url=self.site.signed_out_url
            )
            self._can_sign_out_at_provider = url is not None
            raise
        if isinstance(outcome, FinishedLogin):
            self.portal.metrics.logins.finished(outcome.login.tenant)
        if isinstance(outcome, FinishedLogin) and outcome.cookie is not None:
            self._remember(outcome.login)
            await self.portal.admin.file_sign_ins.record(outcome.login, outcome.provider)
            self.portal.user_events.signed_in(outcome.login, act_of(self, Actor(ActorType.USER)))
            await end_oldest_logins(self, outcome.login)
        self.redirect_after_login(outcome)

    def _remember(self, login: Login) -> None:
        """Remember the organisations that are used on this browser, this one first."""
        here = [Remembered(one.tenant, one.provider) for one in (login, *self.logins)]
        value = self.portal.remembered.cookie([*here, *self.remembered], self.site.origin)
        self.send_cookie(REMEMBERED_COOKIE, value, max_age=MAX_AGE)

    async def test_viewer(self) -> Viewer:
        """Who finishes a test login in this browser."""
        return await self.portal.admin.viewers.of(self.logins, self.read_cookie(SETUP_COOKIE))

    def redirect_after_test(self, tenant: str, outcome: BegunTest | TestResult | FailedTest) -> None:
        """Redirect the browser to the result in the console, or to the provider again."""
        if isinstance(outcome, BegunTest):
            self.bind_attempt(outcome.provider)
            self.redirect(outcome.url, status=303)
            return
        self.redirect(f"/admin/t/{tenant}/draft/test/{outcome.provider}", status=303)

    def render_error(self, error: PortalError) -> None:
        """Render the error. A login that could not be stored must not end the browser's other logins."""
        tenant = self.portal.registry.get(self.path_tenant or "")
        of_login = tenant is not None and not self.is_test and not prefers_json(self.request.headers)
        if tenant is not None and of_login and self._is_explained(error, tenant):
            return
        if isinstance(error, LoginNotStored | LoginRevoked) and isinstance(error.cookie, Secret):
            self.send_cookie(SESSION_COOKIE, error.cookie)
        super().render_error(error)

    def _is_explained(self, error: PortalError, tenant: Tenant) -> bool:
        """Respond to what is not an error for the user, or has a page of its own; False for anything else."""
        if isinstance(error, SignInNotAllowed):
            self._show_not_allowed(error, tenant)
            return True
        if isinstance(error, ProviderDenied) and error.cancelled:
            self._show_cancelled(error, tenant)
            return True
        if not isinstance(error, AttemptNotLive):
            return False
        if self._login_here is not None:  # another tab has signed in; nothing of this response is used (L1)
            self.redirect(self._end(tenant.slug), status=303)
            return True
        if self.request.method == "POST" and "text/html" in self.request.headers.get("Accept", ""):
            gone = f"{state_prefix(self._end(tenant.slug))}{_GONE}"
            self.redirect(f"/t/{tenant.slug}/finish-login?reference={gone}", status=303)
            return True
        return check_cookies(self)

    @property
    def in_window(self) -> bool:
        arguments = self.request.body_arguments if self.request.method == "POST" else None
        try:
            response = decoded(arguments or self.request.query_arguments)
        except BadRequest:
            return False
        named = response.get("reference", ())
        binding = self.read_cookie(POSTED_BINDING_COOKIE) or self.read_cookie(BINDING_COOKIE)
        return any(map(names_window, named)) or is_of_window(response, binding=binding)

    def _end(self, tenant: str) -> str:
        """Where a sign-in leads that did not say where: one in a window of its own closes it."""
        return window_end(tenant) if self.in_window else f"/t/{tenant}/"

    @property
    def _login_here(self) -> Login | None:
        return self.request_session.login if self.request_session is not None else None

    def _show_cancelled(self, error: ProviderDenied, tenant: Tenant) -> None:
        """Show that nothing happened: a cancelled sign-in is what the user wanted, not an error."""
        self.set_status(200)
        end = self._end(tenant.slug)
        user = user_name(tenant, self._login_here) if self._login_here is not None else ""
        self.show(
            "cancelled.html",
            CancelledPage(
                tenant=self.card(tenant, self._login_here),
                retry_url=try_again_url(tenant, error.begun, default=end),
                continue_url=error.begun.return_to if error.begun else end,
                user=user,
            ),
        )

    def _show_not_allowed(self, error: SignInNotAllowed, tenant: Tenant) -> None:
        email = error.claims.get(tenant.claims.email)
        query = urlencode(
            {"provider": error.provider, "prompt": "select_account", "return_to": self._end(tenant.slug)}
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
                elsewhere=self.cards(),
            ),
        )

    def retry_url(self, error: PortalError) -> str | None:
        if self.is_test:
            return f"/admin/t/{self.path_kwargs['tenant']}/draft/test"
        tenant = self.path_tenant or ""
        begun = error.begun if isinstance(error, LoginRejected | ProviderUnavailable) else None
        if isinstance(error, StepUpNotDone):  # in a window, its close button leads back
            return None if self.in_window else begun.return_to if begun else self._end(tenant)
        live = self.portal.registry.get(tenant)
        if live is not None and begun is not None and begun.is_of_api:
            return try_again_url(live, begun, default=begun.return_to)
        if self._can_start_again(error):
            return sign_in_again_url(tenant) if self.in_window else f"/t/{tenant}/"
        return super().retry_url(error)

    def retry_label(self, error: PortalError) -> str:
        if self.is_test:
            return message("Back to the draft")
        if isinstance(error, StepUpNotDone):
            return message("Continue as before")
        if self._can_start_again(error):
            return message("Start again")
        return super().retry_label(error)

    def _can_start_again(self, error: PortalError) -> bool:
        is_of_login = isinstance(error, LoginRejected | ProviderUnavailable | StoreUnavailable)
        return is_of_login or (self.in_window and passes_by_itself(error))


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
        if self._is_test(self.request.query_arguments, self.read_cookie(BINDING_COOKIE)):
            await self.finish_test(tenant)
            return
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
        binding = self.read_cookie(POSTED_BINDING_COOKIE) or self.read_cookie(BINDING_COOKIE)
        if self._is_test(self.request.body_arguments, binding):
            await self.store_posted_test(tenant, binding)
            return
        redirect_uri = self._redirect_uri(tenant, provider)
        reference = await self.portal.sessions.store_posted_response(
            tenant, self._form_parameters(), redirect_uri=redirect_uri, binding=binding
        )
        self.continue_with(reference)

    async def finish_test(self, tenant: str) -> None:
        """Finish the test login of a draft. The tenant need not be live."""
        self.is_test = True
        outcome = await self.portal.admin.test_logins.finish(
            tenant,
            self._query_parameters(),
            redirect_uri=self._requested_uri,
            binding=self.read_cookie(BINDING_COOKIE),
            viewer=await self.test_viewer(),
            request=act_of(self, Actor(ActorType.USER)),
        )
        self.redirect_after_test(tenant, outcome)

    async def store_posted_test(self, tenant: str, binding: str | None) -> None:
        """Store the response of a test login, as `post`."""
        self.is_test = True
        reference = await self.portal.admin.test_logins.store_posted_response(
            tenant, self._form_parameters(), redirect_uri=self._requested_uri, binding=binding
        )
        self.continue_with(reference)

    def _is_test(self, arguments: Mapping[str, list[bytes]], binding: str | None) -> bool:
        """Whether a response is for a test login of a draft, as its state says."""
        try:
            return kind_of_response(decoded(arguments), binding=binding) is AttemptKind.TEST
        except BadRequest:
            return False

    @property
    def _requested_uri(self) -> str:
        return f"{self.site.origin}{self.request.path}"

    def _redirect_uri(self, tenant: str, provider: str | None) -> str:
        """The redirect URI at which the response arrived.

        Raises NotFound, NewLoginsRefused or AttemptUnknown.
        """
        live = self.tenant(tenant)
        require_new_logins(live)
        if provider is None and len(live.providers) > 1:
            raise AttemptUnknown("the tenant has several providers, and none of them uses this redirect URI")
        return self._requested_uri

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
    """`GET /t/{tenant}/finish-login?reference=`: the second step of a login, with the cookies that it needs.

    Its response was posted, or it waits for the session cookie that another tab is getting.
    """

    async def get(self, tenant: str) -> None:
        reference = self.get_query_argument("reference", "")
        if AttemptKind.of(reference) is AttemptKind.TEST:
            await self._finish_test(tenant, reference)
            return
        live = self.tenant(tenant)
        if reference in {_GONE, f"{state_prefix(window_end(tenant))}{_GONE}"}:  # logged when it was posted
            error = AttemptNotLive("the attempt of a posted response is gone")
            self.write_error(error.status, exc_info=(type(error), error, None))
            return
        binding, cookie = self.read_cookie(BINDING_COOKIE), self.session_cookie()
        sessions = self.portal.sessions
        if AttemptKind.of(reference) is AttemptKind.WAITING:
            await self.finished(
                sessions.finish_waiting_login(tenant, reference, binding=binding, cookie=cookie)
            )
            return
        require_new_logins(live)
        await self.finished(
            sessions.finish_posted_login(
                tenant, reference, binding=binding, cookie=cookie, device=self.device()
            )
        )

    async def _finish_test(self, tenant: str, reference: str) -> None:
        self.is_test = True
        outcome = await self.portal.admin.test_logins.finish_posted(
            tenant,
            reference,
            binding=self.read_cookie(BINDING_COOKIE),
            viewer=await self.test_viewer(),
            request=act_of(self, Actor(ActorType.USER)),
        )
        self.redirect_after_test(tenant, outcome)
