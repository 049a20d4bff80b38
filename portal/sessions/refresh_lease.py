"""The refresh lease: it decides which process may use the refresh token of a login.

The write that grants a lease also records that the refresh token may be in use. A lease that expired without
being released is therefore not free at once. When its owner's process has ended, another process takes the
lease over immediately. Otherwise the owner may have lost its connection to the database and have the new
refresh token; using the old one would make the provider end the login (RFC 9700 4.14.2). So other processes
wait first. Only time in which they can reach the database counts, so an outage for all adds no wait.
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

_NO_OWNER = ""
"""Acquire the lease only if it was released."""
_MAX_POLL = 1.0
_MAX_PAUSE = 2.0


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Durations in seconds."""

    lease: float = 5.0
    """How long a lease lasts; a running refresh extends it three times in that time."""
    poll: float = 0.05
    """The first interval at which waiting processes check the lease; the interval grows."""
    remote_owner_grace: float = 30.0
    """How long an expired lease is respected when its owner is on another machine."""
    local_owner_grace: float = 120.0
    """The same when its owner is a running or stopped process of this machine: as long as the timeout of a
    provider's response."""
    max_wait: float = 180.0
    """How long one call waits in total."""


@dataclass(frozen=True, slots=True)
class Granted:
    """A granted lease, with the login as it was stored at that time."""

    login: Login
    owner: str


class RefreshLeases:
    """Acquires, extends and releases leases."""

    def __init__(self, store: Store, times: LeaseTimes) -> None:
        self._store = store
        self._times = times
        self._owners = LeaseOwners()
        self._releasing: SingleFlight[str, None] = SingleFlight()
        self._stopping = False

    async def wait(self, login: Login) -> Granted | Login:
        """Wait for the lease; return the newer login instead if another process has refreshed it.

        The caller keeps a granted lease with `kept_alive`, and then calls `end` if it stored new tokens or
        `finish` if not.
        Raises LoginRequired when the login is gone or was replaced by another sign-in, ProviderUnavailable
        when no process finishes in time, StoreUnavailable.
        """
        if login.id in self._releasing:
            raise StoreUnavailable("the database has just failed to respond to a refresh of this login")
        owner = self._owners.begin()
        try:
            result = await self._wait(login, owner)
        except BaseException as error:
            self._owners.end(owner)
            if isinstance(error, StoreUnavailable):  # the lease may be granted without its acknowledgement
                self._release_later(login.id, owner)
            raise
        if isinstance(result, Login):
            self._owners.end(owner)
        return result

    async def _wait(self, login: Login, owner: str) -> Granted | Login:
        times, now = self._times, asyncio.get_running_loop().time
        current, seen, seen_at = login, (login.lease_owner, login.lease_expires_at), now()
        deadline, pause = now() + times.max_wait, times.poll
        while True:
            if self._may_acquire(current, now() - seen_at):
                stored = await self._store.acquire_lease(
                    login.id, owner=owner, seconds=times.lease, from_owner=current.lease_owner or _NO_OWNER
                )
                if stored is not None and stored.sign_in == login.sign_in:
                    return Granted(stored, owner)
                if stored is not None:
                    await self._store.release_lease(login.id, owner=owner)
            if self._stopping or now() > deadline:
                raise ProviderUnavailable("no process finished the refresh in time")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _MAX_POLL)
            current = await self.current(login)
            if current.tokens != login.tokens:
                return current
            if seen != (current.lease_owner, current.lease_expires_at):
                seen, seen_at = (current.lease_owner, current.lease_expires_at), now()

    def _may_acquire(self, login: Login, unchanged: float) -> bool:
        """Whether to try to acquire the lease; the store decides whether it has expired."""
        if login.lease_owner is None or self._owners.is_gone(login.lease_owner):
            return True
        local = self._owners.is_local(login.lease_owner)
        return unchanged >= (self._times.local_owner_grace if local else self._times.remote_owner_grace)

    async def current(self, login: Login) -> Login:
        """Read the stored login.

        Raises LoginRequired when it is gone or was replaced by another sign-in, StoreUnavailable.
        """
        _, logins = await self._store.read((), (login.id,), now=self._store.time())
        found = logins.get(login.id)
        if found is None or found.sign_in != login.sign_in:
            raise LoginRequired("the login ended while its token set was being refreshed")
        return found

    @contextlib.asynccontextmanager
    async def kept_alive(self, granted: Granted) -> AsyncIterator[None]:
        """Extend a lease while the block runs; a failure to extend it is only logged."""
        extending = asyncio.create_task(self._extend_periodically(granted))
        try:
            yield
        finally:
            extending.cancel()

    async def _extend_periodically(self, granted: Granted) -> None:
        while True:
            await asyncio.sleep(self._times.lease / 3)
            try:
                await self._store.extend_lease(
                    granted.login.id, owner=granted.owner, seconds=self._times.lease
                )
            except PortalError as error:
                _log.debug("lease_not_extended", tenant=granted.login.tenant, code=error.code)

    async def finish(self, granted: Granted) -> None:
        """Release a lease whose refresh returned no new tokens."""
        try:
            await self._store.release_lease(granted.login.id, owner=granted.owner)
        except StoreUnavailable:
            self._release_later(granted.login.id, granted.owner)
        self._owners.end(granted.owner)

    def end(self, granted: Granted) -> None:
        """Mark the refresh as finished; storing the tokens released the lease, or the login is gone."""
        self._owners.end(granted.owner)

    def stop(self) -> None:
        """Stop waiting for other processes; for a graceful stop."""
        self._stopping = True

    @property
    def under_way(self) -> set[asyncio.Task[None]]:
        """The tasks that release leases."""
        return self._releasing.tasks

    def _release_later(self, login_id: str, owner: str) -> None:
        """Retry releasing a lease in the background, to spare other processes the grace period."""
        self._releasing.join(login_id, lambda: self._release(login_id, owner))

    async def _release(self, login_id: str, owner: str) -> None:
        pause, deadline = self._times.poll, asyncio.get_running_loop().time() + self._times.local_owner_grace
        while asyncio.get_running_loop().time() < deadline and not self._stopping:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _MAX_PAUSE)
            try:
                await self._store.release_lease(login_id, owner=owner)
            except StoreUnavailable:
                continue
            return
        _log.warning("lease_not_given_back")
