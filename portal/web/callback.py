"""Sign-in: the way back from the provider."""

from __future__ import annotations

from portal.errors import BadRequest, LoginRejected, PortalError, ProviderUnavailable, ResponseMalformed
from portal.secret import Secret
from portal.sessions.service import AskedAgain, FinishedLogin
from portal.web.base import PageHandler
from portal.web.cookies import BINDING_COOKIE, POSTED_BINDING_COOKIE, SESSION_COOKIE
from portal.web.forms import decoded, posted_form
from portal.web.shown import shown


class LoginEnd(PageHandler):
    """What finishes a login attempt."""

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Referrer-Policy", "no-referrer")

    def device(self) -> str:
        """What the browser says it is."""
        return shown(self.request.headers.get("User-Agent", ""), limit=120)

    def conclude(self, outcome: FinishedLogin | AskedAgain) -> None:
        """Send the browser where the login ends: into the portal, or once more to the provider."""
        if isinstance(outcome, AskedAgain):
            self.bind_attempt(outcome.provider)
            self.redirect(outcome.url, status=303)
            return
        self.send_cookie(SESSION_COOKIE, Secret(outcome.cookie.value))
        self.redirect(outcome.return_to, status=303)

    def retry_url(self, error: PortalError) -> str | None:
        if isinstance(error, LoginRejected | ProviderUnavailable):
            return f"/t/{self.path_kwargs['tenant']}/"
        return super().retry_url(error)

    def retry_label(self, error: PortalError) -> str:
        if isinstance(error, LoginRejected | ProviderUnavailable):
            return "Start again"
        return super().retry_label(error)


class CallbackHandler(LoginEnd):
    """`GET, POST /t/{tenant}/callback`: the provider's answer, in the URL or as a form."""

    def require_own_origin(self) -> None:
        """A form of the provider's page comes from another site by design.

        What it says has an effect only together with the binding cookie of the browser that began the
        attempt (THREATS L1); see `post`.
        """

    async def get(self, tenant: str) -> None:
        self.tenant(tenant)
        outcome = await self.portal.sessions.finish_login(
            tenant,
            self._in_url(),
            binding=self.read_cookie(BINDING_COOKIE),
            cookie=self.session_cookie(),
            device=self.device(),
        )
        self.conclude(outcome)

    async def post(self, tenant: str) -> None:
        """Put the answer aside and let the browser come back by GET, with its session's cookie."""
        self.tenant(tenant)
        reference = await self.portal.sessions.put_aside(
            tenant,
            self._in_form(),
            binding=self.read_cookie(POSTED_BINDING_COOKIE) or self.read_cookie(BINDING_COOKIE),
        )
        self.redirect(f"/t/{tenant}/callback/finish?reference={reference}", status=303)

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
    """`GET /t/{tenant}/callback/finish?reference=`: finishes a login whose answer was put aside."""

    async def get(self, tenant: str) -> None:
        self.tenant(tenant)
        outcome = await self.portal.sessions.finish_posted_login(
            tenant,
            self.get_query_argument("reference", ""),
            binding=self.read_cookie(BINDING_COOKIE),
            cookie=self.session_cookie(),
            device=self.device(),
        )
        self.conclude(outcome)
