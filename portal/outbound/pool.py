"""The connection pool of a process, separate for each tenant and destination, with limits and fair queues.

Two tenants never share a connection, even to the same API, so that a server or gateway that mixes up its
responses cannot show one tenant the data of another (THREATS S7a). There are limits for each destination of a
tenant, for each tenant, and for the process. Requests to one destination wait in order of arrival; the
destinations take turns (THREATS D5).
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from portal.errors import OutboundBusy, OutboundFailed
from portal.outbound.connection import Connection
from portal.outbound.read_budget import LoopLoad, ReadBudget
from portal.outbound.read_pace import LARGE_READ_BYTES
from portal.outbound.request import Origin
from portal.outbound.tls import Tls
from portal.outbound.tls_connection import TlsConnection

Make = Callable[[TlsConnection | None], Connection]
"""Makes the protocol object of a connection, after the TLS handshake."""
Dial = Callable[[Make, "Destination"], Awaitable[Connection]]
"""Connects to a destination."""


class Destination(NamedTuple):
    """What a connection is for; only requests with equal destinations share connections.

    `of_browser`: API calls of browsers and requests of the portal have separate connections and limits, also
    when provider and API are the same host.
    """

    tenant: str
    origin: Origin
    tls: Tls
    of_browser: bool

    @property
    def api(self) -> tuple[str, Origin]:
        """Equal for all destinations of one API."""
        return self.tenant, self.origin


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections may be open at once, and how many requests may wait for one.

    `per_destination` also limits the sum over all destinations of one API: there are several when calls
    present the client certificates of several providers.
    """

    total: int
    per_tenant: int
    per_destination: int
    waiting_per_destination: int = 1_024


def default_limits() -> Limits:
    """Half of the process's limit of open files, at most 8,192; a quarter of that for each tenant.

    A destination gets three quarters of its tenant's share, so that a slow API leaves connections for
    sign-ins.
    """
    if sys.platform == "win32":
        files = 16_384
    else:
        import resource

        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    total = 8_192 if files < 0 else max(64, min(8_192, files // 2))
    return Limits(total=total, per_tenant=total // 4, per_destination=total // 4 * 3 // 4)


_Waiter = asyncio.Future[Connection | None]


@dataclass(slots=True, eq=False)
class _Place:
    """The connections to one destination, and the requests that wait for a connection."""

    destination: Destination
    idle: list[Connection] = field(default_factory=list)
    open: int = 0
    waiters: deque[_Waiter] = field(default_factory=deque)

    def next_waiter(self) -> _Waiter | None:
        """The first waiter that was not cancelled; cancelled ones before it are removed."""
        while self.waiters and self.waiters[0].done():
            self.waiters.popleft()
        return self.waiters[0] if self.waiters else None


class ConnectionPool:
    """Gives out connections and takes them back.

    Parameters: dial, makes a connection; keepalive, seconds after which an idle connection is closed.
    """

    def __init__(self, dial: Dial, limits: Limits, *, keepalive: float) -> None:
        self._dial = dial
        self._limits = limits
        self._keepalive = keepalive
        self._places: dict[Destination, _Place] = {}
        self._per_tenant: Counter[str] = Counter()
        self._per_api: Counter[tuple[str, Origin]] = Counter()
        """Connections for API calls of browsers, by tenant and origin."""
        self._total = 0
        self._idle: OrderedDict[Connection, _Place] = OrderedDict()
        self._idle_of: dict[str, OrderedDict[Connection, _Place]] = {}
        """The idle connections by tenant: at a tenant's limit only its own need to be searched."""
        self._waiting: OrderedDict[Destination, _Place] = OrderedDict()
        self._sweep: asyncio.TimerHandle | None = None
        self._all: set[Connection] = set()
        self._load = LoopLoad()
        self._memory = memoryview(bytearray(LARGE_READ_BYTES))
        self._budgets: dict[str, ReadBudget] = {}
        """By tenant, never removed: a new connection must not come with a new budget."""
        self._closed = False

    def take_idle(self, destination: Destination, *, longest_idle: float) -> Connection | None:
        """A connection that has been idle for at most `longest_idle` seconds; None when there is none."""
        place = self._places.get(destination)
        if place is None or not place.idle:
            return None
        now = place.idle[-1].loop.time()
        while place.idle:
            connection = place.idle.pop()
            self._no_longer_idle(connection, place)
            if now - connection.idle_since <= longest_idle and connection.is_quiet():
                return connection
            connection.close()
        return None

    async def acquire(self, destination: Destination, *, fresh: bool = False) -> Connection:
        """A new connection; when the limits allow none, the next one that becomes free.

        Parameters: fresh, whether it must be new.
        Raises: OutboundBusy, OutboundFailed; any exception of `dial`.
        """
        while not self._closed:
            place = self._places.get(destination)
            if place is None:
                place = self._places[destination] = _Place(destination)
            if not place.waiters and self._reserve(place):
                return await self._connect(place)
            free = await self._wait(place)
            if free is None:
                return await self._connect(place)
            if not fresh and free.is_quiet():
                return free
            free.close()
        raise OutboundFailed("the client is closed")

    def is_full(self, destination: Destination) -> bool:
        """Whether the limits forbid another connection to this destination."""
        place, limits = self._places.get(destination), self._limits
        return (
            self._total >= limits.total
            or self._per_tenant[destination.tenant] >= limits.per_tenant
            or (destination.of_browser and self._per_api[destination.api] >= limits.per_destination)
            or (place is not None and place.open >= limits.per_destination)
        )

    async def close(self) -> None:
        """Close every connection; requests in progress and waiting requests fail."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for place in list(self._waiting.values()):
            for waiter in place.waiters:
                if not waiter.done():
                    waiter.set_exception(OutboundFailed("the client is closed"))
        for connection in list(self._all):
            connection.close()
        await asyncio.sleep(0)  # the event loop closes the sockets in its next iteration

    # --- waiting and connecting

    async def _wait(self, place: _Place) -> Connection | None:
        """Wait in order for a free connection; None: the caller may open one, its place is reserved."""
        if len(place.waiters) >= self._limits.waiting_per_destination:
            raise OutboundBusy("too many requests wait for a connection to this server")
        waiter: _Waiter = asyncio.get_running_loop().create_future()
        place.waiters.append(waiter)
        self._waiting[place.destination] = place
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._give_back(place, waiter.result())
            raise
        finally:
            if waiter in place.waiters:
                place.waiters.remove(waiter)
            self._forget_if_unused(place)

    def _give_back(self, place: _Place, granted: Connection | None) -> None:
        if granted is None:
            self._release_room(place)
        else:
            self._on_free(place, granted)

    async def _connect(self, place: _Place) -> Connection:
        """Open a connection whose place was reserved."""
        made: list[Connection] = []

        def make(tls: TlsConnection | None) -> Connection:
            connection = Connection(
                self._budgets.setdefault(place.destination.tenant, ReadBudget(self._load)),
                self._memory,
                tls,
                on_free=lambda free: self._on_free(place, free),
                on_closed=lambda closed: self._on_closed(place, closed),
            )
            made.append(connection)
            self._all.add(connection)
            return connection

        try:
            connection = await self._dial(make, place.destination)
        except BaseException:
            for connection in made:
                connection.close()
                self._on_closed(place, connection)
            if not made:
                self._release_room(place)
            raise
        if self._closed:
            connection.close()
            raise OutboundFailed("the client is closed")
        return connection

    # --- limits

    def _reserve(self, place: _Place) -> bool:
        """Reserve a place for one connection; at a limit, close an idle one; False when there is none."""
        limits, tenant = self._limits, place.destination.tenant
        if place.open >= limits.per_destination:
            return False
        for_browser, api = place.destination.of_browser, place.destination.api
        is_full = for_browser and self._per_api[api] >= limits.per_destination
        if is_full and not self._close_idle(tenant, api=api):
            return False
        if self._per_tenant[tenant] >= limits.per_tenant and not self._close_idle(tenant):
            return False
        if self._total >= limits.total and not self._close_idle(None):
            return False
        place.open += 1
        self._per_tenant[tenant] += 1
        if for_browser:
            self._per_api[api] += 1
        self._total += 1
        return True

    def _close_idle(self, tenant: str | None, *, api: tuple[str, Origin] | None = None) -> bool:
        """Close the connection that has been idle for longest: of the API, of the tenant, or of all."""
        idle = self._idle if tenant is None else self._idle_of.get(tenant, OrderedDict())
        for connection, place in idle.items():
            if api is None or (place.destination.of_browser and place.destination.api == api):
                self._drop_idle(connection, place)
                return True
        return False

    def _no_longer_idle(self, connection: Connection, place: _Place) -> None:
        del self._idle[connection]
        of_tenant = self._idle_of[place.destination.tenant]
        del of_tenant[connection]
        if not of_tenant:
            del self._idle_of[place.destination.tenant]

    def _drop_idle(self, connection: Connection, place: _Place) -> None:
        self._no_longer_idle(connection, place)
        place.idle.remove(connection)
        connection.close()

    def _release_room(self, place: _Place) -> None:
        tenant = place.destination.tenant
        place.open -= 1
        self._total -= 1
        self._per_tenant[tenant] -= 1
        if not self._per_tenant[tenant]:
            del self._per_tenant[tenant]
        if place.destination.of_browser:
            self._per_api[place.destination.api] -= 1
            if not self._per_api[place.destination.api]:
                del self._per_api[place.destination.api]
        self._serve_waiting()
        self._forget_if_unused(place)

    def _forget_if_unused(self, place: _Place) -> None:
        if place.waiters:
            return
        self._waiting.pop(place.destination, None)
        if not place.open and self._places.get(place.destination) is place:
            del self._places[place.destination]

    def _serve_waiting(self) -> None:
        """Reserve places for waiting requests: one for each destination in turn."""
        progress = not self._closed
        while progress:
            progress = False
            for destination, place in list(self._waiting.items()):
                if place.next_waiter() is not None and self._reserve(place):
                    place.waiters.popleft().set_result(None)
                    self._waiting.move_to_end(destination)
                    progress = True

    # --- called by connections

    def _on_free(self, place: _Place, connection: Connection) -> None:
        """A response has ended, and the connection can carry another request."""
        if self._closed:
            connection.close()
            return
        in_turn = self._total >= self._limits.total or self._shares_room(place)
        if (not in_turn or self._is_next(place)) and self._hand_over(place, connection):
            return
        place.idle.append(connection)
        self._idle[connection] = place
        self._idle_of.setdefault(place.destination.tenant, OrderedDict())[connection] = place
        if self._waiting:
            self._serve_waiting()
            # The destinations that are next may be at their own limits.
            if connection in self._idle and self._hand_over(place, connection):
                self._no_longer_idle(connection, place)
                place.idle.remove(connection)
        if self._idle and self._sweep is None:
            self._schedule_sweep()

    def _hand_over(self, place: _Place, connection: Connection) -> bool:
        """Give a free connection to the first waiter of its destination; False when there is none."""
        waiter = place.next_waiter()
        if waiter is None:
            return False
        self._waiting.move_to_end(place.destination)
        place.waiters.popleft()
        waiter.set_result(connection)
        return True

    def _shares_room(self, place: _Place) -> bool:
        """Whether another destination of the same API may need the place of this connection."""
        of_api = self._per_api[place.destination.api] if place.destination.of_browser else 0
        return of_api >= self._limits.per_destination and of_api > place.open

    def _is_next(self, place: _Place) -> bool:
        return next(iter(self._waiting.values()), None) is place

    def _on_closed(self, place: _Place, connection: Connection) -> None:
        """A connection was closed."""
        if connection not in self._all:
            return
        self._all.discard(connection)
        if connection in self._idle:
            self._no_longer_idle(connection, place)
            place.idle.remove(connection)
        self._release_room(place)

    # --- idle connections

    def _schedule_sweep(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(self._keepalive / 2, self._close_expired)

    def _close_expired(self) -> None:
        self._sweep = None
        oldest = asyncio.get_running_loop().time() - self._keepalive
        for connection, place in list(self._idle.items()):
            if connection.idle_since > oldest:
                break
            self._drop_idle(connection, place)
        if self._idle:
            self._schedule_sweep()
