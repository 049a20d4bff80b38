"""Adopts the ID token of a refresh response, or keeps the previous one (OIDC Core 12.2)."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from typing import Protocol

import structlog

from portal.errors import PortalError
from portal.oidc import id_token
from portal.oidc.errors import IdTokenRejected, RefreshRejected
from portal.oidc.id_token import RefreshExpectations
from portal.oidc.provider import Provider, Refreshed, TokenSet

_log = structlog.get_logger("portal.oidc")


class Validate(Protocol):
    """Validates the ID token of a new token set."""

    def __call__(self, new: TokenSet, /, *, expected: RefreshExpectations) -> Awaitable[Refreshed]:
        """Raises: IdTokenRejected, and what fetching the keys raises."""


async def adopt(
    provider: Provider, new: TokenSet, previous: TokenSet, *, subject: str, validate: Validate
) -> Refreshed:
    """Return the refreshed token set with its ID token, or with the previous one if it has no valid one.

    Parameters: subject, `sub` of the login.
    Raises: RefreshRejected, the new ID token is of another login.
    """
    if new.id_token is None:
        return Refreshed(replace(new, id_token=previous.id_token))
    expected = RefreshExpectations(subject=subject, previous=previous.id_token, access_token=new.access_token)
    try:
        return await validate(new, expected=expected)
    except PortalError as error:
        if isinstance(error, IdTokenRejected) and error.rule in id_token.RULES_OF_ANOTHER_LOGIN:
            raise RefreshRejected(error.detail) from error
        _log.warning(
            "id_token_not_adopted",
            tenant=provider.tenant,
            provider=provider.id,
            code=error.code,
            rule=getattr(error, "rule", error.code),
            detail=error.detail,
        )
        return Refreshed(replace(new, id_token=previous.id_token))
