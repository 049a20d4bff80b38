"""Encodes token sets as JSON for the vault."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from portal.oidc.dpop import DpopKey
from portal.oidc.provider import TokenSet
from portal.secret import Secret

_compact_json = json.JSONEncoder(separators=(",", ":")).encode


def encode_tokens(tokens: TokenSet) -> str:
    """Encode a token set as JSON. The result contains tokens in plaintext: seal it, never store or log it."""
    fields: dict[str, object] = {
        "access_token": tokens.access_token.reveal(),
        "expires_at": tokens.expires_at,
        "token_type": tokens.token_type,
        "scope": tokens.scope,
        "refresh_token": _revealed(tokens.refresh_token),
        "id_token": _revealed(tokens.id_token),
    }
    if tokens.issued_at is not None:
        fields["issued_at"] = tokens.issued_at
    if tokens.dpop_key is not None:
        fields["dpop_key"] = tokens.dpop_key.private_jwk()
    if tokens.api_tokens:
        fields["api_tokens"] = {key: _api_token(one, tokens) for key, one in tokens.api_tokens.items()}
    if tokens.api_scopes:
        fields["api_scopes"] = dict(tokens.api_scopes)
    return _compact_json(fields)


def decode_tokens(text: str) -> TokenSet:
    """Decode the output of `encode_tokens`, also of versions with fewer members.

    Raises: ValueError, KeyError or TypeError when the text is not a token set.
    """
    fields = json.loads(text)
    access_token, token_type, scope = fields["access_token"], fields["token_type"], fields["scope"]
    if not isinstance(access_token, str) or not isinstance(token_type, str) or not isinstance(scope, list):
        raise TypeError("not a token set")
    dpop_key = _dpop_key(fields.get("dpop_key"))
    api_tokens = fields.get("api_tokens", {})
    return TokenSet(
        access_token=Secret(access_token),
        expires_at=float(fields["expires_at"]),
        token_type=token_type,
        scope=tuple(scope),
        refresh_token=_secret(fields["refresh_token"]),
        id_token=_secret(fields["id_token"]),
        dpop_key=dpop_key,
        issued_at=_time(fields.get("issued_at")),
        api_tokens={key: _opened_api_token(one, dpop_key) for key, one in api_tokens.items()},
        api_scopes={key: tuple(scopes) for key, scopes in fields.get("api_scopes", {}).items()},
    )


def _api_token(one: TokenSet, of: TokenSet) -> dict[str, object]:
    """The members of an access token for an API; its key only when it is not that of the token set."""
    members: dict[str, object] = {
        "access_token": one.access_token.reveal(),
        "expires_at": one.expires_at,
        "issued_at": one.issued_at,
        "token_type": one.token_type,
        "scope": one.scope,
    }
    if one.dpop_key is not None and one.dpop_key is not of.dpop_key:
        members["dpop_key"] = one.dpop_key.private_jwk()
    if one.own_grant:
        members["own_grant"] = True
    return members


def _opened_api_token(members: Mapping[str, Any], dpop_key: DpopKey | None) -> TokenSet:
    own = _dpop_key(members.get("dpop_key"))
    kind = str(members["token_type"])
    return TokenSet(
        access_token=Secret(members["access_token"]),
        expires_at=float(members["expires_at"]),
        token_type=kind,
        scope=tuple(members["scope"]),
        dpop_key=(own or dpop_key) if kind == "DPoP" else None,
        issued_at=_time(members["issued_at"]),
        own_grant=bool(members.get("own_grant")),
    )


def _time(value: float | None) -> float | None:
    return None if value is None else float(value)


def _dpop_key(member: object) -> DpopKey | None:
    return None if member is None else DpopKey.from_jwk(member)


def _revealed(secret: Secret | None) -> str | None:
    return secret.reveal() if secret is not None else None


def _secret(value: str | None) -> Secret | None:
    return Secret(value) if value is not None else None
