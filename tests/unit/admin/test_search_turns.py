"""Searches of the console: one at a time, in small queries, and no viewer before all others."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from portal.admin.event_search import AMONG, EventFilter, newest_first
from portal.admin.search_turns import SearchTurns
from portal.stores.event_store import EventPage
from portal.stores.tenant_store import TenantStore
from tests.contract.entries import new_event


@pytest.mark.gen_test
async def test_one_search_runs_at_a_time_and_a_viewer_with_many_has_one_in_the_queue() -> None:
    turns, order, running = SearchTurns(), list[str](), 0

    async def search(viewer: str) -> None:
        nonlocal running
        async with turns.turn(viewer):
            running += 1
            assert running == 1
            await asyncio.sleep(0)
            order.append(viewer)
            running -= 1

    await asyncio.gather(*(search(viewer) for viewer in ["acme"] * 5 + ["globex", ""]))
    assert order[:3] == ["acme", "globex", ""]
    assert order[3:] == ["acme"] * 4


@pytest.mark.gen_test
async def test_a_search_that_fails_or_is_given_up_lets_the_next_one_run() -> None:
    turns = SearchTurns()
    with pytest.raises(ValueError, match="failed"):
        async with turns.turn("acme"):
            raise ValueError("failed")
    async with turns.turn("globex"):
        waiting = asyncio.create_task(turns.turn("acme").__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
    async with asyncio.timeout(10), turns.turn("acme"):
        pass


class Store:
    """Has more events than a search reads; every thousandth matches."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.read = 0

    async def search_events(self, **asked: Any) -> EventPage:
        self.asked.append(asked)
        before = self.read
        self.read += asked["among"]
        found = [new_event(seconds=-number) for number in range(before, self.read) if number % 1000 == 999]
        if len(found) > asked["most"]:
            return EventPage(found[: asked["most"]], found[asked["most"] - 1].id)
        return EventPage(found, f"{self.read:032x}")


@pytest.mark.gen_test
async def test_a_search_is_made_of_small_queries() -> None:
    """Calls of APIs read through the same connection: each waits for one query at most."""
    store = Store()
    found = await newest_first(cast(TenantStore, store), EventFilter(), most=50)
    assert (len(found.events), found.more_before) == (AMONG // 1000, f"{AMONG:032x}")
    assert max(asked["among"] for asked in store.asked) <= 2_000
    assert sum(asked["among"] for asked in store.asked) == AMONG
    places = [asked["before"] for asked in store.asked]
    assert places[1:] == [f"{store.asked[0]['among'] * number:032x}" for number in range(1, len(places))]


@pytest.mark.gen_test
async def test_a_page_that_is_full_ends_a_search() -> None:
    store = Store()
    found = await newest_first(cast(TenantStore, store), EventFilter(), most=3)
    assert len(found.events) == 3
    assert found.more_before == found.events[-1].id
    assert store.read < AMONG
