"""Events as JSON, for the log, the webhook and the command line."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime

from portal.admin.actors import actor_of
from portal.stores.tenant_records import Event


def event_fields(event: Event) -> dict[str, object]:
    """The fields of an event, with the time in RFC 3339 and the actor as an object."""
    return {
        **asdict(event),
        "at": rfc3339(event.at),
        "actor": asdict(actor_of(event.actor)),
    }


def event_line(event: Event) -> str:
    """An event as one line of JSON, in ASCII: nothing in it can control a terminal."""
    return json.dumps(event_fields(event))


def rfc3339(at: float) -> str:
    """A time in UTC, to the millisecond (RFC 3339). Parameters: at, seconds since the epoch."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
