"""How often a tenant may be changed."""

from __future__ import annotations

import pytest

from portal.admin import change_limit
from portal.admin.change_limit import BURST, ChangeLimit, TooManyChanges


def test_a_tenant_may_be_changed_often_and_then_once_a_second() -> None:
    now = [1000.0]
    limit = ChangeLimit(lambda: now[0])
    for _ in range(BURST):
        limit.count("acme")
    for _ in range(3):
        with pytest.raises(TooManyChanges) as refused:
            limit.count("acme")
    assert refused.value.status == 429
    assert refused.value.retry_after == 60
    limit.count("globex")
    now[0] += 2
    limit.count("acme")
    limit.count("acme")
    with pytest.raises(TooManyChanges):
        limit.count("acme")
    now[0] += BURST
    for _ in range(BURST):
        limit.count("acme")


def test_a_clock_that_is_set_back_closes_no_tenant_for_long() -> None:
    now = [1000.0]
    limit = ChangeLimit(lambda: now[0])
    limit.count("acme")
    now[0] = 0.0
    with pytest.raises(TooManyChanges):
        limit.count("acme")
    now[0] = 1.0
    limit.count("acme")


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_limit, "_MOST_TENANTS", 3)
    limit = ChangeLimit(lambda: 0.0)
    for _ in range(BURST):
        limit.count("acme")
    for slug in ("a", "b", "c"):
        limit.count(slug)
    limit.count("acme")  # forgotten, so it begins again
