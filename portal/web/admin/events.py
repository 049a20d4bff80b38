"""What happened to a tenant: its events, the newest first."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from portal.admin.actors import Actor, ActorType, actor_of
from portal.admin.events import EventKind
from portal.admin.viewers import Right
from portal.display_text import display_text
from portal.sentences import Sentence, message, moment, sentence
from portal.stores.tenant_records import Event
from portal.web.admin.base import AdminHandler
from portal.web.browser_name import browser_name

_AT_ONCE = 50
_MOST_OF_FILES = 500
_EVENT_ID = re.compile(r"[0-9a-f]{32}")
_OF_FILES = frozenset(
    {
        EventKind.LOGIN_ENDED,
        EventKind.LOGINS_ENDED,
        EventKind.SUBJECT_EXPORTED,
        EventKind.SUBJECT_ERASED,
        EventKind.SIGN_IN_REFUSED,
        EventKind.REGISTRATION_ENDED,
        EventKind.LIMIT_REACHED,
        EventKind.TENANT_FILE_ADDED,
        EventKind.TENANT_FILE_CHANGED,
        EventKind.TENANT_FILE_REFUSED,
        EventKind.TENANT_FILE_REMOVED,
    }
)
"""What happens to a tenant of a file; every other event is of a tenant of the database."""
_ROLES = {
    ActorType.USER: message("User"),
    ActorType.ADMIN: message("Admin"),
    ActorType.OPERATOR: message("Operator"),
    ActorType.SETUP_LINK: message("Setup link"),
    ActorType.PROVIDER: message("Provider"),
    ActorType.SYSTEM: message("The portal"),
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
    device: str
    """The full name that the browser gives itself, if `where` has a shorter one."""
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
        if not self.viewer.operator and self.portal.registry.is_of_operator(tenant):
            found = await self._of_file(tenant, before)
        else:
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

    async def _of_file(self, slug: str, before: str | None) -> list[Event]:
        """The events since a tenant is in a file, for its admins; only the latest.

        What had its slug in the database may have been of another organisation (THREATS T5). Every tenant of
        the database begins and ends with an event that no tenant of a file has.
        """
        if await self.services.store.get_tenant(slug) is not None:
            return []
        latest = await self.services.store.list_events(tenant=slug, most=_MOST_OF_FILES)
        own = itertools.takewhile(lambda event: event.kind in _OF_FILES, latest)
        return [event for event in own if before is None or event.id < before]


def who_in_words(actor: Actor) -> str:
    """Who acted: `Admin globex-7f3a`."""
    if actor.type is ActorType.SYSTEM and actor.subject:
        return sentence("The portal (%(subject)s)", subject=display_text(actor.subject, limit=120))
    return _named(sentence(_ROLES[actor.type]), actor)


def _named(role: Sentence, actor: Actor) -> str:
    subject = display_text(actor.subject, limit=120)
    return sentence("%(role)s %(subject)s", role=role, subject=subject) if subject else role


def _who(event: Event) -> str:
    """Who acted. Whoever tried a link that was refused need not be whom it was made for."""
    actor = actor_of(event.actor)
    if event.kind == EventKind.SETUP_LINK_REFUSED and actor.type is ActorType.SETUP_LINK:
        return sentence(
            "Somebody with setup link %(subject)s", subject=display_text(actor.subject, limit=120)
        )
    return who_in_words(actor)


def _where(network: str, browser: str) -> str:
    if network and browser:
        return sentence("%(network)s · %(browser)s", network=network, browser=browser)
    return network or browser


def _row(event: Event) -> EventRow:
    network = sentence("from %(client)s", client=display_text(event.client, limit=64)) if event.client else ""
    device = display_text(event.device, limit=120)
    browser = browser_name(device)
    return EventRow(
        at=moment(event.at, date=True),
        what=display_text(event.kind.replace("_", " "), limit=64).capitalize(),
        target=display_text(event.target, limit=300),
        who=_who(event),
        reason=display_text(event.reason, limit=1_000),
        refused=event.outcome != "done",
        where=_where(network, browser or device),
        device=device if browser else "",
        request_id=display_text(event.request_id, limit=128),
    )
