"""Deletes logins whose time is over, and records the end of each as an event.

Nobody is there when a login expires, so it is found afterwards: by the sweep that every process makes once a
minute. A login is deleted and its event stored together, so several processes report it once (see
docs/decisions/095).
"""

from __future__ import annotations

import asyncio
import time

from portal.admin.actors import Actor, ActorType
from portal.admin.event_json import rfc3339
from portal.admin.events import Act, EventKind
from portal.clock import Clock
from portal.stores.tenant_logins import ExpiredLogin, TenantLogins
from portal.stores.tenant_records import Event

GRACE_SECONDS = 60.0
"""How long an expired session stays: a use of it from before its end may still be written."""
_AT_ONCE = 200
_LONGEST_SECONDS = 30.0
"""Of one sweep; the next one goes on."""
_SHORTEST_PAUSE = 0.01


class LoginExpiry:
    """Ends expired logins. Parameters: clock, that of the database, which several threads may ask."""

    def __init__(self, logins: TenantLogins, *, clock: Clock) -> None:
        self._logins = logins
        self._clock = clock

    async def sweep(self) -> int:
        """End what has expired; return how many sessions and logins were deleted. Raises StoreUnavailable.

        After each step it pauses for as long as the step took, for the writers of other processes.
        """
        ended, begun = 0, time.monotonic()
        while True:
            step = time.monotonic()
            some = await self._logins.end_expired(most=_AT_ONCE, grace=GRACE_SECONDS, report=self.event_of)
            ended += some
            now = time.monotonic()
            if some < _AT_ONCE or now - begun > _LONGEST_SECONDS:
                return ended
            await asyncio.sleep(max(now - step, _SHORTEST_PAUSE))

    def event_of(self, login: ExpiredLogin) -> Event:
        """The event of an expired login. Its time is that of the sweep: it follows earlier ones in order."""
        act = Act(
            Actor(ActorType.EXPIRY, login.subject, login.issuer),
            reason=f"expired at {rfc3339(login.expired_at)}",
        )
        return act.event(EventKind.LOGIN_EXPIRED, tenant=login.tenant, at=self._clock())
