"""Token revocation (RFC 7009)."""

from __future__ import annotations

from portal.oidc.client_authentication import AuthenticateClient, credentials
from portal.oidc.provider import Provider, ProviderMetadata
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
) -> bool:
    """Revoke a token. Return False when the provider has no revocation endpoint.

    Parameters: hint, `refresh_token` or `access_token` (RFC 7009 2.1); authenticate_client, makes the
    credentials.
    Raises: TokenRequestRejected, TokenResponseMalformed, ClientKeyMissing, OutboundRefused,
    ProviderUnavailable.
    """
    if metadata.revocation_endpoint is None:
        return False
    fields = [("token", token.reveal()), ("token_type_hint", hint)]
    await send_form(
        http,
        provider,
        metadata.revocation_endpoint,
        fields,
        token_endpoint=metadata.token_endpoint,
        secrets=(token,),
        authenticate_client=authenticate_client,
        endpoint="revocation",
    )
    return True
