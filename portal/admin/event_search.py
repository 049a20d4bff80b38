"""Finds events by tenant, kind, outcome, person and time: in pages, so that each query is bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass

from portal.stores.event_store import EventPage
from portal.stores.tenant_records import LAST_EVENT_ID, Event, earliest_event_id, subject_text
from portal.stores.tenant_store import TenantStore

PAGE = 500
"""Events that one query reads."""
AMONG = 20_000
"""Events that a search reads for one page; the next page goes on there."""
_AT_ONCE = 2_000
"""Of those, in one query: the next operation of somebody else waits for no more than that."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are wanted. Empty: all of them. Times in seconds, UTC."""

    tenant: str | None = None
    kinds: Collection[str] = ()
    outcome: str = ""
    subject: str = ""
    """Of who acted, or of whom it was done to."""
    since: float = 0.0
    until: float | None = None

    def matches(self, event: Event) -> bool:
        """Whether an event of the tenant and time has the kind and outcome, and is about the person."""
        return (
            (not self.kinds or event.kind in self.kinds)
            and self.outcome in ("", event.outcome)
            and (self.subject in ("", event.target) or subject_text(self.subject) in event.actor)
        )

    @property
    def first(self) -> str:
        """Sorts before the ids of the events since then."""
        return earliest_event_id(self.since) if self.since > 0 else ""

    @property
    def last(self) -> str:
        """Sorts after the ids of the events until then."""
        return LAST_EVENT_ID if self.until is None else earliest_event_id(self.until)


async def oldest_first(
    store: TenantStore, wanted: EventFilter, *, after: str = ""
) -> AsyncIterator[list[Event]]:
    """Yield pages of all events, those that match and those that do not; raises StoreUnavailable.

    Parameters: after, an id: only later events.
    """
    after = max(after, wanted.first)
    while True:
        page = await store.read_events(tenant=wanted.tenant, after=after, before=wanted.last, most=PAGE)
        yield page
        if len(page) < PAGE:
            return
        after = page[-1].id


async def newest_first(
    store: TenantStore, wanted: EventFilter, *, after: str = "", before: str | None = None, most: int
) -> EventPage:
    """A page of the events that match, the newest first; raises StoreUnavailable.

    It reads at most AMONG events: it can have fewer than `most` events, or none, and more after it.
    Parameters: after and before, ids between which those of the events are.
    """
    found: list[Event] = []
    place: str | None = wanted.last if before is None else min(before, wanted.last)
    left = AMONG
    while place is not None and left > 0 and len(found) < most:
        page = await store.search_events(
            tenant=wanted.tenant,
            kinds=wanted.kinds,
            outcome=wanted.outcome,
            subject=wanted.subject,
            after=max(after, wanted.first),
            before=place,
            most=most - len(found),
            among=min(left, _AT_ONCE),
        )
        found += page.events
        left -= _AT_ONCE
        place = page.more_before
    return EventPage(found, place)
