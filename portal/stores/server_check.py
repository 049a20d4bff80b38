"""Checks at start that a database server supports all operations of a store, with temporary entries."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

from portal.errors import StartupError, StoreUnavailable
from portal.stores.model import Login, LoginAttempt, Session
from portal.stores.store import Store

_SECONDS = 60.0
"""Lifetime of the temporary entries, in case the start is interrupted before it deletes them."""
_CLOCK_SLACK = 5.0


class _Trial:
    """Temporary entries, and a method for each operation to check, which returns whether it works."""

    def __init__(self, store: Store) -> None:
        self._store = store
        now, key = store.time(), f"trial-{secrets.token_urlsafe(16)}"
        later = now + _SECONDS
        self.session = Session(key, secrets.token_hex(32), now, now, later, later)
        self._login = Login(
            session=key,
            tenant="trial",
            provider="",
            registration="",
            issuer="",
            subject="",
            sid=None,
            claims={},
            tokens="",
            access_expires_at=now,
            signed_in_at=now,
            expires_at=later,
            version=1,
        )
        self._attempt = LoginAttempt(key, "trial", "", "", "", "", "", "", "", later)

    async def add(self) -> bool:
        await self._store.add_attempt(self._attempt)
        await self._store.add_session(self.session)
        await self._store.put_login(self._login)
        return True

    async def take_once(self) -> bool:
        attempts = [
            await self._store.take_attempt(self._attempt.id, tenant="trial", binding_hash="", now=0.0)
            for _ in range(2)
        ]
        return attempts == [self._attempt, None]

    async def lease(self) -> bool:
        leased = await self._store.acquire_lease(self._login.id, owner="one", seconds=_SECONDS)
        another = await self._store.acquire_lease(self._login.id, owner="two", seconds=_SECONDS)
        extended = await self._store.extend_lease(self._login.id, owner="one", seconds=_SECONDS)
        if leased is None or another is not None or not extended:
            return False
        return abs(leased.lease_expires_at - _SECONDS - self._store.time()) <= _CLOCK_SLACK

    async def swap(self) -> bool:
        swapped = await self._store.swap_login(self._login, expected_version=self._login.version)
        return not swapped  # the lease has changed the version

    async def join(self) -> bool:
        sessions, logins = await self._store.read([self.session.id], [self._login.id], now=self._store.time())
        return self.session.id in sessions and self._login.id in logins

    async def delete(self) -> bool:
        return len(await self._store.delete_session(self.session.id)) == 1


async def check_server(store: Store, *, refused: type[StoreUnavailable], remedy: str) -> None:
    """Try every operation of the portal on temporary entries, and delete them.

    `refused` is the error that the store raises when the server responds and rejects an operation. Raises
    StartupError, which names the unsupported operation, or another StoreUnavailable.
    """
    trial = _Trial(store)
    steps: tuple[tuple[str, Callable[[], Awaitable[bool]]], ...] = (
        ("store documents", trial.add),
        ("find and delete a document in one step (findAndModify)", trial.take_once),
        ("compare times with its own clock ($expr, $$NOW, $currentDate)", trial.lease),
        ("replace a document only if it is as expected (update)", trial.swap),
        ("join two collections (aggregate, $lookup)", trial.join),
        ("delete documents", trial.delete),
    )  # fmt: skip
    for ability, step in steps:
        try:
            able = await step()
            reason = "the result was not as expected"
        except refused as error:
            able, reason = False, error.detail
        if not able:
            raise StartupError(f"The database server cannot {ability}: {reason}.", remedy=remedy)
