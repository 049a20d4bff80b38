"""Revokes the tokens of a login that has ended, or of a sign-in that was not accepted (RFC 7009)."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable

import structlog

from portal.errors import PortalError
from portal.oidc.provider import Provider, TokenSet
from portal.oidc.relying_party import RelyingParty
from portal.secret import Secret

_log = structlog.get_logger("portal.sessions")

REVOKE_SECONDS = 5.0
_AT_ONCE = 4
"""Requests of one login to its provider."""


async def revoke_tokens(relying_party: RelyingParty, provider: Provider, tokens: TokenSet) -> None:
    """Revoke a token set without a login; gives up after REVOKE_SECONDS and logs each failure.

    With the refresh token, the provider revokes the access tokens of the same grant (RFC 7009 2.1). Those for
    APIs that a login of their own has got are revoked one by one, after it.
    """
    token = tokens.refresh_token or tokens.access_token
    hint = "refresh_token" if tokens.refresh_token else "access_token"
    others = own_grants(tokens.api_tokens.values())
    await _revoke_each(
        relying_party, provider, [(token, hint), *((other, "access_token") for other in others)]
    )


async def revoke_access_tokens(
    relying_party: RelyingParty, provider: Provider, access_tokens: Collection[Secret]
) -> None:
    """Revoke access tokens of grants of their own, as `revoke_tokens`."""
    await _revoke_each(relying_party, provider, [(token, "access_token") for token in access_tokens])


def own_grants(api_tokens: Iterable[TokenSet]) -> list[Secret]:
    """Those access tokens for APIs that the provider does not revoke with the refresh token of the login."""
    return [one.access_token for one in api_tokens if one.own_grant]


async def _revoke_each(
    relying_party: RelyingParty, provider: Provider, tokens: Collection[tuple[Secret, str]]
) -> None:
    turns = asyncio.Semaphore(_AT_ONCE)

    async def revoke(token: Secret, hint: str) -> None:
        async with turns:
            try:
                await relying_party.revoke(provider, token, hint=hint)
            except PortalError as error:
                _log_failure(provider, error)

    try:
        async with asyncio.timeout(REVOKE_SECONDS):
            await asyncio.gather(*(revoke(token, hint) for token, hint in tokens))
    except TimeoutError as error:
        _log_failure(provider, error)


def _log_failure(provider: Provider, error: Exception) -> None:
    _log.warning(
        "revocation_failed", tenant=provider.tenant, provider=provider.id, error=type(error).__name__
    )
