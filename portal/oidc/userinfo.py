"""The UserInfo endpoint (OIDC Core 5.3): further claims about the user that an ID token names.

Reading the response is without I/O. Aggregated and distributed claims (OIDC Core 5.6.2) are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from portal.oidc.dpop import DpopProver, wants_nonce
from portal.oidc.errors import (
    MetadataRejected,
    ProviderUnavailable,
    UserInfoRejected,
    UserInfoSubjectMismatch,
)
from portal.oidc.id_token import LEEWAY, Claims, signed_claims, time_of, times
from portal.oidc.id_token import needs_no_keys as _needs_no_keys
from portal.oidc.jose.json_reading import JsonUnreadable, read_object
from portal.oidc.keys import KeySet
from portal.oidc.provider import Provider, ProviderMetadata, TokenSet
from portal.oidc.provider_call import get_once
from portal.oidc.quoting import address, kind_of, listed, mismatch, quoted
from portal.oidc.verified_claims import merge_claims
from portal.outbound.client import OutboundClient, OutboundResponse
from portal.outbound.tls import Tls
from portal.secret import Secret

LARGEST = 65_536
"""Maximum size of a response in bytes."""

PROTOCOL_CLAIMS = frozenset(
    {
        *("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "nonce", "azp", "sid"),
        *("auth_time", "acr", "amr", "at_hash", "c_hash", "s_hash", "tid", "events", "cnf"),
        *("_claim_names", "_claim_sources", "session_expiry"),
    }
)
"""Claims that only the ID token may provide (OIDC Core 2); ignored in UserInfo responses."""


@dataclass(frozen=True, slots=True)
class UserInfoRequest:
    """A request to the UserInfo endpoint.

    `dpop_prover` has the key that the access token is bound to (RFC 9449).
    """

    tenant: str
    endpoint: str
    tokens: TokenSet
    dpop_prover: DpopProver | None
    tls: Tls


def request(
    provider: Provider, metadata: ProviderMetadata, tokens: TokenSet, *, dpop_prover: DpopProver | None
) -> UserInfoRequest:
    """Make the request for the user of an access token.

    Raises: MetadataRejected when the provider has no UserInfo endpoint.
    """
    if metadata.userinfo_endpoint is None:
        raise MetadataRejected("userinfo_endpoint is missing; expected a URL (userinfo)")
    tls = Tls(provider.tls_authorities, provider.client_certificate)  # RFC 8705 3
    return UserInfoRequest(provider.tenant, metadata.userinfo_endpoint, tokens, dpop_prover, tls)


async def fetch(http: OutboundClient, request: UserInfoRequest) -> OutboundResponse:
    """Send a request; retry once after a time-out or server error.

    Raises: UserInfoRejected for another status than 200, OutboundRefused, ProviderUnavailable.
    """
    try:
        response = await _fetch_with_nonce(http, request)
    except ProviderUnavailable:
        response = await _fetch_with_nonce(http, request)
    if response.status != 200:
        responded = f"{address(request.endpoint)} responded with {response.status}"
        raise UserInfoRejected("status", f"{responded}; expected 200")
    return response


def is_signed(response: OutboundResponse) -> bool:
    """Whether the response is a signed token (OIDC Core 5.3.2)."""
    return _media_type(response) == "application/jwt"


def needs_no_keys(provider: Provider) -> bool:
    """Whether responses can be read without the provider's keys."""
    return not provider.userinfo or _needs_no_keys(_as_signer(provider))


def read(
    response: OutboundResponse, provider: Provider, keys: KeySet, *, id_token: Claims, now: float
) -> Claims:
    """Return the claims of a response that is about the user of the ID token.

    Parameters: id_token, its claims; now, seconds since the epoch, UTC.
    Raises: KeyUnknown when it is signed and no key matches; UserInfoSubjectMismatch; else UserInfoRejected.
    """
    if is_signed(response):
        claims = _signed_claims(response, provider, keys, issuer=id_token["iss"], now=now)
    elif provider.userinfo_algs is not None:
        expected = f"a token signed with {listed(provider.userinfo_algs)} (userinfo_algs)"
        raise UserInfoRejected("unsigned", f"the response is {_quoted_type(response)}; expected {expected}")
    else:
        claims = _plain_claims(response)
    sub = claims.get("sub")
    if not isinstance(sub, str):
        raise UserInfoRejected("sub", f"sub is {kind_of(sub)}; expected a text")
    # OIDC Core 5.3.2: otherwise the response MUST NOT be used
    if sub != id_token["sub"]:
        raise UserInfoSubjectMismatch("sub_differs", mismatch("sub", sub, id_token["sub"]))
    return claims


def merged(id_token: Claims, userinfo: Claims) -> Claims:
    """Merge the claims; the ID token takes precedence and is the only source of protocol claims."""
    added = {name: value for name, value in userinfo.items() if name not in PROTOCOL_CLAIMS}
    return merge_claims(id_token, added)


async def _fetch_with_nonce(http: OutboundClient, request: UserInfoRequest) -> OutboundResponse:
    response, has_nonce = await _fetch_once(http, request)
    if has_nonce and wants_nonce(response.status, response.header_list):
        response, _ = await _fetch_once(http, request)  # RFC 9449 9
    return response


async def _fetch_once(http: OutboundClient, request: UserInfoRequest) -> tuple[OutboundResponse, bool]:
    """Return the response, and whether it has a DPoP nonce."""
    token, dpop_prover = request.tokens.access_token.reveal(), request.dpop_prover
    headers = [("Authorization", f"{request.tokens.token_type} {token}")]
    if dpop_prover is not None:
        headers.append(("DPoP", dpop_prover.proof("GET", request.endpoint, access_token=token)))
    response = await get_once(
        http,
        request.endpoint,
        tenant=request.tenant,
        endpoint="userinfo",
        headers=headers,
        max_bytes=LARGEST,
        tls=request.tls,
    )
    has_nonce = dpop_prover is not None and dpop_prover.store_nonce(request.endpoint, response.header_list)
    return response, has_nonce


def _plain_claims(response: OutboundResponse) -> Claims:
    if _media_type(response) != "application/json":
        expected = "expected application/json or application/jwt"
        raise UserInfoRejected("content_type", f"the response is {_quoted_type(response)}; {expected}")
    try:
        return read_object(response.body)
    except JsonUnreadable as error:
        raise UserInfoRejected("form", f"the response cannot be read: {error}") from error


def _signed_claims(
    response: OutboundResponse, provider: Provider, keys: KeySet, *, issuer: object, now: float
) -> Claims:
    try:
        token = Secret(response.body.decode("ascii").strip())
    except UnicodeDecodeError as error:
        raise UserInfoRejected("form", "the response is not a token") from error
    setting = "id_token_algs" if provider.userinfo_algs is None else "userinfo_algs"
    claims, _, _ = signed_claims(token, _as_signer(provider), keys, setting=setting)
    # OIDC Core 5.3.2: if present, iss is the provider's issuer, and aud is or includes the client
    if claims.get("iss", issuer) != issuer:
        raise UserInfoRejected("iss", mismatch("iss", claims["iss"], issuer))
    aud = claims.get("aud", provider.client_id)
    if provider.client_id not in (aud if isinstance(aud, list) else [aud]):
        raise UserInfoRejected("aud", mismatch("aud", aud, provider.client_id))
    if "exp" in claims and now >= time_of(claims, "exp") + LEEWAY:
        raise UserInfoRejected("exp", times(claims, "exp", now))
    return claims


def _as_signer(provider: Provider) -> Provider:
    """Return the provider with `userinfo_algs`, if configured, in place of `id_token_algs`."""
    return replace(provider, id_token_algs=provider.userinfo_algs or provider.id_token_algs)


def _media_type(response: OutboundResponse) -> str:
    return (response.header("Content-Type") or "").partition(";")[0].strip().lower()


def _quoted_type(response: OutboundResponse) -> str:
    return quoted(response.header("Content-Type") or "of no type")
