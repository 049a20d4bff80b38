"""Reads sessions and logins for many requests in one query.

Every API call needs its session and its login, and both must be as fresh as the call: a cache would serve a
login that another process has just ended. So the reads are not cached but gathered: while one query is under
way, the requests that arrive wait for the next one, which begins after they arrived and asks for all of them
together. The busier the process, the fewer queries per request; a process that is busy enough waits a moment
between two queries, so that the next one asks for more.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from portal.clock import Clock
from portal.errors import StoreUnavailable
from portal.stores.model import Login, Session, login_id
from portal.stores.store import Store

_BUSY = 8
_PAUSE = 0.003
"""When a query answered `_BUSY` requests or more, so many seconds pass before the next."""

_LONGEST = 2.0
"""So many seconds a request waits for what it reads, the query before its own included."""

_Found = tuple[dict[str, Session], dict[str, Login]]


@dataclass(slots=True)
class _Batch:
    timer: asyncio.TimerHandle = field(init=False)
    waiting: list[asyncio.Future[_Found]] = field(default_factory=list)
    sessions: set[str] = field(default_factory=set)
    logins: set[str] = field(default_factory=set)
    given_up: bool = False

    def give_up(self) -> None:
        """Let nobody wait longer, whether or not the query has begun."""
        self.given_up = True
        self.respond(StoreUnavailable("the database cannot be read in time"))

    def respond(self, found: _Found | Exception) -> None:
        """Wake everybody who still waits."""
        for future in self.waiting:
            if future.done():
                continue
            if isinstance(found, Exception):
                future.set_exception(found)
            else:
                future.set_result(found)


class BatchedReader:
    """Gathers concurrent reads; at most one query is under way at a time."""

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._next: _Batch | None = None
        self._task: asyncio.Task[None] | None = None
        self._failed: _Batch | None = None
        """The last batch, when it failed: nothing has been read since."""

    async def read(self, session_id: str, tenant: str | None = None) -> tuple[Session | None, Login | None]:
        """Return the live session, and its live login at `tenant` when one is named.

        Raises StoreUnavailable when the database cannot be read.
        """
        loop = asyncio.get_running_loop()
        batch = self._next
        if batch is None or batch.given_up:
            batch = self._next = _Batch()
            batch.timer = loop.call_later(_LONGEST, batch.give_up)
        response: asyncio.Future[_Found] = loop.create_future()
        batch.waiting.append(response)
        batch.sessions.add(session_id)
        key = login_id(session_id, tenant) if tenant is not None else ""
        if key:
            batch.logins.add(key)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain())
        sessions, logins = await response
        return sessions.get(session_id), logins.get(key)

    async def read_failed_again(self) -> None:
        """Do the last read once more if it failed; for a probe, whose own reads may miss what is damaged.

        Raises StoreUnavailable when it fails again.
        """
        failed = self._failed
        if failed is not None:
            await self._store.read(failed.sessions, failed.logins, now=self._clock())
            if self._failed is failed:
                self._failed = None

    async def _drain(self) -> None:
        while self._next is not None:
            batch, self._next = self._next, None
            if batch.given_up:
                continue
            try:
                found = await self._store.read(batch.sessions, batch.logins, now=self._clock())
            except Exception as error:  # noqa: BLE001 - handed to everybody who waits
                self._failed = batch
                batch.respond(error)
            else:
                self._failed = None
                batch.respond(found)
            finally:
                batch.timer.cancel()
            if len(batch.waiting) >= _BUSY:
                await asyncio.sleep(_PAUSE)
