"""The endpoints of the faulty provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import urlencode, urlsplit

from tornado.web import Application

from portal.demo.compact import JsonObject, TokenUnreadable
from portal.demo.provider_authorize import one
from portal.demo.provider_endpoints import (
    ClientHandler,
    MachineHandler,
    ProviderHandler,
    RevocationHandler,
    TokenHandler,
)
from portal.demo.provider_logout import EndSessionHandler, LogoutRequest
from portal.demo.provider_model import (
    TOKEN_EXCHANGE,
    AuthorizationRequest,
    BrowserSession,
    ClientRegistration,
    Grant,
    Interaction,
    Parameters,
    ProtocolError,
    RequestUntrusted,
    ReturnPath,
)
from portal.demo.provider_pages import (
    AuthorizeHandler,
    ConsentHandler,
    PageHandler,
    SignInHandler,
    with_response,
)
from portal.demo.provider_routes import PROVIDER_ROUTES, provider_application
from portal.demo.provider_second_factor import SecondFactorHandler
from tests.kit.faulty.assertions import ASSERTION_TYPE
from tests.kit.faulty.dpop import DpopNonceRequired, ProofRefused
from tests.kit.faulty.endpoints import EndpointFault, FaultyHandler
from tests.kit.faulty.provider import BoundGrant, FaultyProvider
from tests.kit.faulty.requests import PUSHED_SECONDS, push, unwrapped
from tests.kit.faulty.responses import FORM_SCRIPT, form_page, frames_page, is_form, response_parameters

_FORM_SCRIPT_PATH = "/form-post.js"
_GRANTS = {
    "authorization_code": ("code",),
    "refresh_token": ("refresh",),
    TOKEN_EXCHANGE: ("exchange",),
    "client_credentials": ("client",),
}
"""The names under which token requests are counted, by their grant."""


class FaultyProviderHandler(FaultyHandler, ProviderHandler):
    """Mixin of all handlers: records requests and applies faults."""

    provider: FaultyProvider
    endpoint: ClassVar[str]

    def record_request(self) -> EndpointFault | None:
        names = (*self._grant_names(), self.endpoint)
        parameters = {name: self.get_arguments(name) for name in self.request.arguments}
        self.provider.record(names, parameters, self.request.headers.get("traceparent", ""))
        return self.provider.faults.endpoints.due(names)

    def _grant_names(self) -> tuple[str, ...]:
        if self.endpoint != "token":
            return ()
        kind = self.get_body_argument("grant_type", "")
        return _GRANTS.get(kind, ())


class AuthenticatingHandler(ClientHandler):
    """Accepts assertions of clients without a secret (OIDC Core 9, RFC 7523 3)."""

    provider: FaultyProvider

    async def authenticate(self) -> ClientRegistration:
        client = self.provider.settings.client(self.parameter("client_id") or "")
        audiences = self.provider.assertion_audiences.get(client.client_id) if client else None
        if client is None or audiences is None:
            return await super().authenticate()
        provider = self.provider
        named = {
            "issuer": provider.issuer,
            "token_endpoint": f"{provider.settings.base_url}/token",
            "endpoint": self.request.full_url(),
        }
        if self.parameter("client_assertion_type") != ASSERTION_TYPE:
            raise ProtocolError("invalid_client", "There is no assertion.", status=401)
        try:
            await provider.assertions.check(
                self.require("client_assertion"),
                client.client_id,
                provider.client_keys.get(client.client_id),
                audiences=[named[name] for name in audiences],
                now=provider.settings.clock(),
            )
        except TokenUnreadable as error:
            message = f"The assertion is invalid: {error}."
            raise ProtocolError("invalid_client", message, status=401) from error
        return client


class FaultyTokenHandler(AuthenticatingHandler, TokenHandler):
    """`/token`, with faults and DPoP (RFC 9449 5)."""

    _proof: str | None = None

    async def post(self) -> None:
        for name, value in self.provider.proofs.headers():
            self.set_header(name, value)
        await super().post()

    def grant(self, client: ClientRegistration) -> JsonObject:
        self._proof = self._proven_key()
        return super().grant(client)

    def exchange_code(self, client: ClientRegistration) -> JsonObject:
        if error := self.provider.faults.code_error:
            raise ProtocolError(error, "A test configured this error.")
        return super().exchange_code(client)

    def refresh(self, client: ClientRegistration) -> JsonObject:
        if error := self.provider.faults.refresh_error:
            raise ProtocolError(error, "A test configured this error.")
        return super().refresh(client)

    def exchange_token(self, client: ClientRegistration) -> JsonObject:
        if error := self.provider.faults.exchange_error:
            raise ProtocolError(error, "A test configured this error.")
        return self._issued(super().exchange_token(client))

    def issue_to_client(self, client: ClientRegistration) -> JsonObject:
        return self._issued(super().issue_to_client(client))

    def _target(self, client: ClientRegistration, grant: Grant) -> tuple[str, ...]:
        if self.provider.faults.ignores_apis:
            return grant.audiences[:1]
        return super()._target(client, grant)

    def _issued(self, document: JsonObject) -> JsonObject:
        """Record an access token for an API, and apply the fault of token responses."""
        self.provider.state.issued.append(str(document["access_token"]))
        if self.provider.faults.mutate_token_response is not None:
            self.provider.faults.mutate_token_response(document)
        return document

    def tokens(
        self, client: ClientRegistration, grant: Grant, scope: tuple[str, ...], *, nonce: str | None
    ) -> JsonObject:
        assert isinstance(grant, BoundGrant)
        self._bind(grant)
        document = super().tokens(client, grant, scope, nonce=nonce)
        self.provider.state.issued += [str(document["access_token"]), str(document["id_token"])]
        if grant.dpop_jkt is not None:
            document["token_type"] = "DPoP"
        faults = self.provider.faults
        if faults.token_type is not None:
            document["token_type"] = faults.token_type
        if faults.mutate_token_response is not None:
            faults.mutate_token_response(document)
        return document

    def _proven_key(self) -> str | None:
        """Return the thumbprint of the request's proof key; None without a proof. Raises ProtocolError."""
        proofs = self.request.headers.get_list("DPoP")
        if not proofs:
            return None
        try:
            return self.provider.proofs.verify(proofs, method="POST", url=self.request.full_url())
        except DpopNonceRequired as error:
            raise ProtocolError("use_dpop_nonce", str(error)) from error
        except ProofRefused as error:
            raise ProtocolError("invalid_dpop_proof", str(error)) from error

    def _bind(self, grant: BoundGrant) -> None:
        """Bind a grant to the key of the request; a bound grant accepts no other key (RFC 9449 5 and 10)."""
        if grant.dpop_jkt is None and self._proof is not None:
            grant.dpop_jkt = self._proof
        if grant.dpop_jkt != self._proof:
            raise ProtocolError("invalid_dpop_proof", "The grant is bound to another key.")


class FaultyRevocationHandler(AuthenticatingHandler, RevocationHandler):
    """`/revoke`, also for clients with assertions."""


class PushHandler(AuthenticatingHandler):
    """`/par` (RFC 9126 2)."""

    async def post(self) -> None:
        parameters = {name: self.get_body_arguments(name) for name in self.request.body_arguments}
        try:
            request_uri = await push(self.provider, await self.authenticate(), parameters)
        except ProtocolError as error:
            self.refuse(error)
        except RequestUntrusted as error:
            self.refuse(ProtocolError("invalid_request", str(error)))
        else:
            self.respond({"request_uri": request_uri, "expires_in": int(PUSHED_SECONDS)}, status=201)


class UserinfoHandler(MachineHandler):
    """`/userinfo` (OIDC Core 5.3)."""

    provider: FaultyProvider

    def get(self) -> None:
        provider = self.provider
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        try:
            issued = provider.state.access_token(provider.keys.verify(token).get("jti"))
        except TokenUnreadable:
            issued = None
        if issued is None or "openid" not in issued.scope:
            self._challenge("Bearer", "invalid_token")
            return
        problem = self._proof_problem(scheme.lower(), token, issued.grant)
        if problem is not None:
            self._challenge("DPoP", problem)
            return
        user = issued.grant.user
        document: JsonObject = {"sub": user.subject, **user.claims_for(issued.scope)}
        if provider.faults.mutate_userinfo is not None:
            provider.faults.mutate_userinfo(document)
        self.respond(document)

    post = get

    def _proof_problem(self, scheme: str, token: str, grant: Grant) -> str | None:
        """Return the error if the request does not prove possession of the key (RFC 9449 7.1)."""
        if not isinstance(grant, BoundGrant) or grant.dpop_jkt is None:
            return None if scheme == "bearer" else "invalid_token"
        proofs = self.request.headers.get_list("DPoP")
        method, url = str(self.request.method), self.request.full_url()
        try:
            key = self.provider.proofs.verify(proofs, method=method, url=url, access_token=token)
        except DpopNonceRequired:
            return "use_dpop_nonce"
        except ProofRefused:
            return "invalid_dpop_proof"
        return None if scheme == "dpop" and key == grant.dpop_jkt else "invalid_token"

    def _challenge(self, scheme: str, error: str) -> None:
        self.set_header("WWW-Authenticate", f'{scheme} error="{error}"')  # RFC 6750 3, RFC 9449 7.1
        for name, value in self.provider.proofs.headers():
            self.set_header(name, value)
        self.refuse(ProtocolError(error, "The access token is invalid.", status=401))


class FaultyPageHandler(PageHandler):
    """Pages that send the response to the client, with faults and in all response modes."""

    provider: FaultyProvider

    def send_code(self, interaction: Interaction, session: BrowserSession) -> None:
        failure = self.provider.faults.authorization_error
        if failure is None:
            super().send_code(interaction, session)
            return
        self.provider.state.end_interaction(interaction)
        self.respond_error(interaction.request.return_path, ProtocolError(*failure))

    def make_grant(
        self, request: AuthorizationRequest, session: BrowserSession, scope: tuple[str, ...]
    ) -> Grant:
        grant = super().make_grant(request, session, scope)
        return BoundGrant(
            **{name: getattr(grant, name) for name in Grant.__dataclass_fields__},
            dpop_jkt=one(request.parameters, "dpop_jkt"),  # RFC 9449 10
        )

    def respond(self, path: ReturnPath, response: Mapping[str, str]) -> None:
        parameters = response_parameters(self.provider, path, response)
        if not is_form(self.provider, path):
            self.redirect(with_response(path.redirect_uri, parameters), status=303)
            return
        target = urlsplit(path.redirect_uri)
        self.set_header(
            "Content-Security-Policy",
            "default-src 'none'; script-src 'self'; img-src data:; "
            f"form-action 'self' {target.scheme}://{target.netloc}",
        )
        self.finish(form_page(path.redirect_uri, parameters, script=_FORM_SCRIPT_PATH))


class FormScriptHandler(ProviderHandler):
    """The script of the page that submits a response form."""

    def get(self) -> None:
        self.set_header("Content-Type", "text/javascript")
        self.finish(FORM_SCRIPT)


class FaultyAuthorizeHandler(FaultyPageHandler, AuthorizeHandler):
    """`/authorize`, with `automatic_user` and with pushed and signed requests."""

    async def unwrapped(self, parameters: Parameters) -> Parameters:
        return await unwrapped(self.provider, parameters)

    def proceed(self, interaction: Interaction, session: BrowserSession | None) -> None:
        provider = self.provider
        user = provider.settings.user(provider.automatic_user or "")
        if user is not None:
            session = provider.state.sign_in(user, previous=session)
            session.acr = provider.automatic_acr or session.acr
            self.start_session(session)
            interaction.signed_in = True
            if "consent" not in interaction.request.prompt:
                interaction.granted_scope = interaction.request.scope
        super().proceed(interaction, session)


class FaultySignInHandler(FaultyPageHandler, SignInHandler):
    """`/sign-in/{interaction}`."""


class FaultyConsentHandler(FaultyPageHandler, ConsentHandler):
    """`/consent/{interaction}`."""


class FaultySecondFactorHandler(FaultyPageHandler, SecondFactorHandler):
    """`/second-factor/{interaction}`."""


class FrontchannelHandler(EndSessionHandler):
    """`/logout`, with frames for clients with front-channel logout (Front-Channel Logout 3)."""

    provider: FaultyProvider

    def leave(self, request: LogoutRequest, ended: BrowserSession | None) -> None:
        uris = self.provider.frontchannel_logout_uris
        if ended is None or not ended.clients & uris.keys():
            super().leave(request, ended)
            return
        parameters = urlencode({"iss": self.provider.issuer, "sid": ended.sid})
        frames = [f"{uris[client]}?{parameters}" for client in sorted(ended.clients & uris.keys())]
        self.finish(frames_page(frames, request.target))


_ENDPOINTS: Mapping[str, tuple[str, type[ProviderHandler] | None]] = {
    "/": ("page", None),
    r"/\.well-known/openid-configuration": ("discovery", None),
    "/jwks": ("jwks", None),
    "/authorize": ("authorize", FaultyAuthorizeHandler),
    "/sign-in/([A-Za-z0-9_-]+)": ("sign_in", FaultySignInHandler),
    "/second-factor/([A-Za-z0-9_-]+)": ("second_factor", FaultySecondFactorHandler),
    "/consent/([A-Za-z0-9_-]+)": ("consent", FaultyConsentHandler),
    "/token": ("token", FaultyTokenHandler),
    "/revoke": ("revocation", FaultyRevocationHandler),
    "/logout": ("end_session", FrontchannelHandler),
    "/par": ("par", PushHandler),
    "/userinfo": ("userinfo", UserinfoHandler),
    _FORM_SCRIPT_PATH: ("form_script", FormScriptHandler),
}
"""Path → name of the endpoint, and the handler that replaces that of the development provider."""


def _faulty(name: str, handler: type[ProviderHandler]) -> type[ProviderHandler]:
    return type(handler.__name__, (FaultyProviderHandler, handler), {"endpoint": name})


_ROUTES = {
    path: _faulty(name, handler or PROVIDER_ROUTES[path]) for path, (name, handler) in _ENDPOINTS.items()
}


def faulty_provider_application(provider: FaultyProvider) -> Application:
    """Return the provider as a Tornado application for the issuer's URL."""
    assert PROVIDER_ROUTES.keys() <= _ROUTES.keys(), "an endpoint without faults"
    return provider_application(provider, _ROUTES)
