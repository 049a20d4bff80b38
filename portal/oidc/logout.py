"""Logout at the provider (OpenID Connect RP-Initiated Logout 1.0)."""

from __future__ import annotations

from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from portal.oidc.provider import Provider, ProviderMetadata
from portal.secret import Secret


def logout_url(
    provider: Provider,
    metadata: ProviderMetadata,
    *,
    id_token: Secret | None,
    post_logout_redirect_uri: str,
    state: str,
) -> str | None:
    """Return the URL at which the user signs out of the provider; None when the provider has none.

    `provider.logout_template` serves providers without a (standard) `end_session_endpoint`; it has no
    `state`.
    """
    if metadata.end_session_endpoint is None or provider.ignores_end_session_endpoint:
        return _from_template(provider, post_logout_redirect_uri)
    # RP-Initiated Logout 2
    parameters = [
        ("client_id", provider.client_id),
        ("post_logout_redirect_uri", post_logout_redirect_uri),
        ("state", state),
    ]
    if id_token is not None and provider.logout_id_token_hint:
        parameters.insert(0, ("id_token_hint", id_token.reveal()))
    parts = urlsplit(metadata.end_session_endpoint)
    query = urlencode(parameters, quote_via=quote)
    joined = f"{parts.query}&{query}" if parts.query else query
    return urlunsplit((parts.scheme, parts.netloc, parts.path, joined, ""))


def _from_template(provider: Provider, post_logout_redirect_uri: str) -> str | None:
    if provider.logout_template is None:
        return None
    return provider.logout_template.replace("{client_id}", quote(provider.client_id, safe="")).replace(
        "{return_to}", quote(post_logout_redirect_uri, safe="")
    )
