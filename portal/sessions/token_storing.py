"""Storing refreshed token sets: what a provider has given is never dropped while the process lives.

A refresh token that replaces another exists in one place only until it is stored. So when the database does
not respond, the token set stays in memory, calls are served with it, and storing it is tried again until it
is stored or its login is gone. Storing is idempotent: a write whose acknowledgement was lost is found done.
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
from portal.stores.model import Login
from portal.stores.store import Store

_log = structlog.get_logger("portal.refresh")

LONGEST_PAUSE = 3.0
"""Seconds between two attempts: shorter than any lease that ran out is left alone (see LeaseTimes)."""
FIRST_IN_LINE_PAUSE = 0.3
"""The same for the token set that has waited for longest. When it is stored, the others are tried soon:
what is not stored is lost if the process is killed."""
_TRIED_NEXT = 2
"""How many of those that wait are tried at once when one was stored: with each success twice as many, and no
more than the database takes."""
PATIENCE = 1.0
"""Seconds after which calls are served with a token set that is not stored yet."""
MOST_UNSTORED = 1_000
"""No refresh begins while so many token sets of this process are not stored yet."""


@dataclass(slots=True, repr=False)
class _Unstored:
    """A token set that its login in the store does not have yet."""

    login: Login
    """As it was before, but with the claims to store: its tokens are what is replaced."""
    provider: Provider
    tokens: TokenSet
    sealed: str
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    waits: bool = False
    """Whether nothing is under way for it but a pause."""


class TokenStoring:
    """Puts token sets in the place of those they were refreshed from.

    `discard` revokes a token set whose login is gone. `first_pause` is in seconds, before the second attempt.
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
        """Whether no refresh may begin for now."""
        return len(self._unstored) >= MOST_UNSTORED

    def kept_for(self, login: Login) -> TokenSet | None:
        """The token set that this process holds for a login and has not stored yet."""
        unstored = self._unstored.get(login.id)
        if unstored is None or login.tokens not in {unstored.login.tokens, unstored.sealed}:
            return None
        return unstored.tokens

    def newest(self, login: Login) -> Login:
        """A login that was read, with the claims that its token set brought when that is not stored yet."""
        unstored = self._unstored.get(login.id)
        if unstored is None or login.tokens != unstored.login.tokens:
            return login
        return replace(login, claims=unstored.login.claims)

    def wake(self, login_id: str) -> None:
        """Something happened to a login: try at once."""
        unstored = self._unstored.get(login_id)
        if unstored is not None:
            unstored.wake.set()

    async def store(
        self, held: Login, tokens: TokenSet, provider: Provider, *, done: Callable[[], None]
    ) -> TokenSet | None:
        """Store a token set, or keep it until it can be; return what calls are served with.

        None when the login is gone, and then the token set was revoked; the stored one when somebody else has
        refreshed the same login.

        Parameters: held, the login as it is stored, but with the claims to store; done, called once when
        nothing is left to do.
        Raises VaultError when the token set cannot be sealed; `done` was not called then.
        """
        unstored = _Unstored(held, provider, tokens, self._vault.seal_tokens(held.id, tokens))
        self._unstored[held.id] = unstored
        storing = asyncio.create_task(self._until_stored(unstored))
        self._tasks.add(storing)
        storing.add_done_callback(lambda storing: self._on_done(unstored, storing, done))
        await asyncio.wait({storing}, timeout=PATIENCE)
        if storing.done():
            return storing.result()
        _log.warning("tokens_kept", tenant=held.tenant, provider=provider.id)
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
        for usual in _pauses(self._first_pause):
            try:
                if current is not login:
                    current = await self._read(login.id)
                current = await self._attempt(unstored, current)
                break
            except StoreUnavailable:
                current = None
                first = next(iter(self._unstored.values()), None) is unstored
                unstored.waits = True
                await _wait(unstored.wake, min(usual, FIRST_IN_LINE_PAUSE) if first else usual)
                unstored.waits = False
        self._wake_next()
        return await self._conclude(unstored, current)

    def _wake_next(self) -> None:
        waiting = (other for other in self._unstored.values() if other.waits and not other.wake.is_set())
        for other in itertools.islice(waiting, _TRIED_NEXT):
            other.wake.set()

    async def _attempt(self, unstored: _Unstored, current: Login | None) -> Login | None:
        """Store once; return the login as it is then, None when it is gone. Raises StoreUnavailable."""
        while current is not None and current.tokens == unstored.login.tokens:
            updated = replace(
                current,
                claims=unstored.login.claims,
                tokens=unstored.sealed,
                access_expires_at=unstored.tokens.expires_at,
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
            return self._opened.open(current)  # revoking ours could end what replaced it (RFC 7009 2.1)
        await self._discard(tokens, unstored.provider)
        return None

    @property
    def under_way(self) -> set[asyncio.Task[TokenSet | None]]:
        """The tasks that store the token sets that are not stored yet."""
        return self._tasks


def _pauses(first: float) -> Iterator[float]:
    """Seconds between attempts, without end."""
    return (min(LONGEST_PAUSE, first * 1.6 ** min(number, 30)) for number in itertools.count())


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but no longer than that; clears it."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
    event.clear()
