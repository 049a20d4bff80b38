"""Whether a database server can do all that a store asks of it, tried at start on entries of its own."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

from portal.errors import StartupError, StoreUnavailable
from portal.stores.model import Login, LoginAttempt, Session
from portal.stores.store import Store

_SECONDS = 60.0
"""How long the entries live that a start leaves behind which ends in between."""
_CLOCK_SLACK = 5.0


class _Trial:
    """Entries that nobody else has, and what is done with them. Each step is a sentence about the server."""

    def __init__(self, store: Store) -> None:
        self._store = store
        moment, key = store.time(), f"trial-{secrets.token_urlsafe(16)}"
        later = moment + _SECONDS
        self.session = Session(key, secrets.token_hex(32), moment, moment, later, later)
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
            access_expires_at=moment,
            signed_in_at=moment,
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
        taken = [
            await self._store.take_attempt(self._attempt.id, tenant="trial", binding_hash="", now=0.0)
            for _ in range(2)
        ]
        return taken == [self._attempt, None]

    async def lease(self) -> bool:
        held = await self._store.acquire_lease(self._login.id, owner="one", seconds=_SECONDS)
        another = await self._store.acquire_lease(self._login.id, owner="two", seconds=_SECONDS)
        extended = await self._store.extend_lease(self._login.id, owner="one", seconds=_SECONDS)
        if held is None or another is not None or not extended:
            return False
        return abs(held.lease_expires_at - _SECONDS - self._store.time()) <= _CLOCK_SLACK

    async def swap(self) -> bool:
        wrong = await self._store.swap_login(self._login, expected_version=self._login.version)
        return not wrong

    async def join(self) -> bool:
        sessions, logins = await self._store.read([self.session.id], [self._login.id], now=self._store.time())
        return self.session.id in sessions and self._login.id in logins

    async def delete(self) -> bool:
        return len(await self._store.delete_session(self.session.id)) == 1


async def check_server(store: Store, *, refused: type[StoreUnavailable], remedy: str) -> None:
    """Do with entries of its own what the portal will do; leaves nothing behind.

    `refused` is what the store raises when the server is there and does not do it. Raises StartupError, which
    says what the server cannot do, or another StoreUnavailable.
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
            reason = "it did something else"
        except refused as error:
            able, reason = False, error.detail
        if not able:
            raise StartupError(f"The database server cannot {ability}: {reason}.", remedy=remedy)
