"""The endpoints of the development provider that relying parties call: token, userinfo, revocation."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from urllib.parse import unquote_plus

from portal.demo.compact import TokenUnreadable, b64
from portal.demo.dpop_proofs import DpopNonceRequired, ProofRefused
from portal.demo.provider_assertions import ASSERTION_TYPE
from portal.demo.provider_authorize import audiences
from portal.demo.provider_handlers import MachineHandler
from portal.demo.provider_model import ClientRegistration, Grant, ProtocolError

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class ClientHandler(MachineHandler):
    """An endpoint where the client proves itself (RFC 6749 2.3)."""

    async def authenticate(self) -> ClientRegistration:
        """The client that sent the request; raises ProtocolError."""
        client = self.provider.settings.client(self.parameter("client_id") or "")
        if client is not None and client.assertion_audiences:
            await self._check_assertion(client)
            return client
        return self._by_secret()

    async def _check_assertion(self, client: ClientRegistration) -> None:
        named = {
            "issuer": self.provider.issuer,
            "token_endpoint": f"{self.provider.settings.base_url}/token",
            "endpoint": self.request.full_url(),
        }
        accepted = [named[name] for name in client.assertion_audiences]
        if self.parameter("client_assertion_type") != ASSERTION_TYPE:
            raise ProtocolError("invalid_client", "There is no assertion.", status=401)
        assertion, now = self.require("client_assertion"), self.provider.settings.clock()
        try:
            await self.provider.assertions.check(assertion, client, audiences=accepted, now=now)
        except TokenUnreadable as error:
            message = f"The assertion is not good: {error}."
            raise ProtocolError("invalid_client", message, status=401) from error

    def _by_secret(self) -> ClientRegistration:
        header = self.request.headers.get("Authorization", "")
        in_body = self.parameter("client_secret")
        secret: str | None
        if header and in_body is not None:
            raise ProtocolError("invalid_request", "Two ways of client authentication at once.")
        if header:
            client_id, secret = _basic_credentials(header)
        else:
            client_id, secret = self.parameter("client_id") or "", in_body
        client = self.provider.settings.client(client_id)
        if client is None or not _secret_fits(client.client_secret, secret):
            raise ProtocolError("invalid_client", "Client authentication failed.", status=401)
        if self.parameter("client_id") not in (None, client_id):
            raise ProtocolError("invalid_request", "Two different client_id values.")
        return client

    def parameter(self, name: str) -> str | None:
        """A parameter of the form body, once; raises ProtocolError when there are several."""
        values = self.get_body_arguments(name, strip=False)
        if len(values) > 1:
            raise ProtocolError("invalid_request", f"The parameter {name} was sent more than once.")
        return values[0] if values else None

    def require(self, name: str) -> str:
        """A parameter that must be there; raises ProtocolError."""
        value = self.parameter(name)
        if not value:
            raise ProtocolError("invalid_request", f"The parameter {name} is missing.")
        return value

    async def refuse(self, error: ProtocolError) -> None:
        """As MachineHandler, with the challenge that a 401 needs (RFC 6749 5.2)."""
        if error.status == 401:
            self.set_header("WWW-Authenticate", f'Basic realm="{self.provider.settings.id}"')
        await super().refuse(error)


class TokenHandler(ClientHandler):
    """`/token` (RFC 6749 4.1.3 and 6, OIDC Core 3.1.3)."""

    endpoint = "token"
    _proof: str | None = None

    def endpoints(self) -> tuple[str, ...]:
        kind = self.get_body_argument("grant_type", "")
        grant = {"authorization_code": ("code",), "refresh_token": ("refresh",)}.get(kind, ())
        return (*grant, self.endpoint)

    async def post(self) -> None:
        for name, value in self.provider.proofs.headers():
            self.set_header(name, value)
        try:
            document = self._grant(await self.authenticate())
        except ProtocolError as error:
            await self.refuse(error)
            return
        await self.respond(document)

    def _grant(self, client: ClientRegistration) -> dict[str, object]:
        match self.require("grant_type"):
            case "authorization_code":
                return self._exchange_code(client)
            case "refresh_token":
                return self._refresh(client)
        raise ProtocolError("unsupported_grant_type", "Only codes and refresh tokens are taken.")

    def _exchange_code(self, client: ClientRegistration) -> dict[str, object]:
        self._proof = self._proven_key()
        code, verifier = self.require("code"), self.require("code_verifier")
        redirect_uri = self.require("redirect_uri")
        if error := self.provider.faults.code_error:
            raise ProtocolError(error, "Switched on by a test.")
        issued = self.provider.state.take_code(code, client.client_id)
        if redirect_uri != issued.redirect_uri:  # RFC 6749 4.1.3
            raise ProtocolError("invalid_grant", "The redirect_uri is not that of the code.")
        challenge = b64(hashlib.sha256(verifier.encode()).digest())
        if not _VERIFIER.fullmatch(verifier) or not hmac.compare_digest(challenge, issued.code_challenge):
            raise ProtocolError("invalid_grant", "The code_verifier does not fit.")  # RFC 7636 4.6
        grant = issued.grant
        return self._tokens(client, grant, grant.scope, nonce=grant.nonce)

    def _refresh(self, client: ClientRegistration) -> dict[str, object]:
        self._proof = self._proven_key()
        token = self.require("refresh_token")
        if error := self.provider.faults.refresh_error:
            raise ProtocolError(error, "Switched on by a test.")
        issued = self.provider.state.usable_refresh_token(token, client.client_id)
        wanted = (self.parameter("scope") or "").split()
        if not set(wanted) <= set(issued.grant.scope):  # RFC 6749 6: never wider
            raise ProtocolError("invalid_scope", "A refresh cannot widen the scope.")
        scope = tuple(wanted) or issued.grant.scope
        document = self._tokens(client, issued.grant, scope, nonce=None)
        issued.spent = True
        return document

    def _proven_key(self) -> str | None:
        """Thumbprint of the key of the request's proof; None without one. Raises ProtocolError."""
        proofs = self.request.headers.get_list("DPoP")
        if not proofs:
            return None
        try:
            return self.provider.proofs.verify(proofs, method="POST", url=self.request.full_url())
        except DpopNonceRequired as error:
            raise ProtocolError("use_dpop_nonce", str(error)) from error
        except ProofRefused as error:
            raise ProtocolError("invalid_dpop_proof", str(error)) from error

    def _bind(self, grant: Grant) -> None:
        """Bind a grant to the key of the request; a bound one takes no other (RFC 9449 5 and 10)."""
        if grant.dpop_jkt is None and self._proof is not None:
            grant.dpop_jkt = self._proof
        if grant.dpop_jkt != self._proof:
            raise ProtocolError("invalid_dpop_proof", "The grant is bound to another key.")

    def _tokens(
        self, client: ClientRegistration, grant: Grant, scope: tuple[str, ...], *, nonce: str | None
    ) -> dict[str, object]:
        self._bind(grant)
        provider = self.provider
        resources = {"resource": self.get_body_arguments("resource")}
        target = audiences(client, resources) if any(resources["resource"]) else grant.audiences
        if not set(target) <= set(grant.audiences):  # RFC 8707 2.2
            raise ProtocolError("invalid_target", "This API was not part of the authorization.")
        access = provider.mint.access_token(grant, scope, target)
        provider.state.record_access_token(access.jti, access.value, grant, scope)
        document: dict[str, object] = {
            "access_token": access.value,
            "token_type": provider.faults.token_type or ("DPoP" if grant.dpop_jkt else "Bearer"),
            "expires_in": int(provider.settings.access_token_seconds),
            "scope": " ".join(scope),
            "id_token": provider.mint.id_token(grant, access.value, nonce=nonce),
        }
        provider.state.issued.append(str(document["id_token"]))
        if "offline_access" in grant.scope:
            document["refresh_token"] = provider.state.issue_refresh_token(grant)
        if provider.faults.mutate_token_response is not None:
            provider.faults.mutate_token_response(document)
        return document


class UserinfoHandler(MachineHandler):
    """`/userinfo` (OIDC Core 5.3)."""

    endpoint = "userinfo"

    async def get(self) -> None:
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        provider = self.provider
        try:
            claims = provider.keys.verify(token)
        except TokenUnreadable:
            claims = {}
        issued = provider.state.access_token(claims.get("jti"))
        if issued is None or "openid" not in issued.scope:
            await self._challenge("Bearer", "invalid_token")
            return
        problem = self._dpop_prover(scheme.lower(), token, issued.grant)
        if problem is not None:
            await self._challenge("DPoP", problem)
            return
        user = issued.grant.user
        document: dict[str, object] = {"sub": user.subject, **user.claims_for(issued.scope)}
        if provider.faults.mutate_userinfo is not None:
            provider.faults.mutate_userinfo(document)
        await self.respond(document)

    def _dpop_prover(self, scheme: str, token: str, grant: Grant) -> str | None:
        """Why the request does not show that the token is the client's to use (RFC 9449 7.1)."""
        if grant.dpop_jkt is None:
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

    async def _challenge(self, scheme: str, error: str) -> None:
        self.set_header("WWW-Authenticate", f'{scheme} error="{error}"')  # RFC 6750 3, RFC 9449 7.1
        for name, value in self.provider.proofs.headers():
            self.set_header(name, value)
        await self.refuse(ProtocolError(error, "The access token is not good.", status=401))

    post = get


class RevocationHandler(ClientHandler):
    """`/revoke` (RFC 7009)."""

    endpoint = "revocation"

    async def post(self) -> None:
        try:
            client = await self.authenticate()
            self._revoke(self.require("token"), client)
        except ProtocolError as error:
            await self.refuse(error)
            return
        await self.respond({})

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
        raise ProtocolError("invalid_client", "Credentials cannot be read.", status=401) from error
    client_id, colon, secret = text.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise ProtocolError("invalid_client", "Credentials cannot be read.", status=401)
    return unquote_plus(client_id), unquote_plus(secret)  # RFC 6749 2.3.1


def _secret_fits(registered: str | None, given: str | None) -> bool:
    if registered is None or given is None:
        return registered is None and not given
    return hmac.compare_digest(registered.encode(), given.encode())
