"""Pushed authorization requests (RFC 9126): their parameters do not travel through the browser."""

from __future__ import annotations

import re
from collections.abc import Sequence

from portal.oidc import token_endpoint
from portal.oidc.client_authentication import AuthenticateClient, credentials
from portal.oidc.errors import (
    MetadataRejected,
    PushedRequestRejected,
    TokenRequestRejected,
    TokenResponseMalformed,
)
from portal.oidc.jose.json_reading import JsonUnreadable, read_object
from portal.oidc.provider import Provider, ProviderMetadata
from portal.oidc.quoting import kind_of, quoted
from portal.outbound.client import OutboundClient, OutboundResponse
from portal.secret import Secret

_REQUEST_URI = re.compile(r"[\x21-\x7e]{1,2048}")


def is_pushed(provider: Provider, metadata: ProviderMetadata) -> bool:
    """Whether the request is pushed: the tenant asks for it, or the provider insists (RFC 9126 5)."""
    return provider.par or metadata.pushed_requests_required


async def push(
    http: OutboundClient,
    provider: Provider,
    metadata: ProviderMetadata,
    parameters: Sequence[tuple[str, str]],
    *,
    authenticate_client: AuthenticateClient = credentials,
) -> list[tuple[str, str]]:
    """Push a request; what is returned is all that goes into the URL (RFC 9126 4).

    The client proves itself as at the token endpoint (RFC 9126 2.1).
    Parameters: authenticate_client, makes the credentials.
    Raises: MetadataRejected when the provider has no endpoint for it, PushedRequestRejected,
    ClientKeyMissing, OutboundRefused, ProviderUnavailable.
    """
    endpoint = metadata.pushed_authorization_request_endpoint
    if endpoint is None:
        raise MetadataRejected("pushed_authorization_request_endpoint is missing; expected a URL (par)")
    secrets = [Secret(value) for name, value in parameters if name in {"state", "nonce", "id_token_hint"}]
    try:
        response = await token_endpoint.send_form(
            http,
            provider,
            endpoint,
            parameters,
            token_endpoint=metadata.token_endpoint,
            secrets=secrets,
            authenticate_client=authenticate_client,
        )
    except TokenRequestRejected as error:
        raise PushedRequestRejected(error.error, error.detail) from error
    except TokenResponseMalformed as error:
        raise PushedRequestRejected("unknown_error", error.detail) from error
    return [("client_id", provider.client_id), ("request_uri", _request_uri(response))]


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
        shown = kind_of(expires_in) if isinstance(expires_in, str) else quoted(expires_in)
        detail = f"expires_in is {shown}; expected a number of seconds above 0"
        raise PushedRequestRejected("unknown_error", detail)
    return request_uri
