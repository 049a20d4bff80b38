"""Revokes the tokens of a sign-in that was not accepted, or was only a test (RFC 7009)."""

from __future__ import annotations

import asyncio

import structlog

from portal.errors import PortalError
from portal.oidc.provider import Provider, TokenSet
from portal.oidc.relying_party import RelyingParty

_log = structlog.get_logger("portal.sessions")

REVOKE_SECONDS = 5.0


async def revoke_tokens(relying_party: RelyingParty, provider: Provider, tokens: TokenSet) -> None:
    """Revoke a token set without a login; gives up after REVOKE_SECONDS and logs a failure."""
    token = tokens.refresh_token or tokens.access_token
    hint = "refresh_token" if tokens.refresh_token else "access_token"
    try:
        async with asyncio.timeout(REVOKE_SECONDS):
            await relying_party.revoke(provider, token, hint=hint)
    except (PortalError, TimeoutError) as error:
        _log.warning(
            "revocation_failed", tenant=provider.tenant, provider=provider.id, error=type(error).__name__
        )
