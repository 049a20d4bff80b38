"""Logout-token validation (OpenID Connect Back-Channel Logout 1.0, 2.4 and 2.6).

Pure functions of the token, the provider registration, its keys and the time, as in `portal.oidc.id_token`.
They return what the provider has ended, or raise `LogoutTokenRejected` with the name of the broken `rule`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from portal.oidc import id_token
from portal.oidc.errors import IdTokenRejected, LogoutTokenRejected
from portal.oidc.id_token import LEEWAY, OLDEST, Claims
from portal.oidc.jose import jws
from portal.oidc.keys import KeySet
from portal.oidc.provider import IdTokenEncryption, Provider
from portal.oidc.quoting import kind_of, length_of, mismatch
from portal.secret import Secret

EVENT = "http://schemas.openid.net/event/backchannel-logout"
TYPE = "logout+jwt"

LARGEST = 16_384
"""Characters. Anybody may send a logout token, so the cost of reading one is limited."""
_LONGEST_ID = 2_048


class LogoutKeyUnknown(LogoutTokenRejected):
    """No key of the set matches: the provider may have new ones."""


@dataclass(frozen=True, slots=True)
class LogoutNotice:
    """What a provider has ended: its session `sid` or, without one, every session of `subject`.

    `issuer` is the token's; `acceptable_until`, in seconds since the epoch, UTC, is when the token becomes
    too old to be accepted; `has_exp` tells whether it has an `exp`.
    """

    provider: Provider
    issuer: str
    jti: str
    sid: str | None
    subject: str | None
    acceptable_until: float
    has_exp: bool = True


def find_registration(
    token: Secret, providers: Iterable[Provider], *, decrypt: Callable[[Secret, Provider], Secret]
) -> tuple[Provider, Secret]:
    """Return the registration with the token's issuer and client, and the decrypted token. Verifies nothing.

    Parameters: decrypt, returns the signed token inside an encrypted one; raises IdTokenRejected.
    Raises: LogoutTokenRejected when the token cannot be read, or belongs to none of the registrations.
    """
    if len(token.reveal()) > LARGEST:
        raise LogoutTokenRejected("size", length_of("the token", token.reveal(), LARGEST))
    rejections = []
    read: dict[IdTokenEncryption | None, tuple[Secret, Claims] | IdTokenRejected] = {}
    claims_of = cache(jws.stored_claims)
    for provider in providers:
        encryption = provider.id_token_encryption
        if encryption not in read:
            # Back-Channel Logout 2.6 step 1, once for all providers with the same encryption
            read[encryption] = _read(token, provider, decrypt, claims_of)
        found = read[encryption]
        try:
            with _as_logout_token(None):
                if isinstance(found, IdTokenRejected):
                    raise found
                signed, claims = found
                id_token.check_issuer(claims, provider)
                _check_client(claims, provider)
        except LogoutTokenRejected as rejection:
            rejections.append(rejection)
        else:
            return provider, signed
    raise next((rejection for rejection in rejections if rejection.rule == "aud"), rejections[0])


def _read(
    token: Secret,
    provider: Provider,
    decrypt: Callable[[Secret, Provider], Secret],
    claims_of: Callable[[str], Claims],
) -> tuple[Secret, Claims] | IdTokenRejected:
    try:
        signed = decrypt(token, provider)
        return signed, claims_of(signed.reveal())
    except IdTokenRejected as error:
        return error


def validate(token: Secret, provider: Provider, keys: KeySet, *, now: float) -> LogoutNotice:
    """Validate a signed logout token of this provider.

    Parameters: now, seconds since the epoch, UTC.
    Raises: LogoutKeyUnknown when no key matches, else LogoutTokenRejected.
    """
    with _as_logout_token(provider):
        # Back-Channel Logout 2.6 step 2; RFC 8725 3.11 for `typ`
        claims, _, _ = id_token.signed_claims(token, provider, keys, typ=TYPE)
        # Back-Channel Logout 2.6 step 3
        id_token.check_issuer(claims, provider)
        _check_audience(claims, provider)
        # Back-Channel Logout 2.4: older versions do not require exp; without it, use iat and OLDEST
        id_token.check_times({"exp": id_token.time_of(claims, "iat") + OLDEST, **claims}, now)
        issued_at = id_token.time_of(claims, "iat")
        if now - issued_at > OLDEST + LEEWAY:
            raise IdTokenRejected("iat_too_old", id_token.times(claims, "iat", now))
        _check_sid_and_sub(claims)
        _check_event(claims)
        _check_no_nonce(claims)
        jti = check_jti(claims)
        expires_at = id_token.time_of(claims, "exp") if "exp" in claims else issued_at + OLDEST
    sid, sub = claims.get("sid"), claims.get("sub")
    return LogoutNotice(
        provider=provider,
        issuer=str(claims["iss"]),
        jti=jti,
        sid=sid if isinstance(sid, str) else None,
        subject=sub if isinstance(sub, str) else None,
        acceptable_until=min(expires_at, issued_at + OLDEST) + LEEWAY,
        has_exp="exp" in claims,
    )


def _check_client(claims: Claims, provider: Provider) -> list[str]:
    # OIDC Core 3.1.3.7 step 3, required by Back-Channel Logout 2.6 step 3
    audiences = id_token.audiences_of(claims)
    if provider.client_id not in audiences:
        raise IdTokenRejected("aud", mismatch("aud", audiences, provider.client_id))
    return audiences


def _check_audience(claims: Claims, provider: Provider) -> None:
    audiences = _check_client(claims, provider)
    if not {provider.client_id, provider.audience, *provider.resources}.issuperset(audiences):
        raise IdTokenRejected("aud_unknown", id_token.audience_not_listed(audiences, provider))


def _check_sid_and_sub(claims: Claims) -> None:
    # Back-Channel Logout 2.6 step 4
    if "sid" not in claims and "sub" not in claims:
        raise IdTokenRejected("sid_or_sub", "sid and sub are missing; expected one of them")
    id_token.check_session_id(claims)
    if "sub" in claims:
        id_token.check_subject(claims)


def _check_event(claims: Claims) -> None:
    # Back-Channel Logout 2.6 step 5
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        stated = list(events) if isinstance(events, dict) else events
        raise IdTokenRejected("events", mismatch("events", stated, EVENT))


def _check_no_nonce(claims: Claims) -> None:
    # Back-Channel Logout 2.6 step 6: otherwise an ID token could be accepted as a logout token
    if "nonce" in claims:
        raise IdTokenRejected(
            "nonce", f"nonce is {kind_of(claims['nonce'])}; expected none in a logout token"
        )


def check_jti(claims: Claims) -> str:
    """Return the `jti`. Raises: IdTokenRejected."""
    # Back-Channel Logout 2.4: required; 2.6 step 7 needs it
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 1 <= len(jti) <= _LONGEST_ID:
        raise IdTokenRejected("jti", length_of("jti", jti, _LONGEST_ID))
    return jti


@contextlib.contextmanager
def _as_logout_token(provider: Provider | None) -> Iterator[None]:
    """Raise LogoutTokenRejected in place of the IdTokenRejected of a shared rule."""
    try:
        yield
    except IdTokenRejected as error:
        kind = LogoutKeyUnknown if isinstance(error, id_token.KeyUnknown) else LogoutTokenRejected
        detail = error.detail.partition(": ")[2]
        raise kind(error.rule, detail, provider=provider.id if provider else None) from error
