"""What the supervisor tells the service manager about its workers."""

from __future__ import annotations

import time

import pytest

from portal.ops.processes import Supervisor, _Worker
from portal.ops.service_manager import ServiceManager


class _Told(ServiceManager):
    """A service manager that wants a sign of life every minute, and remembers what it was told."""

    def __init__(self) -> None:
        super().__init__("/nowhere", watchdog_seconds=240.0)
        self.states: list[str] = []

    def _send(self, state: str) -> None:
        self.states.append(state)


def worker(*, heard: float, serves: bool = True) -> _Worker:
    now = time.monotonic()
    return _Worker(0, now, now - heard, serves=serves)


@pytest.mark.parametrize(
    ("workers", "states"),
    [
        ([worker(heard=1.0), worker(heard=1.0)], ["READY=1", "WATCHDOG=1"]),
        ([worker(heard=1.0), worker(heard=1.0, serves=False)], ["WATCHDOG=1"]),
        ([worker(heard=1.0), worker(heard=500.0)], ["READY=1", "WATCHDOG=1"]),
        ([worker(heard=500.0), worker(heard=500.0)], ["READY=1"]),
        ([], ["WATCHDOG=1"]),
    ],
    ids=["all serve", "one starts", "one is stuck", "all are stuck", "none is left"],
)
def test_the_service_manager_learns_when_all_serve_and_whether_one_lives(
    workers: list[_Worker], states: list[str]
) -> None:
    told = _Told()
    supervisor = Supervisor(2, lambda start: 0, manager=told)
    supervisor._started = dict(enumerate(workers, 1000))
    supervisor._tell_manager()
    supervisor._tell_manager()  # once is enough, and the next sign of life is not due
    assert told.states == states


def test_nothing_is_told_while_the_portal_stops() -> None:
    told = _Told()
    supervisor = Supervisor(1, lambda start: 0, manager=told)
    supervisor._stopping = True
    supervisor._tell_manager()
    assert told.states == []
