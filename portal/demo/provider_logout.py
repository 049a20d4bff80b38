"""Ending sessions at the development provider: RP-initiated logout, and telling the clients."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import structlog
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

from portal.demo.compact import TokenUnreadable
from portal.demo.provider_authorize import Parameters, one
from portal.demo.provider_model import (
    BrowserSession,
    ClientRegistration,
    ProviderSettings,
    RequestUntrusted,
)
from portal.demo.provider_pages import PageHandler

_log = structlog.get_logger("portal.demo")
DELIVERY_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class LogoutRequest:
    """A checked logout request. `target` is where the browser goes afterwards; None: nowhere."""

    client: ClientRegistration | None
    target: str | None
    hinted_sid: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one logout token. `status` is None when there was no response."""

    client_id: str
    status: int | None


async def deliver(tokens: Iterable[tuple[ClientRegistration, str]]) -> list[Delivery]:
    """Send logout tokens to their clients, all at once, each in at most DELIVERY_SECONDS."""
    http = AsyncHTTPClient(force_instance=True)
    try:
        return await asyncio.gather(*(_deliver_one(http, client, token) for client, token in tokens))
    finally:
        http.close()


async def _deliver_one(http: AsyncHTTPClient, client: ClientRegistration, token: str) -> Delivery:
    request = HTTPRequest(
        client.backchannel_logout_uri or "",
        method="POST",
        body=urlencode({"logout_token": token}),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        connect_timeout=DELIVERY_SECONDS,
        request_timeout=DELIVERY_SECONDS,
        follow_redirects=False,
    )
    try:
        response = await http.fetch(request, raise_error=False)
        status = None if response.code == 599 else response.code
    except (OSError, HTTPClientError):
        status = None
    if status not in (200, 204):
        _log.warning("logout_token_not_taken", client=client.client_id, status=status)
    return Delivery(client.client_id, status)


def read_logout_request(
    settings: ProviderSettings, parameters: Parameters, hint: dict[str, object]
) -> LogoutRequest:
    """Check a logout request (RP-Initiated Logout 2 and 3).

    Parameters: hint, the claims of the `id_token_hint`, or nothing.
    Raises RequestUntrusted.
    """
    hinted_client = hint.get("aud")
    client_id = one(parameters, "client_id") or (hinted_client if isinstance(hinted_client, str) else None)
    if hint and client_id != hinted_client:
        raise RequestUntrusted("The application and its id_token_hint do not belong together.")
    client = settings.client(client_id)
    target = one(parameters, "post_logout_redirect_uri")
    if target is not None:
        if client is None or target not in client.post_logout_redirect_uris:
            raise RequestUntrusted("The address to go to after the sign-out is not registered.")
        if state := one(parameters, "state"):
            separator = "&" if urlsplit(target).query else "?"
            target = f"{target}{separator}{urlencode({'state': state})}"
    sid = hint.get("sid")
    return LogoutRequest(client, target, sid if isinstance(sid, str) else None)


def front_channel(settings: ProviderSettings, session: BrowserSession) -> list[str]:
    """Addresses to load in frames so that clients hear of the end of a session (Front-Channel Logout 3)."""
    parameters = urlencode({"iss": settings.issuer, "sid": session.sid})
    return [
        f"{client.frontchannel_logout_uri}?{parameters}"
        for client in settings.clients
        if client.client_id in session.clients and client.frontchannel_logout_uri
    ]


class EndSessionHandler(PageHandler):
    """`/logout`: the end_session_endpoint, and its confirmation form."""

    endpoint = "end_session"

    def check_xsrf_cookie(self) -> None:
        """Relying parties post here too; only the confirmation form changes anything unasked."""
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
        frames = front_channel(self.provider.settings, session) if session is not None else []
        if session is not None:
            await self._end(session)
        if frames:
            self.show("signing-out", frames=frames, target=request.target)
        elif request.target is not None:
            self.redirect(request.target, status=303)
        else:
            self.show("signed-out")

    post = get

    def _read(self) -> LogoutRequest | None:
        parameters = {name: self.get_arguments(name) for name in self.request.arguments}
        try:
            hint = one(parameters, "id_token_hint")
            claims = self.provider.keys.verify(hint) if hint else {}
            return read_logout_request(self.provider.settings, parameters, claims)
        except (RequestUntrusted, TokenUnreadable) as error:
            reason = str(error) if isinstance(error, RequestUntrusted) else "The id_token_hint is not ours."
            self.show("problem", status=400, message=reason)
            return None

    def _ask(self, request: LogoutRequest, session: BrowserSession) -> None:
        fields = ("client_id", "post_logout_redirect_uri", "state")
        self.show(
            "sign-out",
            leads_to=request.target,
            client=request.client,
            user=session.user,
            action=f"{self.provider.settings.path_prefix}/logout",
            fields=[(name, value) for name in fields if (value := self.get_argument(name, ""))],
            back=request.target,
        )

    async def _end(self, session: BrowserSession) -> None:
        self.clear_cookie(self.provider.session_cookie)
        await self.provider.sign_out(session)
