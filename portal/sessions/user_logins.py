"""The logins of one user at a tenant, on all devices, for the user: listed, and ended.

Whoever asks has a live login at the tenant. Only logins of exactly its registration, issuer and subject are
found; what identifies one of them on a page is looked for among these again before it is ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from portal.clock import Clock
from portal.sessions.credentials import digest
from portal.sessions.logout import LogoutService
from portal.stores.model import Login
from portal.stores.tenant_logins import TenantLogin, TenantLogins, UserKey

MOST_LOGINS = 100
"""Logins of a user that are read at once."""
_ENDED_AT_ONCE = 10
"""Each sends a request to the provider."""
_MOST_ENDED = 2 * _ENDED_AT_ONCE
"""Logins that a sign-in ends: more than are made until the next one counts, so that any excess shrinks."""
_MOST_ROUNDS = 10
_MOST_USERS = 10_000
"""Whose sign-ins are counted: 1 MB."""


@dataclass(frozen=True, slots=True)
class UserLogin:
    """A login of the user, and a reference that tells nothing about its session."""

    reference: str
    found: TenantLogin
    is_own: bool
    """Whether it is the login with which the user asks."""


class UserLogins:
    """Lists and ends the logins of a user. Parameters: clock, that of the database."""

    def __init__(self, logins: TenantLogins, *, logouts: LogoutService, clock: Clock) -> None:
        self._logins = logins
        self._logouts = logouts
        self._clock = clock
        self._sign_ins: dict[int, int] = {}
        """How often users have signed in, by the hash of who they are; the last one is the last."""

    async def list(self, login: Login, *, most: int = MOST_LOGINS) -> Sequence[UserLogin]:
        """The logins of the user of a login, that one first, then the newest. Raises StoreUnavailable."""
        (listed,) = await self.list_each([login], most=most)
        return listed

    async def list_each(self, logins: Sequence[Login], *, most: int) -> Sequence[Sequence[UserLogin]]:
        """As `list`, for the user of each of some logins: of one browser, so they are of different tenants.

        Raises StoreUnavailable.
        """
        found = await self._logins.of_users(
            [UserKey.of(login) for login in logins], most=most, now=self._clock()
        )
        return [_listed(login, some) for login, some in zip(logins, found, strict=True)]

    async def end(self, login: Login, reference: str) -> Sequence[Login]:
        """End another login of the user and revoke its tokens; return what has ended.

        That is nothing when the user has no other login with this reference. Raises StoreUnavailable.
        """
        listed = await self.list(login)
        return await self._end([one.found for one in listed if one.reference == reference and not one.is_own])

    async def end_others(self, login: Login) -> Sequence[Login]:
        """End all other logins of the user and revoke their tokens; return what has ended.

        Raises StoreUnavailable.
        """
        ended: list[Login] = []
        for _ in range(_MOST_ROUNDS):
            others = [one.found for one in await self.list(login) if not one.is_own]
            if not others:
                break
            ended += await self._end(others)
        return ended

    async def end_oldest(self, login: Login, *, keep: int) -> Sequence[Login]:
        """End the oldest logins of the user of a login and revoke their tokens; return what has ended.

        Call it at each sign-in. It reads the logins at every tenth sign-in of a user in this process, or more
        often when few may stay: a read at each would be a tenth of its CPU time. When very many are to end,
        because the limit was lowered or other processes have counted too, the next sign-ins end the rest.
        The newest stay, whichever sign-in asks: of several at the same time, none ends what another keeps.
        Parameters: keep, how many logins stay. At most ten end at once, and twenty in a call. Raises
        StoreUnavailable.
        """
        if not self._is_due(login, keep):
            return ()
        (newest_first,) = await self._logins.of_users(
            [UserKey.of(login)], most=keep + MOST_LOGINS, now=self._clock()
        )
        return await self._end(newest_first[keep:][-_MOST_ENDED:], by="limit")

    def _is_due(self, login: Login, keep: int) -> bool:
        user = hash((login.tenant, login.issuer, login.subject))
        count = self._sign_ins.pop(user, 0) + 1
        self._sign_ins[user] = count
        if len(self._sign_ins) > _MOST_USERS:
            del self._sign_ins[next(iter(self._sign_ins))]
        return count % min(_ENDED_AT_ONCE, max(1, keep // _ENDED_AT_ONCE)) == 0

    async def _end(self, some: Sequence[TenantLogin], *, by: str = "user") -> Sequence[Login]:
        ended: list[Login] = []
        for start in range(0, len(some), _ENDED_AT_ONCE):
            logins = [one.login for one in some[start : start + _ENDED_AT_ONCE]]
            done = await asyncio.gather(*(self._logouts.end_found_login(one, by=by) for one in logins))
            ended += [one for one, has_ended in zip(logins, done, strict=True) if has_ended]
        return ended


def _listed(login: Login, found: Sequence[TenantLogin]) -> Sequence[UserLogin]:
    listed = [UserLogin(_reference(one.login), one, one.login.id == login.id) for one in found]
    return sorted(listed, key=lambda one: not one.is_own)


def _reference(login: Login) -> str:
    return digest(f"login of a user\0{login.id}\0{login.signed_in_at}")
