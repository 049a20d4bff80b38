"""The metrics of what there is: sessions, tenants, keys.

They are measured when metrics are served, by the process that serves them: every process has the same tenants
and the same database. They are no gauges of prometheus-client, from whose files a label cannot be removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from portal.ops.tallies import Description

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily


@dataclass(frozen=True, slots=True)
class MeasuredState:
    """What was found."""

    sessions: int | None = None
    """None: the database could not be read."""
    logins: int | None = None
    tenants: int = 0
    revisions: Mapping[str, int] = field(default_factory=dict)
    """The number of the live revision of tenants of the database, by slug."""
    problems: Mapping[str, int] = field(default_factory=dict)
    """The problems of what cannot be served, by the label of the tenant."""
    vault_key_created: float | None = None
    """In seconds since the epoch."""


_SESSIONS = Description(
    "portal_sessions",
    "gauge",
    (),
    "Sessions that have not expired, of all processes and hosts; counted at most every 15 seconds. Missing "
    "while the database cannot be read.",
)
_LOGINS = Description(
    "portal_logins",
    "gauge",
    (),
    "Logins that have not expired, of all processes and hosts; counted with portal_sessions.",
)
_TENANTS = Description("portal_tenants", "gauge", (), "Live tenants.")
_REVISION = Description(
    "portal_tenant_revision",
    "gauge",
    ("tenant",),
    "The number of the revision that is served, of tenants of the database that have a label of their own.",
)
_PROBLEMS = Description(
    "portal_tenant_problems",
    "gauge",
    ("tenant",),
    "Problems of a tenant file or revision that is refused; its last valid version stays live. "
    "`_other` is the "
    "sum of those that are beyond metrics.tenants.",
)
_KEY = Description(
    "portal_vault_key_created_timestamp_seconds",
    "gauge",
    (),
    "When the key that encrypts new values was created, in seconds since the epoch. Keys do not expire; see "
    "how to rotate them.",
)
DESCRIPTIONS = (_SESSIONS, _LOGINS, _TENANTS, _REVISION, _PROBLEMS, _KEY)


class StateMetric:
    """Collects the state that was measured last; implements the collector of prometheus-client."""

    def __init__(self) -> None:
        self._state: MeasuredState | None = None

    def set(self, state: MeasuredState) -> None:
        """Replace all values."""
        self._state = state

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics; nothing before the first measurement."""
        state = self._state
        if state is None:
            return
        for description, value in (
            (_SESSIONS, state.sessions),
            (_LOGINS, state.logins),
            (_TENANTS, state.tenants),
            (_KEY, state.vault_key_created),
        ):
            if value is not None:
                yield _family(description, {"": value})
        yield _family(_REVISION, state.revisions)
        yield _family(_PROBLEMS, state.problems)


def _family(description: Description, values: Mapping[str, float]) -> GaugeMetricFamily:
    from prometheus_client.core import GaugeMetricFamily  # loads slowly

    family = GaugeMetricFamily(description.name, description.text, labels=description.labels)
    for label, value in values.items():
        family.add_metric([label] if description.labels else [], value)
    return family
