"""The event streams of `GET /session/events` in this process (HTML Standard, server-sent events).

A stream costs no task and no query of its own: `SessionWatch` reads for all of them, and one loop sends the
comments that keep proxies from closing them.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

from portal.background import kept_running
from portal.clock import Clock
from portal.ops.limit_metrics import Limit
from portal.ops.metrics import Metrics
from portal.pauses import is_set_within
from portal.sessions.session_watch import SessionChange, SessionEvent, SessionWatch
from portal.stores.model import Login, Session
from portal.time_slices import in_slices

COMMENT_SECONDS = 15.0
MOST_OF_A_SESSION = 20
"""Streams of one session; a further one replaces the oldest."""
MOST_OF_A_USER = 40
"""The same for a user of a tenant, in all sessions together."""
_TICK = 1.0
_UNREAD_SECONDS = 20.0
"""A client that has not taken what was written for this long is disconnected."""
_MOST_UNREAD = 64
"""Events that wait for a client that does not read."""
_RETRY = (2_000, 5_000)
"""Milliseconds after which a browser connects again; random, so that not all of them do at once."""
_RETRY_OF_REPLACED = 10 * 60 * 1000
"""The same for a stream that a newer one has replaced: it must not replace that in turn."""
_RETRY_WHEN_FULL = 60 * 1000
_RETRY_WITH_NEW_COOKIE = (500, 1_500)
"""The same after a sign-in: the response with the new cookie may still be on its way to the browser."""

_User = tuple[str, str, str]
"""Tenant, issuer and subject."""
_NOBODY: _User = ("", "", "")
"""Sessions without a login share the limit of a tenant."""


class Sink(Protocol):
    """Where a stream is written: the response of a request."""

    def send(self, text: str) -> asyncio.Future[None]:
        """Write text; the result is done when the kernel has taken it."""

    def abort(self) -> None:
        """Disconnect the client."""


class EventStream:
    """One open response. `over` is set when it must end."""

    def __init__(
        self,
        session: Session,
        users: frozenset[_User],
        sink: Sink,
        serves: Callable[[str], bool],
        monotonic: Clock,
    ) -> None:
        self.session = session
        """As it was when the stream began; its secret stays the same."""
        self.users = users
        """Whose stream it is: the users of the session's logins when it began."""
        self.over = asyncio.Event()
        self._sink = sink
        self._serves = serves
        self._monotonic = monotonic
        self._sent_at = monotonic()
        self._unread: deque[tuple[float, asyncio.Future[None]]] = deque()

    def write(self, text: str) -> None:
        """Send a part of the stream, unless it is over."""
        if self.over.is_set():
            return
        self._sent_at = now = self._monotonic()
        self._unread.append((now, self._sink.send(text)))
        self._forget_read()

    def report(self, event: SessionEvent) -> None:
        """Send an event. The stream is over with the session, and with the secret that it was opened with."""
        if event.change is SessionChange.REPLACED:
            self.end(retry=_retry(_RETRY_WITH_NEW_COOKIE))
            return
        if event.tenant is None or self._serves(event.tenant):
            data: dict[str, object] = {"tenant": event.tenant}
            if event.expires_at is not None:
                data["expires_at"] = event.expires_at
            self.write(f"event: {event.change}\ndata: {json.dumps(data)}\n\n")
        if event.tenant is None and event.change is SessionChange.ENDED:
            self.end()

    def tick(self) -> None:
        """Send a comment when nothing was sent for a while, and drop a client that does not read."""
        self._forget_read()
        now = self._monotonic()
        if self._unread and (now - self._unread[0][0] > _UNREAD_SECONDS or len(self._unread) > _MOST_UNREAD):
            self._sink.abort()
            self.end()
        elif now - self._sent_at >= COMMENT_SECONDS - _TICK:
            self.write(":\n\n")

    def end(self, *, retry: int | None = None) -> None:
        """End the response. Parameters: retry, milliseconds after which the browser may connect again."""
        if retry is not None:
            self.write(f"retry: {retry}\n\n")
        self.over.set()

    def _forget_read(self) -> None:
        while self._unread and self._unread[0][1].done():
            _, written = self._unread.popleft()
            if written.cancelled() or written.exception() is not None:  # the client has disconnected
                self.over.set()


class SessionStreams:
    """All open streams. Parameters: most, of this process; monotonic, a clock in seconds.

    A tenant gets at most a quarter of them (THREATS D5).
    """

    def __init__(
        self, watch: SessionWatch, *, most: int, metrics: Metrics, monotonic: Clock = time.monotonic
    ) -> None:
        self._watch = watch
        self._most = most
        self._most_of_a_tenant = max(1, most // 4)
        self._metrics = metrics
        self._monotonic = monotonic
        self._streams: dict[str, list[EventStream]] = {}
        self._of_user: dict[_User, dict[EventStream, None]] = {}
        self._of_tenant: Counter[str] = Counter()
        self._count = 0
        self._closing = False

    def __len__(self) -> int:
        return self._count

    def open(
        self, session: Session, logins: list[Login], sink: Sink, serves: Callable[[str], bool]
    ) -> EventStream:
        """Begin a stream. It is over at once when the process is stopping, or there is no place.

        Parameters: logins, of the session; serves, whether the request's site serves a tenant.
        """
        users = frozenset((login.tenant, login.issuer, login.subject) for login in logins) or {_NOBODY}
        stream = EventStream(session, frozenset(users), sink, serves, self._monotonic)
        self._replace_oldest(stream)
        if self._closing or self._is_full(stream):
            if not self._closing:
                self._metrics.session_streams_refused.inc()
                self._metrics.limits.hit(Limit.EVENT_STREAMS)
            stream.end(retry=_retry() if self._closing else _RETRY_WHEN_FULL)
            return stream
        self._add(stream)
        stream.write(f"retry: {_retry()}\n\n")
        self._watch.listen(session, logins, stream.report)
        return stream

    def _is_full(self, stream: EventStream) -> bool:
        """Whether there is no place: in the process, or at any tenant of the stream."""
        tenants = {tenant for tenant, _, _ in stream.users}
        return self._count >= self._most or all(
            self._of_tenant[tenant] >= self._most_of_a_tenant for tenant in tenants
        )

    def _replace_oldest(self, stream: EventStream) -> None:
        """Make a place for a stream where its session or one of its users has too many."""
        crowded = [self._of_user.get(user, {}) for user in stream.users - {_NOBODY}]
        limits = [(self._streams.get(stream.session.id, []), MOST_OF_A_SESSION)]
        for others, most in [*limits, *((others, MOST_OF_A_USER) for others in crowded)]:
            if len(others) >= most:
                oldest = next(iter(others))
                self.remove(oldest)
                oldest.end(retry=_RETRY_OF_REPLACED)

    def _add(self, stream: EventStream) -> None:
        self._streams.setdefault(stream.session.id, []).append(stream)
        for user in stream.users:
            self._of_user.setdefault(user, {})[stream] = None
        self._of_tenant.update({tenant for tenant, _, _ in stream.users})
        self._count += 1
        self._metrics.session_streams.set(self._count)

    def remove(self, stream: EventStream) -> None:
        """Forget a stream that is over; removing twice is allowed."""
        streams = self._streams.get(stream.session.id, [])
        if stream not in streams:
            return
        streams.remove(stream)
        if not streams:
            del self._streams[stream.session.id]
        for user in stream.users:
            del self._of_user[user][stream]
            if not self._of_user[user]:
                del self._of_user[user]
        for tenant in {tenant for tenant, _, _ in stream.users}:
            self._of_tenant[tenant] -= 1
            if not self._of_tenant[tenant]:
                del self._of_tenant[tenant]
        self._count -= 1
        self._metrics.session_streams.set(self._count)
        self._watch.forget(stream.session, stream.report)

    async def run(self, stop: asyncio.Event) -> None:
        """Watch the sessions of the streams, and send comments, until `stop` is set."""
        await asyncio.gather(kept_running(self._watch.watch, stop), kept_running(self._keep_open, stop))

    async def _keep_open(self, stop: asyncio.Event) -> None:
        while not await is_set_within(stop, _TICK):
            await self.tick()

    async def tick(self) -> None:
        """Let every stream send its comment if it is time."""
        async for stream in in_slices(self._open()):
            stream.tick()

    async def close_all(self) -> None:
        """End every stream, for a graceful stop: browsers connect again, to another process."""
        self._closing = True
        async for stream in in_slices(self._open()):
            stream.end(retry=_retry())

    def _open(self) -> list[EventStream]:
        return [stream for streams in self._streams.values() for stream in streams]


def _retry(milliseconds: tuple[int, int] = _RETRY) -> int:
    return random.randint(*milliseconds)  # noqa: S311 - spreads load, hides nothing
