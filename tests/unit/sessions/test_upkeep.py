"""Database maintenance in the background."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from portal.errors import StoreUnavailable
from portal.sessions import upkeep as upkeep_module
from portal.sessions.upkeep import StoreUpkeep
from portal.stores.clock_check import ClockCheck
from tests.kit.samples import START, ManualClock


class Database:
    def __init__(self) -> None:
        self.down = False
        self.purged = 0
        self.expired = 0
        self.maintained = 0

    def time(self) -> float:
        return START

    async def maintain(self) -> None:
        self.maintained += 1
        if self.down:
            raise StoreUnavailable("down")

    async def end_expired(self) -> int:
        self.expired += 1
        return 2

    async def purge(self, *, keep_sign_ins: float) -> int:
        assert keep_sign_ins == 3600.0, "else another process deletes what has not been reported"
        self.purged += 1
        assert self.purged <= self.expired
        if self.down:
            raise StoreUnavailable("down")
        return 3


class Counts:
    def __init__(self) -> None:
        self.offsets: list[float] = []

    def damaged_entry(self, kind: str) -> None: ...

    def operation_refused(self) -> None: ...

    def clock_offset(self, seconds: float) -> None:
        self.offsets.append(seconds)


def upkeep(database: Database, counts: Counts, *, ahead: float = 0.0) -> StoreUpkeep:
    check = ClockCheck(database, clock=lambda: START + ahead)  # type: ignore[arg-type]
    return StoreUpkeep(database, check, counts, end_expired=database.end_expired)  # type: ignore[arg-type]


@pytest.mark.parametrize(("ahead", "sweeps"), [(0.0, 1), (59.0, 1), (61.0, 0), (-86_400.0, 0)])
@pytest.mark.gen_test
async def test_a_process_with_a_wrong_clock_does_not_sweep(ahead: float, sweeps: int) -> None:
    database, counts = Database(), Counts()
    maintenance = upkeep(database, counts, ahead=ahead)
    await maintenance.maintain()
    await maintenance.sweep()
    assert database.purged == sweeps
    assert counts.offsets == [ahead]


@pytest.mark.gen_test
async def test_maintenance_continues_after_a_failure() -> None:
    database, counts = Database(), Counts()
    database.down = True
    maintenance = upkeep(database, counts)
    for _ in range(2):
        await maintenance.maintain()
        await maintenance.sweep()
    assert (database.maintained, database.purged) == (2, 2)


@pytest.mark.parametrize(("down", "logged"), [(False, 0), (True, 3)])
@pytest.mark.gen_test
async def test_until_the_portal_stops_the_database_is_swept_and_a_failure_logged_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, down: bool, logged: int
) -> None:
    clock, stopped = ManualClock(0), asyncio.Event()
    monkeypatch.setattr(upkeep_module, "_INTERVAL_SECONDS", 0)
    monkeypatch.setattr(upkeep_module, "time", SimpleNamespace(monotonic=clock))

    class Watched(Database):
        async def maintain(self) -> None:
            clock.advance(5)
            if self.maintained == 24:
                stopped.set()
            await super().maintain()

    database = Watched()
    database.down = down
    with capture_logs() as lines:
        async with asyncio.timeout(20):
            await upkeep(database, Counts()).run(stopped)
    assert (database.maintained, database.purged) == (25, 2)
    assert [line["event"] for line in lines].count("store_not_maintained") == logged
