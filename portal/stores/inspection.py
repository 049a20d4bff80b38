"""Reads every entry of a database, in pages, without changing anything: for `portal store check`.

Every other read treats an entry that cannot be read as missing. Here it is returned, with the reason.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from portal.stores.stored_entries import DamagedEntry

_SHOWN = 8
"""Characters of the keys of sessions, logins, attempts and links that are shown: enough to find them."""
_IN_FULL = frozenset({"TenantRecord", "Revision", "Draft", "DomainClaim", "Event", "metadata"})


@dataclass(frozen=True, slots=True)
class Inspected:
    """An entry, or why it cannot be read."""

    kind: str
    """The class of the entry, or `used identifier`, `metadata` or `table`."""
    key: str
    """What identifies it in the database; for kinds whose keys are secrets of a kind, the beginning."""
    entry: Any
    """None when it cannot be read, and for kinds that have no class."""
    problem: str = ""


class Inspection(Protocol):
    """All entries of a database."""

    async def open(self) -> None:
        """Connect. Raises StartupError for a database that cannot be used, ConfigurationError."""

    async def close(self) -> None:
        """Close every connection."""

    async def total(self) -> int:
        """About how many entries there are."""

    def pages(self) -> AsyncIterator[list[Inspected]]:
        """All entries, tenants first. Raises StoreUnavailable."""


def inspected(kind: str, key: object, convert: Callable[[Any], Any], stored: object) -> Inspected:
    """Convert a stored entry; one that cannot be converted has a problem."""
    text = shown_key(kind, key)
    try:
        return Inspected(kind, text, convert(stored))
    except DamagedEntry as error:
        problem = "has an unknown format" if error.field == "v" else f"{error.field} cannot be read"
    except KeyError as error:
        problem = f"{error.args[0]} is missing"
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        problem = "cannot be read"
    return Inspected(kind, text, None, problem)


def shown_key(kind: str, key: object) -> str:
    """The key of an entry as people see it."""
    text = key if isinstance(key, str) else repr(key)[:40]
    if kind in _IN_FULL or len(text) <= _SHOWN:
        return text
    return f"{text[:_SHOWN]}…"
