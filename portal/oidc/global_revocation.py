"""Global Token Revocation (draft-parecki-oauth-global-token-revocation): who asks, and for whom.

Pure functions, as in `portal.oidc.logout_token`. The draft leaves the authentication of a request open; the
token is the one that Okta Universal Logout sends: a JWT that the provider signs for this endpoint.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from portal.oidc import id_token
from portal.oidc.errors import (
    IdTokenRejected,
    RevocationRequestRejected,
    RevocationTokenRejected,
)
from portal.oidc.id_token import LEEWAY, OLDEST
from portal.oidc.jose import jws
from portal.oidc.jose.json_reading import JsonUnreadable, read_object
from portal.oidc.keys import KeySet
from portal.oidc.logout_token import check_jti
from portal.oidc.provider import Provider
from portal.oidc.quoting import kind_of, length_of, mismatch
from portal.secret import Secret

TYPE = "global-token-revocation+jwt"

LARGEST = 16_384
"""Characters of a token, and bytes of a body. Anybody may send them: the cost of reading one is limited."""
_LONGEST_EMAIL = 320


class RevocationKeyUnknown(RevocationTokenRejected):
    """No key of the set matches: the provider may have new ones."""


class SubjectFormat(StrEnum):
    """The formats of subject identifiers that the portal accepts (RFC 9493 3.2)."""

    ISS_SUB = "iss_sub"
    EMAIL = "email"
    OPAQUE = "opaque"


@dataclass(frozen=True, slots=True)
class RevocationSender:
    """The provider that sent a valid token.

    `acceptable_until`, in seconds since the epoch, UTC, is when the token becomes too old to be accepted.
    """

    provider: Provider
    issuer: str
    jti: str
    acceptable_until: float


@dataclass(frozen=True, slots=True)
class RevokedSubject:
    """Whose logins are to end: the user with this `sub` at the issuer, or with this e-mail address."""

    format: SubjectFormat
    value: str


def find_registration(token: Secret, providers: Iterable[Provider]) -> Provider:
    """Return the registration with the token's issuer. Verifies nothing.

    Raises: RevocationTokenRejected when the token cannot be read, or is of none of these providers.
    """
    if len(token.reveal()) > LARGEST:
        raise RevocationTokenRejected("size", length_of("the token", token.reveal(), LARGEST))
    with _as_revocation_token(None):
        claims = jws.stored_claims(token.reveal())
        rejection = IdTokenRejected("iss", "no provider of the tenant may send this request")
        for provider in providers:
            try:
                id_token.check_issuer(claims, provider)
            except IdTokenRejected as error:
                rejection = error
            else:
                return provider
        raise rejection


def validate(
    token: Secret, provider: Provider, keys: KeySet, *, audience: str, now: float
) -> RevocationSender:
    """Validate the token of a request. Its `typ` is required, so that no other token is accepted as one.

    Parameters: audience, the URL of the endpoint; now, seconds since the epoch, UTC.
    Raises: RevocationKeyUnknown when no key matches, else RevocationTokenRejected.
    """
    with _as_revocation_token(provider):
        # RFC 8725 3.11; the signature as for ID tokens
        claims, _, _ = id_token.signed_claims(token, provider, keys, typ=TYPE)
        typ = jws.stated_type(token.reveal())
        if not isinstance(typ, str) or not typ.lower().endswith(TYPE):
            raise IdTokenRejected("typ", mismatch("typ", typ, TYPE))
        id_token.check_issuer(claims, provider)
        # RFC 7519 4.1.3; nothing else may be named, as for the audience of a client assertion (RFC 7523 3)
        audiences = id_token.audiences_of(claims)
        if audiences != [audience]:
            raise IdTokenRejected("aud", mismatch("aud", audiences, audience))
        id_token.check_times(claims, now)
        issued_at = id_token.time_of(claims, "iat")
        if now - issued_at > OLDEST + LEEWAY:
            raise IdTokenRejected("iat_too_old", id_token.times(claims, "iat", now))
        jti = check_jti(claims)
        expires_at = id_token.time_of(claims, "exp")
    return RevocationSender(
        provider=provider,
        issuer=str(claims["iss"]),
        jti=jti,
        acceptable_until=min(expires_at, issued_at + OLDEST) + LEEWAY,
    )


def read_subject(body: bytes, *, issuer: str) -> RevokedSubject:
    """Read the subject identifier of a request (RFC 9493 3.2): `sub_id`, or `subject` of earlier drafts.

    Parameters: issuer, that of the token: a provider may end only the logins of its own users.
    Raises: RevocationRequestRejected.
    """
    if len(body) > LARGEST:
        raise RevocationRequestRejected("size", f"the body has {len(body)} bytes; expected at most {LARGEST}")
    try:
        request = read_object(body)
    except JsonUnreadable as error:
        raise RevocationRequestRejected("body", f"the body is {error}") from error
    stated = [request[name] for name in ("sub_id", "subject") if name in request]
    if len(stated) != 1 or not isinstance(stated[0], dict):
        raise RevocationRequestRejected("sub_id", "expected one sub_id, which is an object")
    identifier = stated[0]
    match identifier.get("format"):
        case SubjectFormat.ISS_SUB:
            if identifier.get("iss") != issuer:
                raise RevocationRequestRejected("iss", mismatch("iss", identifier.get("iss"), issuer))
            return RevokedSubject(SubjectFormat.ISS_SUB, _subject_of(identifier.get("sub"), "sub"))
        case SubjectFormat.OPAQUE:
            return RevokedSubject(SubjectFormat.OPAQUE, _subject_of(identifier.get("id"), "id"))
        case SubjectFormat.EMAIL:
            return RevokedSubject(SubjectFormat.EMAIL, _email_of(identifier.get("email")))
    raise RevocationRequestRejected("format", "expected the format iss_sub, email or opaque")


def _subject_of(value: object, name: str) -> str:
    if not isinstance(value, str) or not id_token.is_identifier(value):
        raise RevocationRequestRejected(name, id_token.invalid_identifier(name, value))
    return value


def _email_of(value: object) -> str:
    if not isinstance(value, str) or not 3 <= len(value) <= _LONGEST_EMAIL or "@" not in value:
        detail = f"email is {kind_of(value)}; expected an address of at most {_LONGEST_EMAIL} characters"
        raise RevocationRequestRejected("email", detail)
    return value


@contextlib.contextmanager
def _as_revocation_token(provider: Provider | None) -> Iterator[None]:
    """Raise RevocationTokenRejected in place of the errors of shared rules."""
    try:
        yield
    except IdTokenRejected as error:
        kind = RevocationKeyUnknown if isinstance(error, id_token.KeyUnknown) else RevocationTokenRejected
        detail = error.detail.partition(": ")[2]
        raise kind(error.rule, detail, provider=provider.id if provider else None) from error
