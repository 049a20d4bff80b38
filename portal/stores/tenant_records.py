"""What the database keeps about tenants that are not files: revisions, drafts, setup links, domains, events.

Independent of the database. All times are seconds since the epoch, UTC, rounded to a millisecond (see
`portal.clock.now`).
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from enum import StrEnum
from itertools import count


class TenantStatus(StrEnum):
    """What a tenant of the database may do."""

    LIVE = "live"
    NO_NEW_LOGINS = "no_new_logins"
    """Who is signed in stays; nobody else can sign in."""
    SUSPENDED = "suspended"
    """Nobody is signed in, and nobody can sign in."""


@dataclass(frozen=True, slots=True)
class TenantRecord:
    """A tenant of the database. `live` is the number of its live revision; 0 before the first."""

    slug: str
    status: str
    """A value of `TenantStatus`; one that this version does not know counts as `suspended`."""
    live: int
    created_at: float
    changed_at: float


@dataclass(frozen=True, slots=True)
class Revision:
    """A published state of a tenant; never changed. Its number is one more than that of the one before."""

    tenant: str
    number: int
    content: str
    """A tenant file (YAML), with each secret replaced by a sealed value."""
    format: int
    """The version of the format of `content`; a portal does not serve a later one than it knows."""
    author: str
    """Who published it: an `Actor` as JSON."""
    reason: str
    test: str
    """As JSON: the results of the test logins, or `again`, the revision that was published again.

    Empty when an operator published without a test login.
    """
    published_at: float


@dataclass(frozen=True, slots=True)
class Draft:
    """The changes of a tenant that are not published; at most one for each tenant."""

    tenant: str
    content: str
    """As that of a revision, but it may be invalid."""
    format: int
    version: int
    """Changes with every change of the draft."""
    based_on: int
    """The number of the revision that it began as; 0 when there was none."""
    author: str
    """Who changed it last."""
    test: str
    """The result of the last test login, with the version that was tested; empty before the first."""
    changed_at: float


@dataclass(frozen=True, slots=True)
class SetupLink:
    """A link with which somebody who has no login sets up one tenant.

    `id` identifies it in lists; `token_hash` is the SHA-256 of the token in its URL; `browser_hash` that of
    the cookie of the browser that opened it first, empty before that.
    """

    id: str
    tenant: str
    token_hash: str
    name: str
    """Who it is for, in the words of who made it."""
    author: str
    browser_hash: str
    created_at: float
    expires_at: float
    revoked_at: float
    """0 while it is not revoked."""


@dataclass(frozen=True, slots=True)
class DomainClaim:
    """An e-mail domain or host name that a tenant of the database wants, and the proof of it.

    `name` is unique: two tenants never have the same one. It counts while `proven_at` is not 0.
    """

    name: str
    tenant: str
    kind: str
    """`email_domains` or `hosts`."""
    token: str
    """What the TXT record must contain."""
    proof: str
    """`dns`, `operator`, or empty before the first proof."""
    proven_at: float
    checked_at: float
    created_at: float


USER_KINDS = ("session_ended", "signed_in", "signed_out")
"""Kinds of the events that are about the login of a user; all others are acts on tenants."""


@dataclass(frozen=True, slots=True)
class Event:
    """An audit record. `id` is made by `event_id`, so that ids are in the order of time."""

    id: str
    at: float
    tenant: str
    """Empty when it concerns no tenant."""
    kind: str
    outcome: str
    """`done` or `refused`."""
    actor: str
    """Type, subject and provider of who did it, as JSON."""
    target: str
    """What it was done to, such as `revision 3`."""
    reason: str
    request_id: str
    client: str
    """The network of the client, not its full address."""
    device: str


Named = Event | Revision | Draft | SetupLink
"""Records that can name a person."""
NAMING: dict[type, tuple[str, ...]] = {
    Event: ("actor", "target", "reason", "request_id", "client", "device"),
    Revision: ("author", "reason", "test"),
    Draft: ("author", "test"),
    SetupLink: ("author", "name"),
}
"""Their fields that can do so, which `TenantStore.replace_named` replaces."""

_EVENT_NUMBERS = count()
_YEAR_10000 = 253_402_300_800.0
LAST_EVENT_ID = "g"
"""Sorts after the id of every event."""


def event_id(at: float) -> str:
    """A new id of an event: its time in milliseconds as twelve hexadecimal digits, then 80 bits.

    Of those, 16 count the events of this process, so that events of one millisecond stay in their order;
    64 are random.
    """
    return f"{earliest_event_id(at)}{next(_EVENT_NUMBERS) % 0x10000:04x}{secrets.token_hex(8)}"


def earliest_event_id(at: float) -> str:
    """The beginning of the ids of events at this time; it sorts before them, and after earlier ids."""
    return f"{max(0, round(at * 1000)):012x}"


def has_time_of_id(event: Event) -> bool:
    """Whether an event has an id that `event_id` makes for its time, which is before the year 10000."""
    return 0 <= event.at < _YEAR_10000 and event.id.startswith(earliest_event_id(event.at))


def subject_text(subject: str) -> str:
    """The part of the actor of an event that contains the subject, as `actor` is written."""
    return f'"subject": {json.dumps(subject, ensure_ascii=False)}'
