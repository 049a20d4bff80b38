"""A program that runs the PyPI package `idpyoidc` as a provider on 127.0.0.1 until standard input ends.

The package has all endpoints but no web server; this program adds one with Tornado. The first line of
standard input is its configuration as JSON: `dpop`, whether tokens are bound to a key. It prints its issuer
when it is ready. `POST /admin/users` and `POST /admin/clients` add users and clients, `POST /admin/keys`
changes the signing keys.
"""

from __future__ import annotations

import asyncio
import html
import json
import logging
import sys
import threading
from typing import Any

from cryptojwt.key_issuer import KeyIssuer
from cryptojwt.key_jar import build_keyjar
from idpyoidc.message.oauth2 import ResponseMessage
from idpyoidc.message.oidc import AccessTokenRequest, AuthorizationRequest, RegistrationRequest
from idpyoidc.server import Server
from idpyoidc.server.oidc.session import Session
from idpyoidc.server.oidc.token import Token
from idpyoidc.server.user_authn.user import UserAuthnMethod, create_signed_jwt
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

_KEYS = [{"type": "RSA", "use": ["sig"]}, {"type": "EC", "crv": "P-256", "use": ["sig"]}]
_ACR = "urn:oasis:names:tc:SAML:2.0:ac:classes:InternetProtocolPassword"
_AUTHENTICATION = ["client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt"]
_PATHS = {
    "provider_config": ".well-known/openid-configuration",
    "authorization": "authorization",
    "pushed_authorization": "pushed_authorization",
    "token": "token",
    "userinfo": "userinfo",
    "session": "session",
}


_LOGOUT = [
    f"{channel}channel_logout_{what}"
    for channel in ("back", "front")
    for what in ("supported", "session_supported")
]


class EndSession(Session):  # type: ignore[misc]
    """Skips client authentication: version 5.0 fails if there is a client id (KeyError: 'token')."""

    def client_authentication(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {}


class SignIn(UserAuthnMethod):  # type: ignore[misc]
    """A sign-in form with user name and password."""

    def __call__(self, **kwargs: Any) -> str:
        context, keys = self.upstream_get("context"), self.upstream_get("attribute", "keyjar")
        details = create_signed_jwt(context.issuer, keys, **kwargs)
        fields = f'<input type="hidden" name="token" value="{html.escape(details)}"><input name="username">'
        fields += '<input name="password" type="password"><button>Sign in</button>'
        return f'<form method="post" action="/verify/user">{fields}</form>'

    def verify(self, *_: Any, **given: str) -> str | None:
        name = given["username"]
        known = name in self.upstream_get("context").userinfo.db and given["password"] == name
        return name if known else None


def make_server(issuer: str, *, dpop: bool) -> Server:
    """Return the provider, configured as in the package's documentation, without a web server."""

    def endpoint(name: str, module: str, **kwargs: Any) -> dict[str, Any]:
        return {"path": _PATHS[name], "class": f"idpyoidc.server.{module}", "kwargs": kwargs}

    minting = ["access_token", "refresh_token", "id_token"]
    configuration = {
        "issuer": issuer,
        "httpc_params": {"verify": True},
        "preference": {
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "response_types_supported": ["code"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        },
        "add_on": {
            "pkce": {"function": "idpyoidc.server.oauth2.add_on.pkce.add_support", "kwargs": {}},
            **({"dpop": _dpop()} if dpop else {}),
        },
        "authz": {
            "class": "idpyoidc.server.authz.AuthzHandling",
            "kwargs": {
                "grant_config": {
                    "usage_rules": {
                        "authorization_code": {"supports_minting": minting, "max_usage": 1, "expires_in": 60},
                        "access_token": {"expires_in": 300},
                        "refresh_token": {"supports_minting": minting, "expires_in": 3600},
                    },
                    "expires_in": 3600,
                }
            },
        },
        "authentication": {"user": {"acr": _ACR, "class": SignIn, "kwargs": {}}},
        "claims_interface": {"class": "idpyoidc.server.session.claims.ClaimsInterface", "kwargs": {}},
        "userinfo": {"class": "idpyoidc.server.user_info.UserInfo", "kwargs": {"db": {}}},
        "cookie_handler": {
            "class": "idpyoidc.server.cookie_handler.CookieHandler",
            "kwargs": {"sign_key": "s" * 32, "enc_key": "e" * 32, "flags": {}},
        },
        "endpoint": {
            "provider_info": endpoint("provider_config", "oidc.provider_config.ProviderConfiguration"),
            "registration": {
                "path": "registration",
                "class": "idpyoidc.server.oidc.registration.Registration",
                "kwargs": {"client_authn_method": None},
            },
            "authorization": endpoint(
                "authorization",
                "oidc.authorization.Authorization",
                client_authn_method=["pushed_authz", "request_param", "public"],
            ),
            "pushed_authorization": endpoint(
                "pushed_authorization",
                "oauth2.pushed_authorization.PushedAuthorization",
                client_authn_method=_AUTHENTICATION,
            ),
            "token": endpoint(
                "token", "oidc.token.Token", client_authn_method=_AUTHENTICATION, revoke_refresh_on_issue=True
            ),
            "userinfo": endpoint(
                "userinfo",
                "oidc.userinfo.UserInfo",
                client_authn_method=["bearer_header", *(["dpop"] if dpop else [])],
            ),
            "end_session": {
                "path": _PATHS["session"],
                "class": EndSession,
                "kwargs": {
                    "logout_verify_url": f"{issuer}/verify_logout",
                    "post_logout_uri_path": "post_logout",
                    "signing_alg": "ES256",
                    **dict.fromkeys(_LOGOUT, True),
                },
            },
        },
        "token_handler_args": {
            "code": {"lifetime": 60},
            "token": {"class": "idpyoidc.server.token.jwt_token.JWTToken", "kwargs": {"lifetime": 300}},
            "refresh": {"lifetime": 3600},
            "id_token": {"class": "idpyoidc.server.token.id_token.IDToken", "kwargs": {}},
        },
    }
    keys = build_keyjar(_KEYS)
    keys.import_jwks(keys.export_jwks(private=True), issuer)
    return Server(configuration, keyjar=keys)


def _dpop() -> dict[str, Any]:
    algorithms = ["RS256", "ES256"]
    return {
        "function": "idpyoidc.server.oauth2.add_on.dpop.add_support",
        "kwargs": {"dpop_signing_alg_values_supported": algorithms, "dpop_endpoints": ["token", "userinfo"]},
    }


class _Page(RequestHandler):
    def initialize(self, provider: Server) -> None:
        self.provider = provider

    def check_xsrf_cookie(self) -> None:
        """No check: other sites post to a provider."""

    @property
    def form(self) -> dict[str, str]:
        return {name: self.get_argument(name) for name in self.request.arguments}

    def send(self, endpoint: Any, request: Any, result: Any) -> None:
        """Send the result of an endpoint, as in the package's example."""
        failed = "error" in result
        if "redirect_location" in result:
            self.redirect(result["redirect_location"])
            return
        if "http_response" in result:
            self.finish(result["http_response"])
            return
        made = endpoint.do_response(request=request, **result)
        for cookie in made.get("cookie", []):
            self.set_cookie(cookie["name"], cookie["value"], httponly=True, samesite="Lax")
        if made.get("response_placement", endpoint.response_placement) == "url":
            self.redirect(made["response"])
            return
        self.set_status(made.get("response_code", 400 if failed else 200))
        for name, value in made["http_headers"]:
            self.set_header(name, value)
        self.finish(made["response"])

    def refuse(self, description: str) -> None:
        self.set_status(400)
        self.finish({"error": "invalid_request", "error_description": description})


class _Endpoint(_Page):
    """An endpoint of the package."""

    async def get(self, path: str) -> None:
        await self._serve(path)

    async def post(self, path: str) -> None:
        await self._serve(path)

    async def _serve(self, path: str) -> None:
        endpoint = self.provider.get_endpoint(next(name for name, known in _PATHS.items() if known == path))
        headers = {name.lower(): value for name, value in self.request.headers.items()}
        for unwanted in ("cookie", "user-agent"):
            headers.pop(unwanted, None)
        http_info = {
            "headers": headers,
            "method": self.request.method,
            "url": self.request.full_url(),
            "cookie": [
                {"name": name, "value": morsel.value} for name, morsel in self.request.cookies.items()
            ],
        }
        try:
            # In a thread, since the package may fetch the keys of the client.
            request = await asyncio.to_thread(endpoint.parse_request, self.form, http_info=http_info)
            if isinstance(request, ResponseMessage) and "error" in request:
                self.set_status(400)
                self.finish(request.to_dict())
                return
            if isinstance(endpoint, Token):
                request = AccessTokenRequest(**request)
            result = endpoint.process_request(request, http_info=http_info)
        except Exception as error:
            self.refuse(f"{type(error).__name__}: {error}")
            return
        self.send(endpoint, request, result)


class _SignedIn(_Page):
    """Handles the form of the sign-in page."""

    def post(self) -> None:
        method = self.provider.get_context().authn_broker.get_method_by_id("user")
        name = method.verify(**self.form)
        if name is None:
            self.refuse("authentication failed")
            return
        details = method.unpack_token(self.form["token"])
        request = AuthorizationRequest().from_urlencoded(details["query"])
        endpoint = self.provider.get_endpoint("authorization")
        session = endpoint.create_session(request, name, details["authn_class_ref"], details["iat"], method)
        self.send(endpoint, request, endpoint.authz_part2(request=request, session_id=session))


class _SignOut(_Page):
    """The confirmation page for a sign-out."""

    def get(self) -> None:
        token = html.escape(self.get_argument("sjwt"))
        field = f'<input type="hidden" name="sjwt" value="{token}">'
        buttons = '<button name="logout" value="yes">Sign out everywhere</button>'
        self.finish(f'<form method="post" action="/verify_logout">{field}{buttons}</form>')

    async def post(self) -> None:
        endpoint = self.provider.get_endpoint("session")
        details = endpoint.unpack_signed_jwt(self.get_argument("sjwt"))
        everywhere = self.get_argument("logout", "") == "yes"
        # In a thread, since it notifies clients, which may fetch the keys.
        frames = await asyncio.to_thread(endpoint.do_verified_logout, sid=details["sid"], alla=everywhere)
        for cookie in endpoint.kill_cookies():
            self.clear_cookie(cookie["name"])
        if frames:
            self.finish(f'{"".join(frames)}<a href="{html.escape(details["redirect_uri"])}">Continue</a>')
        else:
            self.redirect(details["redirect_uri"])


class _SignedOut(_Page):
    def get(self) -> None:
        self.finish("Signed out")


class _Keys(_Page):
    """The published keys."""

    def get(self) -> None:
        self.finish(self.provider.keyjar.export_jwks())


class _NewKeys(_Page):
    """Changes the signing keys; with `keep`, the old ones stay published."""

    def post(self) -> None:
        keep, new = json.loads(self.request.body)["keep"], build_keyjar(_KEYS)
        for owner in ("", self.provider.issuer):
            changed = KeyIssuer(name=owner)
            for bundle in (*new[""], *(self.provider.keyjar[owner] if keep else ())):
                changed.add_kb(bundle)  # the first key of each type signs
            self.provider.keyjar[owner] = changed
        self.finish({})


class _NewUsers(_Page):
    """Adds users: claims by user name; the password is the user name."""

    def post(self) -> None:
        self.provider.get_context().userinfo.db.update(json.loads(self.request.body))
        self.finish({})


class _NewClient(_Page):
    """Registers a client with the requested id and secret."""

    def post(self) -> None:
        requested = json.loads(self.request.body)
        secret = requested.pop("client_secret")
        # The name in drafts of OpenID Connect RP-Initiated Logout 1.0.
        (requested["post_logout_redirect_uri"],) = requested.pop("post_logout_redirect_uris")
        self.provider.keyjar.add_symmetric(requested["client_id"], secret)
        registration = self.provider.get_endpoint("registration")
        made = registration.client_registration_setup(
            RegistrationRequest(**requested), new_id=False, set_secret=False
        )
        if "error" in made:
            self.refuse(made["error_description"])
            return
        self.provider.get_context().cdb[requested["client_id"]]["client_secret"] = secret
        self.finish({})


async def serve() -> None:
    """Serve until standard input ends."""
    configuration = json.loads(sys.stdin.readline())
    sockets = bind_sockets(0, address="127.0.0.1")
    issuer = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    provider = make_server(issuer, dpop=configuration["dpop"])
    context = {"provider": provider}
    provider.get_context().provider_info["jwks_uri"] = f"{issuer}/jwks"
    application = Application(
        [
            (r"/jwks", _Keys, context),
            (r"/verify/user", _SignedIn, context),
            (r"/verify_logout", _SignOut, context),
            (r"/post_logout", _SignedOut, context),
            (r"/admin/keys", _NewKeys, context),
            (r"/admin/users", _NewUsers, context),
            (r"/admin/clients", _NewClient, context),
            (rf"/({'|'.join(_PATHS.values())})", _Endpoint, context),
        ],
        log_function=lambda handler: None,  # its lines contain URLs with codes and tokens
    )
    HTTPServer(application).add_sockets(sockets)
    print(issuer, flush=True)
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    threading.Thread(
        target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(ended.set)), daemon=True
    ).start()
    await ended.wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(serve())
