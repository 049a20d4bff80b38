"""Client authentication at a provider (OIDC Core 9, RFC 6749 2.3, RFC 7523, RFC 8705).

One function serves all authenticated endpoints: token, revocation, pushed authorization request.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote_plus

from jose import jws

from portal.clock import Clock
from portal.oidc.client_keys import ClientKeys
from portal.oidc.errors import TokenRequestRejected
from portal.oidc.provider import AUTHENTICATED_ENDPOINTS, AssertionAudience, ClientAuth, Provider
from portal.oidc.provider_signature import sign_for
from portal.outbound.url_rules import same_origin
from portal.secret import Secret

ASSERTION_LIFETIME = 60
"""Seconds for which a client assertion is valid."""
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"""RFC 7523 2.2."""
SHORTEST_MAC_SECRET = 32
"""Minimum length, in bytes, of a client secret that is used as an HS256 key (RFC 7518 3.2)."""
_BY_SECRET = (ClientAuth.CLIENT_SECRET_BASIC, ClientAuth.CLIENT_SECRET_POST, ClientAuth.CLIENT_SECRET_JWT)


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """The client credentials of one request; valid for that request only. Secret, so it has no repr."""

    headers: Sequence[tuple[str, str]] = ()
    """Headers to add."""
    fields: Sequence[tuple[str, str]] = ()
    """Form fields to add."""

    def secrets(self) -> tuple[str, ...]:
        """Return the parts that must not appear in an error."""
        hidden = {"client_secret", "client_assertion"}
        values = [value.rpartition(" ")[2] for _, value in self.headers]
        return (*values, *(value for name, value in self.fields if name in hidden))


class AuthenticateClient(Protocol):
    """Makes the credentials of one request to a provider: `credentials` with the portal's keys and clock."""

    def __call__(self, provider: Provider, *, audience: str, secret: Secret | None = None) -> Credentials:
        """Parameters: audience, see `assertion_audience`; secret, as in `credentials`."""
        ...


def authenticates_by_secret(provider: Provider) -> bool:
    """Whether one of `Provider.client_secrets` authenticates the client."""
    return provider.client_auth in _BY_SECRET and provider.secret_signer is None


def assertion_audience(provider: Provider, url: str, token_endpoint: str) -> str:
    """Return the `aud` of an assertion in a request to this URL, as the registration configures it.

    An assertion must be sent only to the server that its audience names. When `url` and the token endpoint
    have different origins, the audience is therefore `url`: the metadata of a hostile provider may contain
    the token endpoint of another provider and a pushed request or revocation endpoint of the attacker.
    """
    match provider.assertion_audience:
        case AssertionAudience.ISSUER:
            return provider.issuer
        case AssertionAudience.TOKEN_ENDPOINT if same_origin(url, token_endpoint):
            return token_endpoint
    return url


def credentials(
    provider: Provider,
    client_keys: ClientKeys | None = None,
    *,
    audience: str | None = None,
    secret: Secret | None = None,
    clock: Clock = time.time,
) -> Credentials:
    """Return the credentials of one request to the provider.

    Parameters: client_keys, required for private_key_jwt; audience, `aud` of an assertion, None for the
    issuer; secret, the one of the client's secrets to use (default: the one that was accepted last); clock,
    seconds since the epoch, UTC.
    Raises: TokenRequestRejected (`invalid_client`) when the required secret or certificate is missing, or an
    assertion for the issuer would be sent to another server; ClientKeyMissing.
    """
    match provider.client_auth:
        case ClientAuth.NONE:
            return Credentials(fields=(("client_id", provider.client_id),))
        case ClientAuth.PRIVATE_KEY_JWT:
            if not provider.client_key:
                _check_destinations(provider)
            claims = _assertion_claims(provider, audience, clock())
            return _asserted(provider, sign_for(provider, claims, client_keys))
        case ClientAuth.TLS_CLIENT_AUTH | ClientAuth.SELF_SIGNED_TLS_CLIENT_AUTH:
            if provider.client_certificate is None:
                raise _missing(provider, "a client certificate")
            # RFC 8705 2: the client_id identifies the client of the certificate
            return Credentials(fields=(("client_id", provider.client_id),))
    if secret is None:
        secret = next(iter(provider.client_secrets), None)
    if provider.secret_signer is not None:
        secret = provider.secret_signer.client_secret(
            client_id=provider.client_id, audience=provider.issuer, now=clock()
        )
    if secret is None:
        raise _missing(provider, "a client secret")
    return _with_secret(provider, secret.reveal(), audience, clock)


def _with_secret(provider: Provider, secret: str, audience: str | None, clock: Clock) -> Credentials:
    if provider.client_auth is ClientAuth.CLIENT_SECRET_POST:
        return Credentials(fields=(("client_id", provider.client_id), ("client_secret", secret)))
    if provider.client_auth is ClientAuth.CLIENT_SECRET_JWT:
        if len(secret.encode()) < SHORTEST_MAC_SECRET:
            raise _missing(provider, f"a client secret of at least {SHORTEST_MAC_SECRET} bytes")
        claims = _assertion_claims(provider, audience, clock())
        return _asserted(provider, jws.sign(claims, secret, algorithm="HS256"))
    # RFC 6749 2.3.1: both form-urlencoded before they are joined
    pair = f"{quote_plus(provider.client_id)}:{quote_plus(secret)}"
    return Credentials(headers=(("Authorization", "Basic " + base64.b64encode(pair.encode()).decode()),))


def _assertion_claims(provider: Provider, audience: str | None, now: float) -> dict[str, object]:
    """Return the claims of an assertion (OIDC Core 9)."""
    return {
        "iss": provider.client_id,
        "sub": provider.client_id,
        "aud": audience or provider.issuer,
        "jti": secrets.token_urlsafe(24),
        "iat": int(now),
        "exp": int(now) + ASSERTION_LIFETIME,
    }


def _check_destinations(provider: Provider) -> None:
    """Reject endpoints in the tenant file whose origin is not the issuer's.

    Registrations without their own key share the portal's keys. A tenant file with the issuer and client of
    another tenant and a token endpoint of the attacker would otherwise obtain an assertion that is valid at
    that issuer. Endpoints from the issuer's own metadata may have any origin.
    """
    for name in AUTHENTICATED_ENDPOINTS:
        url = getattr(provider.endpoints, name)
        if url is not None and not same_origin(url, provider.issuer):
            detail = f"endpoints.{name} is not at the issuer, for which private_key_jwt signs"
            raise TokenRequestRejected("invalid_client", detail)


def _asserted(provider: Provider, assertion: str) -> Credentials:
    return Credentials(
        fields=(
            ("client_id", provider.client_id),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion),
        )
    )


def _missing(provider: Provider, what: str) -> TokenRequestRejected:
    detail = f"{provider.client_auth.value} needs {what}, and none is configured"
    return TokenRequestRejected("invalid_client", detail)
