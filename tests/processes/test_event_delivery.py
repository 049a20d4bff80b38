"""A portal that is killed while it delivers events loses none: they are delivered again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from portal.admin.event_delivery import RECORD
from tests.kit.event_receiver import EventReceiver, event_receiver
from tests.kit.processes import world_outside
from tests.kit.raw import until


@pytest.mark.gen_test(timeout=300)
async def test_a_portal_that_is_killed_while_it_delivers_loses_no_event(tmp_path: Path) -> None:
    receiver = EventReceiver(hangs=asyncio.Event())
    async with (
        event_receiver(receiver),
        world_outside(tmp_path, changes=lambda settings: replace(settings, events=receiver.settings)) as (
            world,
            portal,
        ),
    ):
        store, events = world.running.portal.store, world.running.portal.admin.store
        while await store.get_meta(RECORD) is None:
            await asyncio.sleep(0.01)
        await world.sign_in(world.browser(), "acme")
        await until(receiver.begun.is_set, "nothing was sent")
        await world.sign_in(world.browser(), "globex")
        stored: list[str] = []
        while len(stored) < 2:  # both are in the database
            found = await events.read_events(most=100)
            stored = [event.id for event in found if event.kind == "signed_in"]
        portal.kill()  # the receiver has the first event; the portal does not know
        assert receiver.hangs is not None
        receiver.hangs.set()
        receiver.hangs = None
        await portal.start()
        await until(lambda: set(stored) <= set(receiver.ids()), "an event was lost", seconds=200)
        assert receiver.ids().count(stored[0]) >= 2, "the first was accepted before and after"
        assert set(receiver.ids()) <= {each.id for each in await events.read_events(most=100)}
