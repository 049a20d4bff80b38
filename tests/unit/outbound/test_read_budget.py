"""The share of the event loop's time that small pieces may take."""

from __future__ import annotations

import itertools

from portal.outbound.read_budget import SHARE, ReadBudget


def test_a_tenant_that_was_quiet_does_not_wait() -> None:
    assert ReadBudget().spend(0.001, now=1_000.0) == 0.0


def test_connections_that_read_without_end_take_no_more_than_the_share() -> None:
    budget, now, spent = ReadBudget(), 1_000.0, 0.0
    pauses = [0.0] * 40
    while now < 1_010.0:
        for number, until in enumerate(pauses):
            if now >= until:
                pauses[number] = now + budget.spend(0.001, now)
                spent += 0.001
        now += 0.001
    assert spent <= (10.0 + 1.0) * SHARE + 40 * 0.001


def test_connections_that_wait_do_not_read_at_the_same_time() -> None:
    budget = ReadBudget()
    budget.spend(0.02, now=1_000.0)
    budget.spend(0.02, now=1_000.0)
    pauses = [budget.spend(0.02, now=1_000.0) for _ in range(10)]
    assert len(set(pauses)) == len(pauses)
    assert all(later - earlier >= 0.02 for earlier, later in itertools.pairwise(pauses))


def test_one_read_that_took_long_by_accident_is_charged_within_bounds() -> None:
    budget = ReadBudget()
    assert budget.spend(60.0, now=1_000.0) <= 0.02 / SHARE
