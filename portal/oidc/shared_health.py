"""What the processes of a host tell each other about the health of providers.

A process tells the others which providers are unhealthy for it, and which of theirs have worked for it since
they failed there: those are healthy for all. Each reads what the others have written last.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Protocol

from portal.oidc.health import Health, HealthState

LONGEST_NOTE = 16_000
"""Bytes. What does not fit is left out: those that come last."""


class Notes(Protocol):
    """A note that this process writes, and those that the other processes have written."""

    def write(self, note: bytes) -> None:
        """Replace the note of this process."""

    def others(self) -> Iterable[bytes]:
        """The notes of the others."""
        ...


class NoNotes:
    """There are no other processes."""

    def write(self, note: bytes) -> None:
        """Nobody reads it."""

    def others(self) -> Iterable[bytes]:
        """None."""
        return ()


@dataclass(frozen=True, slots=True)
class Report:
    """What one process says of a provider: that it is unhealthy, or fine again."""

    key: str
    tenant: str
    id: str
    registration: str
    health: Health


def write_note(reports: Iterable[Report]) -> bytes:
    """A note of these reports, in order, as many as there is room for."""
    parts: list[bytes] = []
    room = LONGEST_NOTE
    for report in reports:
        fields = [report.key, report.tenant, report.id, report.registration, *astuple(report.health)]
        part = json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace")
        room -= len(part) + 1
        if room < 0:
            break
        parts.append(part)
    return b"\n".join(parts)


def read_note(note: bytes) -> list[Report]:
    """The reports of a note that `write_note` made."""
    return [_report(*json.loads(line)) for line in note.split(b"\n") if line]


def _report(key: str, tenant: str, id_: str, registration: str, state: str, *rest: object) -> Report:
    return Report(key, tenant, id_, registration, Health(HealthState(state), *rest))  # type: ignore[arg-type]
