"""A development OpenID provider: for `portal demo`, and for tests that need a provider with faults.

It is a provider in earnest (code flow with PKCE, consent, rotation with reuse detection, logout), except
that it forgets everything when it stops and shows passwords when told to. It must never serve real users.
Nothing here uses the relying party's code, so that a mistake in one is seen by the other.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from tornado.web import Application, RequestHandler, StaticFileHandler

from portal.demo.dpop_proofs import ProofVerifier
from portal.demo.faults import Faults
from portal.demo.provider_assertions import AssertionVerifier
from portal.demo.provider_authorize import RESPONSE_MODES
from portal.demo.provider_endpoints import RevocationHandler, TokenHandler, UserinfoHandler
from portal.demo.provider_handlers import DiscoveryHandler, KeysHandler
from portal.demo.provider_keys import SigningKeys, new_key
from portal.demo.provider_logout import Delivery, EndSessionHandler, deliver
from portal.demo.provider_model import IDENTITY_SCOPES, BrowserSession, ProviderSettings
from portal.demo.provider_pages import AuthorizeHandler, ConsentHandler, FrontPageHandler, SignInHandler
from portal.demo.provider_requests import PushedRequest, PushHandler
from portal.demo.provider_state import ProviderState
from portal.demo.provider_tokens import TokenMint

_AUTH_METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt", "none")
_PAGES = Path(__file__).parent / "pages"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request that reached the provider; its parameters may hold secrets, so they are not printed."""

    endpoint: str
    parameters: Mapping[str, Sequence[str]] = field(repr=False)


class DevelopmentProvider:
    """One OpenID provider with its own users, clients, keys and looks.

    Parameters: settings; key, the RSA key that signs. Without a key one is made, which takes a tenth of a
    second and more: pass one when the event loop is running.

    For tests: `faults` switches misbehaviour on, `requests` counts requests by endpoint (`discovery`,
    `jwks`, `authorize`, `token`, `code`, `refresh`, `userinfo`, `revocation`, `end_session`, `sign_in`,
    `consent`), `received` keeps the last of them, `automatic_user` names a user who is signed in without
    pages, `proofs.nonce` is what DPoP proofs must carry, and `state.issued` lists every code and token given
    out.
    """

    def __init__(self, settings: ProviderSettings, key: RSAPrivateKey | None = None) -> None:
        self.settings = settings
        self.keys = SigningKeys(key or new_key())
        self.faults = Faults()
        self.state = ProviderState(settings)
        self.mint = TokenMint(settings, self.keys, self.faults)
        self.requests: Counter[str] = Counter()
        self.received: deque[ReceivedRequest] = deque(maxlen=500)
        self.automatic_user: str | None = None
        self.pushed: dict[str, PushedRequest] = {}
        self.proofs = ProofVerifier(settings.clock)
        self.assertions = AssertionVerifier()

    @property
    def issuer(self) -> str:
        """The issuer, exactly as metadata and tokens state it."""
        return self.settings.issuer

    @property
    def session_cookie(self) -> str:
        """Name of the cookie of a signed-in browser."""
        return f"{self.settings.id}_provider_session"

    def application(self) -> Application:
        """The provider as a Tornado application, to be served at the issuer's address."""
        handlers: dict[str, type[RequestHandler]] = {
            "/": FrontPageHandler,
            r"/\.well-known/openid-configuration": DiscoveryHandler,
            "/jwks": KeysHandler,
            "/authorize": AuthorizeHandler,
            "/sign-in/([A-Za-z0-9_-]+)": SignInHandler,
            "/consent/([A-Za-z0-9_-]+)": ConsentHandler,
            "/par": PushHandler,
            "/token": TokenHandler,
            "/userinfo": UserinfoHandler,
            "/revoke": RevocationHandler,
            "/logout": EndSessionHandler,
        }
        prefix = self.settings.path_prefix
        routes = [(f"{prefix}{path}", handler, {"provider": self}) for path, handler in handlers.items()]
        assets = (f"{prefix}/assets/(.*)", StaticFileHandler, {"path": str(_PAGES / "assets")})
        return Application(
            [*routes, assets],
            template_path=str(_PAGES),
            xsrf_cookies=True,
            xsrf_cookie_name=f"{self.settings.id}_provider_xsrf",
            xsrf_cookie_kwargs={"httponly": True, "samesite": "Lax"},
            log_function=_log_request,
        )

    def metadata(self) -> dict[str, object]:
        """The provider's metadata (OIDC Discovery 3)."""
        base = self.settings.base_url
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{base}/authorize",
            "token_endpoint": f"{base}/token",
            "userinfo_endpoint": f"{base}/userinfo",
            "jwks_uri": f"{base}/jwks",
            "revocation_endpoint": f"{base}/revoke",
            "end_session_endpoint": f"{base}/logout",
            "response_types_supported": ["code"],
            "response_modes_supported": [*RESPONSE_MODES],
            "authorization_signing_alg_values_supported": ["RS256"],
            "pushed_authorization_request_endpoint": f"{base}/par",
            "request_parameter_supported": True,
            "request_uri_parameter_supported": False,
            "request_object_signing_alg_values_supported": ["RS256"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": [*_AUTH_METHODS],
            "token_endpoint_auth_signing_alg_values_supported": ["ES256"],
            "code_challenge_methods_supported": ["S256"],
            "prompt_values_supported": ["none", "login", "consent", "select_account"],
            "scopes_supported": [*IDENTITY_SCOPES, *self.settings.api_scopes],
            "claims_supported": ["sub", "name", "preferred_username", "email", "roles", "sid", "auth_time"],
            "authorization_response_iss_parameter_supported": True,
            "dpop_signing_alg_values_supported": ["ES256"],
            "backchannel_logout_supported": True,
            "backchannel_logout_session_supported": True,
            "frontchannel_logout_supported": True,
            "frontchannel_logout_session_supported": True,
        }

    def rotate_keys(self, key: RSAPrivateKey | None = None) -> None:
        """Sign with another key from now on; the old one stays published until `keys.retire()`."""
        self.keys.rotate(key or new_key())

    async def sign_out(self, session: BrowserSession) -> list[Delivery]:
        """End a browser's session here and tell every client that has a logout address."""
        self.state.end_session(session)
        return await deliver(
            [
                (
                    client,
                    self.mint.logout_token(client.client_id, subject=session.user.subject, sid=session.sid),
                )
                for client in self.settings.clients
                if client.client_id in session.clients and client.backchannel_logout_uri
            ]
        )

    async def sign_out_user(self, username: str) -> list[Delivery]:
        """End every session of a user, as an administrator of the provider would."""
        deliveries: list[Delivery] = []
        for session in self.state.sessions_of(username):
            deliveries += await self.sign_out(session)
        return deliveries

    def record(self, endpoints: tuple[str, ...], parameters: Mapping[str, Sequence[str]]) -> None:
        """Count a request under each of its names."""
        self.requests.update(endpoints)
        self.received.append(ReceivedRequest(endpoints[-1], parameters))


def _log_request(handler: RequestHandler) -> None:
    """One line a request, without its query: that may hold a code."""
    _log.debug("%s %s %s", handler.get_status(), handler.request.method, handler.request.path)
