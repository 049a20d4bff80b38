"""ID-token validation (OIDC Core 3.1.3.7 at login, 12.2 at refresh).

Pure functions: the token, the provider's registration, its keys and the time go in; claims come out, or an
`IdTokenRejected` whose `rule` names what was broken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hmac import compare_digest

from jose.backends.base import Key

from portal.errors import IdTokenRejected
from portal.oidc import jws
from portal.oidc.algorithms import SUPPORTED, SYMMETRIC, KeyUnusable, half_hash, secret_key
from portal.oidc.keys import KeySet
from portal.oidc.provider import Provider
from portal.oidc.secret import Secret

Claims = Mapping[str, object]

LEEWAY = 60.0
"""Seconds that clocks may differ."""
OLDEST = 600.0
"""Seconds since `iat` that an ID token may have at login."""

_LATEST_TIME = 1e11
"""Later than any time in seconds, earlier than any in milliseconds."""


class KeyUnknown(IdTokenRejected):
    """No key of the set fits: the provider may have new ones."""


@dataclass(frozen=True, slots=True)
class LoginExpectations:
    """What the login attempt and the token response say about the ID token to come."""

    nonce: str
    code: Secret
    access_token: Secret
    max_age: int | None = None
    """Seconds, when it was sent."""


@dataclass(frozen=True, slots=True)
class RefreshExpectations:
    """What an ID token received at a refresh has to agree with. `previous` is the one held until now."""

    subject: str
    previous: Secret | None
    access_token: Secret


def accepted_algorithms(provider: Provider) -> frozenset[str]:
    """Algorithms an ID token of this provider may have; HS256 and kin only for a client with a secret."""
    listed = SUPPORTED.intersection(provider.id_token_algs)
    return listed if provider.client_secret is not None else listed - SYMMETRIC


def needs_no_keys(provider: Provider) -> bool:
    """Whether every accepted algorithm is verified with the client secret."""
    return accepted_algorithms(provider) <= SYMMETRIC


def validate_at_login(
    token: Secret, provider: Provider, keys: KeySet, expected: LoginExpectations, *, now: float
) -> Claims:
    """Validate an ID token received for a code.

    Parameters: now, seconds since the epoch, UTC.
    Raises: KeyUnknown when no key fits, else IdTokenRejected.
    """
    claims, alg, curve = _signed_claims(token, provider, keys)
    _check_issuer(claims, provider)
    _check_subject(claims)
    _check_audience(claims, provider)
    _check_times(claims, now)
    # OIDC Core 3.1.3.7 step 10
    if now - _time(claims, "iat") > OLDEST:
        raise IdTokenRejected("iat_too_old", "the token was issued more than ten minutes ago")
    # OIDC Core 3.1.3.7 step 11
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not compare_digest(nonce.encode(), expected.nonce.encode()):
        raise IdTokenRejected("nonce", "the nonce is missing or of another login attempt")
    _check_hash(claims, "at_hash", expected.access_token, alg, curve)
    _check_hash(claims, "c_hash", expected.code, alg, curve)
    _check_auth_time(claims, expected.max_age, now)
    if not isinstance(claims.get("sid", ""), str):
        raise IdTokenRejected("sid", "the session id is not a string")
    return claims


def validate_at_refresh(
    token: Secret, provider: Provider, keys: KeySet, expected: RefreshExpectations, *, now: float
) -> Claims:
    """Validate an ID token received for a refresh token: it speaks of the same user as the one before.

    Parameters: now, seconds since the epoch, UTC.
    Raises: KeyUnknown when no key fits, else IdTokenRejected.
    """
    claims, alg, curve = _signed_claims(token, provider, keys)
    _check_issuer(claims, provider)
    _check_subject(claims)
    _check_audience(claims, provider)
    _check_times(claims, now)
    _check_hash(claims, "at_hash", expected.access_token, alg, curve)
    # OIDC Core 12.2: iss, sub and aud as before; auth_time, azp and nonce as before when given
    if claims["sub"] != expected.subject:
        raise IdTokenRejected("sub_changed", "the token is of another user than the login")
    if expected.previous is not None:
        _check_unchanged(claims, jws.stored_claims(expected.previous.reveal()))
    return claims


def _signed_claims(
    token: Secret, provider: Provider, keys: KeySet
) -> tuple[dict[str, object], str, str | None]:
    """Claims, algorithm and curve of a token, its signature verified (OIDC Core 3.1.3.7 steps 6 to 8)."""
    text = token.reveal()
    header = jws.read_header(text, accepted_algorithms(provider))
    candidates = _keys_for(header, provider, keys)
    if not candidates:
        rule = "kid_missing" if header.kid is None else "kid_unknown"
        raise KeyUnknown(rule, f"no key of the provider, or more than one, fits the {header.alg} signature")
    claims = jws.verified_claims(text, header.alg, [key for key, _ in candidates])
    return claims, header.alg, candidates[0][1]


def _keys_for(header: jws.Header, provider: Provider, keys: KeySet) -> list[tuple[Key, str | None]]:
    if header.alg not in SYMMETRIC:
        return keys.candidates(header.alg, header.kid)
    # OIDC Core 10.1: the key of an HMAC is the client secret, never anything a provider publishes
    if provider.client_secret is None:
        return []
    try:
        return [(secret_key(provider.client_secret.reveal(), header.alg), None)]
    except KeyUnusable as error:
        raise IdTokenRejected("key", str(error)) from error


def _check_issuer(claims: Claims, provider: Provider) -> None:
    # OIDC Core 3.1.3.7 step 2
    if claims.get("iss") != provider.issuer:
        raise IdTokenRejected("iss", "the issuer is missing or not the configured one")


def _check_subject(claims: Claims) -> None:
    # OIDC Core 2, `sub`
    sub = claims.get("sub")
    if not isinstance(sub, str) or not 1 <= len(sub) <= 255 or not (sub.isascii() and sub.isprintable()):
        raise IdTokenRejected("sub", "the subject is not a string of 1 to 255 ASCII characters")


def _check_audience(claims: Claims, provider: Provider) -> None:
    # OIDC Core 3.1.3.7 step 3
    audiences = _audiences(claims)
    if provider.client_id not in audiences:
        raise IdTokenRejected("aud", "the token is for another client")
    known = {provider.client_id, provider.audience, *provider.resources}
    if not known.issuperset(audiences):
        raise IdTokenRejected("aud_unknown", "the token is also for an audience that is not known here")
    # OIDC Core 3.1.3.7 steps 4 and 5
    if "azp" not in claims:
        if len(audiences) > 1:
            raise IdTokenRejected("azp_missing", "several audiences, and none is named as authorized")
    elif claims["azp"] != provider.client_id:
        raise IdTokenRejected("azp", "another client is the authorized one")


def _audiences(claims: Claims) -> list[str]:
    aud = claims.get("aud")
    audiences = aud if isinstance(aud, list) else [aud]
    strings = [audience for audience in audiences if isinstance(audience, str)]
    if not strings or len(strings) != len(audiences):
        raise IdTokenRejected("aud", "the audience is missing or not made of strings")
    return strings


def _check_times(claims: Claims, now: float) -> None:
    # OIDC Core 3.1.3.7 step 9
    if now >= _time(claims, "exp") + LEEWAY:
        raise IdTokenRejected("exp", "the token has expired")
    if _time(claims, "iat") > now + LEEWAY:
        raise IdTokenRejected("iat_future", "the token was issued in the future")
    # RFC 7519 4.1.5
    if "nbf" in claims and _time(claims, "nbf") > now + LEEWAY:
        raise IdTokenRejected("nbf", "the token is not good yet")


def _time(claims: Claims, name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise IdTokenRejected(name, f"{name} is missing or not a number")
    if not 0 <= value <= _LATEST_TIME:
        raise IdTokenRejected(name, f"{name} is not a time in seconds")
    return float(value)


def _check_hash(claims: Claims, name: str, secret: Secret, alg: str, curve: str | None) -> None:
    # OIDC Core 3.1.3.8 and 3.3.2.11
    if name not in claims:
        return
    value = claims[name]
    right = half_hash(secret.reveal(), alg, curve=curve)
    if not isinstance(value, str) or not compare_digest(value.encode(), right.encode()):
        raise IdTokenRejected(name, f"{name} is not that of what was received with the token")


def _check_auth_time(claims: Claims, max_age: int | None, now: float) -> None:
    # OIDC Core 3.1.3.7 step 13
    if max_age is None and "auth_time" not in claims:
        return
    age = now - _time(claims, "auth_time")
    if max_age is not None and age > max_age + LEEWAY:
        raise IdTokenRejected("auth_time_too_old", "the user authenticated longer ago than was asked for")


def _check_unchanged(claims: Claims, previous: Claims) -> None:
    if set(_audiences(claims)) != set(_audiences(previous)):
        raise IdTokenRejected("aud_changed", "the audience is not that of the login")
    for name in ("auth_time", "azp", "nonce"):
        if name in claims and name in previous and claims[name] != previous[name]:
            raise IdTokenRejected(f"{name}_changed", f"{name} is not that of the login")
