"""Metrics of the database."""

from __future__ import annotations

from portal.ops.metrics import Metrics
from portal.stores.observer import StoreObserver


def test_the_events_of_a_store_are_counted() -> None:
    metrics = Metrics()
    observer: StoreObserver = metrics.store
    observer.damaged_entry("Login")
    observer.damaged_entry("Login")
    observer.operation_refused()
    observer.clock_offset(-7.5)
    rendered = metrics.render().decode()
    assert 'portal_store_damaged_entries_total{kind="Login"} 2.0\n' in rendered
    assert "\nportal_store_refused_operations_total 1.0\n" in rendered
    assert "\nportal_store_clock_offset_seconds 7.5\n" in rendered
