"""Base classes of the development provider's handlers, and the endpoints that programs call."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from http.client import responses
from typing import Any
from urllib.parse import unquote_plus

from tornado.web import RequestHandler

from portal.demo import provider_api_tokens, provider_model
from portal.demo.compact import JsonObject, TokenUnreadable, b64
from portal.demo.provider import DevelopmentProvider
from portal.demo.provider_authorize import audiences
from portal.demo.provider_model import ClientRegistration, Grant, Parameters, ProtocolError

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class ProviderHandler(RequestHandler):
    """A handler with access to its provider."""

    provider: DevelopmentProvider

    def initialize(self, provider: DevelopmentProvider) -> None:
        """Tornado's constructor hook."""
        self.provider = provider

    def set_default_headers(self) -> None:
        """Set headers of every response."""
        self.clear_header("Server")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")


class MachineHandler(ProviderHandler):
    """An endpoint that programs call: JSON, no cookies, and so no XSRF token."""

    def check_xsrf_cookie(self) -> None:
        """Not needed: these endpoints use no cookie."""

    def respond(self, document: Mapping[str, object], *, status: int = 200, cache: str = "no-store") -> None:
        """Send a JSON document."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", cache)
        self.finish(json.dumps(document))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Send Tornado's own errors as JSON too."""
        kind = "invalid_request" if status_code < 500 else "server_error"
        description = responses.get(status_code, "Unknown")
        self.respond({"error": kind, "error_description": description}, status=status_code)

    def refuse(self, error: ProtocolError) -> None:
        """Send an OAuth error (RFC 6749 5.2)."""
        self.respond({"error": error.error, "error_description": error.description}, status=error.status)


class DiscoveryHandler(MachineHandler):
    """`/.well-known/openid-configuration` (OIDC Discovery 4)."""

    def get(self) -> None:
        self.respond(self.provider.metadata(), cache="public, max-age=300")


class KeysHandler(MachineHandler):
    """`/jwks` (RFC 7517)."""

    def get(self) -> None:
        self.respond(self.provider.key_set(), cache="public, max-age=300")


class ClientHandler(MachineHandler):
    """An endpoint where the client authenticates (RFC 6749 2.3)."""

    async def authenticate(self) -> ClientRegistration:
        """Return the authenticated client of the request. Raises ProtocolError."""
        header = self.request.headers.get("Authorization", "")
        in_body = self.parameter("client_secret")
        secret: str | None
        if header and in_body is not None:
            raise ProtocolError("invalid_request", "The request has two methods of client authentication.")
        if header:
            client_id, secret = _basic_credentials(header)
        else:
            client_id, secret = self.parameter("client_id") or "", in_body
        client = self.provider.settings.client(client_id)
        if client is None or not _secret_matches(client.client_secret, secret):
            raise ProtocolError("invalid_client", "Client authentication failed.", status=401)
        if self.parameter("client_id") not in (None, client_id):
            raise ProtocolError("invalid_request", "Two different client_id values.")
        return client

    def parameter(self, name: str) -> str | None:
        """Return a parameter of the form body. Raises ProtocolError when it is repeated."""
        values = self.get_body_arguments(name, strip=False)
        if len(values) > 1:
            raise ProtocolError("invalid_request", f"The parameter {name} was sent more than once.")
        return values[0] if values else None

    def require(self, name: str) -> str:
        """Return a required parameter. Raises ProtocolError when it is missing."""
        value = self.parameter(name)
        if not value:
            raise ProtocolError("invalid_request", f"The parameter {name} is missing.")
        return value

    def refuse(self, error: ProtocolError) -> None:
        """As MachineHandler, with the challenge of a 401 (RFC 6749 5.2)."""
        if error.status == 401:
            self.set_header("WWW-Authenticate", f'Basic realm="{self.provider.settings.id}"')
        super().refuse(error)


class TokenHandler(ClientHandler):
    """`/token` (RFC 6749 4.1.3 and 6, OIDC Core 3.1.3)."""

    async def post(self) -> None:
        try:
            document = self.grant(await self.authenticate())
        except ProtocolError as error:
            self.refuse(error)
        else:
            self.respond(document)

    def grant(self, client: ClientRegistration) -> JsonObject:
        """Return the token response. Raises ProtocolError."""
        match self.require("grant_type"):
            case "authorization_code":
                return self.exchange_code(client)
            case "refresh_token":
                return self.refresh(client)
            case provider_model.TOKEN_EXCHANGE:
                return self.exchange_token(client)
            case "client_credentials":
                return self.issue_to_client(client)
        raise ProtocolError("unsupported_grant_type", "This grant_type is not supported.")

    def exchange_code(self, client: ClientRegistration) -> JsonObject:
        """Return the response to a code. Raises ProtocolError."""
        code, verifier = self.require("code"), self.require("code_verifier")
        redirect_uri = self.require("redirect_uri")
        issued = self.provider.state.redeem_code(code, client.client_id)
        if redirect_uri != issued.redirect_uri:  # RFC 6749 4.1.3
            raise ProtocolError("invalid_grant", "The redirect_uri differs from the authorization request.")
        challenge = b64(hashlib.sha256(verifier.encode()).digest())
        if not _VERIFIER.fullmatch(verifier) or not hmac.compare_digest(challenge, issued.code_challenge):
            raise ProtocolError("invalid_grant", "The code_verifier is wrong.")  # RFC 7636 4.6
        grant = issued.grant
        return self.tokens(client, grant, grant.scope, nonce=grant.nonce)

    def refresh(self, client: ClientRegistration) -> JsonObject:
        """Return the response to a refresh token. Raises ProtocolError."""
        issued = self.provider.state.usable_refresh_token(self.require("refresh_token"), client.client_id)
        requested = (self.parameter("scope") or "").split()
        if not set(requested) <= set(issued.grant.scope):  # RFC 6749 6: never wider
            raise ProtocolError("invalid_scope", "A refresh cannot widen the scope.")
        scope = tuple(requested) or issued.grant.scope
        document = self.tokens(client, issued.grant, scope, nonce=None)
        issued.spent = True
        return document

    def exchange_token(self, client: ClientRegistration) -> JsonObject:
        """Return the response to a token exchange. Raises ProtocolError."""
        return provider_api_tokens.exchanged(self.provider, client, self._form())

    def issue_to_client(self, client: ClientRegistration) -> JsonObject:
        """Return the response to client credentials. Raises ProtocolError."""
        return provider_api_tokens.client_credentials(self.provider, client, self._form())

    def _form(self) -> Parameters:
        return {name: self.get_body_arguments(name) for name in self.request.body_arguments}

    def tokens(
        self, client: ClientRegistration, grant: Grant, scope: tuple[str, ...], *, nonce: str | None
    ) -> JsonObject:
        """Issue new tokens for a grant. Raises ProtocolError."""
        provider = self.provider
        target = self._target(client, grant)
        access = provider.mint.access_token(grant, scope, target)
        provider.state.record_access_token(access.jti, grant, scope)
        document: JsonObject = {
            "access_token": access.value,
            "token_type": "Bearer",
            "expires_in": int(provider.settings.access_token_seconds),
            "scope": " ".join(scope),
            "id_token": provider.mint.id_token(grant, access.value, nonce=nonce),
        }
        if "offline_access" in grant.scope:
            document["refresh_token"] = provider.state.issue_refresh_token(grant)
        return document

    def _target(self, client: ClientRegistration, grant: Grant) -> tuple[str, ...]:
        """The APIs of the access token: `resource` of the authorization, or any `audience` of the client."""
        resources = {"resource": self.get_body_arguments("resource")}
        if self.parameter("audience"):  # Auth0's form: what the client may use decides, not the authorization
            return audiences(client, {"audience": self.get_body_arguments("audience")})
        target = audiences(client, resources) if any(resources["resource"]) else grant.audiences
        if not set(target) <= set(grant.audiences):  # RFC 8707 2.2
            raise ProtocolError("invalid_target", "This API was not part of the authorization.")
        return target


class RevocationHandler(ClientHandler):
    """`/revoke` (RFC 7009)."""

    async def post(self) -> None:
        try:
            client = await self.authenticate()
            self._revoke(self.require("token"), client)
        except ProtocolError as error:
            self.refuse(error)
        else:
            self.respond({})

    def _revoke(self, token: str, client: ClientRegistration) -> None:
        state = self.provider.state
        try:
            access = state.access_token(self.provider.keys.verify(token).get("jti"))
        except TokenUnreadable:
            access = None
        refresh = state.refresh_token(token)
        grants = [entry.grant for entry in (access, refresh) if entry is not None]
        if any(grant.client_id != client.client_id for grant in grants):
            raise ProtocolError("invalid_grant", "The token belongs to another client.")  # RFC 7009 2.1
        if access is not None:
            access.revoked = True
        if refresh is not None:
            refresh.grant.revoked = True


def _basic_credentials(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ProtocolError("invalid_client", "The credentials are malformed.", status=401) from error
    client_id, colon, secret = text.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise ProtocolError("invalid_client", "The credentials are malformed.", status=401)
    return unquote_plus(client_id), unquote_plus(secret)  # RFC 6749 2.3.1


def _secret_matches(registered: str | None, given: str | None) -> bool:
    if registered is None or given is None:
        return registered is None and not given
    return hmac.compare_digest(registered.encode(), given.encode())
