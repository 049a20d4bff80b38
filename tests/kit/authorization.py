"""Plain authorization requests: neither pushed nor signed."""

from __future__ import annotations

from portal.oidc.authorization import AuthorizationOptions, draft, fit_for_url, request_url
from portal.oidc.provider import AuthorizationRequest, Provider, ProviderMetadata
from tests.kit.samples import START


def build_request(
    provider: Provider,
    metadata: ProviderMetadata,
    *,
    redirect_uri: str,
    options: AuthorizationOptions | None = None,
) -> AuthorizationRequest:
    """Build an authorization request with all parameters in its URL; arguments as for `draft`."""
    drafted = draft(provider, redirect_uri=redirect_uri, options=options)
    return drafted.sent_as(request_url(metadata, fit_for_url(drafted.parameters)), now=START)
