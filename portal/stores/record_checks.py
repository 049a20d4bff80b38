"""Limits of the records of tenants (`tenant_records`), the same for every database.

They protect the database and the memory of the portal, not people: a form has smaller limits, with a sentence
for each.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import fields

from portal.stores.tenant_records import (
    DomainClaim,
    Draft,
    Event,
    Revision,
    SetupLink,
    TenantRecord,
    has_time_of_id,
)

TenantEntry = TenantRecord | Revision | Draft | SetupLink | DomainClaim | Event

MAX_CONTENT_BYTES = 256 * 1024
"""Of the content of a revision or draft, in UTF-8."""
MAX_REASON_CHARACTERS = 1000
MOST_REVISIONS = 1000
"""Revisions of one tenant; with a further one, the oldest is deleted."""
MOST_SETUP_LINKS = 500
"""Of one tenant; with a further one, the oldest is deleted."""
_LONGEST_ACTOR = 40_000
"""An actor as JSON: the longest subject (2,048) and issuer (16,384) with every character escaped."""
_MOST_CHARACTERS = {
    "slug": 63,
    "tenant": 63,
    "id": 100,
    "status": 32,
    "author": _LONGEST_ACTOR,
    "actor": _LONGEST_ACTOR,
    "reason": MAX_REASON_CHARACTERS,
    "test": 64 * 1024,
    "name": 253,
    "token_hash": 64,
    "browser_hash": 64,
    "kind": 64,
    "token": 128,
    "proof": 32,
    "outcome": 32,
    "target": 300,
    "request_id": 128,
    "client": 64,
    "device": 300,
}
_LARGEST_NUMBER = 2**53
"""Every database and JSON keeps whole numbers up to it."""
_KEYS = {
    TenantRecord: ("slug",),
    Revision: ("tenant",),
    Draft: ("tenant",),
    SetupLink: ("id", "tenant", "token_hash"),
    DomainClaim: ("name", "tenant"),
    Event: ("id",),
}
"""Fields that must not be empty."""


def require_valid(record: TenantEntry) -> None:
    """Check every field of a record.

    Raises TypeError for a value of another type, ValueError for one that is too long, empty or out of range;
    the messages name the field, never its value.
    """
    for field in fields(record):
        value = getattr(record, field.name)
        if field.type == "str":
            require_short(**{field.name: value})
        elif field.type == "int":
            require_numbers(**{field.name: value})
        else:
            require_times(**{field.name: value})
    for name in _KEYS[type(record)]:
        if not getattr(record, name):
            raise ValueError(f"{name} is empty")
    if isinstance(record, Event) and not has_time_of_id(record):
        raise ValueError("id does not begin with the time of the event: use event_id")


def require_short(**values: object) -> None:
    """Raise TypeError unless every value is text, ValueError unless it is short enough for its field."""
    for name, value in values.items():
        if not isinstance(value, str):
            raise TypeError(f"{name} must be text, not {type(value).__name__}")
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise ValueError(f"{name} is not valid Unicode") from None
        if name == "content":
            if size > MAX_CONTENT_BYTES:
                raise ValueError(f"{name} has more than {MAX_CONTENT_BYTES} bytes")
        elif len(value) > _MOST_CHARACTERS[name]:
            raise ValueError(f"{name} has more than {_MOST_CHARACTERS[name]} characters")


def is_event_id(value: object) -> bool:
    """Whether this can be the id of an event."""
    return isinstance(value, str) and 0 < len(value) <= _MOST_CHARACTERS["id"]


def require_search(
    *, tenant: str | None, kinds: Collection[str], outcome: str, subject: str, most: int, among: int
) -> None:
    """Check what events are searched for; raises as the other checks."""
    require_short(tenant=tenant or "", outcome=outcome, actor=subject)
    for kind in kinds:
        require_short(kind=kind)
    require_numbers(most=most, among=among)


def require_numbers(**values: object) -> None:
    """Raise TypeError unless every value is a whole number, ValueError unless it is in 0 … 2**53."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} must be a whole number, not {type(value).__name__}")
        if not 0 <= value <= _LARGEST_NUMBER:
            raise ValueError(f"{name} is out of range")


def require_times(**values: object) -> None:
    """Raise TypeError unless every value is a number, ValueError unless it is a time that can be stored."""
    for name, value in values.items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise TypeError(f"{name} must be a time in seconds, not {type(value).__name__}")
        if not math.isfinite(value) or not 0 <= value <= _LARGEST_NUMBER / 1000:
            raise ValueError(f"{name} is out of range")


def require_keys(keys: Collection[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return slugs and numbers of revisions in their order, each once; raises as the other checks."""
    for slug, number in keys:
        if (
            type(slug) is str
            and slug.isascii()
            and len(slug) < 64
            and type(number) is int
            and 0 < number < 2**53
        ):
            continue  # for nearly all keys, in a quarter of the time
        require_short(slug=slug)
        require_numbers(number=number)
    return sorted(set(keys))
