"""The deletion of old events in the background."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from portal.admin import event_upkeep
from portal.admin.event_upkeep import EventUpkeep
from portal.errors import StoreUnavailable
from portal.stores.tenant_store import TenantStore

NOW = 1_000_000.0


class CountedEvents:
    """A store with a number of old events."""

    def __init__(self, old: int) -> None:
        self.old = old
        self.calls: list[tuple[float, int]] = []
        self.fails = False

    async def purge_events(self, *, before: float, most: int) -> int:
        self.calls.append((before, most))
        if self.fails:
            raise StoreUnavailable("the test made it fail")
        deleted = min(most, self.old)
        self.old -= deleted
        return deleted


def upkeep_of(store: CountedEvents, *, may_delete: bool = True, retention: float = 1000.0) -> EventUpkeep:
    return EventUpkeep(
        cast(TenantStore, store), retention=retention, clock=lambda: NOW, may_delete=lambda: may_delete
    )


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_upkeep, "_PAUSE_SECONDS", 0.001)


def test_all_old_events_are_deleted_in_steps() -> None:
    store = CountedEvents(2500)
    asyncio.run(upkeep_of(store).delete_old(asyncio.Event()))
    assert store.old == 0
    assert store.calls == [(NOW - 1000.0, 1000)] * 3


def test_a_retention_before_the_epoch_deletes_nothing() -> None:
    store = CountedEvents(0)
    asyncio.run(upkeep_of(store, retention=NOW * 2).delete_old(asyncio.Event()))
    assert store.calls == [(0.0, 1000)]


def test_a_process_with_a_wrong_clock_deletes_nothing() -> None:
    store = CountedEvents(10)
    asyncio.run(upkeep_of(store, may_delete=False).delete_old(asyncio.Event()))
    assert store.calls == []


def test_a_stop_ends_the_deletion_after_a_step() -> None:
    store, stopped = CountedEvents(5000), asyncio.Event()
    stopped.set()
    asyncio.run(upkeep_of(store).delete_old(stopped))
    assert len(store.calls) == 1


def test_it_runs_again_and_again_also_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_upkeep, "_FIRST_SECONDS", 0.001)
    monkeypatch.setattr(event_upkeep, "_INTERVAL_SECONDS", 0.001)
    store = CountedEvents(10)
    store.fails = True

    async def run() -> None:
        stopped = asyncio.Event()
        running = asyncio.create_task(upkeep_of(store).run(stopped))
        async with asyncio.timeout(10):
            while len(store.calls) < 2:
                await asyncio.sleep(0.001)
            store.fails = False
            while store.old:
                await asyncio.sleep(0.001)
            stopped.set()
            await running

    asyncio.run(run())
