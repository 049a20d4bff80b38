"""The pages of the development provider that a person sees: sign-in, consent, and its front page."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from urllib.parse import urlsplit

from tornado.web import HTTPError

from portal.demo.provider_authorize import (
    Parameters,
    Step,
    find_client,
    grantable,
    next_step,
    read_request,
)
from portal.demo.provider_handlers import ProviderHandler
from portal.demo.provider_model import (
    BrowserSession,
    Grant,
    Interaction,
    ProtocolError,
    RequestUntrusted,
    ReturnPath,
)
from portal.demo.provider_requests import opened
from portal.demo.provider_responses import is_form, response_parameters, with_response


class PageHandler(ProviderHandler):
    """A handler that shows pages and knows who is signed in in this browser."""

    def current_session(self) -> BrowserSession | None:
        """The session of this browser."""
        return self.provider.state.session(self.get_cookie(self.provider.session_cookie))

    def start_session(self, session: BrowserSession) -> None:
        """Hand the browser its session cookie."""
        self.set_cookie(self.provider.session_cookie, session.cookie, httponly=True, samesite="Lax")

    def show(
        self,
        page: str,
        *,
        status: int = 200,
        leads_to: str | None = None,
        scripts: bool = False,
        frames: Sequence[str] = (),
        **values: object,
    ) -> None:
        """Render a page of `pages/`.

        Parameters: scripts, whether the page has one; frames, addresses that it shows in frames; leads_to is
        where forms of the page may end up after redirects, besides this provider (browsers apply
        `form-action` to redirects too).
        """
        target = f" {_origin(leads_to)}" if leads_to else ""
        framed = f"frame-src {' '.join(map(_origin, frames))}; " if frames else ""
        own_scripts = "script-src 'self'; " if scripts else ""
        self.set_status(status)
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Frame-Options", "DENY")
        self.set_header(
            "Content-Security-Policy",
            f"default-src 'none'; {own_scripts}{framed}style-src 'self'; img-src 'self'; base-uri 'none'; "
            f"frame-ancestors 'none'; form-action 'self'{target}",
        )
        settings = self.provider.settings
        self.render(f"{page}.html", settings=settings, root=settings.path_prefix, frames=frames, **values)

    def write_error(self, status_code: int, **kwargs: object) -> None:
        """Errors are pages too; nothing of the request is repeated on them."""
        self.show("problem", status=status_code, message=_explain(status_code))

    def interaction(self, interaction_id: str) -> Interaction:
        """The interaction of this page; raises HTTPError 404."""
        interaction = self.provider.state.interaction(interaction_id)
        if interaction is None:
            raise HTTPError(404)
        return interaction

    def proceed(self, interaction: Interaction) -> None:
        """Show what the user must still do, or answer the client."""
        provider, session = self.provider, self.current_session()
        user = provider.settings.user(provider.automatic_user) if provider.automatic_user else None
        if user is not None:
            session = provider.state.sign_in(user, previous=session)
            self.start_session(session)
            interaction.signed_in = True
        self.proceed_with(interaction, session)

    def proceed_with(self, interaction: Interaction, session: BrowserSession | None) -> None:
        """As proceed, in a session that this very answer may be starting."""
        settings, state, request = self.provider.settings, self.provider.state, interaction.request
        asks = settings.consent_required and not self.provider.automatic_user
        before = state.consented(session.user, request.client.client_id) if session and asks else None
        try:
            step = next_step(interaction, session, consented=before, now=settings.clock())
        except ProtocolError as error:
            self.respond_error(request.return_path, error)
            return
        if step is Step.SIGN_IN:
            self.redirect(f"{settings.path_prefix}/sign-in/{interaction.id}", status=303)
        elif step is Step.CONSENT:
            self.redirect(f"{settings.path_prefix}/consent/{interaction.id}", status=303)
        elif session is not None:
            self._send_code(interaction, session)

    def respond_error(self, path: ReturnPath, error: ProtocolError) -> None:
        """Send the browser back with an error (RFC 6749 4.1.2.1)."""
        parameters = {"error": error.error, "error_description": error.description}
        self._respond(path, parameters)

    def _send_code(self, interaction: Interaction, session: BrowserSession) -> None:
        state, faults, request = self.provider.state, self.provider.faults, interaction.request
        state.end_interaction(interaction)
        if faults.authorization_error is not None:
            error = ProtocolError(*faults.authorization_error)
            self.respond_error(request.return_path, error)
            return
        session.clients.add(request.client.client_id)
        allowed = interaction.granted_scope if interaction.granted_scope is not None else request.scope
        grant = Grant(
            client_id=request.client.client_id,
            user=session.user,
            scope=tuple(
                name
                for name in grantable(request, session, self.provider.settings.api_scopes)
                if name in allowed
            ),
            audiences=request.audiences,
            sid=session.sid,
            auth_time=session.auth_time,
            nonce=request.nonce,
            dpop_jkt=request.dpop_jkt,
        )
        code = state.issue_code(
            grant, redirect_uri=request.redirect_uri, code_challenge=request.code_challenge
        )
        self._respond(request.return_path, {"code": code})

    def _respond(self, path: ReturnPath, response: dict[str, str]) -> None:
        parameters = response_parameters(self.provider, path, response)
        if is_form(self.provider, path):
            client = self.provider.settings.client(path.client_id)
            self.show(
                "form-post",
                leads_to=path.redirect_uri,
                scripts=True,
                client=client,
                action=path.redirect_uri,
                fields=parameters,
            )
            return
        self.redirect(with_response(path.redirect_uri, parameters), status=303)


class AuthorizeHandler(PageHandler):
    """`/authorize` (OIDC Core 3.1.2)."""

    endpoint = "authorize"

    def check_xsrf_cookie(self) -> None:
        """Relying parties on other sites send their users here, by GET or by POST."""

    async def get(self) -> None:
        provider = self.provider
        parameters: Parameters = {name: self.get_arguments(name) for name in self.request.arguments}
        try:
            parameters = await opened(provider, parameters)
            request = read_request(provider.settings, parameters, provider.keys.verify)
        except RequestUntrusted as error:
            self.show("problem", status=400, message=str(error))
        except ProtocolError as error:
            _, path = find_client(provider.settings, parameters)
            self.respond_error(path, error)
        else:
            self.proceed(provider.state.begin(request))

    post = get


class SignInHandler(PageHandler):
    """`/sign-in/{interaction}`: the form for user name and password."""

    endpoint = "sign_in"

    async def get(self, interaction_id: str) -> None:
        interaction = self.interaction(interaction_id)
        chosen = self.provider.settings.user(self.get_query_argument("user", ""))
        self._show(interaction, username=chosen.username if chosen else interaction.request.login_hint)

    async def post(self, interaction_id: str) -> None:
        interaction = self.interaction(interaction_id)
        if self.get_body_argument("cancel", ""):
            self.provider.state.end_interaction(interaction)
            _deny(self, interaction)
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
        self.proceed_with(interaction, session)

    def _show(self, interaction: Interaction, *, username: str, failed: bool = False) -> None:
        settings = self.provider.settings
        chosen = settings.user(username) if settings.show_users else None
        self.show(
            "sign-in",
            status=401 if failed else 200,
            leads_to=interaction.request.redirect_uri,
            client=interaction.request.client,
            action=f"{settings.path_prefix}/sign-in/{interaction.id}",
            username=username,
            password=chosen.password if chosen and not failed else "",
            failed=failed,
            users=settings.users if settings.show_users else (),
        )


class ConsentHandler(PageHandler):
    """`/consent/{interaction}`: what the application may see and do."""

    endpoint = "consent"

    async def get(self, interaction_id: str) -> None:
        interaction, session = self._ask(interaction_id)
        request, settings = interaction.request, self.provider.settings
        scope = grantable(request, session, settings.api_scopes)
        self.show(
            "consent",
            leads_to=request.redirect_uri,
            client=request.client,
            action=f"{settings.path_prefix}/consent/{interaction.id}",
            user=session.user,
            required=[name for name in scope if name not in settings.api_scopes],
            optional=[name for name in scope if name in settings.api_scopes],
        )

    async def post(self, interaction_id: str) -> None:
        interaction, session = self._ask(interaction_id)
        request, settings = interaction.request, self.provider.settings
        if not self.get_body_argument("allow", ""):
            self.provider.state.end_interaction(interaction)
            _deny(self, interaction)
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
        self.proceed_with(interaction, session)

    def _ask(self, interaction_id: str) -> tuple[Interaction, BrowserSession]:
        interaction, session = self.interaction(interaction_id), self.current_session()
        if session is None:
            raise HTTPError(403)
        return interaction, session


class FrontPageHandler(PageHandler):
    """`/`: who is signed in at this provider, and what it is for."""

    async def get(self) -> None:
        self.show("front", session=self.current_session())


def _deny(handler: PageHandler, interaction: Interaction) -> None:
    request = interaction.request
    refusal = ProtocolError("access_denied", "The user said no.")
    handler.respond_error(request.return_path, refusal)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _explain(status: int) -> str:
    if status == 404:
        return "There is nothing here, or it has expired. Go back to the application and sign in again."
    if status == 403:
        return "This form is too old or came from another page. Go back to the application and start again."
    return "This did not work. Go back to the application and start again."
