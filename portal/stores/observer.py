"""Events of a store for metrics; they contain no stored data."""

from __future__ import annotations

from typing import Protocol


class StoreObserver(Protocol):
    """Receives the events of a store."""

    def damaged_entry(self, kind: str) -> None:
        """An entry could not be read and counts as missing; `kind` is the name of its class."""

    def operation_refused(self) -> None:
        """An operation was refused at once because too many others wait for the database."""

    def clock_offset(self, seconds: float) -> None:
        """The host's clock is `seconds` ahead of the database's; negative when it is behind."""


class Unobserved:
    """Ignores all events."""

    def damaged_entry(self, kind: str) -> None: ...

    def operation_refused(self) -> None: ...

    def clock_offset(self, seconds: float) -> None: ...
