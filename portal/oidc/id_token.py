"""ID-token validation (OIDC Core 3.1.3.7 at login, 12.2 at refresh).

Pure functions: the token, the provider's registration, its keys and the time go in; claims come out, or an
`IdTokenRejected` whose `rule` names what was broken.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hmac import compare_digest

from jose.backends.base import Key

from portal.oidc import jws
from portal.oidc.algorithms import SUPPORTED, SYMMETRIC, KeyUnusable, half_hash, secret_key
from portal.oidc.errors import IdTokenRejected
from portal.oidc.keys import KeySet
from portal.oidc.provider import Provider
from portal.secret import Secret

Claims = Mapping[str, object]

LEEWAY = 60.0
"""Seconds that clocks may differ."""
OLDEST = 600.0
"""Seconds since `iat` that an ID token may have at login."""

OF_ANOTHER_LOGIN = frozenset(
    ("iss", "sub", "aud", "aud_unknown", "sub_changed", "aud_changed", "iss_changed")
)
"""Rules that an ID token received at a refresh breaks when it is not of this login (OIDC Core 12.2)."""

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
    claims, alg, curve = signed_claims(token, provider, keys)
    check_issuer(claims, provider)
    check_subject(claims)
    _check_audience(claims, provider)
    check_times(claims, now)
    # OIDC Core 3.1.3.7 step 10
    if now - time_of(claims, "iat") > OLDEST:
        raise IdTokenRejected("iat_too_old", "the token was issued more than ten minutes ago")
    # OIDC Core 3.1.3.7 step 11
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not compare_digest(nonce.encode(), expected.nonce.encode()):
        raise IdTokenRejected("nonce", "the nonce is missing or of another login attempt")
    _check_hash(claims, "at_hash", expected.access_token, alg, curve)
    _check_hash(claims, "c_hash", expected.code, alg, curve)
    _check_auth_time(claims, expected.max_age, now)
    _check_acr(claims, provider)
    check_session_id(claims)
    return claims


def validate_at_refresh(
    token: Secret, provider: Provider, keys: KeySet, expected: RefreshExpectations, *, now: float
) -> Claims:
    """Validate an ID token received for a refresh token: it speaks of the same user as the one before.

    Parameters: now, seconds since the epoch, UTC.
    Raises: KeyUnknown when no key fits, else IdTokenRejected.
    """
    claims, alg, curve = signed_claims(token, provider, keys)
    # whose token it is comes first: every other fault is one that a login survives
    check_issuer(claims, provider)
    check_subject(claims)
    # OIDC Core 12.2: iss, sub and aud as before; auth_time, azp and nonce as before when given
    if claims["sub"] != expected.subject:
        raise IdTokenRejected("sub_changed", "the token is of another user than the login")
    _check_audience(claims, provider)
    if expected.previous is not None:
        _check_unchanged(claims, jws.stored_claims(expected.previous.reveal()))
    check_times(claims, now)
    _check_hash(claims, "at_hash", expected.access_token, alg, curve)
    return claims


def signed_claims(
    token: Secret,
    provider: Provider,
    keys: KeySet,
    *,
    typ: str | None = None,
    repeatable: Collection[str] = (),
) -> tuple[dict[str, object], str, str | None]:
    """Claims, algorithm and curve of a token, its signature verified (OIDC Core 3.1.3.7 steps 6 to 8).

    Parameters: typ, as jws.read_header; repeatable, as json_reading.read_object.
    Raises: KeyUnknown when no key fits, else IdTokenRejected.
    """
    text = token.reveal()
    header = jws.read_header(text, accepted_algorithms(provider), typ=typ)
    candidates = _keys_for(header, provider, keys)
    if not candidates:
        rule = "kid_missing" if header.kid is None else "kid_unknown"
        raise KeyUnknown(rule, f"no key of the provider, or more than one, fits the {header.alg} signature")
    try:
        claims = jws.verified_claims(text, header.alg, [key for key, _ in candidates], repeatable=repeatable)
    except IdTokenRejected as error:
        if error.rule == "signature" and header.kid is None and header.alg not in SYMMETRIC:
            raise KeyUnknown(error.rule, "the signature is not of the one key that fits") from error
        raise
    _check_key_issuer(claims, provider, keys.issuers(header.alg, header.kid))
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


def check_issuer(claims: Claims, provider: Provider) -> None:
    """Check whose token it is. Raises: IdTokenRejected."""
    # OIDC Core 3.1.3.7 step 2
    template = provider.issuer_template
    if claims.get("iss") != (provider.issuer if template is None else template.filled(claims)):
        raise IdTokenRejected("iss", "the issuer is missing or not the configured one")


def _check_key_issuer(claims: Claims, provider: Provider, stated: Sequence[Collection[str]]) -> None:
    """Where directories share a key set, a key may be one directory's own (Entra's JWKS member `issuer`).

    Which of several keys that fit has signed is not known: each must be allowed to.
    """
    template = provider.issuer_template
    if template is None:
        return
    allowed = {template.text, template.filled(claims)}
    if any(issuers and allowed.isdisjoint(issuers) for issuers in stated):
        raise IdTokenRejected("key_issuer", "the key that signed is of another directory")


def check_subject(claims: Claims) -> None:
    """Check the form of `sub`. Raises: IdTokenRejected."""
    # OIDC Core 2, `sub`
    sub = claims.get("sub")
    if not isinstance(sub, str) or not 1 <= len(sub) <= 255 or not (sub.isascii() and sub.isprintable()):
        raise IdTokenRejected("sub", "the subject is not a string of 1 to 255 ASCII characters")


def _check_audience(claims: Claims, provider: Provider) -> None:
    # OIDC Core 3.1.3.7 step 3
    audiences = audiences_of(claims)
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


def audiences_of(claims: Claims) -> list[str]:
    """Whom a token is for, one or several. Raises: IdTokenRejected."""
    aud = claims.get("aud")
    audiences = aud if isinstance(aud, list) else [aud]
    strings = [audience for audience in audiences if isinstance(audience, str)]
    if not strings or len(strings) != len(audiences):
        raise IdTokenRejected("aud", "the audience is missing or not made of strings")
    return strings


def check_session_id(claims: Claims) -> None:
    """Check the form of `sid` when there is one. Raises: IdTokenRejected."""
    # Back-Channel Logout 2.1: the syntax of a client identifier, which is printable ASCII (RFC 6749 A.1)
    sid = claims.get("sid", "-")
    if not isinstance(sid, str) or not 1 <= len(sid) <= 255 or not (sid.isascii() and sid.isprintable()):
        raise IdTokenRejected("sid", "the session id is not a string of 1 to 255 printable ASCII characters")


def check_times(claims: Claims, now: float) -> None:
    """Check that a token has not expired and is not of the future. Raises: IdTokenRejected."""
    # OIDC Core 3.1.3.7 step 9
    if now >= time_of(claims, "exp") + LEEWAY:
        raise IdTokenRejected("exp", "the token has expired")
    if time_of(claims, "iat") > now + LEEWAY:
        raise IdTokenRejected("iat_future", "the token was issued in the future")
    # RFC 7519 4.1.5
    if "nbf" in claims and time_of(claims, "nbf") > now + LEEWAY:
        raise IdTokenRejected("nbf", "the token is not good yet")


def time_of(claims: Claims, name: str) -> float:
    """A time in seconds since the epoch, UTC. Raises: IdTokenRejected."""
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
    age = now - time_of(claims, "auth_time")
    if max_age is not None and age > max_age + LEEWAY:
        raise IdTokenRejected("auth_time_too_old", "the user authenticated longer ago than was asked for")


def _check_acr(claims: Claims, provider: Provider) -> None:
    # OIDC Core 5.5.1.1: an essential acr that was not met is a failed authentication
    if provider.essential_acr is None:
        return
    acr = claims.get("acr")
    if not isinstance(acr, str) or (provider.essential_acr and acr not in provider.essential_acr):
        raise IdTokenRejected("acr", "the user authenticated in another way than was asked for")


def _check_unchanged(claims: Claims, previous: Claims) -> None:
    if set(audiences_of(claims)) != set(audiences_of(previous)):
        raise IdTokenRejected("aud_changed", "the audience is not that of the login")
    if claims["iss"] != previous.get("iss", claims["iss"]):
        raise IdTokenRejected("iss_changed", "the issuer is not that of the login")
    for name in ("auth_time", "azp", "nonce"):
        if name in claims and name in previous and claims[name] != previous[name]:
            raise IdTokenRejected(f"{name}_changed", f"{name} is not that of the login")
