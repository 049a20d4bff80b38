"""Reports what happens to sessions whose pages listen: logins that end, or are about to end.

Whoever listens does so with one secret of the session. Every sign-in replaces it; from then on, nothing more
is reported to those who have the former one (THREATS L6).

A process reads the sessions of all its listeners together, every CHECK_SECONDS, whichever process changed
them. While the database cannot be read, nothing is reported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

import structlog

from portal.clock import Clock
from portal.errors import StoreUnavailable
from portal.pauses import is_set_within
from portal.sessions.directory import Directory
from portal.sessions.live_logins import LiveLogins
from portal.stores.model import Login, Session, login_id
from portal.stores.store import Store
from portal.time_slices import in_slices

_log = structlog.get_logger("portal.sessions")

CHECK_SECONDS = 1.5
NOTICE_SECONDS = 120.0
"""How long before an end it is reported; a quarter of the lifetime when that is shorter."""
_READ_AT_ONCE = 256
"""Logins and sessions that one query reads."""


class SessionChange(StrEnum):
    """What happened; the names of the events that pages receive."""

    ENDED = "ended"
    """The login at a tenant ended; without a tenant: the session."""
    EXPIRING = "expiring"
    """The login at a tenant ends soon; without a tenant: the session."""
    REPLACED = "replaced"
    """The session has another secret: nothing more is reported to this listener. Pages do not receive it."""


class SessionEvent(NamedTuple):
    """Something that happened to a session. Times are seconds since the epoch, UTC."""

    change: SessionChange
    tenant: str | None = None
    """The slug of the tenant; None for the session itself."""
    expires_at: float | None = None
    """When it ends, for `EXPIRING`."""


Listener = Callable[[SessionEvent], None]
_Key = tuple[str, str]
"""Id and hash of the secret of a session."""


@dataclass(frozen=True, slots=True)
class _KnownLogin:
    sign_in: int
    """The hash of `Login.sign_in`."""
    version: int
    tenant: object
    """The state of the tenant that accepted this version."""
    announced: bool
    """Whether the end that it has now has been announced."""


@dataclass(slots=True, eq=False)
class _Watched:
    """A session with one of its secrets and its listeners, as it was when it was read last."""

    session: Session
    logins: dict[str, _KnownLogin]
    announced: bool = False
    pending: dict[str | None, SessionEvent] = field(default_factory=dict)
    """The announced ends that still lie ahead, for listeners that come later."""
    listeners: list[Listener] = field(default_factory=list)

    def tell(self, event: SessionEvent) -> None:
        if event.change is SessionChange.EXPIRING:
            self.pending[event.tenant] = event
        else:
            self.pending.pop(event.tenant, None)
        for listener in tuple(self.listeners):
            listener(event)


class SessionWatch:
    """Watches the sessions of all listeners of a process.

    Parameters: tenant_state, returns an object that is another one whenever a tenant has changed, None when
    the tenant is gone.
    """

    def __init__(
        self,
        *,
        store: Store,
        directory: Directory,
        tenant_state: Callable[[str], object | None],
        clock: Clock,
    ) -> None:
        self._store = store
        self._directory = directory
        self._logins = LiveLogins(store=store, directory=directory, clock=clock)
        self._tenant_state = tenant_state
        self._clock = clock
        self._watched: dict[_Key, _Watched] = {}

    def __len__(self) -> int:
        return len(self._watched)

    def listen(self, session: Session, logins: Sequence[Login], listener: Listener) -> None:
        """Report changes of a live session, whose logins are these, to a listener until `forget`.

        Ends that have been announced already are reported at once. After the end of the session or of its
        secret nothing more is reported.
        """
        watched = self._watched.get(_key(session))
        if watched is None:
            known = {login.tenant: self._known(login) for login in logins}
            watched = self._watched[_key(session)] = _Watched(session, known)
            self._announce(watched, {login.tenant: login for login in logins})
        watched.listeners.append(listener)
        for event in watched.pending.values():
            listener(event)

    def forget(self, session: Session, listener: Listener) -> None:
        """Stop reporting to a listener; forgetting twice is allowed."""
        watched = self._watched.get(_key(session))
        if watched is not None and listener in watched.listeners:
            watched.listeners.remove(listener)
            if not watched.listeners:
                del self._watched[_key(session)]

    async def watch(self, stop: asyncio.Event) -> None:
        """Check the sessions periodically until `stop` is set."""
        while not await is_set_within(stop, CHECK_SECONDS):
            try:
                await self.check()
            except StoreUnavailable as error:
                _log.warning("sessions_not_checked", sessions=len(self._watched), detail=error.detail)

    async def check(self) -> None:
        """Read the sessions and report what has changed. Raises StoreUnavailable."""
        for some in _batches(tuple(self._watched.values())):
            ids = {watched.session.id for watched in some}
            keys = {login_id(watched.session.id, tenant) for watched in some for tenant in watched.logins}
            sessions, stored = await self._store.read(ids, keys, now=self._clock())
            async for watched in in_slices(some):
                self._compare_alone(watched, sessions.get(watched.session.id), stored)

    def _compare_alone(self, watched: _Watched, session: Session | None, stored: dict[str, Login]) -> None:
        """Compare one session; an unexpected error of one must not keep the others from being compared."""
        try:
            self._compare(watched, session, stored)
        except Exception as error:  # noqa: BLE001 - the sessions that follow are of other users
            _log.error("session_not_compared", exc_info=error)

    def _compare(self, watched: _Watched, session: Session | None, stored: dict[str, Login]) -> None:
        if self._watched.get(_key(watched.session)) is not watched:  # nobody listens any more
            return
        if session is None:
            self._end_session(watched)
            return
        if session.secret_hash != watched.session.secret_hash:
            del self._watched[_key(watched.session)]
            watched.tell(SessionEvent(SessionChange.REPLACED))
            return
        watched.session = session
        keys = {tenant: login_id(session.id, tenant) for tenant in watched.logins}
        logins = {tenant: stored[key] for tenant, key in keys.items() if key in stored}
        self._compare_logins(watched, logins)
        self._announce(watched, logins)

    def _compare_logins(self, watched: _Watched, logins: dict[str, Login]) -> None:
        for tenant, known in tuple(watched.logins.items()):
            login = logins.get(tenant)
            # another sign-in would have replaced the secret
            if login is None or known.sign_in != hash(login.sign_in) or not self._is_accepted(login, known):
                del watched.logins[tenant]
                watched.tell(SessionEvent(SessionChange.ENDED, tenant))
            else:
                watched.logins[tenant] = self._known(login, announced=known.announced)

    def _is_accepted(self, login: Login, known: _KnownLogin) -> bool:
        """Whether the tenant accepts a login; its rules are asked only when tenant or login have changed."""
        state = self._tenant_state(login.tenant)
        if state is None:
            return False
        if known.tenant is state and known.version == login.version:
            return True
        return self._logins.is_accepted(login)

    def _known(self, login: Login, *, announced: bool = False) -> _KnownLogin:
        state = self._tenant_state(login.tenant)
        return _KnownLogin(hash(login.sign_in), login.version, state, announced)

    def _end_session(self, watched: _Watched) -> None:
        del self._watched[_key(watched.session)]
        for tenant in tuple(watched.logins):
            watched.tell(SessionEvent(SessionChange.ENDED, tenant))
        watched.tell(SessionEvent(SessionChange.ENDED))

    # --- ends that are near

    def _announce(self, watched: _Watched, logins: dict[str, Login]) -> None:
        """Report the ends that have come near since the last check, and forget those that moved away."""
        session, now = watched.session, self._clock()
        ends_at = min(session.idle_expires_at, session.absolute_expires_at)
        begun = session.last_seen_at if ends_at == session.idle_expires_at else session.created_at
        near = is_near(ends_at, begun, now)
        if near and not watched.announced:
            watched.tell(SessionEvent(SessionChange.EXPIRING, None, ends_at))
        elif not near:
            watched.pending.pop(None, None)
        watched.announced = near
        for tenant, known in tuple(watched.logins.items()):
            login = logins.get(tenant)
            if login is None:
                continue
            near = login.expires_at < ends_at and self._login_is_near_its_end(login, now)
            if near and not known.announced:
                watched.tell(SessionEvent(SessionChange.EXPIRING, tenant, login.expires_at))
            elif not near:
                watched.pending.pop(tenant, None)
            if near is not known.announced:
                watched.logins[tenant] = replace(known, announced=near)

    def _login_is_near_its_end(self, login: Login, now: float) -> bool:
        idle = self._directory.limits(login.tenant).idle
        begun = login.signed_in_at if idle is None else max(login.signed_in_at, login.expires_at - idle)
        return is_near(login.expires_at, begun, now)


def _key(session: Session) -> _Key:
    return session.id, session.secret_hash


def is_near(ends_at: float, begun: float, now: float) -> bool:
    """Whether the end of something that began at `begun` is to be announced now."""
    return ends_at - now <= min(NOTICE_SECONDS, (ends_at - begun) / 4)


def _batches(watched: Sequence[_Watched]) -> Iterator[list[_Watched]]:
    """Groups of sessions that one query reads: their logins count as well."""
    some: list[_Watched] = []
    size = 0
    for one in watched:
        if some and size + 1 + len(one.logins) > _READ_AT_ONCE:
            yield some
            some, size = [], 0
        some.append(one)
        size += 1 + len(one.logins)
    if some:
        yield some
