"""Sign-in: to the provider and back."""

from __future__ import annotations

from portal.errors import (
    LoginRejected,
    NotFound,
    PortalError,
    ProviderUnavailable,
    ResponseMalformed,
)
from portal.oidc.secret import Secret
from portal.web.base import PageHandler
from portal.web.cookies import BINDING_COOKIE, SESSION_COOKIE
from portal.web.return_to import safe_return_to
from portal.web.shown import shown


class LoginHandler(PageHandler):
    """`GET /t/{tenant}/login`: begins a login attempt and sends the browser to the provider."""

    async def get(self, tenant: str) -> None:
        live = self.tenant(tenant)
        wanted = self.get_query_argument("provider", None)
        if wanted is None and len(live.providers) > 1:
            self.redirect(f"/t/{tenant}/", status=303)
            return
        provider = live.providers.get(wanted) if wanted is not None else live.default_provider
        if provider is None:
            raise NotFound(f"tenant {tenant} has no such provider")
        hint = self._optional("login_hint")
        url = await self.portal.sessions.begin_login(
            provider,
            redirect_uri=self.site.callback_url(tenant),
            return_to=safe_return_to(self._optional("return_to"), tenant),
            binding=self.ensure_binding(),
            login_hint=shown(hint, limit=254) if hint else None,
        )
        self.redirect(url, status=303)

    def _optional(self, name: str) -> str | None:
        """A parameter that a login can do without: None when it is missing, said twice or not UTF-8."""
        values = self.request.query_arguments.get(name, [])
        try:
            return values[0].decode() if len(values) == 1 else None
        except UnicodeDecodeError:
            return None

    def retry_url(self, error: PortalError) -> str | None:
        return self.request.uri if isinstance(error, ProviderUnavailable) else super().retry_url(error)

    def retry_label(self, error: PortalError) -> str:
        return "Try again" if isinstance(error, ProviderUnavailable) else super().retry_label(error)


class CallbackHandler(PageHandler):
    """`GET /t/{tenant}/callback`: the provider's answer."""

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Referrer-Policy", "no-referrer")

    async def get(self, tenant: str) -> None:
        self.tenant(tenant)
        finished = await self.portal.sessions.finish_login(
            tenant,
            self._response(),
            binding=self.read_cookie(BINDING_COOKIE),
            cookie=self.session_cookie(),
            device=shown(self.request.headers.get("User-Agent", ""), limit=120),
        )
        self.send_cookie(SESSION_COOKIE, Secret(finished.cookie.value))
        self.redirect(finished.return_to, status=303)

    def _response(self) -> dict[str, list[str]]:
        try:
            return {
                name: [value.decode("utf-8") for value in values]
                for name, values in self.request.query_arguments.items()
            }
        except UnicodeDecodeError as error:
            raise ResponseMalformed("a parameter of the response is not UTF-8") from error

    def retry_url(self, error: PortalError) -> str | None:
        if isinstance(error, LoginRejected | ProviderUnavailable):
            return f"/t/{self.path_kwargs['tenant']}/"
        return super().retry_url(error)

    def retry_label(self, error: PortalError) -> str:
        if isinstance(error, LoginRejected | ProviderUnavailable):
            return "Start again"
        return super().retry_label(error)
