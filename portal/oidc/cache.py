"""A cache for documents of providers: served stale while fetched anew, never fetched twice at once."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from portal.errors import PortalError, ProviderUnavailable
from portal.outbound.client import OutboundResponse

T = TypeVar("T")

SHORTEST = 60.0
LONGEST = 86_400.0
USUAL = 3_600.0
_PAUSE_AFTER_FAILURE = 30.0
_CAPACITY = 16_384
_MAX_AGE = re.compile(r'(?:^|[,\s])max-age\s*=\s*"?(\d{1,10})"?', re.IGNORECASE)
_MUST_ASK_AGAIN = re.compile(r"(?:^|[,\s])no-(?:store|cache)(?=$|[,\s=])", re.IGNORECASE)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Fetched(Generic[T]):
    """A document and how long it is fresh, in seconds."""

    value: T
    lifetime: float


Load = Callable[[], Awaitable[Fetched[T]]]


def lifetime(response: OutboundResponse) -> float:
    """Seconds that a document may be kept: Cache-Control's max-age (RFC 9111 5.2.2.1), within bounds."""
    directives = response.header("Cache-Control") or ""
    if _MUST_ASK_AGAIN.search(directives):
        return SHORTEST
    match = _MAX_AGE.search(directives)
    seconds = float(match[1]) if match else USUAL
    return min(max(seconds, SHORTEST), LONGEST)


@dataclass(slots=True)
class _Entry(Generic[T]):
    value: T
    fresh_until: float
    next_try: float


class DocumentCache(Generic[T]):
    """Documents by key. The clock gives seconds since the epoch, UTC."""

    def __init__(self, clock: Callable[[], float], *, capacity: int = _CAPACITY) -> None:
        self._clock = clock
        self._capacity = capacity
        self._entries: OrderedDict[Hashable, _Entry[T]] = OrderedDict()
        self._flights: dict[Hashable, asyncio.Task[T]] = {}

    async def get(self, key: Hashable, load: Load[T]) -> T:
        """The document; a stale one is returned at once, and fetched anew behind the caller's back.

        Raises: whatever `load` raises when there is nothing to serve.
        """
        entry = self._entries.get(key)
        if entry is None:
            return await self.load(key, load)
        self._entries.move_to_end(key)
        now = self._clock()
        if now >= entry.fresh_until and now >= entry.next_try and key not in self._flights:
            self._fly(key, load)
        return entry.value

    async def load(self, key: Hashable, load: Load[T]) -> T:
        """Fetch now, or wait for the fetch that is under way."""
        flight = self._flights.get(key) or self._fly(key, load)
        return await asyncio.shield(flight)

    def current(self, key: Hashable) -> T | None:
        """What is held, fresh or stale."""
        entry = self._entries.get(key)
        return entry.value if entry else None

    def under_way(self, key: Hashable) -> bool:
        """Whether a fetch is under way."""
        return key in self._flights

    async def close(self) -> None:
        """Cancel every fetch that is under way."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _fly(self, key: Hashable, load: Load[T]) -> asyncio.Task[T]:
        flight = asyncio.create_task(self._fetch(key, load))
        self._flights[key] = flight
        flight.add_done_callback(lambda done: self._landed(key, done))
        return flight

    async def _fetch(self, key: Hashable, load: Load[T]) -> T:
        fetched = await load()
        now = self._clock()
        self._entries[key] = _Entry(fetched.value, now + fetched.lifetime, now)
        self._entries.move_to_end(key)
        while len(self._entries) > self._capacity:
            self._entries.popitem(last=False)
        return fetched.value

    def _landed(self, key: Hashable, flight: asyncio.Task[T]) -> None:
        del self._flights[key]
        error = None if flight.cancelled() else flight.exception()
        entry = self._entries.get(key)
        if error is None or entry is None:
            return
        code = error.code if isinstance(error, PortalError) else type(error).__name__
        _log.warning("provider_document_not_renewed", document=str(key), code=code)
        entry.next_try = self._clock() + _PAUSE_AFTER_FAILURE
        if isinstance(error, PortalError) and not isinstance(error, ProviderUnavailable):
            # A provider that answers, but now breaks a rule, is not served from memory.
            del self._entries[key]
