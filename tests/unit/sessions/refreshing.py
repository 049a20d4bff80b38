"""Test setup for refreshes: a login, a store with injected faults, a provider that rotates refresh tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from portal.access.rules import AccessRules
from portal.keys.key_ring import KeyRing
from portal.keys.vault import Vault
from portal.oidc.errors import RefreshRejected
from portal.oidc.provider import Provider, Refreshed, TokenSet
from portal.secret import Secret
from portal.sessions.refresh import WAIT_SECONDS, TokenRefresher
from portal.sessions.refresh_lease import LeaseTimes
from portal.stores.by_url import store_for
from portal.stores.model import Login
from portal.stores.store import Store
from tests.kit.failing_store import FailingStore
from tests.kit.samples import (
    START,
    ManualClock,
    SampleDirectory,
    sample_login,
    sample_provider,
    sample_session,
    sample_tokens,
)

DEADLINE = 20.0
"""Seconds after which a test that waits for something fails."""


class RotatingRelyingParty:
    """A fake provider that accepts each refresh token once and ends the login when one is reused."""

    def __init__(self) -> None:
        self.refreshes = 0
        self.valid = "refresh-1"
        self.reused: list[str] = []
        self.revoked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.claims: dict[str, object] | None = None
        """The claims of a new ID token; None for no ID token."""

    async def refresh(self, provider: Provider, tokens: TokenSet, *, subject: str) -> Refreshed:
        self.refreshes += 1
        assert tokens.refresh_token is not None
        sent = tokens.refresh_token.reveal()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        if sent != self.valid:
            self.reused.append(sent)
            raise RefreshRejected("the refresh token was used before", error="invalid_grant")
        number = self.refreshes + 1
        self.valid = f"refresh-{number}"
        new = replace(
            tokens,
            access_token=Secret(f"access-{number}"),
            refresh_token=Secret(self.valid),
            expires_at=START + 100_000,
        )
        return Refreshed(new, self.claims)

    async def revoke(self, provider: Provider, token: Secret, *, hint: str) -> bool:
        self.revoked.append(token.reveal())
        return True


@dataclass
class Scene:
    working: Store
    """The real store; refreshers use `store`, which injects faults."""
    store: FailingStore
    vault: Vault
    party: RotatingRelyingParty
    clock: ManualClock
    provider: Provider
    login: Login
    access: tuple[AccessRules, ...] = ()

    def refresher(
        self,
        *,
        wait: float = WAIT_SECONDS,
        may_refresh: Callable[[], bool] = lambda: True,
        store: Store | None = None,
        **times: float,
    ) -> TokenRefresher:
        return TokenRefresher(
            store=store or cast(Store, self.store),
            vault=self.vault,
            relying_party=self.party,  # type: ignore[arg-type]
            directory=SampleDirectory({self.provider.id: self.provider}, self.access),
            clock=self.clock,
            may_refresh=may_refresh,
            times=LeaseTimes(**{"poll": 0.005, **times}),
            wait=wait,
        )

    async def stored(self) -> Login | None:
        _, logins = await self.working.read((), (self.login.id,), now=self.clock())
        return logins.get(self.login.id)

    async def stored_refresh_token(self) -> str | None:
        stored = await self.stored()
        if stored is None:
            return None
        token = self.vault.open_tokens(stored.id, stored.tokens).refresh_token
        return token.reveal() if token else None

    async def wait_until_stored(self, refresh_token: str) -> None:
        """Wait until the login has this refresh token and its lease is released."""
        async with asyncio.timeout(DEADLINE):
            while True:
                stored = await self.stored()
                if await self.stored_refresh_token() == refresh_token and stored and not stored.lease_owner:
                    return
                await asyncio.sleep(0.005)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                await asyncio.sleep(0.001)


@asynccontextmanager
async def refreshing(folder: Path, **token_changes: object) -> AsyncIterator[Scene]:
    """A login whose access token is valid for a minute."""
    folder.mkdir(exist_ok=True)
    clock = ManualClock()
    store = store_for(f"sqlite:///{folder}/portal.db", clock=clock)
    await store.open()
    try:
        vault = Vault(KeyRing.load_or_create(folder / "keys.json"))
        login = sample_login()
        tokens = sample_tokens(**token_changes)
        login = replace(
            login, tokens=vault.seal_tokens(login.id, tokens), access_expires_at=tokens.expires_at
        )
        await store.add_session(sample_session())
        await store.put_login(login)
        yield Scene(
            store, FailingStore(store), vault, RotatingRelyingParty(), clock, sample_provider(), login
        )
    finally:
        await store.close()
