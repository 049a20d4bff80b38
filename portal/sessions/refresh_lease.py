"""The refresh lease: which process may use the refresh token of a login now.

Granting the lease is also the mark, in the same write, that the refresh token may be in use. A lease that ran
out without being given back is therefore not simply free. When its owner is known to be gone, it is taken
over at once. Otherwise the owner may be cut off from the database and hold the new refresh token; using the
old one would make the provider end the login (RFC 9700 4.14.2). So the others wait first, for as long as they
themselves reach the database: an outage that everybody sees costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog

from portal.errors import LoginRequired, PortalError, StoreUnavailable
from portal.oidc.errors import ProviderUnavailable
from portal.sessions.lease_owners import LeaseOwners
from portal.single_flight import SingleFlight
from portal.stores.model import Login
from portal.stores.store import Store

_log = structlog.get_logger("portal.refresh")

_NOBODY = ""
"""Names no owner: take the lease only if it was given back."""
_SLOWEST_POLL = 1.0
_LONGEST_PAUSE = 2.0


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """All in seconds."""

    lease: float = 5.0
    """How long a lease lasts; it is extended three times as often while a refresh is under way."""
    poll: float = 0.05
    """How often those that wait look whether it is done, at first; less often later."""
    far_patience: float = 30.0
    """How long a lease that ran out is left alone when its owner is on another machine."""
    near_patience: float = 120.0
    """The same when its owner is a process of this machine that runs, or is stopped: as long as a response of
    the provider is waited for."""
    give_up: float = 180.0
    """How long one attempt waits altogether."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The lease of a login, and the login as it was when the lease was granted."""

    login: Login
    owner: str


class RefreshLeases:
    """Takes leases, keeps them alive, and gives them back."""

    def __init__(self, store: Store, times: LeaseTimes) -> None:
        self._store = store
        self._times = times
        self._owners = LeaseOwners()
        self._giving_back: SingleFlight[str, None] = SingleFlight()
        self._stopping = False

    async def wait(self, asked: Login) -> Granted | Login:
        """Wait until the lease is granted, or somebody else has refreshed: then return the newer login.

        The caller ends what was granted by `kept_alive`, and gives it back unless it has stored new tokens.
        Raises LoginRequired when the login is gone or another sign-in took its place, ProviderUnavailable
        when nobody finishes, StoreUnavailable.
        """
        if asked.id in self._giving_back:
            raise StoreUnavailable("the database did not respond to this login's refresh a moment ago")
        owner = self._owners.begin()
        try:
            result = await self._wait(asked, owner)
        except BaseException as error:
            self._owners.end(owner)
            if isinstance(error, StoreUnavailable):  # it may be granted, and only the acknowledgement lost
                self._give_back_later(asked.id, owner)
            raise
        if isinstance(result, Login):
            self._owners.end(owner)
        return result

    async def _wait(self, asked: Login, owner: str) -> Granted | Login:
        times, now = self._times, asyncio.get_running_loop().time
        current, seen, seen_at = asked, (asked.lease_owner, asked.lease_expires_at), now()
        give_up, pause = now() + times.give_up, times.poll
        while True:
            if self._is_due(current, now() - seen_at):
                held = await self._store.acquire_lease(
                    asked.id, owner=owner, seconds=times.lease, from_owner=current.lease_owner or _NOBODY
                )
                if held is not None and held.sign_in == asked.sign_in:
                    return Granted(held, owner)
                if held is not None:
                    await self._store.release_lease(asked.id, owner=owner)
            if self._stopping or now() > give_up:
                raise ProviderUnavailable("no process finished the refresh in time")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _SLOWEST_POLL)
            current = await self.current(asked)
            if current.tokens != asked.tokens:
                return current
            if seen != (current.lease_owner, current.lease_expires_at):
                seen, seen_at = (current.lease_owner, current.lease_expires_at), now()

    def _is_due(self, login: Login, unchanged: float) -> bool:
        """Whether the lease may be asked for: whether it has run out is the store's to say."""
        if login.lease_owner is None or self._owners.is_gone(login.lease_owner):
            return True
        near = self._owners.is_near(login.lease_owner)
        return unchanged >= (self._times.near_patience if near else self._times.far_patience)

    async def current(self, login: Login) -> Login:
        """The login as it is stored now.

        Raises LoginRequired when it is gone or another sign-in took its place, StoreUnavailable.
        """
        _, logins = await self._store.read((), (login.id,), now=self._store.time())
        found = logins.get(login.id)
        if found is None or found.sign_in != login.sign_in:
            raise LoginRequired("the login ended while its token set was being refreshed")
        return found

    @contextlib.asynccontextmanager
    async def kept_alive(self, granted: Granted) -> AsyncIterator[None]:
        """Extend a lease for as long as the block runs, where the database can be reached."""
        beating = asyncio.create_task(self._beat(granted))
        try:
            yield
        finally:
            beating.cancel()

    async def _beat(self, granted: Granted) -> None:
        while True:
            await asyncio.sleep(self._times.lease / 3)
            try:
                await self._store.extend_lease(
                    granted.login.id, owner=granted.owner, seconds=self._times.lease
                )
            except PortalError as error:
                _log.debug("lease_not_extended", tenant=granted.login.tenant, code=error.code)

    async def finish(self, granted: Granted) -> None:
        """Give back a lease whose refresh brought no new tokens."""
        try:
            await self._store.release_lease(granted.login.id, owner=granted.owner)
        except StoreUnavailable:
            self._give_back_later(granted.login.id, granted.owner)
        self._owners.end(granted.owner)

    def end(self, granted: Granted) -> None:
        """The new tokens are stored, which gave the lease back, or there is nobody to have them."""
        self._owners.end(granted.owner)

    def stop(self) -> None:
        """Let nobody wait for other processes any more; for a graceful stop."""
        self._stopping = True

    @property
    def under_way(self) -> set[asyncio.Task[None]]:
        """Leases that are being given back."""
        return self._giving_back.tasks

    def _give_back_later(self, login_id: str, owner: str) -> None:
        """Try for a while to give a lease back: other processes leave alone what may be in use."""
        self._giving_back.join(login_id, lambda: self._give_back(login_id, owner))

    async def _give_back(self, login_id: str, owner: str) -> None:
        pause, give_up = self._times.poll, asyncio.get_running_loop().time() + self._times.near_patience
        while asyncio.get_running_loop().time() < give_up and not self._stopping:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            try:
                await self._store.release_lease(login_id, owner=owner)
            except StoreUnavailable:
                continue
            return
        _log.warning("lease_not_given_back")
