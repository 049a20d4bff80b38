"""The share of the event loop's time that may be spent on small pieces."""

from __future__ import annotations

import itertools

import pytest

from portal.outbound.read_budget import BUSY, SHARE, LoopLoad, ReadBudget


class Busy(LoopLoad):
    def is_busy(self, now: float) -> bool:
        return True


def test_a_tenant_with_an_unused_budget_is_not_paused() -> None:
    assert ReadBudget(Busy()).spend(0.001, now=1_000.0) == 0.0


def test_connections_that_read_continuously_use_no_more_than_the_share() -> None:
    budget, now, spent = ReadBudget(Busy()), 1_000.0, 0.0
    pauses = [0.0] * 40
    while now < 1_010.0:
        for number, until in enumerate(pauses):
            if now >= until:
                pauses[number] = now + budget.spend(0.001, now)
                spent += 0.001
        now += 0.001
    assert spent <= (10.0 + 1.0) * SHARE + 40 * 0.001


def test_connections_that_wait_do_not_read_at_the_same_time() -> None:
    budget = ReadBudget(Busy())
    budget.spend(0.02, now=1_000.0)
    budget.spend(0.02, now=1_000.0)
    pauses = [budget.spend(0.02, now=1_000.0) for _ in range(10)]
    assert len(set(pauses)) == len(pauses)
    assert all(later - earlier >= 0.02 for earlier, later in itertools.pairwise(pauses))


def test_the_charge_for_one_slow_read_is_limited() -> None:
    budget = ReadBudget(Busy())
    assert budget.spend(60.0, now=1_000.0) <= 0.02 / SHARE


def test_no_connection_is_paused_while_the_event_loop_is_not_busy() -> None:
    class Idle(LoopLoad):
        def is_busy(self, now: float) -> bool:
            return False

    budget = ReadBudget(Idle())
    assert {budget.spend(0.02, now=1_000.0 + number / 1000) for number in range(1_000)} == {0.0}


def test_reads_while_the_event_loop_is_idle_are_free() -> None:
    class ThenBusy(LoopLoad):
        def is_busy(self, now: float) -> bool:
            return now >= 1_010.0

    budget = ReadBudget(ThenBusy())
    for number in range(10_000):
        budget.spend(0.02, now=1_000.0 + number / 1000)
    assert budget.spend(0.001, now=1_010.0) <= 0.0013 / SHARE


def test_the_load_is_the_cpu_time_of_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    used = 0.0
    monkeypatch.setattr("time.thread_time", lambda: used)
    load = LoopLoad()
    load.is_busy(100.0)
    used += 0.2 * (BUSY + 0.1)
    assert load.is_busy(100.2)
    assert load.is_busy(100.25), "the load is not measured again so soon"
    used += 0.2 * (BUSY - 0.1)
    assert not load.is_busy(100.4)
