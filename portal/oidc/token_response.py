"""Reads token responses (RFC 6749 5.1, OIDC Core 3.1.3.3 and 12.2). Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from portal.oidc.abnf import VSCHAR, one_to
from portal.oidc.dpop import DpopKey
from portal.oidc.errors import IdTokenRejected, LoginTooLarge, TokenNotBound, TokenResponseMalformed
from portal.oidc.jose import jws
from portal.oidc.jose.json_reading import MAX_BYTES, JsonUnreadable, read_object
from portal.oidc.provider import TokenSet
from portal.oidc.quoting import kind_of, mismatch, quoted
from portal.outbound.client import OutboundResponse
from portal.secret import Secret

USUAL_LIFETIME = 300.0
"""Seconds; used when neither the token response nor the access token states a lifetime."""
LONGEST_LIFETIME = 31_536_000.0

_MOST_CHARACTERS = 65_536
_TOKEN = one_to(_MOST_CHARACTERS, VSCHAR)  # RFC 6749 A.12 and A.17: includes the space
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")  # RFC 6749 A.14, plus a fraction
_LONGEST_SCOPE = 20_000


def required_id_token(tokens: TokenSet) -> Secret:
    """Return the ID token of a login (OIDC Core 3.1.3.3). Raises: TokenResponseMalformed without one."""
    if tokens.id_token is None:
        raise TokenResponseMalformed("id_token is missing; expected an ID token (scope openid)")
    return tokens.id_token


def read_token_set(
    response: OutboundResponse,
    *,
    requested_scopes: Sequence[str],
    now: float,
    dpop_key: DpopKey | None = None,
) -> TokenSet:
    """Read the token response of a login.

    Parameters: requested_scopes, used when the response has no scope; now, seconds since the epoch, UTC;
    dpop_key, the key that the tokens must be bound to.
    Raises: TokenResponseMalformed, TokenNotBound, LoginTooLarge.
    """
    document = _read(response)
    return _token_set(document, requested_scopes, now, dpop_key, id_token=_token(document, "id_token"))


def read_refreshed(
    response: OutboundResponse, previous: TokenSet, *, now: float, dpop_key: DpopKey | None = None
) -> TokenSet:
    """Read the response to a refresh request; a refresh token that is not rotated is kept.

    Its ID token is not checked here: an invalid one does not make the other tokens unusable. When the
    response is unusable, TokenResponseMalformed contains its refresh token, because the old one may be
    invalid now.

    Parameters: previous, the token set that was refreshed; now and dpop_key, as read_token_set.
    Raises: as read_token_set.
    """
    document = _read(response)
    stated = document.get("id_token")
    id_token = None if stated is None else Secret(stated if isinstance(stated, str) else "")
    try:
        tokens = _token_set(document, previous.scope, now, dpop_key, id_token=id_token)
    except TokenResponseMalformed as error:
        error.refresh_token = _received_refresh_token(document)
        raise
    return replace(tokens, refresh_token=tokens.refresh_token or previous.refresh_token)


def _read(response: OutboundResponse) -> Mapping[str, object]:
    if len(response.body) > MAX_BYTES:
        error = LoginTooLarge(
            f"the token response has {len(response.body)} bytes, at most {MAX_BYTES} are read"
        )
        error.unread = True
        raise error
    try:
        return read_object(response.body)
    except JsonUnreadable as error:
        raise TokenResponseMalformed(f"the token response cannot be read: {error}") from error


def _token_set(
    document: Mapping[str, object],
    default_scope: Sequence[str],
    now: float,
    dpop_key: DpopKey | None,
    *,
    id_token: Secret | None,
) -> TokenSet:
    access_token = _token(document, "access_token")
    if access_token is None:
        raise TokenResponseMalformed("access_token is missing; expected a text")
    token_type = _token_type(document, dpop_key)
    return TokenSet(
        access_token=access_token,
        expires_at=round(_expires_at(document, access_token, now), 3),
        token_type=token_type,
        scope=_scope(document) or tuple(default_scope),
        refresh_token=_token(document, "refresh_token"),
        id_token=id_token,
        dpop_key=dpop_key,
        issued_at=now,
    )


def _received_refresh_token(document: Mapping[str, object]) -> Secret | None:
    """Return the refresh token of an otherwise unusable response."""
    try:
        return _token(document, "refresh_token")
    except TokenResponseMalformed:
        return None


def _token_type(document: Mapping[str, object], dpop_key: DpopKey | None) -> str:
    value = document.get("token_type")
    # RFC 6749 7.1: case-insensitive
    stated = value.lower() if isinstance(value, str) else ""
    expected = "Bearer" if dpop_key is None else "DPoP"
    if stated == expected.lower():
        return expected
    detail = mismatch("token_type", value, expected)
    # RFC 9449 5: with token_type Bearer, the token is not bound to the key
    if stated == "bearer":
        raise TokenNotBound(f"{detail} (dpop)")
    raise TokenResponseMalformed(detail)


def _token(document: Mapping[str, object], name: str) -> Secret | None:
    value = document.get(name)
    if value is None:
        return None
    if isinstance(value, str) and len(value) > _MOST_CHARACTERS:
        raise LoginTooLarge(f"{name} has {len(value)} characters, at most {_MOST_CHARACTERS} are stored")
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise TokenResponseMalformed(f"{name} is {kind_of(value)}; expected printable ASCII characters")
    return Secret(value)


def _scope(document: Mapping[str, object]) -> tuple[str, ...]:
    # RFC 6749 A.4; more lenient (lists, other characters), because scopes are displayed and never sent
    value = document.get("scope")
    if value is None:
        return ()
    if isinstance(value, list) and all(isinstance(scope, str) for scope in value):
        value = " ".join(value)
    if not isinstance(value, str) or len(value) > _LONGEST_SCOPE:
        detail = f"scope is {kind_of(value)}; expected a text of at most {_LONGEST_SCOPE} characters"
        raise TokenResponseMalformed(detail)
    return tuple(dict.fromkeys(value.split()))


def _expires_at(document: Mapping[str, object], access_token: Secret, now: float) -> float:
    value = document.get("expires_in")
    if value is None:
        return _stated_expiry(access_token, now)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        received = kind_of(value) if isinstance(value, str) else quoted(value)
        raise TokenResponseMalformed(f"expires_in is {received}; expected a number of seconds, 0 or more")
    return now + min(value, LONGEST_LIFETIME)


def _stated_expiry(access_token: Secret, now: float) -> float:
    """Return `exp` of an access token that is a JWT; otherwise assume the usual lifetime."""
    try:
        exp = jws.stored_claims(access_token.reveal()).get("exp")
    except IdTokenRejected:
        return now + USUAL_LIFETIME
    if isinstance(exp, bool) or not isinstance(exp, int | float):
        return now + USUAL_LIFETIME
    return float(min(max(exp, now), now + LONGEST_LIFETIME))
