"""Pushed authorization requests (RFC 9126): their parameters do not travel through the browser."""

from __future__ import annotations

import re
from collections.abc import Sequence

from portal.oidc import token_endpoint
from portal.oidc.client_authentication import Prove, credentials
from portal.oidc.errors import (
    MetadataRejected,
    PushedRequestRejected,
    TokenRequestRejected,
    TokenResponseMalformed,
)
from portal.oidc.json_reading import JsonUnreadable, read_object
from portal.oidc.provider import Provider, ProviderMetadata
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
    prove: Prove = credentials,
) -> list[tuple[str, str]]:
    """Push a request; what is returned is all that goes into the URL (RFC 9126 4).

    The client proves itself as at the token endpoint (RFC 9126 2.1).
    Parameters: prove, makes the credentials.
    Raises: MetadataRejected when the provider has no endpoint for it, PushedRequestRejected, OwnKeyMissing,
    OutboundRefused, ProviderUnavailable.
    """
    endpoint = metadata.pushed_authorization_request_endpoint
    if endpoint is None:
        raise MetadataRejected("pushed_authorization_request_endpoint is missing, and par is asked for")
    secrets = [Secret(value) for name, value in parameters if name in {"state", "nonce", "id_token_hint"}]
    try:
        answer = await token_endpoint.send_form(
            http,
            provider,
            endpoint,
            parameters,
            token_endpoint=metadata.token_endpoint,
            secrets=secrets,
            prove=prove,
        )
    except TokenRequestRejected as error:
        raise PushedRequestRejected(error.error, error.detail) from error
    except TokenResponseMalformed as error:
        raise PushedRequestRejected("unknown_error", error.detail) from error
    return [("client_id", provider.client_id), ("request_uri", _request_uri(answer))]


def _request_uri(answer: OutboundResponse) -> str:
    # RFC 9126 2.2
    try:
        document = read_object(answer.body)
    except JsonUnreadable as error:
        raise PushedRequestRejected("unknown_error", f"the answer cannot be read: {error}") from error
    request_uri, expires_in = document.get("request_uri"), document.get("expires_in")
    if not isinstance(request_uri, str) or not _REQUEST_URI.fullmatch(request_uri):
        raise PushedRequestRejected("unknown_error", "request_uri is missing or not of visible characters")
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float) or expires_in <= 0:
        raise PushedRequestRejected("unknown_error", "expires_in is missing or not a number of seconds")
    return request_uri
