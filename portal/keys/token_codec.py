"""Encodes token sets as JSON for the vault."""

from __future__ import annotations

import json

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
    return _compact_json(fields)


def decode_tokens(text: str) -> TokenSet:
    """Decode the output of `encode_tokens`, also of versions without `dpop_key` or `issued_at`.

    Raises: ValueError, KeyError or TypeError when the text is not a token set.
    """
    fields = json.loads(text)
    access_token, token_type, scope = fields["access_token"], fields["token_type"], fields["scope"]
    if not isinstance(access_token, str) or not isinstance(token_type, str) or not isinstance(scope, list):
        raise TypeError("not a token set")
    return TokenSet(
        access_token=Secret(access_token),
        expires_at=float(fields["expires_at"]),
        token_type=token_type,
        scope=tuple(scope),
        refresh_token=_secret(fields["refresh_token"]),
        id_token=_secret(fields["id_token"]),
        dpop_key=_dpop_key(fields.get("dpop_key")),
        issued_at=_time(fields.get("issued_at")),
    )


def _time(value: float | None) -> float | None:
    return None if value is None else float(value)


def _dpop_key(member: object) -> DpopKey | None:
    return None if member is None else DpopKey.from_jwk(member)


def _revealed(secret: Secret | None) -> str | None:
    return secret.reveal() if secret is not None else None


def _secret(value: str | None) -> Secret | None:
    return Secret(value) if value is not None else None
