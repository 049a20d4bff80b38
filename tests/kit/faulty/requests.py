"""Pushed (RFC 9126) and signed (RFC 9101) authorization requests."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping

from portal.demo.compact import TokenUnreadable, key_of_jwk, read, verify_rs256
from portal.demo.provider_authorize import one, read_request
from portal.demo.provider_model import ClientRegistration, Parameters, ProtocolError, RequestUntrusted
from tests.kit.faulty.assertions import fetch_keys
from tests.kit.faulty.provider import FaultyProvider, PushedRequest

PUSHED_SECONDS = 60.0
_PREFIX = "urn:ietf:params:oauth:request_uri:"
_CLIENT_CREDENTIALS = frozenset({"client_secret", "client_assertion", "client_assertion_type"})
_JWT_CLAIMS = frozenset({"iss", "aud", "exp", "nbf", "iat", "jti"})
_MAX_SECONDS = 3600.0


async def push(provider: FaultyProvider, client: ClientRegistration, parameters: Parameters) -> str:
    """Check a request like one from a browser, and store it; return its `request_uri`.

    Raises ProtocolError or RequestUntrusted.
    """
    parameters = {name: values for name, values in parameters.items() if name not in _CLIENT_CREDENTIALS}
    if "request_uri" in parameters:  # RFC 9126 2.1
        raise ProtocolError("invalid_request", "A pushed request must not contain request_uri.")
    parameters = await unwrapped(provider, {**parameters, "client_id": [client.client_id]})
    read_request(provider.settings, parameters, provider.keys.verify)
    request_uri = _PREFIX + secrets.token_urlsafe(24)
    expires_at = provider.settings.clock() + PUSHED_SECONDS
    provider.pushed[request_uri] = PushedRequest(client.client_id, parameters, expires_at)
    return request_uri


async def unwrapped(provider: FaultyProvider, parameters: Parameters) -> Parameters:
    """Return the parameters of a request, also if it was pushed or signed.

    Raises RequestUntrusted: without the parameters, there is no trusted redirect URI for an error response.
    """
    request_uri, token = one(parameters, "request_uri"), one(parameters, "request")
    if request_uri is not None:
        pushed = provider.pushed.pop(request_uri, None)
        if pushed is None or provider.settings.clock() >= pushed.expires_at:
            raise RequestUntrusted("The sign-in request has expired or was used before.")
        if pushed.client_id != one(parameters, "client_id"):
            raise RequestUntrusted("The sign-in request belongs to another application.")
        return pushed.parameters
    if token is None:
        return parameters
    client = provider.settings.client(one(parameters, "client_id"))
    keys = None if client is None else provider.client_keys.get(client.client_id)
    if client is None or keys is None:
        raise RequestUntrusted("The application that sent you here has no keys for signed requests.")
    try:
        claims = _verified(token, await fetch_keys(keys))
    except TokenUnreadable as error:
        raise RequestUntrusted("The signed sign-in request cannot be verified.") from error
    _check(claims, client, provider)
    return {name: _values(value) for name, value in claims.items() if name not in _JWT_CLAIMS}


def _verified(token: str, keys: list[Mapping[str, object]]) -> dict[str, object]:
    header, _ = read(token)
    if header.get("typ") != "oauth-authz-req+jwt":  # RFC 9101 10.8
        raise TokenUnreadable("the token is not a request object")
    for key in keys:
        if key.get("kid") == header.get("kid"):
            return verify_rs256(token, key_of_jwk(key))
    raise TokenUnreadable("the client has no key with this kid")


def _check(claims: Mapping[str, object], client: ClientRegistration, provider: FaultyProvider) -> None:
    now, issuer = provider.settings.clock(), provider.issuer
    exp, nbf = claims.get("exp"), claims.get("nbf")
    if claims.get("iss") != client.client_id or claims.get("client_id") != client.client_id:
        raise RequestUntrusted("The signed sign-in request belongs to another application.")
    if claims.get("aud") not in (issuer, [issuer]):
        raise RequestUntrusted("The signed sign-in request is for another sign-in service.")
    if not isinstance(exp, int) or not isinstance(nbf, int) or exp - nbf > _MAX_SECONDS:
        raise RequestUntrusted("The signed sign-in request has no valid lifetime.")
    if not nbf - 10 <= now < exp or "request" in claims or "request_uri" in claims:
        raise RequestUntrusted("The signed sign-in request is not valid at this time.")


def _values(value: object) -> list[str]:
    if isinstance(value, list):
        return [str(one) for one in value]
    return [json.dumps(value) if isinstance(value, dict) else str(value)]
