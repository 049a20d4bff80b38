"""Makes sessions, logins, attempts and logout steps from stored values, and checks them.

Stored data may be damaged: by a restore, a manual change, a disk error or a bug of another version. Rule for
every read of every store: an entry that cannot be read counts as missing; it must not fail a batch or a
request of another user. So every entry is made here, where each field is checked against its type in the
model: new fields are checked automatically.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar, get_type_hints

import structlog

from portal.stores.claims_codec import decode_claims
from portal.stores.observer import StoreObserver, Unobserved
from portal.stores.tenant_records import Event, has_time_of_id
from portal.time_slices import in_slices

_log = structlog.get_logger("portal.store")

Entry = TypeVar("Entry")
Stored = TypeVar("Stored")
_Check = Callable[[Any], object]

_STORED_AS = {"sealed": "code_verifier"}
"""Names of fields in every database where they are not the model's: those of an earlier version are kept, so
that files need no migration and portals of two versions can serve together."""
_MOST_REPORTED = 1000
"""Number of damaged entries that are remembered as already reported."""


class DamagedEntry(ValueError):
    """A stored entry cannot be read. `field` is the name of the damaged field."""

    def __init__(self, field: str) -> None:
        super().__init__(f"{field} is damaged")
        self.field = field


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise TypeError
    return float(value)


def _whole_number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return int(value)


_CHECKS: dict[object, _Check] = {
    str: _text,
    float: _number,
    int: _whole_number,
    str | None: lambda value: None if value is None else _text(value),
    Mapping[str, object]: decode_claims,
}


@cache
def _checks(model: type[Any]) -> tuple[tuple[str, _Check], ...]:
    types = get_type_hints(model)
    return tuple((field.name, _CHECKS[types[field.name]]) for field in fields(model))


def stored_names(model: type) -> Mapping[str, str]:
    """Under which names databases have the fields of a model, by field, in the order of the fields."""
    return {name: _STORED_AS.get(name, name) for name, _ in _checks(model)}


def entry_from(model: type[Entry], values: Sequence[object]) -> Entry:
    """Make an entry from stored values, in the order of its fields; claims as `encode_claims` wrote them.

    Raises DamagedEntry when a value has the wrong type, or the time of an event is not that of its id.
    """
    made = []
    checks = _checks(model)  # type: ignore[arg-type]  # mypy does not treat classes as hashable
    for (name, check), value in zip(checks, values, strict=True):
        try:
            made.append(check(value))
        except (TypeError, ValueError, RecursionError):
            raise DamagedEntry(name) from None
    entry = model(*made)
    if isinstance(entry, Event) and not has_time_of_id(entry):
        raise DamagedEntry("at")
    return entry


class EntryReader:
    """Reads entries, and reports damaged ones: to the observer each time, in the log once per entry."""

    def __init__(self, observer: StoreObserver | None = None) -> None:
        self._observer = observer or Unobserved()
        self._reported: set[int] = set()

    def read(self, convert: Callable[[Stored], Entry], stored: Stored, *, kind: type[Entry]) -> Entry | None:
        """Return the result of `convert` for a stored entry; None when it is damaged."""
        try:
            return convert(stored)
        except (DamagedEntry, KeyError, TypeError, ValueError, ArithmeticError) as error:
            self._report(kind.__name__, error, stored)
            return None

    async def read_all(
        self, convert: Callable[[Stored], Entry], found: Iterable[Stored], *, kind: type[Entry]
    ) -> list[Entry]:
        """Return the entries that are not damaged."""
        entries = (self.read(convert, stored, kind=kind) for stored in found)
        return [entry async for entry in in_slices(entries) if entry is not None]

    def _report(self, kind: str, error: Exception, stored: object) -> None:
        self._observer.damaged_entry(kind)
        seen = hash(repr(stored))
        if seen in self._reported:
            return
        if len(self._reported) >= _MOST_REPORTED:
            self._reported.clear()
        self._reported.add(seen)
        field = error.field if isinstance(error, DamagedEntry) else None
        if isinstance(error, KeyError):
            field = str(error.args[0])
        _log.error("damaged_entry", kind=kind, field=field, detail="it counts as missing")
