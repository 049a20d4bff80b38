"""What happens in a sample API, for those who listen at that moment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

_MOST_WAITING = 256


@dataclass(frozen=True, slots=True)
class Announcement:
    """Something that happened. Parameters: kind, `order` for a new record of `orders`, or `say`."""

    kind: str
    document: Mapping[str, object]
    scope: str | None = None
    """The scope that a listener needs."""


@dataclass(eq=False, slots=True)
class Listener:
    """One listener; it misses what happens while `_MOST_WAITING` announcements wait for it."""

    scopes: frozenset[str]
    _waiting: asyncio.Queue[Announcement] = field(default_factory=lambda: asyncio.Queue(_MOST_WAITING))

    def put(self, announcement: Announcement) -> None:
        """Add an announcement that the listener may see, if there is room."""
        allowed = announcement.scope is None or announcement.scope in self.scopes
        if allowed and not self._waiting.full():
            self._waiting.put_nowait(announcement)

    async def next(self) -> Announcement:
        """Wait for the next announcement."""
        return await self._waiting.get()


class Announcements:
    """Passes announcements to the listeners of one API."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()

    def listen(self, scopes: frozenset[str]) -> Listener:
        """Begin to listen, until `leave`. Parameters: scopes, of the listener's access token."""
        listener = Listener(scopes)
        self._listeners.add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """Stop listening."""
        self._listeners.discard(listener)

    def publish(self, announcement: Announcement) -> None:
        """Tell everybody who listens now."""
        for listener in self._listeners:
            listener.put(announcement)

    def added(self, collection: str, record: Mapping[str, object]) -> None:
        """Announce a new record of a collection: an `order` for `orders`."""
        self.publish(Announcement(collection.removesuffix("s"), record, f"read:{collection}"))
