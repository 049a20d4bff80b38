"""Stores refreshed token sets; a token set from a provider is never lost while the process lives.

Until a rotated refresh token is stored, only this process has it. So when the database does not respond, the
token set stays in memory, calls use it, and the write is retried until it succeeds or the login is gone.
Storing is idempotent: a write whose acknowledgement was lost is recognised as done.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace

import structlog

from portal.errors import StoreUnavailable
from portal.keys.vault import Vault
from portal.oidc.provider import Provider, TokenSet
from portal.sessions.opened_tokens import OpenedTokens
from portal.sessions.session_expiry import limited
from portal.stores.model import Login
from portal.stores.store import Store

_log = structlog.get_logger("portal.refresh")

MAX_PAUSE = 3.0
"""Seconds between two attempts: shorter than an expired lease is respected (see LeaseTimes)."""
OLDEST_PAUSE = 0.3
"""The same for the token set that has waited longest. Its success starts the others soon, because an unstored
token set is lost if the process is killed."""
_NEXT_ATTEMPTS = 2
"""How many waiting token sets each success starts: the load doubles as long as the database accepts it."""
WAIT_SECONDS = 1.0
"""Seconds after which calls use a token set that is not stored yet."""
MAX_UNSTORED = 1_000
"""No refresh begins while this process has this many unstored token sets."""


@dataclass(slots=True, repr=False)
class _Unstored:
    """A token set that is not stored yet."""

    login: Login
    """The stored login with the claims to store; its tokens are the ones to replace."""
    provider: Provider
    tokens: TokenSet
    sealed: str
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    is_pausing: bool = False
    """Whether it is in the pause between two attempts."""


class TokenStoring:
    """Replaces stored token sets with refreshed ones.

    `discard` revokes a token set whose login is gone. `first_pause` is the time in seconds before the second
    attempt.
    """

    def __init__(
        self,
        *,
        store: Store,
        vault: Vault,
        opened: OpenedTokens,
        discard: Callable[[TokenSet, Provider], Awaitable[None]],
        first_pause: float = 0.1,
    ) -> None:
        self._store = store
        self._vault = vault
        self._opened = opened
        self._discard = discard
        self._first_pause = first_pause
        self._unstored: dict[str, _Unstored] = {}
        self._tasks: set[asyncio.Task[TokenSet | None]] = set()

    @property
    def is_full(self) -> bool:
        """Whether there are too many unstored token sets to begin a refresh."""
        return len(self._unstored) >= MAX_UNSTORED

    def unstored_for(self, login: Login) -> TokenSet | None:
        """The token set of a login that this process has not stored yet."""
        unstored = self._unstored.get(login.id)
        if unstored is None or login.tokens not in {unstored.login.tokens, unstored.sealed}:
            return None
        return unstored.tokens

    def with_unstored_claims(self, login: Login) -> Login:
        """Return the login with the claims of its unstored token set, if it has one."""
        unstored = self._unstored.get(login.id)
        if unstored is None or login.tokens != unstored.login.tokens:
            return login
        return replace(login, claims=unstored.login.claims)

    def wake(self, login_id: str) -> None:
        """Retry at once, because the login changed."""
        unstored = self._unstored.get(login_id)
        if unstored is not None:
            unstored.wake.set()

    async def store(
        self, login: Login, tokens: TokenSet, provider: Provider, *, done: Callable[[], None]
    ) -> TokenSet | None:
        """Store a token set, retrying in the background; return the token set that calls use.

        Returns None when the login is gone and the token set was revoked; the stored token set when another
        process has refreshed the same login.

        Parameters: login, the stored login with the claims to store; done, called once at the end.
        Raises VaultError when the token set cannot be sealed; `done` is not called then.
        """
        unstored = _Unstored(login, provider, tokens, self._vault.seal_tokens(login.id, tokens))
        self._unstored[login.id] = unstored
        storing = asyncio.create_task(self._until_stored(unstored))
        self._tasks.add(storing)
        storing.add_done_callback(lambda storing: self._on_done(unstored, storing, done))
        await asyncio.wait({storing}, timeout=WAIT_SECONDS)
        if storing.done():
            return storing.result()
        _log.warning("tokens_kept", tenant=login.tenant, provider=provider.id)
        return tokens

    def _on_done(
        self, unstored: _Unstored, storing: asyncio.Task[TokenSet | None], done: Callable[[], None]
    ) -> None:
        self._tasks.discard(storing)
        if self._unstored.get(unstored.login.id) is unstored:
            del self._unstored[unstored.login.id]
        done()
        error = None if storing.cancelled() else storing.exception()
        if error is not None:
            _log.error("tokens_not_stored", tenant=unstored.login.tenant, exc_info=error)

    async def _until_stored(self, unstored: _Unstored) -> TokenSet | None:
        login = unstored.login
        current: Login | None = login
        for pause in _pauses(self._first_pause):
            try:
                if current is not login:
                    current = await self._read(login.id)
                current = await self._attempt(unstored, current)
                break
            except StoreUnavailable:
                current = None
                first = next(iter(self._unstored.values()), None) is unstored
                unstored.is_pausing = True
                await _wait(unstored.wake, min(pause, OLDEST_PAUSE) if first else pause)
                unstored.is_pausing = False
        self._wake_next()
        return await self._conclude(unstored, current)

    def _wake_next(self) -> None:
        waiting = (other for other in self._unstored.values() if other.is_pausing and not other.wake.is_set())
        for other in itertools.islice(waiting, _NEXT_ATTEMPTS):
            other.wake.set()

    async def _attempt(self, unstored: _Unstored, current: Login | None) -> Login | None:
        """Try to store; return the stored login, None when it is gone. Raises StoreUnavailable."""
        while current is not None and current.tokens == unstored.login.tokens:
            updated = replace(
                current,
                claims=unstored.login.claims,
                tokens=unstored.sealed,
                access_expires_at=unstored.tokens.expires_at,
                expires_at=limited(current.expires_at, unstored.login.claims),
                version=current.version + 1,
                lease_owner=None,
                lease_expires_at=0.0,
            )
            if await self._store.swap_login(updated, expected_version=current.version):
                return updated
            current = await self._read(current.id)
        return current

    async def _read(self, login_id: str) -> Login | None:
        _, logins = await self._store.read((), (login_id,), now=self._store.time())
        return logins.get(login_id)

    async def _conclude(self, unstored: _Unstored, current: Login | None) -> TokenSet | None:
        login, tokens = unstored.login, unstored.tokens
        if current is not None and current.tokens == unstored.sealed:
            self._opened.remember(login, unstored.sealed, tokens, refreshed_at=self._store.time())
            return tokens
        self._opened.forget(login.id)
        if current is not None and current.sign_in == login.sign_in:
            return self._opened.open(current)  # revoking ours could revoke its successor (RFC 7009 2.1)
        await self._discard(tokens, unstored.provider)
        return None

    @property
    def under_way(self) -> set[asyncio.Task[TokenSet | None]]:
        """The tasks that store token sets."""
        return self._tasks


def _pauses(first: float) -> Iterator[float]:
    """An endless sequence of pauses between attempts, in seconds."""
    return (min(MAX_PAUSE, first * 1.6 ** min(number, 30)) for number in itertools.count())


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait at most `seconds` for an event, and clear it."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
    event.clear()
