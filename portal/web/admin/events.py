"""What happened to a tenant: its events, the newest first."""

from __future__ import annotations

import re
from dataclasses import dataclass

from portal.admin.actors import Actor, ActorType, actor_of
from portal.admin.viewers import Right
from portal.display_text import display_text
from portal.stores.tenant_records import Event
from portal.web.admin.base import AdminHandler
from portal.web.cards import clock_text

_AT_ONCE = 50
_EVENT_ID = re.compile(r"[0-9a-f]{32}")
_ROLES = {
    ActorType.USER: "User",
    ActorType.ADMIN: "Admin",
    ActorType.OPERATOR: "Operator",
    ActorType.SETUP_LINK: "Setup link",
    ActorType.PROVIDER: "Provider",
    ActorType.SYSTEM: "The portal",
}


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event in the list. Bounded text."""

    at: str
    what: str
    target: str
    who: str
    reason: str
    refused: bool
    where: str
    """The network and browser of the request."""
    request_id: str


@dataclass(frozen=True, slots=True)
class EventsPage:
    """`GET /admin/t/{tenant}/events`."""

    rows: tuple[EventRow, ...]
    earlier_url: str | None
    later_url: str | None


class EventsHandler(AdminHandler):
    """`GET /admin/t/{tenant}/events`: who did what to a tenant."""

    right = Right.VIEW

    async def get(self, tenant: str) -> None:
        before = self.get_query_argument("before", None)
        if before is not None and not _EVENT_ID.fullmatch(before):
            before = None
        found = await self.services.store.list_events(
            tenant=tenant, before=before, since=await self._since(tenant), most=_AT_ONCE + 1
        )
        if not found:  # those of a removed tenant stay
            await self.require_tenant(tenant)
        shown = found[:_AT_ONCE]
        base = f"/admin/t/{tenant}/events"
        page = EventsPage(
            rows=tuple(map(_row, shown)),
            earlier_url=base if before is not None else None,
            later_url=f"{base}?before={shown[-1].id}" if len(found) > _AT_ONCE else None,
        )
        self.show("admin/events.html", page)

    async def _since(self, tenant: str) -> float:
        """Only operators see the events of a removed tenant that had the same slug (THREATS T5)."""
        if self.viewer.operator:
            return 0.0
        record = await self.services.store.get_tenant(tenant)
        return record.created_at if record is not None else 0.0


def who_in_words(actor: Actor) -> str:
    """Who acted: `Admin globex-7f3a`."""
    return f"{_ROLES[actor.type]} {display_text(actor.subject, limit=120)}".rstrip()


def _row(event: Event) -> EventRow:
    network = f"from {display_text(event.client, limit=64)}" if event.client else ""
    device = display_text(event.device, limit=120)
    return EventRow(
        at=clock_text(event.at, date=True),
        what=display_text(event.kind.replace("_", " "), limit=64).capitalize(),
        target=display_text(event.target, limit=300),
        who=who_in_words(actor_of(event.actor)),
        reason=display_text(event.reason, limit=1_000),
        refused=event.outcome != "done",
        where=" · ".join(part for part in (network, device) if part),
        request_id=display_text(event.request_id, limit=128),
    )
