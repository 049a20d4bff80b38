"""Applies access rules to logins.

The current rules of the tenant are evaluated on the claims that are or will be stored: at sign-in, on the
claims of the ID token and of UserInfo; at a refresh that returns a valid ID token, on the claims that
`adopted_claims` merges; and whenever a login is read. So a changed rule applies to the next request, and to
running calls at their next check (see `portal.web.api_proxy.live_calls`).
"""

from __future__ import annotations

import asyncio

import structlog

from portal.access.rules import Refusal, sign_in_refusal
from portal.errors import PortalError, SignInNotAllowed
from portal.oidc.provider import Authentication, Provider
from portal.sessions.directory import Directory, live_registration
from portal.sessions.refresh import TokenRefresher
from portal.single_flight import SingleFlight
from portal.stores.model import Login
from portal.stores.store import Store

_log = structlog.get_logger("portal.access")

_MAX_ENDING = 64
"""Logins that are ended at the same time; the others are ended when they are next read."""


def refusal_of(directory: Directory, login: Login) -> Refusal | None:
    """The access rule that the stored claims of a login do not satisfy; None when they satisfy all."""
    return sign_in_refusal(directory.access(login.tenant, login.provider), login.claims)


def require_access(directory: Directory, provider: Provider, authentication: Authentication) -> None:
    """Raise SignInNotAllowed unless the claims satisfy the access rules."""
    refusal = sign_in_refusal(directory.access(provider.tenant, provider.id), authentication.claims)
    if refusal is not None:
        raise SignInNotAllowed(
            refusal.rule, refusal.found, provider=provider.id, claims=authentication.claims
        )


class AllowedLogins:
    """Ends the logins that the access rules no longer allow."""

    def __init__(self, *, store: Store, tokens: TokenRefresher, directory: Directory) -> None:
        self._store = store
        self._tokens = tokens
        self._directory = directory
        self._ending: SingleFlight[str, None] = SingleFlight()

    def allows(self, login: Login) -> bool:
        """Whether the rules allow a login. If not, deletes it and revokes its tokens in the background."""
        refusal = refusal_of(self._directory, login)
        if refusal is None:
            return True
        if len(self._ending) < _MAX_ENDING:
            self._ending.join(login.id, lambda: self._end(login, refusal))
        return False

    async def wait_until_idle(self, seconds: float) -> None:
        """For a graceful stop: wait at most `seconds` for the logins that are being ended."""
        if ending := self._ending.tasks:
            await asyncio.wait(ending, timeout=seconds)

    async def _end(self, login: Login, refusal: Refusal) -> None:
        provider = live_registration(self._directory, login)
        try:
            deleted = await self._store.delete_login(login.session, login.tenant, tokens=login.tokens)
            if deleted is None:
                return
            _log.warning(
                "login_no_longer_allowed",
                tenant=login.tenant,
                provider=login.provider,
                rule=refusal.rule,
                found=refusal.found,
            )
            tokens = self._tokens.open(deleted)
        except PortalError as error:
            _log.warning("login_not_ended", tenant=login.tenant, code=error.code)
            return
        finally:
            self._tokens.forget(login.id)
        if provider is not None:
            await self._tokens.revoke(tokens, provider)
