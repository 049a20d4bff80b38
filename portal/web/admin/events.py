"""What happened to a tenant, or to all of them: their events, the newest first, and a search among them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from portal.admin.actors import Actor, ActorType, actor_of
from portal.admin.event_search import EventFilter, newest_first
from portal.admin.events import EventKind, Outcome
from portal.admin.viewers import Right
from portal.config.field_types import is_slug
from portal.display_text import display_text
from portal.errors import BadRequest
from portal.sentences import Sentence, message, moment, sentence
from portal.stores.tenant_records import LAST_EVENT_ID, USER_KINDS, Event, earliest_event_id
from portal.web.admin.base import AdminHandler
from portal.web.admin.event_words import GROUPS, EventGroup, kind_in_words, kinds_of, reason_in_words
from portal.web.browser_name import browser_name

_AT_ONCE = 50
_LONGEST_SUBJECT = 2_048
_EVENT_ID = re.compile(r"[0-9a-f]{32}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_OF_FILES = frozenset(
    {
        *USER_KINDS,
        EventKind.LOGIN_ENDED,
        EventKind.LOGINS_ENDED,
        EventKind.SUBJECT_EXPORTED,
        EventKind.SUBJECT_ERASED,
        EventKind.LOGIN_EXPIRED,
        EventKind.SIGN_IN_REFUSED,
        EventKind.REGISTRATION_ENDED,
        EventKind.LIMIT_REACHED,
        EventKind.TENANT_FILE_ADDED,
        EventKind.TENANT_FILE_CHANGED,
        EventKind.TENANT_FILE_REFUSED,
    }
)
"""What happens to a tenant while it is in a file. Every other event is of a tenant of the database, or is the
end of the file.
"""
_NOT_OF_FILES = frozenset(EventKind) - _OF_FILES
_ROLES = {
    ActorType.USER: message("User"),
    ActorType.ADMIN: message("Admin"),
    ActorType.OPERATOR: message("Operator"),
    ActorType.SETUP_LINK: message("Setup link"),
    ActorType.PROVIDER: message("Provider"),
    ActorType.EXPIRY: message("Login of"),
    ActorType.SYSTEM: message("The portal"),
}


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event in the list. Bounded text."""

    at: str
    tenant: str
    """Empty on the page of one tenant."""
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
class EventQuery:
    """What the form of the page asks for; an empty value is not compared. Dates as YYYY-MM-DD, in UTC."""

    tenant: str = ""
    kind: str = ""
    """A group or a kind."""
    outcome: str = ""
    person: str = ""
    """The subject of who acted, or of the user whom it was done to."""
    since: str = ""
    until: str = ""

    def __bool__(self) -> bool:
        """Whether anything is compared."""
        return self != EventQuery()

    def parameters(self) -> dict[str, str]:
        """The query of the address."""
        names = ("tenant", "kind", "outcome", "person", "since", "until")
        return {name: value for name in names if (value := getattr(self, name))}

    def as_filter(self) -> EventFilter:
        """Return what to search for. Raises BadRequest for what no page of the console sends."""
        kinds = kinds_of(self.kind)
        if kinds is None or self.outcome not in ("", *Outcome) or len(self.person) > _LONGEST_SUBJECT:
            raise BadRequest("the query has an unknown kind or outcome, or a value that is too long")
        if self.tenant and not is_slug(self.tenant):
            raise BadRequest("the query has a tenant that cannot exist")
        until = _day(self.until)
        return EventFilter(
            tenant=self.tenant or None,
            kinds=kinds,
            outcome=self.outcome,
            subject=self.person,
            since=0.0 if (since := _day(self.since)) is None else since.timestamp(),
            until=None if until is None else (until + timedelta(days=1)).timestamp(),
        )


@dataclass(frozen=True, slots=True)
class EventsPage:
    """`GET /admin/events` and `GET /admin/t/{tenant}/events`."""

    slug: str | None
    """None on the page of all tenants."""
    base: str
    rows: tuple[EventRow, ...]
    query: EventQuery
    groups: tuple[EventGroup, ...]
    longest: int
    """Characters of a subject."""
    earlier_url: str | None
    later_url: str | None


class AllEventsHandler(AdminHandler):
    """`GET /admin/events`: what happened at any tenant, for operators."""

    right = Right.OPERATE

    async def get(self) -> None:
        await self.show_events("/admin/events", self._query(tenant=self._value("tenant")), slug=None)

    async def show_events(self, base: str, query: EventQuery, *, slug: str | None, after: str = "") -> None:
        """Show the page. Parameters: slug, of the only tenant; after, an id: only later events."""
        before = self.get_query_argument("before", None)
        if before is not None and not _EVENT_ID.fullmatch(before):
            before = None
        wanted = replace(query.as_filter(), tenant=slug or query.tenant or None)
        async with self.services.searches.turn(slug or ""):
            found = await newest_first(self.services.store, wanted, after=after, before=before, most=_AT_ONCE)
        if slug is not None and not found.events:  # those of a removed tenant stay
            await self.require_tenant(slug)
        parameters = query.parameters()
        page = EventsPage(
            slug=slug,
            base=base,
            rows=tuple(_row(event, with_tenant=slug is None) for event in found.events),
            query=query,
            groups=GROUPS,
            longest=_LONGEST_SUBJECT,
            earlier_url=_address(base, parameters) if before is not None else None,
            later_url=_address(base, parameters | {"before": found.more_before})
            if found.more_before
            else None,
        )
        self.show("admin/events.html", page)

    def _query(self, *, tenant: str = "") -> EventQuery:
        value = self._value
        return EventQuery(
            tenant, value("kind"), value("outcome"), value("person"), value("since"), value("until")
        )

    def _value(self, name: str) -> str:
        return self.get_query_argument(name, "").strip()


class EventsHandler(AllEventsHandler):
    """`GET /admin/t/{tenant}/events`: what happened at a tenant."""

    right = Right.VIEW

    async def get(self, tenant: str = "") -> None:
        after = await self._begin(tenant)
        await self.show_events(f"/admin/t/{tenant}/events", self._query(), slug=tenant, after=after)

    async def _begin(self, slug: str) -> str:
        """The id after which events are of the organisation that has the slug now (THREATS T5).

        Operators see all. For a tenant of the database, it is the time when it was made. What had the slug
        of a file before, in the database or in another file, may have been of another organisation: it ended
        with an event that no tenant of a file has.
        """
        if self.viewer.operator:
            return ""
        record = await self.services.store.get_tenant(slug)
        if not self.portal.registry.is_of_operator(slug):
            return earliest_event_id(record.created_at if record is not None else 0.0)
        if record is not None:
            return LAST_EVENT_ID
        ended = EventFilter(tenant=slug, kinds=_NOT_OF_FILES)
        async with self.services.searches.turn(slug):
            found = await newest_first(self.services.store, ended, most=1)
        return found.events[0].id if found.events else found.more_before or ""


def _day(text: str) -> datetime | None:
    """The beginning of a day in UTC; None without one. Raises BadRequest."""
    if not text:
        return None
    if not _DAY.fullmatch(text):
        raise BadRequest("a date of the query is not YYYY-MM-DD")
    try:
        day = datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise BadRequest("a date of the query does not exist") from None
    if not 1970 <= day.year < 9999:
        raise BadRequest("a date of the query is out of range")
    return day


def _address(base: str, query: dict[str, str]) -> str:
    return f"{base}?{urlencode(query)}" if query else base


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


def _row(event: Event, *, with_tenant: bool) -> EventRow:
    network = sentence("from %(client)s", client=display_text(event.client, limit=64)) if event.client else ""
    device = display_text(event.device, limit=120)
    browser = browser_name(device)
    return EventRow(
        at=moment(event.at, date=True),
        tenant=display_text(event.tenant, limit=63) if with_tenant else "",
        what=kind_in_words(event.kind),
        target=display_text(event.target, limit=300),
        who=_who(event),
        reason=reason_in_words(event),
        refused=event.outcome != "done",
        where=_where(network, browser or device),
        device=device if browser else "",
        request_id=display_text(event.request_id, limit=128),
    )
