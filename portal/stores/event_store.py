"""The interface of the databases for events. For its rules see `portal.stores.tenant_store`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from portal.stores.tenant_records import Event


class WaitingEvents(NamedTuple):
    """Some of the events that wait for their delivery."""

    events: list[Event]
    damaged: list[str]
    """Ids of those that cannot be read, so that they can be set aside."""


class EventPage(NamedTuple):
    """What a search found in a bounded number of events."""

    events: list[Event]
    more_before: str | None
    """The id before which the search goes on; None when all events have been searched."""


class EventStore(Protocol):
    """Audit records, shared by all portal processes.

    A list has fewer events than were asked for only if there are no more: damaged ones leave no gap.
    """

    async def add_events(self, events: Sequence[Event]) -> None:
        """Store events that report no change of this interface; those that are stored already are skipped."""

    async def list_events(
        self, *, tenant: str | None = None, before: str | None = None, since: float = 0.0, most: int = 100
    ) -> list[Event]:
        """Acts on tenants, the newest first; not the logins of users (`USER_KINDS`).

        Parameters: tenant, only its events; before, an id; since, a time.
        """

    async def search_events(
        self,
        *,
        tenant: str | None,
        kinds: Collection[str],
        outcome: str,
        subject: str,
        after: str,
        before: str | None,
        most: int,
        among: int,
    ) -> EventPage:
        """Up to `most` events that match, the newest first, of the next `among` events.

        Parameters: tenant, only its events; kinds, outcome and subject, empty for any; subject, that of the
        actor, or the target; after and before, ids between which those of the events are.
        """

    async def list_user_events(
        self, users: Sequence[tuple[str, str]], *, since: float, most: int
    ) -> Sequence[Event]:
        """The events about logins of some users, the newest first: at most `most` altogether.

        Parameters: users, of each the tenant and the actor, as in the events; since, a time.
        """

    async def read_events(
        self,
        *,
        tenant: str | None = None,
        after: str = "",
        before: str | None = None,
        most: int,
    ) -> list[Event]:
        """Events of every kind, in the order of time.

        Parameters: tenant, only its events; after and before, ids between which those of the events are.
        """

    # --- delivery
    async def waiting_events(self, *, after: str, most: int) -> WaitingEvents:
        """The oldest `most` events that are neither delivered nor set aside. Parameters: after, an id."""

    async def mark_delivered(self, ids: Collection[str]) -> None:
        """Mark the events with these ids as delivered; marking them twice, or deleted ones, is allowed."""

    async def set_aside_events(self, ids: Collection[str]) -> None:
        """Mark those of the events that wait as not to be delivered."""

    async def list_set_aside(self, *, after: str, most: int) -> list[Event]:
        """The oldest `most` events that were set aside, without damaged ones. Parameters: after, an id.

        It may read all events.
        """

    async def deliver_again(self, *, most: int) -> int:
        """Let up to `most` events that were set aside wait for their delivery again; return how many."""

    async def purge_events(self, *, before: float, most: int) -> int:
        """Delete up to `most` events from before this time, the oldest first; return how many."""
