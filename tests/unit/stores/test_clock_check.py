"""The difference between a host's clock and the database's, and what it forbids."""

from __future__ import annotations

import pytest
import structlog

from portal.stores.clock_check import ClockCheck, MeasuredClock
from tests.kit.samples import START, ManualClock


class Database:
    """A store with nothing but a clock."""

    def __init__(self) -> None:
        self.now = START

    def time(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("ahead", "agrees", "may"),
    [(0.0, True, True), (5.0, True, True), (-5.001, False, True), (60.0, False, True), (60.001, False, False),
     (-60.001, False, False), (86_400.0, False, False)],
)  # fmt: skip
def test_a_difference_is_reported_above_5_seconds_and_stops_refreshes_above_60(
    ahead: float, agrees: bool, may: bool
) -> None:
    check = ClockCheck(Database(), clock=lambda: START + ahead)  # type: ignore[arg-type]
    assert check.offset == ahead
    assert (check.agrees(), check.may_refresh(), check.may_sweep()) == (agrees, may, may)


def test_a_difference_is_logged_once_a_minute() -> None:
    database = Database()
    check = ClockCheck(database, clock=lambda: START + 61)  # type: ignore[arg-type]
    with structlog.testing.capture_logs() as logs:
        check.report()
        check.report()
        database.now += 61
        check.report()
    (line,) = logs
    assert (line["log_level"], line["seconds"], line["refreshes"], line["sweeps"]) == (
        "error",
        61,
        False,
        False,
    )


def test_a_measured_clock_advances_independently_of_the_host_clock() -> None:
    ticks = ManualClock()
    clock = MeasuredClock(ticks)
    started = clock.start()
    ticks.advance(0.4)
    clock.finish(started, 1_000_000.2)
    assert clock.time() == pytest.approx(1_000_000.4, abs=0.001)
    ticks.advance(100)
    assert clock.time() == pytest.approx(1_000_100.4, abs=0.001)


def test_a_slow_measurement_is_ignored_unless_it_is_the_first() -> None:
    ticks = ManualClock()
    clock = MeasuredClock(ticks)
    started = clock.start()
    ticks.advance(10)
    clock.finish(started, 1_000_005.0)
    assert clock.time() == pytest.approx(1_000_010, abs=0.001)
    started = clock.start()
    ticks.advance(100)
    clock.finish(started, 1_000_010.0)
    assert clock.time() == pytest.approx(1_000_110, abs=0.001)
    started = clock.start()
    clock.finish(started, 1_000_115.0)
    assert clock.time() == pytest.approx(1_000_115, abs=0.001)
