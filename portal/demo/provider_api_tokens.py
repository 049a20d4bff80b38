"""Token requests of the development provider for further APIs, without a refresh token.

Token exchange (RFC 8693), and client credentials (RFC 6749 4.4).
"""

from __future__ import annotations

from portal.demo.compact import JsonObject, TokenUnreadable
from portal.demo.provider import DevelopmentProvider
from portal.demo.provider_authorize import audiences
from portal.demo.provider_model import (
    ClientRegistration,
    Grant,
    Parameters,
    ProtocolError,
    UserAccount,
)

_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a token type


def exchanged(
    provider: DevelopmentProvider, client: ClientRegistration, parameters: Parameters
) -> JsonObject:
    """Return the response to a token exchange: an access token for another API. Raises ProtocolError."""
    if _one(parameters, "subject_token_type") != _ACCESS_TOKEN:
        raise ProtocolError("invalid_request", "Only access tokens can be exchanged.")
    if _one(parameters, "requested_token_type") not in {"", _ACCESS_TOKEN}:
        raise ProtocolError("invalid_request", "Only access tokens are issued.")
    try:
        jti = provider.keys.verify(_one(parameters, "subject_token")).get("jti")
    except TokenUnreadable as error:
        raise ProtocolError("invalid_request", "The subject_token is not an access token.") from error
    subject = provider.state.access_token(jti)
    if subject is None or subject.grant.client_id != client.client_id:
        raise ProtocolError("invalid_request", "The subject_token has expired or belongs to another client.")
    requested = tuple(_one(parameters, "scope").split())
    if not set(requested) <= set(subject.grant.scope):
        raise ProtocolError("invalid_scope", "An exchange cannot widen the scope.")
    target = audiences(client, parameters)
    return _response(provider, subject.grant, requested or subject.scope, target) | {
        "issued_token_type": _ACCESS_TOKEN
    }


def client_credentials(
    provider: DevelopmentProvider, client: ClientRegistration, parameters: Parameters
) -> JsonObject:
    """Return the response to a client that wants an access token for itself. Raises ProtocolError."""
    if client.client_secret is None:
        raise ProtocolError("unauthorized_client", "A public client gets no access token for itself.")
    scope = tuple(_one(parameters, "scope").split())
    if not set(scope) <= set(client.scopes):
        raise ProtocolError("invalid_scope", "This application may not have this scope.")
    itself = UserAccount(client.client_id, "", client.client_id, client.name, "")
    target = audiences(client, parameters)
    grant = Grant(client.client_id, itself, scope, target, "", provider.settings.clock(), None)
    return _response(provider, grant, scope, target)


def _response(
    provider: DevelopmentProvider, grant: Grant, scope: tuple[str, ...], target: tuple[str, ...]
) -> JsonObject:
    access = provider.mint.access_token(grant, scope, target)
    provider.state.record_access_token(access.jti, grant, scope)
    return {
        "access_token": access.value,
        "token_type": "Bearer",
        "expires_in": int(provider.settings.access_token_seconds),
        "scope": " ".join(scope),
    }


def _one(parameters: Parameters, name: str) -> str:
    """A parameter, empty when it is missing. Raises ProtocolError when it is repeated."""
    values = parameters.get(name, ())
    if len(values) > 1:
        raise ProtocolError("invalid_request", f"The parameter {name} was sent more than once.")
    return values[0] if values else ""
