"""Refreshes token sets: one token request at a time per login, across all processes.

Rules, with the modules that implement them:

* A call whose access token is valid never waits: the refresh runs in the background. Other calls wait for a
  bounded time; the refresh continues after they time out.
* Within a process, callers join the running refresh. Across processes, a lease in the store decides which one
  may use the refresh token (refresh_lease).
* A token set from a provider is stored, or kept in memory and retried until it is (token_storing). It
  replaces the old one by compare-and-swap, so a logout during a refresh wins.
* A failing provider receives fewer and fewer requests (provider_breaker); failing requests for one API pause
  only those for this API. A refusal while the access token is still valid ends the login only when it is
  repeated (refusals).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Iterable
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

import structlog

from portal.access.rules import sign_in_refusal
from portal.clock import Clock
from portal.errors import LoginRequired, PortalError, StoreUnavailable, VaultError
from portal.keys.vault import Vault
from portal.oidc.api_target import ApiTarget
from portal.oidc.errors import LoginTooLarge, ProviderUnavailable, RefreshRejected, TokenResponseMalformed
from portal.oidc.provider import Provider, Refreshed, TokenSet
from portal.oidc.relying_party import RelyingParty
from portal.secret import Secret
from portal.sessions.adopted_claims import adopted_claims
from portal.sessions.directory import Directory
from portal.sessions.ended import Ended, EndReason, ignore_end
from portal.sessions.login_size import fitting
from portal.sessions.opened_tokens import OpenedTokens
from portal.sessions.provider_breaker import ProviderBreaker
from portal.sessions.refresh_lease import Granted, LeaseTimes, RefreshLeases
from portal.sessions.refresh_outcomes import RefreshObserver, ignore_outcome, observed
from portal.sessions.refusals import Refusals
from portal.sessions.session_expiry import limited
from portal.sessions.token_revocation import own_grants, revoke_access_tokens, revoke_tokens
from portal.sessions.token_storing import TokenStoring
from portal.sessions.token_tasks import Received, RefreshTask, TokenTask, api_of
from portal.single_flight import SingleFlight
from portal.stores.model import Login
from portal.stores.store import Store
from portal.traces import Tracer, child_span

_log = structlog.get_logger("portal.refresh")

_MIN_REFRESH_AGE = 30.0
"""Seconds after a refresh in which a refusal by an API does not trigger another refresh."""
WAIT_SECONDS = 10.0
"""How long a call whose access token has expired waits for a refresh."""
_RETRY_AFTER = 5


class TokenRefresher:
    """Decrypts token sets and refreshes them when needed.

    `may_refresh` returns whether the clock of this host is accurate enough; `wait` is in seconds, by default
    WAIT_SECONDS; `observer` learns what became of each token request.
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
        ended: Ended = ignore_end,
        observer: RefreshObserver = ignore_outcome,
        traces: Tracer | None = None,
    ) -> None:
        self._traces = traces
        self._observer = observer
        self._store = store
        self._relying_party = relying_party
        self._directory = directory
        self._clock = clock
        self._may_refresh = may_refresh
        self._wait = wait
        self._ended = ended
        self._opened = OpenedTokens(vault)
        self._leases = RefreshLeases(store, times or LeaseTimes())
        self._storing = TokenStoring(store=store, vault=vault, opened=self._opened, discard=self.revoke)
        self._breaker = ProviderBreaker()
        self._refusals = Refusals()
        self._in_progress: SingleFlight[object, TokenSet] = SingleFlight()
        """Keyed by sign-in, so that a new sign-in never receives the result of an earlier one."""
        self._turns: WeakValueDictionary[object, asyncio.Lock] = WeakValueDictionary()
        """By sign-in: its token requests in this process run one after the other."""
        self._revocations: set[asyncio.Task[None]] = set()

    def open(self, login: Login) -> TokenSet:
        """Decrypt the stored token set of a login. Raises VaultError."""
        return self._opened.open(login)

    def can_open(self, login: Login) -> bool:
        """Whether the token set of a login can be decrypted; its key may be missing from the key ring."""
        try:
            self.open(login)
        except VaultError as error:
            _log.warning("login_unreadable", tenant=login.tenant, detail=error.detail)
            return False
        return True

    def forget(self, login_id: str) -> None:
        """Remove a login that ended from the caches."""
        self._opened.forget(login_id)
        self._refusals.forget(login_id)
        self._storing.wake(login_id)

    def with_unstored_claims(self, login: Login) -> Login:
        """Return the login with the claims of a refresh whose result is not stored yet."""
        return self._storing.with_unstored_claims(login)

    def usable(self, login: Login) -> TokenSet | None:
        """Return the token set of a login when it needs no refresh. Raises VaultError."""
        now = self._clock()
        unstored = self._storing.unstored_for(login)
        if unstored is not None:
            return unstored if unstored.valid_at(now) else None
        tokens = self.open(login)
        return tokens if tokens.usable_at(now) else None

    async def get_valid(self, login: Login, provider: Provider, *, refused: Secret | None = None) -> TokenSet:
        """Return a token set with a valid access token, refreshing it when needed.

        `refused` is an access token to which the API has just responded with 401: it is not returned again
        unless there is no refresh token.

        Raises LoginRequired when the login is gone, or its token expired and there is no refresh token;
        RefreshRejected when the provider refuses the refresh token. When the access token expired or was
        refused: ProviderUnavailable when the provider does not respond within `wait` seconds; another error
        of RelyingParty.refresh when the provider rejects the client or its response is malformed (the login
        is kept); StoreUnavailable.
        """
        now = self._clock()
        unstored = self._storing.unstored_for(login)
        if unstored is not None and unstored.valid_at(now):
            return unstored
        tokens = unstored or self.open(login)
        if tokens.access_token != refused or now < self._opened.refreshed_at(login) + _MIN_REFRESH_AGE:
            refused = None
        if tokens.usable_at(now) and refused is None:
            return tokens
        valid = tokens.valid_at(now)
        if tokens.refresh_token is None:
            if valid:
                return tokens
            if await self._store.delete_login(login.session, login.tenant, tokens=login.tokens):
                self._ended(login, EndReason.NO_REFRESH_TOKEN)
            self.forget(login.id)
            raise LoginRequired(f"access token of {provider.key} expired and there is no refresh token")
        if valid and self._refusals.is_recent(login, now):
            if refused is None:
                return tokens
            raise ProviderUnavailable(
                f"{provider.key} has just refused the refresh token", retry_after=_RETRY_AFTER
            )
        task = RefreshTask(tokens.access_token)
        refreshing = self.join(login.sign_in, lambda: self.run(login, provider, task))
        if valid and refused is None:
            return tokens
        return await self.result(refreshing, provider)

    def current(self, login: Login) -> TokenSet:
        """The newest token set of a login that this process knows. Raises VaultError."""
        return self._storing.unstored_for(login) or self.open(login)

    async def result(
        self, refreshing: asyncio.Task[TokenSet], provider: Provider, target: ApiTarget | None = None
    ) -> TokenSet:
        """Wait for a refresh, unless the breaker has paused its provider, or requests for its API."""
        self._check_breaker(provider, target)
        await asyncio.wait({refreshing}, timeout=self._wait)
        if not refreshing.done():
            raise ProviderUnavailable(
                f"the refresh at {provider.key} is still in progress", retry_after=_RETRY_AFTER
            )
        return refreshing.result()

    def join(
        self, key: Hashable, work: Callable[[], Coroutine[Any, Any, TokenSet]]
    ) -> asyncio.Task[TokenSet]:
        """Return the running request of this kind, or start it. Parameters: key, begins with the sign-in."""
        return self._in_progress.join(key, work, on_done=_log_unexpected)

    async def wait_until_idle(self, seconds: float) -> None:
        """For a graceful stop: wait at most `seconds` for running requests and unstored token sets."""
        self._leases.stop()
        deadline = asyncio.get_running_loop().time() + seconds
        while tasks := {
            *self._in_progress.tasks,
            *self._storing.under_way,
            *self._leases.under_way,
            *self._revocations,
        }:
            left = deadline - asyncio.get_running_loop().time()
            done, _ = await asyncio.wait(tasks, timeout=max(0.0, left), return_when="FIRST_COMPLETED")
            if not done:
                break
        if len(self._in_progress) or self._storing.under_way:
            _log.error(
                "refreshes_cut_off", under_way=len(self._in_progress), unstored=len(self._storing.under_way)
            )

    async def run(self, login: Login, provider: Provider, task: TokenTask) -> TokenSet:
        """Run a task while no other token request of the login runs; return the stored token set.

        Raises: as get_valid, and what the task raises.
        """
        turn = self._turns.setdefault(login.sign_in, asyncio.Lock())
        with child_span(self._traces, "refresh", {"portal.tenant": login.tenant}):
            async with turn:  # in this process; the lease is for all of them, and checking it takes time
                return await self._run(login, provider, task)

    async def _run(self, login: Login, provider: Provider, task: TokenTask) -> TokenSet:
        self._require_allowed(login, provider, task.target)
        found = await self._leases.wait(login)
        while isinstance(found, Login):  # another process has stored new tokens
            if task.is_done(self.open(found)):
                return self.open(found)
            found = await self._leases.wait(found)
        try:
            old = self.open(found.login)
            if found.login.tokens != login.tokens and task.is_done(old):
                await self._leases.finish(found)
                return old
            new = await self._request(found, old, provider, task)
        except RefreshRejected as error:
            return await self._handle_rejection(found, provider, error)
        except LoginTooLarge as error:  # the old refresh token was used
            return await self._end_login(found, provider, EndReason.REFRESH_REFUSED, error.detail)
        except PortalError as error:
            if isinstance(error, TokenResponseMalformed) and isinstance(error.refresh_token, Secret):
                kept = Received(Refreshed(replace(old, refresh_token=error.refresh_token)), error)
                await self._store_new(found, kept, provider, task)
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
        if new.error is not None and new.refreshed.tokens is old:  # there is nothing to store
            await self._leases.finish(found)
            raise new.error
        tokens = await self._store_new(found, new, provider, task)
        if new.error is not None:
            raise new.error
        _log.info("refreshed", tenant=login.tenant, provider=provider.id, **api_of(task))
        return tokens

    def _require_allowed(self, login: Login, provider: Provider, target: ApiTarget | None) -> None:
        if not self._may_refresh():
            raise StoreUnavailable("the clock of this host is too far from the database's to refresh tokens")
        if self._storing.is_full or self._storing.unstored_for(login) is not None:
            raise StoreUnavailable("refreshed token sets are not stored yet")
        self._check_breaker(provider, target)

    def _check_breaker(self, provider: Provider, target: ApiTarget | None) -> None:
        self._breaker.check(provider.key)
        self._breaker.check(_breaker_key(provider, target))

    async def _request(
        self, granted: Granted, old: TokenSet, provider: Provider, task: TokenTask
    ) -> Received:
        with self._breaker.request(_breaker_key(provider, task.target)):
            async with self._leases.kept_alive(granted):
                with observed(self._observer, provider.tenant, "api" if task.target else "login"):
                    return await task.request(self._relying_party, provider, old, granted.login.subject)

    async def _store_new(
        self, granted: Granted, received: Received, provider: Provider, task: TokenTask
    ) -> TokenSet:
        refreshed = received.refreshed
        stored, new = granted.login, refreshed.tokens
        before = [self.open(stored), new]
        self._refusals.forget(stored.id)
        try:
            if refreshed.claims is not None:
                previous = self.open(stored).id_token
                stored = replace(stored, claims=adopted_claims(stored.claims, previous, refreshed.claims))
            refusal = sign_in_refusal(self._directory.access(stored.tenant, stored.provider), stored.claims)
            if refusal is not None:
                await self.revoke(new, provider)
                detail = f"an access rule no longer holds: {refusal}"
                return await self._end_login(granted, provider, EndReason.ACCESS_RULE, detail)
            if limited(stored.expires_at, stored.claims) <= self._clock():
                await self.revoke(new, provider)
                detail = "the provider's session has ended"
                return await self._end_login(granted, provider, EndReason.PROVIDER_SESSION_ENDED, detail)
            new = fitting(stored.claims, new, added=task.target.key if task.target else None)
            tokens = await self._storing.store(stored, new, provider, done=lambda: self._leases.end(granted))
        except (VaultError, LoginTooLarge) as error:
            await self.revoke(new, provider)
            detail = f"the new tokens cannot be stored: {error.detail}"
            return await self._end_login(granted, provider, EndReason.NOT_STORED, detail)
        if tokens is None:
            raise LoginRequired("the login ended while its token set was being refreshed")
        self.revoke_dropped(before, tokens, provider)
        return tokens

    async def _handle_rejection(
        self, granted: Granted, provider: Provider, error: RefreshRejected
    ) -> TokenSet:
        stored, now = granted.login, self._clock()
        if (
            error.error is not None
            and self.open(stored).valid_at(now)
            and not self._refusals.record(stored, now)
        ):
            await self._leases.finish(granted)
            _log.warning("refresh_refused", tenant=stored.tenant, provider=provider.id, detail=error.detail)
            raise ProviderUnavailable(f"{provider.key} refused the refresh token once: {error.error}")
        refused = f"the provider refused the refresh token: {error.detail}"
        detail = refused if error.error else error.detail
        return await self._end_login(granted, provider, EndReason.REFRESH_REFUSED, detail)

    async def _end_login(
        self, granted: Granted, provider: Provider, reason: EndReason, detail: str
    ) -> TokenSet:
        """End the login after a final failure, unless another process has refreshed it.

        Parameters: detail, the reason in words, for the log.
        """
        stored = granted.login
        try:
            current = await self._leases.current(stored)
            if current.tokens != stored.tokens:
                return self.open(current)
            if await self._store.delete_login(stored.session, stored.tenant, tokens=stored.tokens):
                self._ended(stored, reason)
        finally:
            await self._leases.finish(granted)
        self.forget(stored.id)
        _log.info("login_ended", tenant=stored.tenant, provider=provider.id, reason=detail)
        raise RefreshRejected(f"{provider.key}: {detail}")

    async def revoke(self, tokens: TokenSet, provider: Provider) -> None:
        """Revoke a token set without a login, as `revoke_tokens`."""
        await revoke_tokens(self._relying_party, provider, tokens)

    def revoke_later(self, tokens: TokenSet, provider: Provider) -> None:
        """Begin to revoke a token set, as `revoke`; a graceful stop waits for it."""
        self._start(revoke_tokens(self._relying_party, provider, tokens))

    def revoke_dropped(self, before: Iterable[TokenSet], after: TokenSet | None, provider: Provider) -> None:
        """Begin to revoke access tokens of APIs that token sets had, and that the one after them has not.

        Only valid ones with a grant of their own: the others end with the refresh token of the login.
        """
        kept = {one.access_token for one in after.api_tokens.values()} if after is not None else set()
        now = self._clock()
        valid = [one for tokens in before for one in tokens.api_tokens.values() if one.valid_at(now)]
        dropped = set(own_grants(valid)) - kept
        if dropped:
            self._start(revoke_access_tokens(self._relying_party, provider, dropped))

    def _start(self, revocation: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(revocation)
        self._revocations.add(task)
        task.add_done_callback(self._revocations.discard)


def _breaker_key(provider: Provider, target: ApiTarget | None) -> str:
    """What the failures of a request count for: the provider, or one API, which may be the cause."""
    return provider.key if target is None else f"{provider.key} {target.key}"


def _log_unexpected(refreshing: asyncio.Task[TokenSet]) -> None:
    """Log an unexpected error; a PortalError is reported where it is raised."""
    error = None if refreshing.cancelled() else refreshing.exception()
    if error is not None and not isinstance(error, PortalError):
        _log.error("refresh_broken", exc_info=error)
