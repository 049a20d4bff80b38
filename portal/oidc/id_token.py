"""ID-token validation (OIDC Core 3.1.3.7 at login, 12.2 at refresh).

Pure functions of the token, the provider registration, its keys and the time. They return the claims, or
raise `IdTokenRejected` with the name of the broken `rule`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hmac import compare_digest

from jose.backends.base import Key

from portal.oidc.errors import IdTokenRejected, ReauthenticationMissing
from portal.oidc.interaction import Interaction
from portal.oidc.jose import jws
from portal.oidc.jose.algorithms import SUPPORTED, SYMMETRIC, half_hash, secret_key
from portal.oidc.jose.key_material import KeyUnusable
from portal.oidc.keys import KeySet
from portal.oidc.provider import Provider
from portal.oidc.quoting import hiding, kind_of, listed, mismatch, quoted, quoted_time, utc
from portal.oidc.step_up import require_authentication
from portal.secret import Secret

Claims = Mapping[str, object]

LEEWAY = 60.0
"""Allowed clock difference in seconds."""
OLDEST = 600.0
"""Maximum age of an ID token at login: seconds since its `iat`."""

LONGEST_IDENTIFIER = 2_048
"""Characters of a `sub` or `sid`. OIDC Core 2 allows a `sub` fewer; no specification limits a `sid`."""

SESSION_EXPIRY = "session_expiry"
"""The claim that states when the provider's session of the user ends (OpenID Connect IPSIE profile)."""

RULES_OF_ANOTHER_LOGIN = frozenset(
    (
        *("iss", "tid", "tid_not_allowed", "sub", "aud", "aud_unknown"),
        *("sub_changed", "aud_changed", "iss_changed"),
    )
)
"""Rules that an ID token of another login breaks at a refresh (OIDC Core 12.2)."""

_LATEST_TIME = 1e11
"""Later than any plausible time in seconds, earlier than any in milliseconds."""


class KeyUnknown(IdTokenRejected):
    """No key of the set matches: the provider may have new ones."""


@dataclass(frozen=True, slots=True)
class LoginExpectations:
    """Values of the login attempt and the token response that the ID token must match."""

    nonce: str
    code: Secret
    access_token: Secret
    interaction: Interaction | None = None
    """The user interaction that the authorization request asked for."""


@dataclass(frozen=True, slots=True)
class RefreshExpectations:
    """Values that an ID token from a refresh must match. `previous` is the ID token stored until now."""

    subject: str
    previous: Secret | None
    access_token: Secret


def accepted_algorithms(provider: Provider) -> frozenset[str]:
    """Return the accepted algorithms of this provider's ID tokens; HMAC only for a client with a secret."""
    listed = SUPPORTED.intersection(provider.id_token_algs)
    return listed if provider.client_secrets else listed - SYMMETRIC


def needs_no_keys(provider: Provider) -> bool:
    """Whether every accepted algorithm is verified with the client secret."""
    return accepted_algorithms(provider) <= SYMMETRIC


def validate_at_login(
    token: Secret, provider: Provider, keys: KeySet, expected: LoginExpectations, *, now: float
) -> Claims:
    """Validate the ID token of a login.

    Parameters: now, seconds since the epoch, UTC.
    Raises: KeyUnknown when no key matches, else IdTokenRejected.
    """
    with hiding(expected.nonce, expected.code, expected.access_token, *provider.client_secrets):
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
        raise IdTokenRejected("nonce", f"nonce is {kind_of(nonce)}; expected the one of the login attempt")
    _check_hash(claims, "at_hash", expected.access_token, alg, curve)
    _check_hash(claims, "c_hash", expected.code, alg, curve)
    _check_interaction(claims, expected.interaction)
    _check_acr(claims, provider)
    check_session_id(claims)
    if SESSION_EXPIRY in claims and time_of(claims, SESSION_EXPIRY) <= now:
        raise IdTokenRejected("session_expiry_past", times(claims, SESSION_EXPIRY, now))
    return claims


def validate_at_refresh(
    token: Secret, provider: Provider, keys: KeySet, expected: RefreshExpectations, *, now: float
) -> Claims:
    """Validate an ID token of a refresh response, which must be about the same user as the previous one.

    Parameters: now, seconds since the epoch, UTC.
    Raises: KeyUnknown when no key matches, else IdTokenRejected.
    """
    with hiding(expected.access_token, *provider.client_secrets):
        return _validate_at_refresh(token, provider, keys, expected, now)


def _validate_at_refresh(
    token: Secret, provider: Provider, keys: KeySet, expected: RefreshExpectations, now: float
) -> Claims:
    claims, alg, curve = signed_claims(token, provider, keys)
    # check the owner first: any other error does not end the login
    check_issuer(claims, provider)
    check_subject(claims)
    # OIDC Core 12.2: iss, sub and aud unchanged; auth_time, azp and nonce unchanged if present
    if claims["sub"] != expected.subject:
        raise IdTokenRejected("sub_changed", mismatch("sub", claims["sub"], expected.subject))
    _check_audience(claims, provider)
    if expected.previous is not None:
        _check_unchanged(claims, jws.stored_claims(expected.previous.reveal()))
    check_times(claims, now)
    _check_hash(claims, "at_hash", expected.access_token, alg, curve)
    if SESSION_EXPIRY in claims:
        time_of(claims, SESSION_EXPIRY)
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
    """Verify a token's signature; return its claims, algorithm and curve (OIDC Core 3.1.3.7 steps 6 to 8).

    Parameters: typ and setting, as jws.read_header; repeatable, as json_reading.read_object.
    Raises: KeyUnknown when no key matches, else IdTokenRejected.
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
            detail = f"the token has no kid, and its signature does not match the only {header.alg} key"
            raise KeyUnknown(error.rule, detail) from error
        raise
    _check_key_issuer(claims, provider, keys.issuers(header.alg, header.kid))
    return claims, header.alg, candidates[0][1]


def _keys_for(header: jws.Header, provider: Provider, keys: KeySet) -> list[tuple[Key, str | None]]:
    if header.alg not in SYMMETRIC:
        return keys.candidates(header.alg, header.kid)
    # OIDC Core 10.1: the key of an HMAC is the client secret, never a published key
    try:
        return [(secret_key(secret.reveal(), header.alg), None) for secret in provider.client_secrets]
    except KeyUnusable as error:
        raise IdTokenRejected("key", str(error)) from error


def check_issuer(claims: Claims, provider: Provider) -> None:
    """Check the issuer. Raises: IdTokenRejected."""
    # OIDC Core 3.1.3.7 step 2
    template = provider.issuer_template
    expected = provider.issuer if template is None else template.issuer_for(claims)
    if claims.get("iss") != expected:
        raise IdTokenRejected("iss", mismatch("iss", claims.get("iss"), expected))


def _check_key_issuer(claims: Claims, provider: Provider, stated: Sequence[Collection[str]]) -> None:
    """Check that the key may sign for this issuer (JWKS member `issuer` of Entra's shared key set).

    When several keys match, it is unknown which of them signed: each must be allowed to.
    """
    template = provider.issuer_template
    if template is None:
        return
    allowed = {template.text, template.issuer_for(claims)}
    other = next((issuers for issuers in stated if issuers and allowed.isdisjoint(issuers)), None)
    if other is not None:
        detail = mismatch("issuer of the signing key", next(iter(other)), template.issuer_for(claims))
        raise IdTokenRejected("key_issuer", detail)


def check_subject(claims: Claims) -> None:
    """Check the form of `sub`. Raises: IdTokenRejected."""
    # OIDC Core 2, `sub`
    sub = claims.get("sub")
    if not is_identifier(sub):
        raise IdTokenRejected("sub", invalid_identifier("sub", sub))


def _check_audience(claims: Claims, provider: Provider) -> None:
    # OIDC Core 3.1.3.7 step 3
    audiences = audiences_of(claims)
    if provider.client_id not in audiences:
        raise IdTokenRejected("aud", mismatch("aud", audiences, provider.client_id))
    known = {provider.client_id, provider.audience, *provider.resources}
    if not known.issuperset(audiences):
        raise IdTokenRejected("aud_unknown", audience_not_listed(audiences, provider))
    # OIDC Core 3.1.3.7 steps 4 and 5
    if "azp" not in claims:
        if len(audiences) > 1:
            detail = f"aud is {listed(audiences)}, and azp is missing; expected {quoted(provider.client_id)}"
            raise IdTokenRejected("azp_missing", detail)
    elif claims["azp"] != provider.client_id:
        raise IdTokenRejected("azp", mismatch("azp", claims["azp"], provider.client_id))


def audience_not_listed(audiences: Sequence[str], provider: Provider) -> str:
    """Return the message for a token with an audience that the registration does not list."""
    known = [provider.client_id, *filter(None, [provider.audience]), *provider.resources]
    return f"aud is {listed(audiences)}; this tenant accepts {listed(known)} (client.id, audience, resource)"


def audiences_of(claims: Claims) -> list[str]:
    """Return the audiences of a token. Raises: IdTokenRejected."""
    aud = claims.get("aud")
    audiences = aud if isinstance(aud, list) else [aud]
    strings = [audience for audience in audiences if isinstance(audience, str)]
    if not strings or len(strings) != len(audiences):
        raise IdTokenRejected("aud", f"aud is {quoted(aud)}; expected a string, or a list of strings")
    return strings


def check_session_id(claims: Claims) -> None:
    """Check the form of `sid` if present. Raises: IdTokenRejected."""
    # Back-Channel Logout 2.1: the syntax of a client identifier, which is printable ASCII (RFC 6749 A.1)
    if "sid" in claims and not is_identifier(claims["sid"]):
        raise IdTokenRejected("sid", invalid_identifier("sid", claims["sid"]))


def is_identifier(value: object) -> bool:
    """Whether this is a valid `sub` or `sid`: 1 to LONGEST_IDENTIFIER printable ASCII characters."""
    return (
        isinstance(value, str)
        and 1 <= len(value) <= LONGEST_IDENTIFIER
        and value.isascii()
        and value.isprintable()
    )


def invalid_identifier(name: str, value: object) -> str:
    """Return the message for an invalid identifier, without its value."""
    return f"{name} is {kind_of(value)}; expected 1 to {LONGEST_IDENTIFIER} printable ASCII characters"


def check_times(claims: Claims, now: float) -> None:
    """Check `exp`, `iat` and `nbf`. Raises: IdTokenRejected."""
    # OIDC Core 3.1.3.7 step 9
    if now >= time_of(claims, "exp") + LEEWAY:
        raise IdTokenRejected("exp", times(claims, "exp", now))
    if time_of(claims, "iat") > now + LEEWAY:
        raise IdTokenRejected("iat_future", times(claims, "iat", now))
    # RFC 7519 4.1.5
    if "nbf" in claims and time_of(claims, "nbf") > now + LEEWAY:
        raise IdTokenRejected("nbf", times(claims, "nbf", now))


def times(claims: Claims, name: str, now: float) -> str:
    """Return the message that compares a time of a token with the current time."""
    value = time_of(claims, name)
    return f"{name} is {utc(value)}; the time here is {utc(now)}, {abs(now - value):.0f} s apart"


def time_of(claims: Claims, name: str) -> float:
    """Return a time claim in seconds since the epoch, UTC. Raises: IdTokenRejected."""
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
    expected = half_hash(secret.reveal(), alg, curve=curve)
    if not isinstance(value, str) or not compare_digest(value.encode(), expected.encode()):
        raise IdTokenRejected(name, mismatch(f"{name} (by {alg})", value, expected))


def _check_interaction(claims: Claims, interaction: Interaction | None) -> None:
    if interaction is not None and interaction.step_up is not None:
        require_authentication(claims, interaction.step_up, requested_at=interaction.requested_at)
    _check_auth_time(claims, interaction)


def _check_auth_time(claims: Claims, interaction: Interaction | None) -> None:
    # OIDC Core 3.1.3.7 step 13; OIDC Core 2: auth_time is required only with max_age
    if "auth_time" not in claims:
        if interaction is not None and interaction.max_age is not None:
            detail = mismatch("auth_time", None, f"max_age {interaction.max_age} s")
            raise ReauthenticationMissing("auth_time", detail)
        return
    auth_time = time_of(claims, "auth_time")
    earliest = None if interaction is None else interaction.earliest_sign_in
    if earliest is not None and auth_time < earliest - LEEWAY:
        detail = f"auth_time is {utc(auth_time)}; expected no earlier than {utc(earliest)}"
        raise ReauthenticationMissing("auth_time_too_old", detail, signed_in_at=auth_time)


def _check_acr(claims: Claims, provider: Provider) -> None:
    # OIDC Core 5.5.1.1: without the essential acr, the authentication has failed
    if provider.essential_acr is None:
        return
    acr = claims.get("acr")
    if not isinstance(acr, str) or (provider.essential_acr and acr not in provider.essential_acr):
        raise IdTokenRejected("acr", mismatch("acr", acr, *(provider.essential_acr or ["any text"])))


def _check_unchanged(claims: Claims, previous: Claims) -> None:
    audiences, previous_audiences = audiences_of(claims), audiences_of(previous)
    if set(audiences) != set(previous_audiences):
        raise IdTokenRejected(
            "aud_changed", f"aud is {listed(audiences)}; that of the login is {listed(previous_audiences)}"
        )
    if claims["iss"] != previous.get("iss", claims["iss"]):
        raise IdTokenRejected("iss_changed", mismatch("iss", claims["iss"], previous["iss"]))
    for name in ("auth_time", "azp", "nonce"):
        if name in claims and name in previous and claims[name] != previous[name]:
            if name == "auth_time" and _is_later(claims, previous):
                continue
            show = {"nonce": kind_of, "auth_time": quoted_time}.get(name, quoted)
            detail = f"{name} is {show(claims[name])}; that of the login is {show(previous[name])}"
            raise IdTokenRejected(f"{name}_changed", detail)


def _is_later(claims: Claims, previous: Claims) -> bool:
    """Whether the user has signed in at the provider again, for example on another device.

    Such a token is accepted: otherwise users could keep withdrawn claims by signing in elsewhere.
    """
    signed_in_at = time_of(claims, "auth_time")
    return time_of(previous, "auth_time") < signed_in_at <= time_of(claims, "iat") + LEEWAY
