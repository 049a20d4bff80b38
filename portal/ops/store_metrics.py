"""Metrics of the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.ops.limit_metrics import Limit, LimitMetrics
from portal.ops.tallies import Tallies

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_KINDS = (
    *("Session", "Login", "LoginAttempt", "LogoutStep", "TenantLogin"),
    *("TenantRecord", "Revision", "Draft", "SetupLink", "DomainClaim", "Event"),
)
_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class StoreMetrics:
    """Counts the events of a store; implements `portal.stores.observer.StoreObserver`."""

    def __init__(self, registry: CollectorRegistry, tallies: Tallies, limits: LimitMetrics) -> None:
        from prometheus_client import Counter, Gauge

        self._limits = limits
        self._damaged = tallies.counter(
            "portal_store_damaged_entries",
            "Reads of damaged entries of the database, which count as missing. `kind`: the name of "
            "its model, "
            "such as Session or Login.",
            ("kind",),
        )
        for kind in _KINDS:  # or Prometheus would not see the first ones as an increase
            self._damaged.add(kind, amount=0.0)
        self._refused = Counter(
            "portal_store_refused_operations_total",
            "Operations refused because too many others waited for the database.",
            registry=registry,
        )
        self._offset = Gauge(
            "portal_store_clock_offset_seconds",
            "Difference of a host's clock from the database's, in seconds; the largest of all processes.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._duration = tallies.histogram(
            "portal_store_operation_duration_seconds",
            "How long operations on the database took, waiting for it included. `operation`: the name of the "
            "method of `Store`, or of `TenantStore` and `TenantLogins` with tenants. and "
            "tenant_logins. before "
            "it.",
            ("operation",),
            bounds=_BOUNDS,
        )
        self._failures = tallies.counter(
            "portal_store_failures",
            "Operations that failed because the database was unavailable or too slow.",
            ("operation",),
        )

    def damaged_entry(self, kind: str) -> None:
        """Count a read of a damaged entry; `kind` is Session, Login, LoginAttempt or LogoutStep."""
        self._damaged.add(kind)

    def operation_refused(self) -> None:
        """Count an operation that was refused at once."""
        self._refused.inc()
        self._limits.hit(Limit.STORE_OPERATIONS)

    def clock_offset(self, seconds: float) -> None:
        """Record the absolute difference, whichever clock is ahead."""
        self._offset.set(abs(seconds))

    def operation_done(self, operation: str, seconds: float, failed: bool) -> None:
        """Record an operation; see `portal.stores.timing.Measure`."""
        self._duration.observe(seconds, operation)
        if failed:
            self._failures.add(operation)
