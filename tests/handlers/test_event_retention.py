"""A running portal deletes events that are older than the operator keeps them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from portal.config.event_settings import EventSettings
from tests.contract.entries import new_event
from tests.kit.world import world

DAY = 86_400.0


@pytest.mark.gen_test
async def test_a_portal_deletes_old_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.admin.event_upkeep._FIRST_SECONDS", 0.01)
    monkeypatch.setattr("portal.admin.event_upkeep._INTERVAL_SECONDS", 0.01)
    async with world(tmp_path, events=EventSettings(retention=30 * DAY)) as running:
        store = running.running.portal.admin.store
        old, recent = (new_event("made", -days * DAY) for days in (31, 29))
        await store.add_events([old, recent])
        async with asyncio.timeout(20):
            while len(await store.list_events()) > 1:
                await asyncio.sleep(0.01)
        assert await store.list_events() == [recent]
