"""What a store tells the one who counts: nothing of what is stored."""

from __future__ import annotations

from typing import Protocol


class StoreObserver(Protocol):
    """Is told what happens inside a store, for metrics."""

    def damaged_entry(self, kind: str) -> None:
        """An entry of this kind (the name of its class) could not be read and counts as not there."""

    def operation_refused(self) -> None:
        """An operation was refused at once because too many others wait for the database."""

    def clock_offset(self, seconds: float) -> None:
        """The clock of this host is so many seconds ahead of the database's; negative when it is behind."""


class Unobserved:
    """Counts nothing."""

    def damaged_entry(self, kind: str) -> None: ...

    def operation_refused(self) -> None: ...

    def clock_offset(self, seconds: float) -> None: ...
