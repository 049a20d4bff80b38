"""Keeps token sets fresh: one token request at a time per login, over all processes.

Rules that hold here (see the modules named for how):

* A call whose access token is valid never waits: the refresh runs beside it. Other calls wait a bounded time;
  the refresh goes on when they have given up.
* In a process, callers join the refresh that is under way. Between processes, a lease in the store names the
  one that may use the refresh token (refresh_lease).
* A token set that a provider has sent is stored, or kept and tried again until it is (token_storing). It
  replaces the old one by compare-and-swap, so a logout during a refresh wins.
* A provider that fails is asked less and less often (provider_breaker), and a refusal that comes while the
  access token is valid ends the login only when it is repeated (refusals).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import structlog

from portal.access.rules import sign_in_refusal
from portal.clock import Clock
from portal.errors import LoginRequired, PortalError, StoreUnavailable, VaultError
from portal.keys.vault import Vault
from portal.oidc.errors import LoginTooLarge, ProviderUnavailable, RefreshRejected, TokenResponseMalformed
from portal.oidc.provider import Provider, Refreshed, TokenSet
from portal.oidc.relying_party import RelyingParty
from portal.secret import Secret
from portal.sessions.adopted_claims import adopted_claims
from portal.sessions.directory import Directory
from portal.sessions.login_size import check_login_size
from portal.sessions.opened_tokens import OpenedTokens
from portal.sessions.provider_breaker import ProviderBreaker
from portal.sessions.refresh_lease import Granted, LeaseTimes, RefreshLeases
from portal.sessions.refusals import Refusals
from portal.sessions.token_storing import TokenStoring
from portal.single_flight import SingleFlight
from portal.stores.model import Login
from portal.stores.store import Store

_log = structlog.get_logger("portal.refresh")

_PATIENCE = 30.0
"""Seconds in which a token set that was just refreshed is not refreshed because an API refuses it, too."""
WAIT_SECONDS = 10.0
"""How long a call whose access token has expired waits for a refresh."""
_RETRY_AFTER = 5
_REVOKE_SECONDS = 5.0


class TokenRefresher:
    """Opens token sets and refreshes them when they need it.

    `may_refresh` says whether the clock of this host allows it; `wait` is in seconds, WAIT_SECONDS by
    default.
    """

    def __init__(
        self,
        *,
        store: Store,
        vault: Vault,
        relying_party: RelyingParty,
        directory: Directory,
        clock: Clock,
        may_refresh: Callable[[], bool] = lambda: True,
        times: LeaseTimes | None = None,
        wait: float = WAIT_SECONDS,
    ) -> None:
        self._store = store
        self._relying_party = relying_party
        self._directory = directory
        self._clock = clock
        self._may_refresh = may_refresh
        self._wait = wait
        self._opened = OpenedTokens(vault)
        self._leases = RefreshLeases(store, times or LeaseTimes())
        self._storing = TokenStoring(store=store, vault=vault, opened=self._opened, discard=self.revoke)
        self._breaker = ProviderBreaker()
        self._refusals = Refusals()
        self._in_progress: SingleFlight[object, TokenSet] = SingleFlight()
        """By sign-in: who signed in anew must not be given the result of the login before."""

    def open(self, login: Login) -> TokenSet:
        """Open the token set of a login as it is stored. Raises VaultError."""
        return self._opened.open(login)

    def opens(self, login: Login) -> bool:
        """Whether the token set of a login can be opened; it cannot when the key that sealed it is gone."""
        try:
            self.open(login)
        except VaultError as error:
            _log.warning("login_unreadable", tenant=login.tenant, detail=error.detail)
            return False
        return True

    def forget(self, login_id: str) -> None:
        """Drop an opened token set from memory: its login ended."""
        self._opened.forget(login_id)
        self._refusals.forget(login_id)
        self._storing.wake(login_id)

    def newest(self, login: Login) -> Login:
        """A login that was read, with claims that this process has and has not stored yet."""
        return self._storing.newest(login)

    async def get_valid(self, login: Login, provider: Provider, *, refused: Secret | None = None) -> TokenSet:
        """Return a token set whose access token can be used now, refreshing it when needed.

        `refused` is an access token that the API has just responded with 401: it is not returned again
        unless there is no refresh token.

        Raises LoginRequired when the login is gone or its token has run out for good, RefreshRejected when
        the provider ended it. When the access token has expired, or was refused: ProviderUnavailable when the
        provider does not respond, or not within `wait` seconds; another error of RelyingParty.refresh when it
        refuses the portal or answers nonsense (the login is kept); StoreUnavailable.
        """
        moment = self._clock()
        kept = self._storing.kept_for(login)
        if kept is not None and kept.valid_at(moment):
            return kept
        tokens = kept or self.open(login)
        if tokens.access_token != refused or moment < self._opened.refreshed_at(login) + _PATIENCE:
            refused = None
        if tokens.usable_at(moment) and refused is None:
            return tokens
        valid = tokens.valid_at(moment)
        if tokens.refresh_token is None:
            if valid:
                return tokens
            await self._store.delete_login(login.session, login.tenant, tokens=login.tokens)
            self.forget(login.id)
            raise LoginRequired(f"access token of {provider.key} expired and there is no refresh token")
        if valid and self._refusals.is_recent(login, moment):
            if refused is None:
                return tokens
            raise ProviderUnavailable(
                f"{provider.key} refused the refresh token a moment ago", retry_after=_RETRY_AFTER
            )
        refreshing = self._join(login, provider)
        if valid and refused is None:
            return tokens
        return await self._result(refreshing, provider)

    async def _result(self, refreshing: asyncio.Task[TokenSet], provider: Provider) -> TokenSet:
        """Wait for a refresh, unless its provider is failing."""
        self._breaker.check(provider.key)
        await asyncio.wait({refreshing}, timeout=self._wait)
        if not refreshing.done():
            raise ProviderUnavailable(
                f"the refresh at {provider.key} is still under way", retry_after=_RETRY_AFTER
            )
        return refreshing.result()

    def _join(self, login: Login, provider: Provider) -> asyncio.Task[TokenSet]:
        return self._in_progress.join(
            login.sign_in, lambda: self._refresh(login, provider), on_done=_report_defect
        )

    async def wait_until_idle(self, seconds: float) -> None:
        """For a graceful stop: wait for requests that were sent and token sets that are not stored yet."""
        self._leases.stop()
        give_up = asyncio.get_running_loop().time() + seconds
        while tasks := {*self._in_progress.tasks, *self._storing.under_way, *self._leases.under_way}:
            left = give_up - asyncio.get_running_loop().time()
            done, _ = await asyncio.wait(tasks, timeout=max(0.0, left), return_when="FIRST_COMPLETED")
            if not done:
                break
        if len(self._in_progress) or self._storing.under_way:
            _log.error(
                "refreshes_cut_off", under_way=len(self._in_progress), unstored=len(self._storing.under_way)
            )

    async def _refresh(self, login: Login, provider: Provider) -> TokenSet:
        self._require_allowed(login, provider)
        found = await self._leases.wait(login)
        if isinstance(found, Login):
            return self.open(found)
        try:
            if (
                found.login.tokens != login.tokens
            ):  # refreshed by another process between our read and our lease
                await self._leases.finish(found)
                return self.open(found.login)
            old = self.open(found.login)
            new = await self._request(found, old, provider)
        except RefreshRejected as error:
            return await self._rejected(found, provider, error)
        except LoginTooLarge as error:  # the old refresh token is spent
            return await self._ended(found, provider, error.detail)
        except PortalError as error:
            if isinstance(error, TokenResponseMalformed) and isinstance(error.refresh_token, Secret):
                kept = Refreshed(replace(old, refresh_token=error.refresh_token))
                await self._store_new(found, kept, provider)
            else:
                await self._leases.finish(found)
            _log.warning(
                "refresh_failed",
                tenant=login.tenant,
                provider=provider.id,
                code=error.code,
                detail=error.detail,
            )
            raise
        except BaseException:
            self._leases.end(found)
            raise
        tokens = await self._store_new(found, new, provider)
        _log.info("refreshed", tenant=login.tenant, provider=provider.id)
        return tokens

    def _require_allowed(self, login: Login, provider: Provider) -> None:
        if not self._may_refresh():
            raise StoreUnavailable("the clock of this host is too far from the database's to refresh tokens")
        if self._storing.is_full or self._storing.kept_for(login) is not None:
            raise StoreUnavailable("refreshed token sets are not stored yet")
        self._breaker.check(provider.key)

    async def _request(self, granted: Granted, old: TokenSet, provider: Provider) -> Refreshed:
        with self._breaker.request(provider.key):
            async with self._leases.kept_alive(granted):
                return await self._relying_party.refresh(provider, old, subject=granted.login.subject)

    async def _store_new(self, granted: Granted, refreshed: Refreshed, provider: Provider) -> TokenSet:
        held, new = granted.login, refreshed.tokens
        self._refusals.forget(held.id)
        try:
            if refreshed.claims is not None:
                previous = self.open(held).id_token
                held = replace(held, claims=adopted_claims(held.claims, previous, refreshed.claims))
            refusal = sign_in_refusal(self._directory.access(held.tenant, held.provider), held.claims)
            if refusal is not None:
                await self.revoke(new, provider)
                return await self._ended(granted, provider, f"an access rule no longer holds: {refusal}")
            check_login_size(held.claims, new)
            tokens = await self._storing.store(held, new, provider, done=lambda: self._leases.end(granted))
        except (VaultError, LoginTooLarge) as error:
            await self.revoke(new, provider)
            return await self._ended(granted, provider, f"the new tokens cannot be kept: {error.detail}")
        if tokens is None:
            raise LoginRequired("the login ended while its token set was being refreshed")
        return tokens

    async def _rejected(self, granted: Granted, provider: Provider, error: RefreshRejected) -> TokenSet:
        held, moment = granted.login, self._clock()
        if (
            error.error is not None
            and self.open(held).valid_at(moment)
            and not self._refusals.is_repeated(held, moment)
        ):
            await self._leases.finish(granted)
            _log.warning("refresh_refused", tenant=held.tenant, provider=provider.id, detail=error.detail)
            raise ProviderUnavailable(f"{provider.key} refused the refresh token once: {error.error}")
        refused = f"the provider refused the refresh token: {error.detail}"
        return await self._ended(granted, provider, refused if error.error else error.detail)

    async def _ended(self, granted: Granted, provider: Provider, reason: str) -> TokenSet:
        """There is no way to refresh any more: unless another process has done it, the login ends."""
        held = granted.login
        try:
            current = await self._leases.current(held)
            if current.tokens != held.tokens:
                return self.open(current)
            await self._store.delete_login(held.session, held.tenant, tokens=held.tokens)
        finally:
            await self._leases.finish(granted)
        self.forget(held.id)
        _log.info("login_ended", tenant=held.tenant, provider=provider.id, reason=reason)
        raise RefreshRejected(f"{provider.key}: {reason}")

    async def revoke(self, tokens: TokenSet, provider: Provider) -> None:
        """Revoke a token set that has no login, as far as the provider allows it in a few seconds."""
        token = tokens.refresh_token or tokens.access_token
        hint = "refresh_token" if tokens.refresh_token else "access_token"
        try:
            async with asyncio.timeout(_REVOKE_SECONDS):
                await self._relying_party.revoke(provider, token, hint=hint)
        except (PortalError, TimeoutError) as error:
            _log.warning(
                "revocation_failed", tenant=provider.tenant, provider=provider.id, error=type(error).__name__
            )


def _report_defect(refreshing: asyncio.Task[TokenSet]) -> None:
    """Log an error that is not one of the portal's own: those are reported where they are raised."""
    error = None if refreshing.cancelled() else refreshing.exception()
    if error is not None and not isinstance(error, PortalError):
        _log.error("refresh_broken", exc_info=error)
