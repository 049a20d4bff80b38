"""Logouts: delete the login, revoke its tokens, then redirect the browser to the provider's logout."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import structlog

from portal.clock import Clock
from portal.errors import PortalError, VaultError
from portal.keys.vault import Vault
from portal.oidc.provider import Provider, TokenSet
from portal.oidc.relying_party import RelyingParty
from portal.sessions.credentials import digest, is_binding
from portal.sessions.directory import Directory, live_registration
from portal.sessions.refresh import TokenRefresher
from portal.stores.model import Login, LogoutStep, Session, login_id
from portal.stores.store import Store

_log = structlog.get_logger("portal.logout")

_STEP_SECONDS = 600.0
_PROVIDER_SECONDS = 5.0
"""How long a logout waits for a provider; the login is already deleted."""

_REVOKED_AT_ONCE = 10
"""Each login sends a request to its provider."""


@dataclass(frozen=True, slots=True)
class _ProviderLogout:
    tenant: str
    state: str
    url: str


class LogoutService:
    """Ends one login or all logins of a session, and redirects the browser to each provider's logout."""

    def __init__(
        self,
        *,
        store: Store,
        vault: Vault,
        relying_party: RelyingParty,
        directory: Directory,
        tokens: TokenRefresher,
        clock: Clock,
    ) -> None:
        self._store = store
        self._vault = vault
        self._relying_party = relying_party
        self._directory = directory
        self._tokens = tokens
        self._clock = clock

    async def end_login(
        self,
        session: Session,
        tenant: str,
        *,
        signed_out_url: Callable[[str], str],
        binding: str,
        after: str = "",
        ended: Callable[[Login], None] = lambda login: None,
    ) -> str | None:
        """Sign out of one tenant; return the provider's logout URL, or None when it has none.

        `signed_out_url` gives the `post_logout_redirect_uri` of a tenant. Parameters: after, the page of the
        portal to which `next_step` leads when the browser returns from the provider; ended, called with the
        login if this call has deleted it: of two at the same time, only one does.
        """
        login = await self._store.delete_login(session.id, tenant)
        if login is not None:
            ended(login)
        return await self._start_provider_logouts([login] if login else [], signed_out_url, binding, after)

    async def end_session(
        self,
        session: Session,
        *,
        signed_out_url: Callable[[str], str],
        binding: str,
        ended: Callable[[Login], None] = lambda login: None,
    ) -> str | None:
        """Sign out everywhere; return the first provider's logout URL. The others follow from there.

        Parameters: ended, called with each login that this call has deleted.
        """
        logins = await self._store.delete_session(session.id)
        for login in logins:
            ended(login)
        return await self._start_provider_logouts(logins, signed_out_url, binding)

    async def find_login(self, session_id: str, tenant: str, *, signed_in_at: float) -> Login | None:
        """The stored login of a session that was made at this time; None when it has ended.

        For `end_found_login`. Raises StoreUnavailable.
        """
        key = login_id(session_id, tenant)
        _, found = await self._store.read((), (key,), now=self._clock())
        login = found.get(key)
        return login if login is not None and login.signed_in_at == signed_in_at else None

    async def end_found_login(self, login: Login, *, by: str = "admin") -> bool:
        """End a login without its browser, and revoke its tokens; False when it has ended already.

        A refresh may replace its tokens meanwhile; a later sign-in of the session stays. Raises
        StoreUnavailable. Parameters: by, who ends it, for the log: admin, user or limit.
        """
        current: Login | None = login
        while current is not None:
            deleted = await self._store.delete_login(login.session, login.tenant, tokens=current.tokens)
            if deleted is not None:
                by_admin = "login_ended_by_admin" if by == "admin" else "login_ended_by_limit"
                event = "login_ended_by_user" if by == "user" else by_admin
                _log.info(event, tenant=login.tenant, provider=login.provider)
                await self._revoke(deleted)
                return True
            current = await self.find_login(login.session, login.tenant, signed_in_at=login.signed_in_at)
        return False

    async def revoke_ended(self, logins: Sequence[Login]) -> None:
        """Revoke the tokens of logins that were deleted, some at a time; failures are logged."""
        for start in range(0, len(logins), _REVOKED_AT_ONCE):
            await asyncio.gather(*map(self._revoke, logins[start : start + _REVOKED_AT_ONCE]))

    async def logout_url_without_login(
        self, tenant: str, provider: str, *, signed_out_url: Callable[[str], str]
    ) -> str | None:
        """The logout URL of a provider for a browser without a login here; None when it has none.

        The provider may ask the user to confirm, as the request has no ID token (RP-Initiated Logout 2).
        Nothing is stored.
        """
        registration = self._directory.provider(tenant, provider)
        if registration is None:
            return None
        step = await self._provider_logout(registration, None, signed_out_url)
        return step.url if step else None

    async def next_step(self, tenant: str, state: str, *, binding: str | None) -> str | None:
        """Return where to go when the browser returns from a provider: the next provider's logout URL.

        After the last one, the page that was given as `after`, or None.
        """
        if not is_binding(binding) or len(state) > 256:
            return None
        step = await self._store.take_logout_step(
            digest(state), tenant=tenant, binding_hash=digest(binding), now=self._clock()
        )
        if step is None or not step.next_url:
            return None
        try:
            return self._vault.open(step.id, step.next_url)
        except VaultError as error:
            _log.warning("logout_step_unreadable", tenant=tenant, detail=error.detail)
            return None

    async def _start_provider_logouts(
        self, logins: Sequence[Login], signed_out_url: Callable[[str], str], binding: str, after: str = ""
    ) -> str | None:
        for login in logins:
            _log.info("logged_out", tenant=login.tenant, provider=login.provider)
        found = await asyncio.gather(*(self._revoke_and_get_url(login, signed_out_url) for login in logins))
        steps = [step for step in found if step is not None]
        for step, following in zip_longest(steps, steps[1:]):
            step_id = digest(step.state)
            next_url = following.url if following else after
            await self._store.add_logout_step(
                LogoutStep(
                    id=step_id,
                    tenant=step.tenant,
                    binding_hash=digest(binding),
                    next_url=self._vault.seal(step_id, next_url) if next_url else "",
                    expires_at=self._clock() + _STEP_SECONDS,
                )
            )
        return steps[0].url if steps else None

    async def _revoke_and_get_url(
        self, login: Login, signed_out_url: Callable[[str], str]
    ) -> _ProviderLogout | None:
        """Revoke the tokens of a login and find its provider's logout URL, in parallel."""
        opened = self._opened(login)
        if opened is None:
            return None
        provider, tokens = opened
        _, step = await asyncio.gather(
            self._tokens.revoke(tokens, provider), self._provider_logout(provider, tokens, signed_out_url)
        )
        return step

    async def _revoke(self, login: Login) -> None:
        opened = self._opened(login)
        if opened is not None:
            provider, tokens = opened
            await self._tokens.revoke(tokens, provider)

    def _opened(self, login: Login) -> tuple[Provider, TokenSet] | None:
        """The provider and tokens of a deleted login; None when either is gone."""
        provider = live_registration(self._directory, login)
        if provider is None:
            return None
        try:
            return provider, self._tokens.open(login)
        except PortalError as error:
            _log.warning("logout_without_tokens", tenant=login.tenant, code=error.code)
            return None
        finally:
            self._tokens.forget(login.id)

    async def _provider_logout(
        self, provider: Provider, tokens: TokenSet | None, signed_out_url: Callable[[str], str]
    ) -> _ProviderLogout | None:
        state = secrets.token_urlsafe(32)
        try:
            async with asyncio.timeout(_PROVIDER_SECONDS):
                url = await self._relying_party.logout_url(
                    provider,
                    id_token=tokens.id_token if tokens else None,
                    post_logout_redirect_uri=signed_out_url(provider.tenant),
                    state=state,
                )
        except (PortalError, TimeoutError) as error:
            _log.warning(
                "provider_logout_skipped",
                tenant=provider.tenant,
                provider=provider.id,
                error=type(error).__name__,
            )
            return None
        return _ProviderLogout(provider.tenant, state, url) if url else None
