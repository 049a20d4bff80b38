"""Metrics of the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class StoreMetrics:
    """Counts the events of a store; implements `portal.stores.observer.StoreObserver`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Gauge

        self._damaged = Counter(
            "portal_store_damaged_entries_total",
            "Reads of damaged entries of the database, which count as missing.",
            ["kind"],
            registry=registry,
        )
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

    def damaged_entry(self, kind: str) -> None:
        """Count a read of a damaged entry; `kind` is Session, Login, LoginAttempt or LogoutStep."""
        self._damaged.labels(kind).inc()

    def operation_refused(self) -> None:
        """Count an operation that was refused at once."""
        self._refused.inc()

    def clock_offset(self, seconds: float) -> None:
        """Record the absolute difference, whichever clock is ahead."""
        self._offset.set(abs(seconds))
