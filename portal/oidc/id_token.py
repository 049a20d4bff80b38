"""ID-token validation (OIDC Core 3.1.3.7 at login, 12.2 at refresh).

Pure functions: the token, the provider's registration, its keys and the time go in; claims come out, or an
`IdTokenRejected` whose `rule` names what was broken.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hmac import compare_digest

from jose.backends.base import Key

from portal.oidc.errors import IdTokenRejected, NotSignedInAnew
from portal.oidc.interaction import Interaction
from portal.oidc.jose import jws
from portal.oidc.jose.algorithms import SUPPORTED, SYMMETRIC, half_hash, secret_key
from portal.oidc.jose.key_material import KeyUnusable
from portal.oidc.keys import KeySet
from portal.oidc.provider import Provider
from portal.oidc.quoting import hiding, kind_of, listed, mismatch, moment, quoted, utc
from portal.secret import Secret

Claims = Mapping[str, object]

LEEWAY = 60.0
"""Seconds that clocks may differ."""
OLDEST = 600.0
"""Seconds since `iat` that an ID token may have at login."""

LONGEST_IDENTIFIER = 2_048
"""Characters of a `sub` or `sid`: more than OIDC Core 2 gives a `sub`; nothing bounds a `sid`."""

OF_ANOTHER_LOGIN = frozenset(
    (
        *("iss", "tid", "tid_not_allowed", "sub", "aud", "aud_unknown"),
        *("sub_changed", "aud_changed", "iss_changed"),
    )
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
    asked: Interaction | None = None
    """What the request asked the provider to do with the user."""


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
    secrets = (expected.nonce, expected.code, expected.access_token, provider.client_secret)
    with hiding(*secrets):
        return _validate_at_login(token, provider, keys, expected, now)


def _validate_at_login(
    token: Secret, provider: Provider, keys: KeySet, expected: LoginExpectations, now: float
) -> Claims:
    claims, alg, curve = signed_claims(token, provider, keys)
    check_issuer(claims, provider)
    check_subject(claims)
    _check_audience(claims, provider)
    check_times(claims, now)
    # OIDC Core 3.1.3.7 step 10
    if now - time_of(claims, "iat") > OLDEST:
        raise IdTokenRejected("iat_too_old", times(claims, "iat", now))
    # OIDC Core 3.1.3.7 step 11
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not compare_digest(nonce.encode(), expected.nonce.encode()):
        raise IdTokenRejected("nonce", f"nonce is {kind_of(nonce)}; expected that of the login attempt")
    _check_hash(claims, "at_hash", expected.access_token, alg, curve)
    _check_hash(claims, "c_hash", expected.code, alg, curve)
    _check_auth_time(claims, expected.asked)
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
    with hiding(expected.access_token, provider.client_secret):
        return _validate_at_refresh(token, provider, keys, expected, now)


def _validate_at_refresh(
    token: Secret, provider: Provider, keys: KeySet, expected: RefreshExpectations, now: float
) -> Claims:
    claims, alg, curve = signed_claims(token, provider, keys)
    # whose token it is comes first: every other fault is one that a login survives
    check_issuer(claims, provider)
    check_subject(claims)
    # OIDC Core 12.2: iss, sub and aud as before; auth_time, azp and nonce as before when given
    if claims["sub"] != expected.subject:
        raise IdTokenRejected("sub_changed", mismatch("sub", claims["sub"], expected.subject))
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
    setting: str = "id_token_algs",
    repeatable: Collection[str] = (),
) -> tuple[dict[str, object], str, str | None]:
    """Claims, algorithm and curve of a token, its signature verified (OIDC Core 3.1.3.7 steps 6 to 8).

    Parameters: typ and setting, as jws.read_header; repeatable, as json_reading.read_object.
    Raises: KeyUnknown when no key fits, else IdTokenRejected.
    """
    text = token.reveal()
    header = jws.read_header(text, accepted_algorithms(provider), typ=typ, setting=setting)
    candidates = _keys_for(header, provider, keys)
    if not candidates:
        known = listed(keys.kids(header.alg))
        rule = "kid_missing" if header.kid is None else "kid_unknown"
        raise KeyUnknown(rule, f"kid is {quoted(header.kid)}; the provider's {header.alg} keys are {known}")
    try:
        claims = jws.verified_claims(text, header.alg, [key for key, _ in candidates], repeatable=repeatable)
    except IdTokenRejected as error:
        if error.rule == "signature" and header.kid is None and header.alg not in SYMMETRIC:
            detail = f"the {header.alg} signature, without a kid, is not of the one key that fits"
            raise KeyUnknown(error.rule, detail) from error
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
    expected = provider.issuer if template is None else template.filled(claims)
    if claims.get("iss") != expected:
        raise IdTokenRejected("iss", mismatch("iss", claims.get("iss"), expected))


def _check_key_issuer(claims: Claims, provider: Provider, stated: Sequence[Collection[str]]) -> None:
    """Where directories share a key set, a key may be one directory's own (Entra's JWKS member `issuer`).

    Which of several keys that fit has signed is not known: each must be allowed to.
    """
    template = provider.issuer_template
    if template is None:
        return
    allowed = {template.text, template.filled(claims)}
    other = next((issuers for issuers in stated if issuers and allowed.isdisjoint(issuers)), None)
    if other is not None:
        detail = mismatch("issuer of the key that signed", next(iter(other)), template.filled(claims))
        raise IdTokenRejected("key_issuer", detail)


def check_subject(claims: Claims) -> None:
    """Check the form of `sub`. Raises: IdTokenRejected."""
    # OIDC Core 2, `sub`
    sub = claims.get("sub")
    if not is_identifier(sub):
        raise IdTokenRejected("sub", odd_identifier("sub", sub))


def _check_audience(claims: Claims, provider: Provider) -> None:
    # OIDC Core 3.1.3.7 step 3
    audiences = audiences_of(claims)
    if provider.client_id not in audiences:
        raise IdTokenRejected("aud", mismatch("aud", audiences, provider.client_id))
    known = {provider.client_id, provider.audience, *provider.resources}
    if not known.issuperset(audiences):
        raise IdTokenRejected("aud_unknown", unknown_audience(audiences, provider))
    # OIDC Core 3.1.3.7 steps 4 and 5
    if "azp" not in claims:
        if len(audiences) > 1:
            detail = f"aud is {listed(audiences)}, and azp is missing; expected {quoted(provider.client_id)}"
            raise IdTokenRejected("azp_missing", detail)
    elif claims["azp"] != provider.client_id:
        raise IdTokenRejected("azp", mismatch("azp", claims["azp"], provider.client_id))


def unknown_audience(audiences: Sequence[str], provider: Provider) -> str:
    """Why a token that is also for an audience the registration does not know is rejected."""
    known = [provider.client_id, *filter(None, [provider.audience]), *provider.resources]
    return f"aud is {listed(audiences)}; this tenant accepts {listed(known)} (client.id, audience, resource)"


def audiences_of(claims: Claims) -> list[str]:
    """Whom a token is for, one or several. Raises: IdTokenRejected."""
    aud = claims.get("aud")
    audiences = aud if isinstance(aud, list) else [aud]
    strings = [audience for audience in audiences if isinstance(audience, str)]
    if not strings or len(strings) != len(audiences):
        raise IdTokenRejected("aud", f"aud is {quoted(aud)}; expected a string, or a list of strings")
    return strings


def check_session_id(claims: Claims) -> None:
    """Check the form of `sid` when there is one. Raises: IdTokenRejected."""
    # Back-Channel Logout 2.1: the syntax of a client identifier, which is printable ASCII (RFC 6749 A.1)
    if "sid" in claims and not is_identifier(claims["sid"]):
        raise IdTokenRejected("sid", odd_identifier("sid", claims["sid"]))


def is_identifier(value: object) -> bool:
    """Whether this is a `sub` or `sid` that the portal keeps: printable ASCII, LONGEST_IDENTIFIER at most."""
    return (
        isinstance(value, str)
        and 1 <= len(value) <= LONGEST_IDENTIFIER
        and value.isascii()
        and value.isprintable()
    )


def odd_identifier(name: str, value: object) -> str:
    """Why a value is not an identifier; the value itself is not shown."""
    return f"{name} is {kind_of(value)}; expected 1 to {LONGEST_IDENTIFIER} printable ASCII characters"


def check_times(claims: Claims, now: float) -> None:
    """Check that a token has not expired and is not of the future. Raises: IdTokenRejected."""
    # OIDC Core 3.1.3.7 step 9
    if now >= time_of(claims, "exp") + LEEWAY:
        raise IdTokenRejected("exp", times(claims, "exp", now))
    if time_of(claims, "iat") > now + LEEWAY:
        raise IdTokenRejected("iat_future", times(claims, "iat", now))
    # RFC 7519 4.1.5
    if "nbf" in claims and time_of(claims, "nbf") > now + LEEWAY:
        raise IdTokenRejected("nbf", times(claims, "nbf", now))


def times(claims: Claims, name: str, now: float) -> str:
    """A time of a token beside the time here, for a message."""
    value = time_of(claims, name)
    return f"{name} is {utc(value)}; the time here is {utc(now)}, {abs(now - value):.0f} s apart"


def time_of(claims: Claims, name: str) -> float:
    """A time in seconds since the epoch, UTC. Raises: IdTokenRejected."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise IdTokenRejected(name, f"{name} is {quoted(value)}; expected a number of seconds")
    if not 0 <= value <= _LATEST_TIME:
        raise IdTokenRejected(name, f"{name} is {quoted(value)}; expected seconds since 1970")
    return float(value)


def _check_hash(claims: Claims, name: str, secret: Secret, alg: str, curve: str | None) -> None:
    # OIDC Core 3.1.3.8 and 3.3.2.11
    if name not in claims:
        return
    value = claims[name]
    right = half_hash(secret.reveal(), alg, curve=curve)
    if not isinstance(value, str) or not compare_digest(value.encode(), right.encode()):
        raise IdTokenRejected(name, mismatch(f"{name} (by {alg})", value, right))


def _check_auth_time(claims: Claims, asked: Interaction | None) -> None:
    # OIDC Core 3.1.3.7 step 13; OIDC Core 2: auth_time is required with max_age alone
    if "auth_time" not in claims:
        if asked is not None and asked.max_age is not None:
            raise NotSignedInAnew("auth_time", mismatch("auth_time", None, f"max_age {asked.max_age} s"))
        return
    auth_time = time_of(claims, "auth_time")
    earliest = None if asked is None else asked.earliest_sign_in
    if earliest is not None and auth_time < earliest - LEEWAY:
        detail = f"auth_time is {utc(auth_time)}; expected no earlier than {utc(earliest)}"
        raise NotSignedInAnew("auth_time_too_old", detail, signed_in_at=auth_time)


def _check_acr(claims: Claims, provider: Provider) -> None:
    # OIDC Core 5.5.1.1: an essential acr that was not met is a failed authentication
    if provider.essential_acr is None:
        return
    acr = claims.get("acr")
    if not isinstance(acr, str) or (provider.essential_acr and acr not in provider.essential_acr):
        raise IdTokenRejected("acr", mismatch("acr", acr, *(provider.essential_acr or ["any text"])))


def _check_unchanged(claims: Claims, previous: Claims) -> None:
    audiences, held = audiences_of(claims), audiences_of(previous)
    if set(audiences) != set(held):
        raise IdTokenRejected(
            "aud_changed", f"aud is {listed(audiences)}; that of the login is {listed(held)}"
        )
    if claims["iss"] != previous.get("iss", claims["iss"]):
        raise IdTokenRejected("iss_changed", mismatch("iss", claims["iss"], previous["iss"]))
    for name in ("auth_time", "azp", "nonce"):
        if name in claims and name in previous and claims[name] != previous[name]:
            if name == "auth_time" and _is_later(claims, previous):
                continue
            shown = {"nonce": kind_of, "auth_time": moment}.get(name, quoted)
            detail = f"{name} is {shown(claims[name])}; that of the login is {shown(previous[name])}"
            raise IdTokenRejected(f"{name}_changed", detail)


def _is_later(claims: Claims, previous: Claims) -> bool:
    """Whether the user has signed in at the provider again, perhaps on another device.

    To refuse the token for it would let users keep claims that were withdrawn, by signing in elsewhere.
    """
    signed_in_at = time_of(claims, "auth_time")
    return time_of(previous, "auth_time") < signed_in_at <= time_of(claims, "iat") + LEEWAY
