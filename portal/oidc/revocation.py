"""Token revocation (RFC 7009)."""

from __future__ import annotations

from portal.oidc.client_authentication import AuthenticateClient, credentials
from portal.oidc.provider import Provider, ProviderMetadata
from portal.oidc.provider_health import UNRECORDED, ProviderCalls
from portal.oidc.token_endpoint import send_form
from portal.outbound.client import OutboundClient
from portal.secret import Secret


async def revoke(
    http: OutboundClient,
    provider: Provider,
    metadata: ProviderMetadata,
    token: Secret,
    *,
    hint: str,
    authenticate_client: AuthenticateClient = credentials,
    calls: ProviderCalls = UNRECORDED,
) -> bool:
    """Revoke a token. Return False when the provider has no revocation endpoint.

    Parameters: hint, `refresh_token` or `access_token` (RFC 7009 2.1); authenticate_client, makes the
    credentials; calls, learns of the request.
    Raises: TokenRequestRejected, TokenResponseMalformed, ClientKeyMissing, OutboundRefused,
    ProviderUnavailable.
    """
    if metadata.revocation_endpoint is None:
        return False
    fields = [("token", token.reveal()), ("token_type_hint", hint)]
    sent = send_form(
        http,
        provider,
        metadata.revocation_endpoint,
        fields,
        token_endpoint=metadata.token_endpoint,
        secrets=(token,),
        authenticate_client=authenticate_client,
        endpoint="revocation",
    )
    await calls.record(provider, sent)
    return True
