"""The operations of a store are measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal.errors import StoreUnavailable
from portal.stores.sqlite.store import SQLiteStore
from portal.stores.store import Store
from portal.stores.tenant_logins import TenantLogins
from portal.stores.tenant_store import TenantStore
from portal.stores.timing import operations_of, timed_store


@pytest.mark.gen_test
async def test_each_operation_is_measured_by_its_name_and_everything_else_passes(tmp_path: Path) -> None:
    seen: list[tuple[str, bool]] = []

    def measure(name: str, seconds: float, failed: bool) -> None:
        assert 0 <= seconds < 60
        seen.append((name, failed))

    store = timed_store(SQLiteStore(tmp_path / "portal.db", clock=lambda: 5.0), measure)
    with pytest.raises(StoreUnavailable):
        await store.get_meta("a")
    await store.open()
    try:
        assert store.time() == 5.0
        assert await store.get_meta("a") is None
        assert await store.tenants.list_tenants() == []
        assert await store.tenant_logins.count("acme", registrations=None, now=5.0) == 0
    finally:
        await store.close()
    assert seen == [
        ("get_meta", True),
        ("get_meta", False),
        ("tenants.list_tenants", False),
        ("tenant_logins.count", False),
    ]


def test_the_operations_are_those_of_the_protocols() -> None:
    assert {"read", "put_login", "purge"} <= operations_of(Store)
    assert not operations_of(Store) & {"open", "close", "time"}
    assert {"publish", "add_events", "search_events"} <= operations_of(TenantStore)
    assert operations_of(TenantLogins) == {
        *("list", "of_users", "stored", "find", "count", "count_all", "delete", "end_expired")
    }
