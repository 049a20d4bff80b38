"""Logout at the development provider, started by a relying party or the user (RP-Initiated Logout)."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from portal.demo.compact import TokenUnreadable
from portal.demo.provider_authorize import one
from portal.demo.provider_model import (
    BrowserSession,
    ClientRegistration,
    Parameters,
    ProviderSettings,
    RequestUntrusted,
)
from portal.demo.provider_pages import PageHandler


@dataclass(frozen=True, slots=True)
class LogoutRequest:
    """A checked logout request. `target` is the URL to redirect to afterwards, None for no redirect."""

    client: ClientRegistration | None
    target: str | None
    hinted_sid: str | None


def read_logout_request(
    settings: ProviderSettings, parameters: Parameters, hint: dict[str, object]
) -> LogoutRequest:
    """Check a logout request (RP-Initiated Logout 2 and 3).

    Parameters: hint, the claims of the `id_token_hint`, empty without one.
    Raises RequestUntrusted.
    """
    hinted_client = hint.get("aud")
    client_id = one(parameters, "client_id") or (hinted_client if isinstance(hinted_client, str) else None)
    if hint and client_id != hinted_client:
        raise RequestUntrusted("The id_token_hint was issued to another application.")
    client = settings.client(client_id)
    target = one(parameters, "post_logout_redirect_uri")
    if target is not None:
        if client is None or target not in client.post_logout_redirect_uris:
            raise RequestUntrusted("The post_logout_redirect_uri is not registered.")
        if state := one(parameters, "state"):
            separator = "&" if urlsplit(target).query else "?"
            target = f"{target}{separator}{urlencode({'state': state})}"
    sid = hint.get("sid")
    return LogoutRequest(client, target, sid if isinstance(sid, str) else None)


class EndSessionHandler(PageHandler):
    """`/logout`: the end_session_endpoint, and its confirmation form."""

    def check_xsrf_cookie(self) -> None:
        """Check the token of the confirmation form only: relying parties post here too."""
        if self.get_body_argument("confirm", ""):
            super().check_xsrf_cookie()

    async def get(self) -> None:
        request = self._read()
        if request is None:
            return
        session = self.current_session()
        confirmed = bool(self.get_body_argument("confirm", ""))
        if session is not None and not confirmed and request.hinted_sid != session.sid:
            self._ask(request, session)
            return
        if session is not None:
            self.clear_cookie(self.provider.session_cookie)
            await self.provider.sign_out(session)
        self.leave(request, session)

    post = get

    def _read(self) -> LogoutRequest | None:
        parameters = {name: self.get_arguments(name) for name in self.request.arguments}
        try:
            hint = one(parameters, "id_token_hint")
            claims = self.provider.keys.verify(hint) if hint else {}
            return read_logout_request(self.provider.settings, parameters, claims)
        except (RequestUntrusted, TokenUnreadable) as error:
            reason = str(error) if isinstance(error, RequestUntrusted) else "The id_token_hint is invalid."
            self.show("problem", status=400, message=reason)
            return None

    def _ask(self, request: LogoutRequest, session: BrowserSession) -> None:
        fields = ("client_id", "post_logout_redirect_uri", "state", "ui_locales")
        self.show(
            "sign-out",
            form_target=request.target,
            client=request.client,
            user=session.user,
            action="/logout",
            fields=[(name, value) for name in fields if (value := self.get_argument(name, ""))],
            back=request.target,
        )

    def leave(self, request: LogoutRequest, ended: BrowserSession | None) -> None:
        """Redirect the browser after the logout. `ended` is the session that was ended, if any."""
        if request.target is not None:
            self.redirect(request.target, status=303)
        else:
            self.show("signed-out")
