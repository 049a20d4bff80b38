"""Signs (RFC 9101) and pushes (RFC 9126) authorization requests.

Nobody can change a signed request; the parameters of a pushed request do not pass through the browser.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence

from portal.clock import Clock
from portal.oidc import token_endpoint
from portal.oidc.client_authentication import AuthenticateClient, credentials
from portal.oidc.client_keys import ClientKeys
from portal.oidc.errors import (
    MetadataRejected,
    ProviderUnavailable,
    PushedRequestRejected,
    TokenRequestRejected,
    TokenResponseMalformed,
)
from portal.oidc.jose.json_reading import JsonUnreadable, read_object
from portal.oidc.provider import REGISTERED_CLAIMS, Provider, ProviderMetadata
from portal.oidc.provider_health import UNRECORDED, ProviderCalls
from portal.oidc.provider_signature import sign_for
from portal.oidc.quoting import kind_of, quoted
from portal.oidc.recent_failures import RecentFailures
from portal.outbound.client import OutboundClient, OutboundResponse
from portal.secret import Secret

Parameters = Sequence[tuple[str, str]]

TYPE = "oauth-authz-req+jwt"
LIFETIME = 300
"""Seconds for which a signed request is valid."""

_NUMBERS = frozenset({"max_age"})
_OBJECTS = frozenset({"claims"})
_REQUEST_URI = re.compile(r"[\x21-\x7e]{1,2048}")


def is_pushed(provider: Provider, metadata: ProviderMetadata) -> bool:
    """Whether the request is pushed: configured by the tenant, or required by the provider (RFC 9126 5)."""
    return provider.par or metadata.pushed_requests_required


def signed(
    provider: Provider, parameters: Parameters, *, client_keys: ClientKeys | None, now: float, pushed: bool
) -> list[tuple[str, str]]:
    """Sign a request. Return the parameters to send instead.

    Parameters: client_keys, the portal's signing keys; now, seconds since the epoch, UTC; pushed, whether
    the signed request is pushed.
    Raises: ClientKeyMissing.
    """
    token = sign_for(provider, request_claims(provider, parameters, now=now), client_keys, typ=TYPE)
    return _sent_values(provider, parameters, token, pushed=pushed)


class RequestPusher:
    """Pushes requests; fails at once if the provider was unavailable a short time ago.

    Parameters: http, the guarded client; clock, seconds since the epoch, UTC; authenticate_client, makes the
    credentials; calls, learns of each request.
    """

    def __init__(
        self,
        http: OutboundClient,
        *,
        clock: Clock,
        authenticate_client: AuthenticateClient,
        calls: ProviderCalls = UNRECORDED,
    ) -> None:
        self._http = http
        self._calls = calls
        self._clock = clock
        self._authenticate_client = authenticate_client
        self._failures = RecentFailures(clock)

    async def push(
        self, provider: Provider, metadata: ProviderMetadata, parameters: Parameters, *, has_login_hint: bool
    ) -> list[tuple[str, str]]:
        """As the function `push`.

        Parameters: has_login_hint, whether there is a `login_hint`. A hint is untrusted text: when the
        provider fails with one, requests without a hint must not be blocked.
        """
        key, began = (provider.key, has_login_hint), self._clock()
        self._failures.check(key, provider)
        try:
            sent = push(
                self._http, provider, metadata, parameters, authenticate_client=self._authenticate_client
            )
            pushed = await self._calls.record(provider, sent)
        except ProviderUnavailable as error:
            self._failures.remember(key, error, provider, owner=provider.tenant, began=began)
            raise
        self._failures.forget(key)
        return pushed


async def push(
    http: OutboundClient,
    provider: Provider,
    metadata: ProviderMetadata,
    parameters: Parameters,
    *,
    authenticate_client: AuthenticateClient = credentials,
) -> list[tuple[str, str]]:
    """Push a request. Return the only parameters of the URL (RFC 9126 4).

    The client authenticates as at the token endpoint (RFC 9126 2.1).
    Parameters: authenticate_client, makes the credentials.
    Raises: MetadataRejected when the provider has no such endpoint, PushedRequestRejected,
    ClientKeyMissing, OutboundRefused, ProviderUnavailable.
    """
    endpoint = metadata.pushed_authorization_request_endpoint
    if endpoint is None:
        raise MetadataRejected("pushed_authorization_request_endpoint is missing; expected a URL (par)")
    hidden = [Secret(value) for name, value in parameters if name in {"state", "nonce", "id_token_hint"}]
    try:
        response = await token_endpoint.send_form(
            http,
            provider,
            endpoint,
            parameters,
            token_endpoint=metadata.token_endpoint,
            secrets=hidden,
            authenticate_client=authenticate_client,
            endpoint="par",
        )
    except TokenRequestRejected as error:
        raise PushedRequestRejected(error.error, error.detail) from error
    except TokenResponseMalformed as error:
        raise PushedRequestRejected("unknown_error", error.detail) from error
    return [("client_id", provider.client_id), ("request_uri", _request_uri(response))]


def request_claims(provider: Provider, parameters: Parameters, *, now: float) -> dict[str, object]:
    """Return the claims of a signed request: its parameters, issuer, audience and lifetime (RFC 9101 4).

    Never `sub` (RFC 9101 10.8): tenants without their own signing key share one.

    Parameters: now, seconds since the epoch, UTC.
    """
    claims: dict[str, object] = {}
    for name, value in parameters:
        if name in REGISTERED_CLAIMS:
            continue
        claims[name] = _joined(claims.get(name), _value(name, value))
    issued_at = int(now)
    return claims | {
        "iss": provider.client_id,
        "aud": provider.issuer,
        "iat": issued_at,
        "nbf": issued_at,
        "exp": issued_at + LIFETIME,
        "jti": secrets.token_urlsafe(16),
    }


def _sent_values(
    provider: Provider, parameters: Parameters, signed: str, *, pushed: bool
) -> list[tuple[str, str]]:
    """Return the parameters to send with a signed request.

    Pushed: only `client_id` (RFC 9126 3). In a URL: also those that OAuth 2.0 requires (OIDC Core 6.1),
    although providers ignore their values (RFC 9101 6.3).
    """
    sent = [("client_id", provider.client_id)]
    if not pushed:
        sent += [(name, value) for name, value in parameters if name in {"response_type", "scope"}]
    return [*sent, ("request", signed)]


def _value(name: str, value: str) -> object:
    if name in _NUMBERS:
        return int(value)
    return json.loads(value) if name in _OBJECTS else value


def _joined(existing: object, value: object) -> object:
    """Collect the values of a repeated parameter in a list (RFC 8707 2: `resource`)."""
    if existing is None:
        return value
    return [*existing, value] if isinstance(existing, list) else [existing, value]


def _request_uri(response: OutboundResponse) -> str:
    # RFC 9126 2.2
    try:
        document = read_object(response.body)
    except JsonUnreadable as error:
        raise PushedRequestRejected("unknown_error", f"the response cannot be read: {error}") from error
    request_uri, expires_in = document.get("request_uri"), document.get("expires_in")
    if not isinstance(request_uri, str) or not _REQUEST_URI.fullmatch(request_uri):
        detail = f"request_uri is {kind_of(request_uri)}; expected visible ASCII characters"
        raise PushedRequestRejected("unknown_error", detail)
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float) or expires_in <= 0:
        received = kind_of(expires_in) if isinstance(expires_in, str) else quoted(expires_in)
        detail = f"expires_in is {received}; expected a number of seconds above 0"
        raise PushedRequestRejected("unknown_error", detail)
    return request_uri
