"""How far a host's clock is from the database's, and what that forbids."""

from __future__ import annotations

import pytest
import structlog

from portal.stores.clock_check import ClockCheck, MeasuredClock
from tests.kit.samples import START, ManualClock


class Database:
    """A store of which only the clock is asked."""

    def __init__(self) -> None:
        self.moment = START

    def time(self) -> float:
        return self.moment


@pytest.mark.parametrize(
    ("ahead", "agrees", "may"),
    [(0.0, True, True), (5.0, True, True), (-5.001, False, True), (60.0, False, True), (60.001, False, False),
     (-60.001, False, False), (86_400.0, False, False)],
)  # fmt: skip
def test_a_difference_is_told_above_5_seconds_and_stops_above_60(
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
        database.moment += 61
        check.report()
    (line,) = logs
    assert (line["log_level"], line["seconds"], line["refreshes"], line["sweeps"]) == (
        "error",
        61,
        False,
        False,
    )


def test_a_measured_clock_goes_on_between_measurements_whatever_the_host_says() -> None:
    ticks = ManualClock()
    clock = MeasuredClock(ticks)
    started = clock.start()
    ticks.advance(0.4)
    clock.finish(started, 1_000_000.2)
    assert clock.time() == pytest.approx(1_000_000.4, abs=0.001)
    ticks.advance(100)
    assert clock.time() == pytest.approx(1_000_100.4, abs=0.001)


def test_a_measurement_that_took_too_long_changes_nothing_unless_it_is_the_first() -> None:
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
