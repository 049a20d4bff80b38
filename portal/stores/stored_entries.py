"""From stored values to sessions, logins, attempts and logout steps.

What a database holds may be damaged: by a restore, by hand, by a fault of the disk or of another version.
Rule for every read of every store: an entry that cannot be read counts as not there, for its owner alone. It
fails no batch and no request of anybody else. So every entry is made here, which checks each field for its
type and takes the type from the model: a new field is checked from its first day.
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
from portal.time_slices import in_slices

_log = structlog.get_logger("portal.store")

Entry = TypeVar("Entry")
Stored = TypeVar("Stored")
_Check = Callable[[Any], object]

_STORED_AS = {"sealed": "code_verifier"}
"""Names of fields in every database where they are not the model's: those of an earlier version are kept, so
that files need no migration and portals of two versions can serve together."""
_MOST_REPORTED = 1000
"""So many damaged entries are remembered as reported."""


class DamagedEntry(ValueError):
    """A stored entry that cannot be read. `field` is where it is damaged."""

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
    """Make an entry of stored values, in the order of its fields; claims as `encode_claims` wrote them.

    Raises DamagedEntry when a value has the wrong type.
    """
    made = []
    checks = _checks(model)  # type: ignore[arg-type]  # mypy takes no class for hashable
    for (name, check), value in zip(checks, values, strict=True):
        try:
            made.append(check(value))
        except (TypeError, ValueError, RecursionError):
            raise DamagedEntry(name) from None
    return model(*made)


class EntryReader:
    """Reads entries, and reports those that are damaged: a log line for each, once, and the observer."""

    def __init__(self, observer: StoreObserver | None = None) -> None:
        self._observer = observer or Unobserved()
        self._reported: set[int] = set()

    def read(self, convert: Callable[[Stored], Entry], stored: Stored, *, kind: type[Entry]) -> Entry | None:
        """Return what `convert` makes of a stored entry; None when it is damaged."""
        try:
            return convert(stored)
        except (DamagedEntry, KeyError, TypeError, ValueError, ArithmeticError) as error:
            self._report(kind.__name__, error, stored)
            return None

    async def read_all(
        self, convert: Callable[[Stored], Entry], found: Iterable[Stored], *, kind: type[Entry]
    ) -> list[Entry]:
        """Return those that are not damaged."""
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
        _log.error("damaged_entry", kind=kind, field=field, detail="it counts as not there")
