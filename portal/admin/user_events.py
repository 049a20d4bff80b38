"""Records the sign-ins of users and their ends, refusals, limits that were reached, and changes of files.

They are no acts on a tenant, and far more: so a sign-in does not wait for its event. Events wait in a bounded
queue and are written together; while the database cannot be written, the oldest stay. What no longer fits,
and what no database accepts, is counted as lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import structlog

from portal.admin.actors import Actor, ActorType
from portal.admin.event_rates import EventRate
from portal.admin.events import Act, EventKind, Outcome
from portal.clock import Clock
from portal.display_text import display_text
from portal.errors import StoreUnavailable
from portal.pauses import is_set_within, wait_for_any
from portal.stores.model import Login
from portal.stores.record_checks import require_valid
from portal.stores.tenant_records import Event
from portal.stores.tenant_store import TenantStore

_log = structlog.get_logger("portal.events")

MOST_WAITING = 5_000
_AT_ONCE = 200
_GATHER_SECONDS = 0.25
_PAUSE_SECONDS = 2.0
"""After the database failed."""
_LONGEST_WAIT = 3600.0
_REFUSALS_A_MINUTE = 100
"""Of a tenant: one that refuses every sign-in does not take the place of the others' events."""


class UserEvents:
    """Records and lists the events of users. Parameters: clock, that of the database; lost, counts losses."""

    def __init__(self, store: TenantStore, *, clock: Clock, lost: Callable[[int], None]) -> None:
        self._store = store
        self._clock = clock
        self._lost = lost
        self._waiting: deque[Event] = deque()
        self._filled = asyncio.Event()
        self._refusals = EventRate(_REFUSALS_A_MINUTE)
        self._limits = EventRate(1)

    def record(
        self, kind: EventKind, act: Act, *, tenant: str, target: str = "", outcome: Outcome = Outcome.DONE
    ) -> None:
        """Record an event. Parameters: act, who and why; tenant, empty for none; target, to what."""
        event = act.event(kind, tenant=tenant, target=target, at=self._clock(), outcome=outcome)
        if len(self._waiting) >= MOST_WAITING:
            self._lose(1)
            return
        try:
            require_valid(event)
        except (TypeError, ValueError) as error:
            self._lose(1, error)
            return
        self._waiting.append(event)
        self._filled.set()

    def sign_in_refused(self, tenant: str, rule: str, request: Act) -> None:
        """Record that a sign-in was not finished; bounded for each tenant, as strangers can cause it.

        Parameters: rule, why, as a code; request, with the account as its actor if it is known.
        """
        if self._refusals.allows(tenant, self._clock()):
            target = display_text(rule, limit=200)
            self.record(
                EventKind.SIGN_IN_REFUSED, request, tenant=tenant, target=target, outcome=Outcome.REFUSED
            )

    def limit_reached(self, limit: str, tenant: str) -> None:
        """Record that a limit was reached; at most one event a minute for each limit and tenant."""
        if self._limits.allows((limit, tenant), self._clock()):
            act = Act(Actor(ActorType.SYSTEM))
            self.record(EventKind.LIMIT_REACHED, act, tenant=tenant, target=limit, outcome=Outcome.REFUSED)

    def registration_ended(self, tenant: str, provider: str, logins: int) -> None:
        """Record that the logins of a registration were deleted. Parameters: logins, how many."""
        act = Act(Actor(ActorType.SYSTEM), reason=f"{logins} logins ended")
        self.record(
            EventKind.REGISTRATION_ENDED, act, tenant=tenant, target=display_text(provider, limit=200)
        )

    def signed_in(self, login: Login, request: Act) -> None:
        """Record a new login. Parameters: request, with which it was made."""
        self._add(EventKind.SIGNED_IN, login, request)

    def signed_out(self, login: Login, request: Act) -> None:
        """Record that the user signed out."""
        self._add(EventKind.SIGNED_OUT, login, request)

    def session_ended(self, login: Login, reason: str, request: Act | None = None) -> None:
        """Record that a login ended in another way. Parameters: request, of whoever ended it, if known."""
        self._add(EventKind.SESSION_ENDED, login, request, reason)

    async def recent(self, logins: Sequence[Login], *, most: int) -> Sequence[Event]:
        """The newest events of the users of some logins, each at its tenant. Raises StoreUnavailable."""
        users = [(login.tenant, _actor(login)) for login in logins]
        return await self._store.list_user_events(users, since=0.0, most=most)

    async def run(self, stop: asyncio.Event) -> None:
        """Write what is recorded until `stop` is set, and then what is left."""
        while not stop.is_set():
            await wait_for_any(self._filled, stop, seconds=_LONGEST_WAIT)
            await is_set_within(stop, _GATHER_SECONDS if await self._write() else _PAUSE_SECONDS)
        await self.write_rest()

    async def write_rest(self) -> None:
        """Write what waits; what the database does not take now is lost. Call it again when work has ended
        that may have recorded something after `run`: a refresh that the provider refuses during a stop.
        """
        while self._waiting and await self._write():
            continue
        if self._waiting:
            self._lose(len(self._waiting))
            self._waiting.clear()

    def _add(self, kind: EventKind, login: Login, request: Act | None, reason: str = "") -> None:
        act = Act(
            Actor(ActorType.USER, login.subject, login.issuer),
            reason=display_text(reason, limit=300),
            request_id=request.request_id if request else "",
            client=request.client if request else "",
            device=request.device if request else "",
        )
        self.record(kind, act, tenant=login.tenant)

    async def _write(self) -> bool:
        """Write some of the events; False when the database failed, and all of them stay.

        What fails otherwise would fail again, and would keep back the events of every tenant: it is lost.
        """
        some = [self._waiting[number] for number in range(min(_AT_ONCE, len(self._waiting)))]
        try:
            await self._store.add_events(some)
        except StoreUnavailable as error:
            _log.warning("user_events_wait", waiting=len(self._waiting), detail=error.detail)
            return False
        except Exception as error:  # noqa: BLE001 - the events that follow are of other users
            self._lose(len(some), error)
        for _ in some:
            self._waiting.popleft()
        if not self._waiting:
            self._filled.clear()
        return True

    def _lose(self, count: int, error: Exception | None = None) -> None:
        self._lost(count)
        _log.warning("user_events_lost", count=count, exc_info=error)


def _actor(login: Login) -> str:
    return Actor(ActorType.USER, login.subject, login.issuer).as_json()
