"""The settings of events: how long they are kept."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

from portal.config.field_types import expected
from portal.config.validation import FileModel

_DAYS = re.compile(r"([0-9]{1,4})d")
_DAY = 86_400.0
_MOST_DAYS = 3650


@dataclass(frozen=True, slots=True)
class EventSettings:
    """How long events are kept, in seconds."""

    retention: float = 90 * _DAY


def _retention(text: object) -> float:
    found = _DAYS.fullmatch(text) if isinstance(text, str) else None
    days = int(found[1]) if found else 0
    if not 1 <= days <= _MOST_DAYS:
        raise expected(f"a number of days from 1d to {_MOST_DAYS}d, such as 90d")
    return days * _DAY


Retention = Annotated[
    float,
    PlainValidator(_retention),
    WithJsonSchema({"type": "string", "title": "days", "pattern": "^[0-9]{1,4}d$", "examples": ["90d"]}),
]


class EventsFile(FileModel):
    """How long events are kept."""

    retention: Retention = Field(
        default=90 * _DAY,
        description="Events that are older are deleted, within an hour; 1d to 3650d.",
        json_schema_extra={"default": "90d"},
    )
