"""Reads sessions and logins for many requests in one query.

Every API call needs its session and its login, and both must be current: a cache would return a login that
another process has just ended. So reads are batched, not cached. Requests that arrive during a query wait for
the next one, which starts after they arrived and reads for all of them. The busier the process, the fewer
queries per request; a busy process pauses between two queries so that the batches grow.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from portal.clock import Clock
from portal.errors import StoreUnavailable
from portal.stores.model import Login, Session, login_id
from portal.stores.store import Store
from portal.traces import SpanKind, Tracer, child_span, current_span

_BUSY = 8
_PAUSE = 0.003
"""Seconds between two queries when the first one served `_BUSY` requests or more."""

_TIMEOUT = 2.0
"""Seconds that a request waits for its result, including the query before its own."""

_Found = tuple[Session | None, Login | None]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request: the keys of its session and its login, "" without a login."""

    session: str
    login: str
    found: asyncio.Future[_Found]


@dataclass(slots=True)
class _Batch:
    timer: asyncio.TimerHandle = field(init=False)
    waiting: list[_Waiting] = field(default_factory=list)
    sessions: set[str] = field(default_factory=set)
    logins: set[str] = field(default_factory=set)
    timed_out: bool = False

    def time_out(self) -> None:
        """Fail the waiting requests, whether or not the query has begun."""
        self.timed_out = True
        self.fail(StoreUnavailable("the database cannot be read in time"))

    def fail(self, error: Exception) -> None:
        """Fail all requests that still wait."""
        for request in self.waiting:
            if not request.found.done():
                request.found.set_exception(error)

    def respond(self, sessions: dict[str, Session], logins: dict[str, Login]) -> None:
        """Complete all requests that still wait, each with its own entries, which nothing else keeps.

        The claims of 256 logins may be 20 MB: freeing them together would hold the event loop for 15 ms.
        """
        while self.waiting:
            request = self.waiting.pop()
            if not request.found.done():
                request.found.set_result((sessions.get(request.session), logins.get(request.login)))


class BatchedReader:
    """Batches concurrent reads; at most one query runs at a time.

    Parameters: traces, where each request has its own read, with the time that it waits for the query.
    """

    def __init__(self, store: Store, *, clock: Clock, traces: Tracer | None = None) -> None:
        self._traces = traces
        self._store = store
        self._clock = clock
        self._next: _Batch | None = None
        self._task: asyncio.Task[None] | None = None
        self._failed: _Batch | None = None
        """The last batch if it failed; None after a successful read."""

    async def read(self, session_id: str, tenant: str | None = None) -> tuple[Session | None, Login | None]:
        """Return the live session, and its live login at `tenant` if one is given.

        Raises StoreUnavailable when the database cannot be read.
        """
        loop = asyncio.get_running_loop()
        batch = self._next
        if batch is None or batch.timed_out:
            batch = self._next = _Batch()
            batch.timer = loop.call_later(_TIMEOUT, batch.time_out)
        key = login_id(session_id, tenant) if tenant is not None else ""
        request = _Waiting(session_id, key, loop.create_future())
        batch.waiting.append(request)
        batch.sessions.add(session_id)
        if key:
            batch.logins.add(key)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain())
        if self._traces is None or (span := current_span.get()) is None or not span.context.sampled:
            return await request.found
        with child_span(self._traces, "store read", {"db.operation.name": "read"}, SpanKind.CLIENT):
            return await request.found

    async def retry_failed_read(self) -> None:
        """Repeat the last read if it failed; for the probe, whose own reads may miss damaged documents.

        Raises StoreUnavailable when it fails again.
        """
        failed = self._failed
        if failed is not None:
            await self._store.read(failed.sessions, failed.logins, now=self._clock())
            if self._failed is failed:
                self._failed = None

    async def _drain(self) -> None:
        if self._traces is not None:
            current_span.set(None)  # the queries are of many requests
        while self._next is not None:
            batch, self._next = self._next, None
            if batch.timed_out:
                continue
            busy = len(batch.waiting) >= _BUSY
            try:
                found = await self._store.read(batch.sessions, batch.logins, now=self._clock())
            except Exception as error:  # noqa: BLE001 - passed to every waiting request
                self._failed = batch
                batch.fail(error)
            else:
                self._failed = None
                batch.respond(*found)
                del found
            finally:
                batch.timer.cancel()
            if busy:
                await asyncio.sleep(_PAUSE)
