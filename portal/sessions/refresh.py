"""Keeps token sets fresh: one token request at a time per login, over all processes.

In a process, callers join the refresh that is under way. Between processes, a lease in the store names the
one that refreshes; the others wait for its result. The new token set is stored by compare-and-swap, so a
logout during a refresh wins.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from dataclasses import dataclass, replace

import structlog

from portal.errors import LoginRequired, PortalError, ProviderUnavailable, RefreshRejected, VaultError
from portal.oidc.provider import Provider, TokenSet
from portal.oidc.relying_party import RelyingParty
from portal.secret import Secret
from portal.sessions.model import Clock, Login
from portal.sessions.store import Store
from portal.sessions.vault import Vault

_log = structlog.get_logger("portal.refresh")

_PATIENCE = 30.0
"""Seconds in which a token set that was just refreshed is not refreshed because an API refuses it, too."""


@dataclass(frozen=True, slots=True, repr=False)
class _Opened:
    """A token set in memory, with the sealed text that it came from."""

    sealed: str
    tokens: TokenSet
    refreshed_at: float = 0.0


class TokenKeeper:
    """Opens token sets and refreshes them when they need it.

    `lease` and `poll` are seconds: how long a process may hold the refresh of a login, and how often the
    others look whether it is done. A refresh that takes longer than the lease is given up.
    """

    def __init__(
        self,
        *,
        store: Store,
        vault: Vault,
        relying_party: RelyingParty,
        clock: Clock,
        lease: float = 20.0,
        poll: float = 0.05,
        cache_size: int = 4096,
    ) -> None:
        self._store = store
        self._vault = vault
        self._relying_party = relying_party
        self._clock = clock
        self._lease = lease
        self._poll = poll
        self._flights: dict[str, asyncio.Task[TokenSet]] = {}
        self._opened: OrderedDict[str, _Opened] = OrderedDict()
        self._cache_size = cache_size

    def open(self, login: Login) -> TokenSet:
        """Open the token set of a login as it is stored. Raises VaultError."""
        known = self._opened.get(login.id)
        if known is not None and known.sealed == login.tokens:
            self._opened.move_to_end(login.id)
            return known.tokens
        tokens = self._vault.open_tokens(login.id, login.tokens)
        self._remember(login.id, _Opened(login.tokens, tokens))
        return tokens

    def opens(self, login: Login) -> bool:
        """Whether the token set of a login can be opened; it cannot when the key that sealed it is gone."""
        try:
            self.open(login)
        except VaultError as error:
            _log.warning("login_unreadable", tenant=login.tenant, detail=error.detail)
            return False
        return True

    def _remember(self, login_id: str, opened: _Opened) -> None:
        self._opened[login_id] = opened
        self._opened.move_to_end(login_id)
        if len(self._opened) > self._cache_size:
            self._opened.popitem(last=False)

    def forget(self, login_id: str) -> None:
        """Drop an opened token set from memory."""
        self._opened.pop(login_id, None)

    async def fresh(self, login: Login, provider: Provider, *, refused: Secret | None = None) -> TokenSet:
        """Return a token set whose access token can be used now, refreshing it when needed.

        `refused` is an access token that the API has just answered with 401: it is not returned again
        unless there is no way to get another.

        Raises LoginRequired when the login is gone or its token has run out for good, RefreshRejected when
        the provider ended it, ProviderUnavailable when the provider does not answer and the old access token
        has expired, another error of RelyingParty.refresh when it has and the provider refuses the portal or
        answers nonsense (the login is kept), StoreUnavailable.
        """
        tokens = self.open(login)
        moment = self._clock()
        if tokens.usable_at(moment) and (
            tokens.access_token != refused or moment < self._opened[login.id].refreshed_at + _PATIENCE
        ):
            return tokens
        if tokens.refresh_token is None:
            if moment < tokens.expires_at:
                return tokens
            await self._store.delete_login(login.session, login.tenant)
            self.forget(login.id)
            raise LoginRequired(f"access token of {provider.key} expired and there is no refresh token")
        return await self._join(login, provider)

    async def _join(self, login: Login, provider: Provider) -> TokenSet:
        flight = self._flights.get(login.id)
        if flight is None:
            flight = asyncio.create_task(self._refresh(login, provider))
            self._flights[login.id] = flight
            flight.add_done_callback(lambda done: self._landed(login.id, done))
        return await asyncio.shield(flight)

    def _landed(self, login_id: str, flight: asyncio.Task[TokenSet]) -> None:
        self._flights.pop(login_id, None)
        if not flight.cancelled():
            flight.exception()

    async def settle(self) -> None:
        """Wait for the refreshes under way; for a graceful stop."""
        await asyncio.gather(*self._flights.values(), return_exceptions=True)

    async def _refresh(self, login: Login, provider: Provider) -> TokenSet:
        owner = secrets.token_urlsafe(12)
        give_up = asyncio.get_running_loop().time() + 2 * self._lease
        while True:
            held = await self._store.acquire_lease(login.id, owner=owner, seconds=self._lease)
            if held is not None:
                return await self._refresh_held(held, login, provider, owner)
            current = await self._current(login)
            if current.tokens != login.tokens:
                return self.open(current)
            if asyncio.get_running_loop().time() > give_up:
                raise ProviderUnavailable(f"no process finished the refresh at {provider.key} in time")
            await asyncio.sleep(self._poll)

    async def _current(self, login: Login) -> Login:
        _, logins = await self._store.read((), (login.id,), now=self._clock())
        if login.id not in logins:
            self.forget(login.id)
            raise LoginRequired("the login ended while its token set was being refreshed")
        return logins[login.id]

    async def _refresh_held(self, held: Login, asked: Login, provider: Provider, owner: str) -> TokenSet:
        if held.tokens != asked.tokens:  # refreshed by another process between our read and our lease
            await self._store.release_lease(held.id, owner=owner)
            return self.open(held)
        old = self.open(held)
        try:
            new = await self._renewed(old, provider, held.subject)
        except RefreshRejected:
            return await self._ended(held, provider, "the provider refused the refresh token")
        except PortalError as error:
            await self._store.release_lease(held.id, owner=owner)
            _log.warning(
                "refresh_failed",
                tenant=held.tenant,
                provider=provider.id,
                code=error.code,
                detail=error.detail,
            )
            if self._clock() < old.expires_at:
                return old
            if not isinstance(error, ProviderUnavailable):
                raise
            raise ProviderUnavailable(f"refresh at {provider.key} failed: {error.code}") from error
        try:
            kept = await self._keep(held, new)
        except VaultError as error:
            await self._discard(new, provider)
            return await self._ended(held, provider, f"the new tokens cannot be kept: {error.detail}")
        if not kept:
            await self._discard(new, provider)
            raise LoginRequired("the login ended while its token set was being refreshed")
        _log.info("refreshed", tenant=held.tenant, provider=provider.id)
        return new

    async def _renewed(self, tokens: TokenSet, provider: Provider, subject: str) -> TokenSet:
        """Ask the provider for as long as the lease keeps everybody else from asking."""
        try:
            async with asyncio.timeout(0.9 * self._lease):
                return await self._relying_party.refresh(provider, tokens, subject=subject)
        except TimeoutError as error:
            raise ProviderUnavailable(f"the refresh at {provider.key} took too long") from error

    async def _ended(self, held: Login, provider: Provider, reason: str) -> TokenSet:
        """There is no way to refresh any more: unless another process has done it, the login ends."""
        current = await self._current(held)
        if current.tokens != held.tokens:
            return self.open(current)
        await self._store.delete_login(held.session, held.tenant)
        self.forget(held.id)
        _log.info("login_ended", tenant=held.tenant, provider=provider.id, reason=reason)
        raise RefreshRejected(f"{provider.key}: {reason}")

    async def _keep(self, held: Login, new: TokenSet) -> bool:
        sealed = self._vault.seal_tokens(held.id, new)
        current: Login | None = held
        while current is not None and current.tokens == held.tokens:
            updated = replace(
                current,
                tokens=sealed,
                access_expires_at=new.expires_at,
                version=current.version + 1,
                lease_owner=None,
                lease_expires_at=0.0,
            )
            if await self._store.swap_login(updated, expected_version=current.version):
                self._remember(held.id, _Opened(sealed, new, refreshed_at=self._clock()))
                return True
            _, logins = await self._store.read((), (held.id,), now=self._clock())
            current = logins.get(held.id)
        self.forget(held.id)
        return False

    async def _discard(self, tokens: TokenSet, provider: Provider) -> None:
        """Revoke a token set that came too late for its login."""
        token = tokens.refresh_token or tokens.access_token
        hint = "refresh_token" if tokens.refresh_token else "access_token"
        try:
            await self._relying_party.revoke(provider, token, hint=hint)
        except PortalError as error:
            _log.warning("revocation_failed", tenant=provider.tenant, provider=provider.id, code=error.code)
