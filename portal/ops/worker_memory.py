"""The memory that worker processes share."""

from __future__ import annotations

from dataclasses import dataclass

from portal.ops.worker_loads import WorkerLoad, WorkerLoads
from portal.ops.worker_notes import WorkerNote, WorkerNotes


@dataclass(frozen=True, slots=True)
class WorkerMemory:
    """The part of one worker."""

    load: WorkerLoad
    """Where it reports its connections."""
    note: WorkerNote
    """Where it tells others of unhealthy providers."""

    def end(self) -> None:
        """Tell the others that this one has ended."""
        self.load.end()
        self.note.end()


class WorkersMemory:
    """The memory of `count` workers. Make it before they are forked."""

    def __init__(self, count: int) -> None:
        self._loads = WorkerLoads(count)
        self._notes = WorkerNotes(count)

    def of(self, slot: int) -> WorkerMemory:
        """The part of one worker, from 0 to count - 1."""
        return WorkerMemory(self._loads.of(slot), self._notes.of(slot))
