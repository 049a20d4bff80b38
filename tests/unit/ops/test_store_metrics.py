"""Metrics of the database."""

from __future__ import annotations

from portal.ops.metrics import Metrics
from portal.stores.model import Login, LoginAttempt, LogoutStep, Session
from portal.stores.observer import StoreObserver
from portal.stores.tenant_logins import TenantLogin
from portal.stores.tenant_records import DomainClaim, Draft, Event, Revision, SetupLink, TenantRecord


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


def test_counters_of_alerts_begin_at_zero() -> None:
    """Prometheus does not count the first value of a series as an increase."""
    rendered = Metrics().render().decode()
    models = (Session, Login, LoginAttempt, LogoutStep, TenantLogin)
    records = (TenantRecord, Revision, Draft, SetupLink, DomainClaim, Event)
    for model in (*models, *records):
        assert f'portal_store_damaged_entries_total{{kind="{model.__name__}"}} 0.0\n' in rendered
    for reason in ("refused", "damaged"):
        assert f'portal_events_set_aside_total{{reason="{reason}"}} 0.0\n' in rendered
    assert "\nportal_user_events_lost_total 0.0\n" in rendered
