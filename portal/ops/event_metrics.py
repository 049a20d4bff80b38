"""Metrics of events: what was lost, and how their delivery goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.ops.tallies import Tallies

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class EventMetrics:
    """Counts events; implements `portal.admin.event_delivery.DeliveryObserver`."""

    def __init__(self, registry: CollectorRegistry, tallies: Tallies) -> None:
        from prometheus_client import Counter, Gauge

        self.user_events_lost = Counter(
            "portal_user_events_lost",
            "Events that were not stored, because the database could not be written for long.",
            registry=registry,
        )
        self._lag = Gauge(
            "portal_events_delivery_lag_seconds",
            "Age of the oldest event that waits for its delivery; 0 when none waits.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._delivered = Counter(
            "portal_events_delivered",
            "Events that were delivered, repeated ones included.",
            registry=registry,
        )
        self._failures = Counter(
            "portal_events_delivery_failures",
            "Attempts to deliver events that failed: the receiver, or the database.",
            registry=registry,
        )

        self._set_aside = tallies.counter(
            "portal_events_set_aside",
            "Events that are not delivered: `refused` by the receiver again and again while it accepted "
            "others, or `damaged` in the database. `portal events --set-aside` lists the refused ones.",
            ("reason",),
        )
        for reason in ("refused", "damaged"):  # or Prometheus would not see the first one as an increase
            self._set_aside.add(reason, amount=0.0)

    def lag(self, seconds: float) -> None:
        """Record the age of the oldest waiting event."""
        self._lag.set(max(0.0, seconds))

    def delivered(self, count: int) -> None:
        """Count events that the receiver has accepted."""
        self._delivered.inc(count)

    def failed(self) -> None:
        """Count an attempt that failed."""
        self._failures.inc()

    def set_aside(self, reason: str, count: int) -> None:
        """Count events that will not be delivered. Parameters: reason, `refused` or `damaged`."""
        self._set_aside.add(reason, amount=float(count))
