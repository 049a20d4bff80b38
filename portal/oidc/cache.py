"""A cache for providers' documents that serves stale documents while one fetch revalidates them.

An expired document is served for a limited time, so that a withdrawn key or a changed issuer takes effect:
STALE_SECONDS while its provider responds, OUTAGE_SECONDS while the provider cannot be reached. When the
provider responds with an unusable document, the cached one is dropped. A failed fetch is not retried for a
short time: see `recent_failures`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from portal.bounded_cache import ByteBoundedCache
from portal.clock import Clock
from portal.errors import PortalError
from portal.oidc.errors import ProviderUnavailable
from portal.oidc.recent_failures import RecentFailures
from portal.outbound.client import OutboundResponse
from portal.single_flight import SingleFlight

T = TypeVar("T")

SHORTEST = 60.0
LONGEST = 86_400.0
USUAL = 3_600.0
STALE_SECONDS = 600.0
"""How long after its expiry a document is served while a new one is fetched."""
OUTAGE_SECONDS = 86_400.0
"""How long after its expiry a document is served while its provider cannot be reached."""
_MAX_BYTES = 32_000_000
_MAX_AGE = re.compile(r'(?:^|[,\s])max-age\s*=\s*"?(\d{1,10})"?', re.IGNORECASE)
_NO_CACHE = re.compile(r"(?:^|[,\s])no-(?:store|cache)(?=$|[,\s=])", re.IGNORECASE)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Fetched(Generic[T]):
    """A document, its freshness lifetime in seconds, and its approximate size in memory in bytes."""

    value: T
    lifetime: float
    size: int


Load = Callable[[], Awaitable[Fetched[T]]]


def lifetime(response: OutboundResponse) -> float:
    """Return for how many seconds a document is fresh: max-age (RFC 9111 5.2.2.1), within bounds."""
    directives = response.header("Cache-Control") or ""
    if _NO_CACHE.search(directives):
        return SHORTEST
    match = _MAX_AGE.search(directives)
    seconds = float(match[1]) if match else USUAL
    return min(max(seconds, SHORTEST), LONGEST)


@dataclass(slots=True)
class _Entry(Generic[T]):
    value: T
    fresh_until: float


class DocumentCache(Generic[T]):
    """Documents by key, with a bounded total size that tenants share fairly.

    Parameters: clock, seconds since the epoch, UTC; max_bytes, limit of the estimated size in memory.
    """

    def __init__(self, clock: Clock, *, max_bytes: int = _MAX_BYTES) -> None:
        self._clock = clock
        self._entries: ByteBoundedCache[Hashable, _Entry[T]] = ByteBoundedCache(max_bytes)
        self._failures = RecentFailures(clock)
        self._fetches: SingleFlight[Hashable, T] = SingleFlight()

    async def get(self, key: Hashable, load: Load[T], *, owner: str, settings: object) -> T:
        """Return the document. One that expired recently is returned at once while a new one is fetched.

        Parameters: owner, the tenant whose share of the memory it uses; settings, what the fetch depends
        on: when they change, an earlier failure is ignored.
        Raises: what `load` raises, or raised a short time ago, when there is no document to serve.
        """
        entry = self._entries.get(key)
        if entry is None:
            return await self.load(key, load, owner=owner, settings=settings)
        overdue = self._clock() - entry.fresh_until
        if overdue < 0:
            return entry.value
        if overdue < STALE_SECONDS:
            self._renew(key, load, owner, settings)
            return entry.value
        try:
            return await self.load(key, load, owner=owner, settings=settings)
        except ProviderUnavailable:
            if overdue < OUTAGE_SECONDS:
                return entry.value
            raise

    def _renew(self, key: Hashable, load: Load[T], owner: str, settings: object) -> None:
        """Start to fetch a new document, unless a fetch is running or failed recently."""
        if key in self._fetches:
            return
        try:
            self._failures.check(key, settings)
        except Exception:  # noqa: BLE001 - logged when it happened; the stale document is served
            return
        self._fetch(key, load, owner, settings)

    async def load(self, key: Hashable, load: Load[T], *, owner: str, settings: object) -> T:
        """Fetch now, or wait for the running fetch. Parameters and errors: as get."""
        if key not in self._fetches:
            self._failures.check(key, settings)
        return await asyncio.shield(self._fetch(key, load, owner, settings))

    def current(self, key: Hashable) -> T | None:
        """Return the cached document, fresh or stale."""
        entry = self._entries.get(key)
        return entry.value if entry else None

    def is_loading(self, key: Hashable) -> bool:
        """Whether a fetch is running."""
        return key in self._fetches

    async def close(self) -> None:
        """Cancel all running fetches."""
        await self._fetches.cancel()

    def _fetch(self, key: Hashable, load: Load[T], owner: str, settings: object) -> asyncio.Task[T]:
        return self._fetches.join(
            key,
            lambda: self._load(key, load, owner),
            on_done=lambda task: self._on_done(key, task, owner, settings),
        )

    async def _load(self, key: Hashable, load: Load[T], owner: str) -> T:
        fetched = await load()
        entry = _Entry(fetched.value, self._clock() + fetched.lifetime)
        self._entries.put(key, entry, size=fetched.size, owner=owner)
        self._failures.forget(key)
        return fetched.value

    def _on_done(self, key: Hashable, task: asyncio.Task[T], owner: str, settings: object) -> None:
        error = None if task.cancelled() else task.exception()
        if not isinstance(error, Exception):
            return
        self._failures.remember(key, error, settings, owner=owner)
        if self._entries.get(key) is None:
            return
        code = error.code if isinstance(error, PortalError) else type(error).__name__
        _log.warning("provider_document_not_renewed", document=str(key), code=code)
        if isinstance(error, PortalError) and not isinstance(error, ProviderUnavailable):
            # The provider responds, but with an unusable document: stop serving the old one.
            self._entries.discard(key)
