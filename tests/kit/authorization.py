"""Authorization requests of the plain kind: nothing is pushed or signed."""

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
    """Make an authorization request whose parameters are all in its URL; parameters as `draft`."""
    drafted = draft(provider, redirect_uri=redirect_uri, options=options)
    return drafted.sent_as(request_url(metadata, fit_for_url(drafted.parameters)), now=START)
