"""Extends the idle limits of sessions and logins that are used.

With many users, many calls a second extend a session. So while one extension is being written, and for a
second after that, later ones are collected and written together, and their requests do not wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace

import structlog

from portal.clock import Clock
from portal.errors import StoreUnavailable
from portal.sessions.directory import Directory, Limits
from portal.sessions.session_expiry import limited
from portal.stores.model import Login, Session, SessionTouch
from portal.stores.store import Store
from portal.traces import current_span

_log = structlog.get_logger("portal.sessions")

_PAUSE_AFTER_FAILURE = 5.0
"""Seconds before idle limits are extended again after the database failed to store one."""
_PAUSE = 1.0
"""Seconds in which extensions are collected: the more of them share a write, the less each one costs."""
_SHORT_PAUSE = 0.05
"""Seconds between two writes when there are more extensions than one write may have."""
_LEAST_GAIN = 1.0
"""Seconds that an extension on request must add: a page that asks all the time causes one write a second."""
_MOST_ATTEMPTS = 3
_MOST_AT_ONCE = 256
"""Sessions of one write."""


class IdleLimits:
    """Extends idle limits. Parameters: idle, of sessions, in seconds."""

    def __init__(self, *, store: Store, directory: Directory, clock: Clock, idle: float) -> None:
        self._store = store
        self._directory = directory
        self._clock = clock
        self._idle = idle
        self._paused_until = 0.0
        self._writing = False
        self._next: dict[str, SessionTouch] = {}
        """What the next write contains, by session."""
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    async def extend(self, session: Session, login: Login | None) -> None:
        """Extend the limits of a session, and of the login that is used. A failure is logged, not raised."""
        now = self._clock()
        if now < self._paused_until:
            return
        try:
            if now - session.last_seen_at >= min(60.0, self._idle / 10):
                expires_at = min(now + self._idle, session.absolute_expires_at)
                await self._touch(SessionTouch(session.id, now, expires_at))
            if login is not None:
                await self._extend_login(session, login, now)
        except StoreUnavailable as error:
            self._failed(error)

    async def extend_now(self, session: Session, logins: Sequence[Login]) -> tuple[Session, list[Login]]:
        """Extend a session and logins in it because the user asked for it; return them as they are then.

        Logins that have ended meanwhile are missing. Raises StoreUnavailable.
        """
        now = self._clock()
        expires_at = min(now + self._idle, session.absolute_expires_at)
        if expires_at - session.idle_expires_at >= _LEAST_GAIN:
            await self._store.touch_sessions([SessionTouch(session.id, now, expires_at)])
            session = replace(session, last_seen_at=now, idle_expires_at=expires_at)
        extended = await asyncio.gather(*(self._extend_login_now(session, login, now) for login in logins))
        return session, [login for login in extended if login is not None]

    async def _extend_login_now(self, session: Session, login: Login, now: float) -> Login | None:
        for _ in range(_MOST_ATTEMPTS):
            expires_at = self._used_until(session, login, now)
            if expires_at - login.expires_at < _LEAST_GAIN:
                break
            extended = replace(login, expires_at=expires_at, version=login.version + 1)
            if await self._store.swap_login(extended, expected_version=login.version):
                return extended
            _, found = await self._store.read((), (login.id,), now=now)  # a refresh has changed it
            current = found.get(login.id)
            if current is None or current.sign_in != login.sign_in:
                return None
            login = current
        return login

    async def wait_until_idle(self, seconds: float) -> None:
        """For a graceful stop: wait at most `seconds` for what has been collected."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=seconds)

    async def _touch(self, touch: SessionTouch) -> None:
        if self._writing:
            self._next[touch.session] = touch
            return
        self._writing = True
        try:
            await self._store.touch_sessions([touch])
        finally:
            self._writing = bool(self._next)
            if self._next:
                self._task = asyncio.create_task(self._write_collected())

    async def _write_collected(self) -> None:
        current_span.set(None)  # the writes are of many requests
        try:
            while self._next:
                keys = list(self._next)[:_MOST_AT_ONCE]
                await self._write([self._next.pop(key) for key in keys])
                await self._pause(_SHORT_PAUSE if self._next else _PAUSE)
        finally:
            self._writing = False

    async def _pause(self, seconds: float) -> None:
        """Wait, but not during a graceful stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _write(self, touches: Sequence[SessionTouch]) -> None:
        try:
            await self._store.touch_sessions(touches)
        except StoreUnavailable as error:
            self._failed(error)

    async def _extend_login(self, session: Session, login: Login, now: float) -> None:
        limits = self._directory.limits(login.tenant)
        if limits.idle is None:
            return
        expires_at = self._used_until(session, login, now)
        if expires_at - login.expires_at >= min(60.0, limits.idle / 10):
            await self._store.swap_login(
                replace(login, expires_at=expires_at, version=login.version + 1),
                expected_version=login.version,
            )

    def _used_until(self, session: Session, login: Login, now: float) -> float:
        """When a login expires that is used at `now`; unchanged when it has no idle limit of its own."""
        limits = self._directory.limits(login.tenant)
        if limits.idle is None:
            return login.expires_at
        return limited(expiry(now, login.signed_in_at, limits, session), login.claims)

    def _failed(self, error: StoreUnavailable) -> None:
        self._next.clear()  # each of them would wait for the database as long
        if self._clock() >= self._paused_until:  # log once for concurrent requests
            self._paused_until = self._clock() + _PAUSE_AFTER_FAILURE
            _log.warning("idle_limit_not_moved", detail=error.detail)


def expiry(now: float, signed_in_at: float, limits: Limits, session: Session) -> float:
    """When a login used at `now` expires."""
    latest = min(signed_in_at + limits.absolute, session.absolute_expires_at)
    return latest if limits.idle is None else min(now + limits.idle, latest)
