"""The health of a provider."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class HealthState(StrEnum):
    """What the last calls of a provider showed."""

    FINE = "fine"
    FAILING = "failing"
    """The last call failed; users are not warned yet."""
    UNHEALTHY = "unhealthy"
    """All calls failed for UNHEALTHY_SECONDS, and at least UNHEALTHY_FAILURES; see provider_health."""
    UNKNOWN = "unknown"
    """No process of this host has called it yet, or not lately."""


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a provider. Times are seconds since the epoch, UTC.

    `failing_since` is when the first of the calls that failed in a row was sent; `reason` says for
    administrators why the last one failed.
    """

    state: HealthState
    last_success: float | None = None
    failing_since: float | None = None
    last_failure: float | None = None
    failures: int = 0
    reason: str = ""


UNKNOWN = Health(HealthState.UNKNOWN)
