"""The share of the event loop's time that small pieces may take."""

from __future__ import annotations

import itertools

import pytest

from portal.outbound.read_budget import BUSY, SHARE, LoopLoad, ReadBudget


class Busy(LoopLoad):
    def is_busy(self, now: float) -> bool:
        return True


def test_a_tenant_that_was_quiet_does_not_wait() -> None:
    assert ReadBudget(Busy()).spend(0.001, now=1_000.0) == 0.0


def test_connections_that_read_without_end_take_no_more_than_the_share() -> None:
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


def test_one_read_that_took_long_by_accident_is_charged_within_bounds() -> None:
    budget = ReadBudget(Busy())
    assert budget.spend(60.0, now=1_000.0) <= 0.02 / SHARE


def test_nobody_waits_while_the_event_loop_has_time_to_spare() -> None:
    class Idle(LoopLoad):
        def is_busy(self, now: float) -> bool:
            return False

    budget = ReadBudget(Idle())
    assert {budget.spend(0.02, now=1_000.0 + number / 1000) for number in range(1_000)} == {0.0}


def test_what_was_read_in_idle_times_is_no_debt() -> None:
    class ThenBusy(LoopLoad):
        def is_busy(self, now: float) -> bool:
            return now >= 1_010.0

    budget = ReadBudget(ThenBusy())
    for number in range(10_000):
        budget.spend(0.02, now=1_000.0 + number / 1000)
    assert budget.spend(0.001, now=1_010.0) <= 0.0013 / SHARE


def test_the_load_is_what_the_thread_has_worked(monkeypatch: pytest.MonkeyPatch) -> None:
    used = 0.0
    monkeypatch.setattr("time.thread_time", lambda: used)
    load = LoopLoad()
    load.is_busy(100.0)
    used += 0.2 * (BUSY + 0.1)
    assert load.is_busy(100.2)
    assert load.is_busy(100.25), "it is not looked at so soon"
    used += 0.2 * (BUSY - 0.1)
    assert not load.is_busy(100.4)
