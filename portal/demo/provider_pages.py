"""The pages of the development provider: sign-in, consent and front page."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

from tornado.web import HTTPError

from portal.demo.provider_authorize import Step, find_client, grantable, next_step, one, read_request
from portal.demo.provider_endpoints import ProviderHandler
from portal.demo.provider_model import (
    AuthorizationRequest,
    BrowserSession,
    Grant,
    Interaction,
    Parameters,
    ProtocolError,
    RequestUntrusted,
    ReturnPath,
)
from portal.demo.provider_words import Words, words_for


class PageHandler(ProviderHandler):
    """A handler that shows pages and has access to the browser's session."""

    _ui_locales = ""
    """Of the authorization request that the page belongs to (OIDC Core 3.1.2.1)."""

    def current_session(self) -> BrowserSession | None:
        """The session of this browser."""
        return self.provider.state.session(self.get_cookie(self.provider.session_cookie))

    def start_session(self, session: BrowserSession) -> None:
        """Set the session cookie."""
        self.set_cookie(self.provider.session_cookie, session.cookie, httponly=True, samesite="Lax")

    def show(
        self,
        page: str,
        *,
        status: int = 200,
        form_target: str | None = None,
        **values: object,
    ) -> None:
        """Render a page of `pages/`.

        Parameters: form_target, a URL to which the page's forms may redirect (browsers apply `form-action` to
        redirects too).
        """
        target = f" {_origin(form_target)}" if form_target else ""
        self.set_status(status)
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Frame-Options", "DENY")
        self.set_header(
            "Content-Security-Policy",
            "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
            f"frame-ancestors 'none'; form-action 'self'{target}",
        )
        words = self._words()
        self.set_header("Content-Language", words.tag)
        self.render(
            f"{page}.html",
            settings=self.provider.settings,
            language=words.tag,
            html=words.html,
            **{"_": words.text, **values},
        )

    def _words(self) -> Words:
        """The language of the page: that of the authorization or logout request, else of the browser."""
        sent = (self.request.arguments.get("ui_locales") or [b""])[0].decode("latin-1")
        return words_for(
            ui_locales=self._ui_locales or sent,
            accept_language=self.request.headers.get("Accept-Language", ""),
        )

    def write_error(self, status_code: int, **kwargs: object) -> None:
        """Show errors as pages, which repeat nothing of the request."""
        self.show("problem", status=status_code, message=_explain(status_code))

    def interaction(self, interaction_id: str) -> Interaction:
        """Return the interaction with this id. Raises HTTPError 404."""
        interaction = self.provider.state.interaction(interaction_id)
        if interaction is None:
            raise HTTPError(404)
        self._ui_locales = one(interaction.request.parameters, "ui_locales") or ""
        return interaction

    def signed_in_interaction(self, interaction_id: str) -> tuple[Interaction, BrowserSession]:
        """Return the interaction with this id and the browser's session.

        Raises HTTPError 404 without such an interaction, 403 without a session.
        """
        interaction, session = self.interaction(interaction_id), self.current_session()
        if session is None:
            raise HTTPError(403)
        return interaction, session

    def proceed(self, interaction: Interaction, session: BrowserSession | None) -> None:
        """Continue with the user's next step, or send the client its response."""
        settings, state, request = self.provider.settings, self.provider.state, interaction.request
        consented = None
        if session is not None and settings.consent_required:
            consented = state.consented(session.user, request.client.client_id)
        try:
            step = next_step(interaction, session, consented=consented, now=settings.clock())
        except ProtocolError as error:
            self.respond_error(request.return_path, error)
            return
        if step is Step.SIGN_IN:
            self.redirect(f"/sign-in/{interaction.id}", status=303)
        elif step is Step.SECOND_FACTOR:
            self.redirect(f"/second-factor/{interaction.id}", status=303)
        elif step is Step.CONSENT:
            self.redirect(f"/consent/{interaction.id}", status=303)
        elif session is not None:
            self.send_code(interaction, session)

    def respond_error(self, path: ReturnPath, error: ProtocolError) -> None:
        """Redirect the browser to the client with an error (RFC 6749 4.1.2.1)."""
        self.respond(path, {"error": error.error, "error_description": error.description})

    def send_code(self, interaction: Interaction, session: BrowserSession) -> None:
        """Redirect the browser to the client with a code for the allowed scopes."""
        request, state = interaction.request, self.provider.state
        state.end_interaction(interaction)
        session.clients.add(request.client.client_id)
        allowed = interaction.granted_scope if interaction.granted_scope is not None else request.scope
        scope = grantable(request, session, self.provider.settings.api_scopes)
        grant = self.make_grant(request, session, tuple(name for name in scope if name in allowed))
        code = state.issue_code(
            grant, redirect_uri=request.redirect_uri, code_challenge=request.code_challenge
        )
        self.respond(request.return_path, {"code": code})

    def make_grant(
        self, request: AuthorizationRequest, session: BrowserSession, scope: tuple[str, ...]
    ) -> Grant:
        """Return the grant for these scopes."""
        return Grant(
            client_id=request.client.client_id,
            user=session.user,
            scope=scope,
            audiences=request.audiences,
            sid=session.sid,
            auth_time=session.auth_time,
            nonce=request.nonce,
            acr=session.acr if request.acr_values else None,
        )

    def respond(self, path: ReturnPath, response: Mapping[str, str]) -> None:
        """Redirect the browser to the client with a response, its state and the issuer (RFC 9207 2)."""
        state = {} if path.state is None else {"state": path.state}
        parameters = {**response, **state, "iss": self.provider.issuer}
        self.redirect(with_response(path.redirect_uri, parameters), status=303)


class AuthorizeHandler(PageHandler):
    """`/authorize` (OIDC Core 3.1.2)."""

    def check_xsrf_cookie(self) -> None:
        """Not needed: relying parties on other sites send users here, by GET or POST."""

    async def get(self) -> None:
        provider = self.provider
        parameters: Parameters = {name: self.get_arguments(name) for name in self.request.arguments}
        try:
            parameters = await self.unwrapped(parameters)
            request = read_request(provider.settings, parameters, provider.keys.verify)
        except RequestUntrusted as error:
            self.show("problem", status=400, message=str(error))
        except ProtocolError as error:
            _, path = find_client(provider.settings, parameters)
            self.respond_error(path, error)
        else:
            self.proceed(provider.state.begin(request), self.current_session())

    post = get

    async def unwrapped(self, parameters: Parameters) -> Parameters:
        """Return the actual request parameters, for requests that only reference them."""
        return parameters


class SignInHandler(PageHandler):
    """`/sign-in/{interaction}`: the form for user name and password."""

    async def get(self, interaction_id: str) -> None:
        interaction = self.interaction(interaction_id)
        chosen = self.provider.settings.user(self.get_query_argument("user", ""))
        self._show(interaction, username=chosen.username if chosen else interaction.request.login_hint)

    async def post(self, interaction_id: str) -> None:
        interaction = self.interaction(interaction_id)
        if self.get_body_argument("cancel", ""):
            self.provider.state.end_interaction(interaction)
            deny(self, interaction)
            return
        username = self.get_body_argument("username", "")[:200]
        password = self.get_body_argument("password", "", strip=False)
        user = self.provider.settings.user(username)
        if user is None or not hmac.compare_digest(user.password.encode(), password.encode()):
            self._show(interaction, username=username, failed=True)
            return
        previous = self.current_session()
        if previous is not None and previous.user != user:
            await self.provider.sign_out(previous)
        session = self.provider.state.sign_in(user, previous=previous)
        self.start_session(session)
        interaction.signed_in = True
        self.proceed(interaction, session)

    def _show(self, interaction: Interaction, *, username: str, failed: bool = False) -> None:
        settings = self.provider.settings
        chosen = settings.user(username) if settings.show_users else None
        self.show(
            "sign-in",
            status=401 if failed else 200,
            form_target=interaction.request.redirect_uri,
            client=interaction.request.client,
            action=f"/sign-in/{interaction.id}",
            username=username,
            password=chosen.password if chosen and not failed else "",
            failed=failed,
            users=settings.users if settings.show_users else (),
        )


class ConsentHandler(PageHandler):
    """`/consent/{interaction}`: the form to allow the requested scopes."""

    async def get(self, interaction_id: str) -> None:
        interaction, session = self.signed_in_interaction(interaction_id)
        request, settings = interaction.request, self.provider.settings
        scope = grantable(request, session, settings.api_scopes)
        self.show(
            "consent",
            form_target=request.redirect_uri,
            client=request.client,
            action=f"/consent/{interaction.id}",
            user=session.user,
            required=[name for name in scope if name not in settings.api_scopes],
            optional=[name for name in scope if name in settings.api_scopes],
        )

    async def post(self, interaction_id: str) -> None:
        interaction, session = self.signed_in_interaction(interaction_id)
        request, settings = interaction.request, self.provider.settings
        if not self.get_body_argument("allow", ""):
            self.provider.state.end_interaction(interaction)
            deny(self, interaction)
            return
        chosen = self.get_body_arguments("scope")
        allowed = tuple(
            name
            for name in grantable(request, session, settings.api_scopes)
            if name not in settings.api_scopes or name in chosen
        )
        interaction.granted_scope = allowed
        if set(request.scope) - set(allowed) <= set(settings.api_scopes) - session.user.scopes:
            self.provider.state.remember_consent(session.user, request.client.client_id, request.scope)
        self.proceed(interaction, session)


class FrontPageHandler(PageHandler):
    """`/`: the signed-in user of this provider, and a description."""

    async def get(self) -> None:
        self.show("front", session=self.current_session())


def deny(handler: PageHandler, interaction: Interaction) -> None:
    """Send the client the error of a user who cancelled."""
    request = interaction.request
    refusal = ProtocolError("access_denied", "The user denied access.")
    handler.respond_error(request.return_path, refusal)


def with_response(redirect_uri: str, parameters: Mapping[str, str]) -> str:
    """The redirect URI with a response in its query."""
    separator = "&" if urlsplit(redirect_uri).query else "?"
    return f"{redirect_uri}{separator}{urlencode(parameters)}"


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _explain(status: int) -> str:
    if status == 404:
        return "This page does not exist or has expired. Go back to the application and sign in again."
    if status == 403:
        return "This form has expired or came from another site. Go back to the application and start again."
    return "This did not work. Go back to the application and start again."
