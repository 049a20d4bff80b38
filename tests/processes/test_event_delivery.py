"""A portal that is killed while it delivers events loses none: they are delivered again."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from portal.admin.event_delivery import RECORD
from tests.kit.event_receiver import EventReceiver, event_receiver
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.faulty.endpoints import Response as FaultyResponse
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


@pytest.mark.gen_test(timeout=300)
async def test_a_login_that_ends_while_the_portal_stops_is_an_event(tmp_path: Path) -> None:
    """Its refresh goes on after the call was given up, and after the events of others were written."""
    async with (
        event_receiver() as receiver,
        world_outside(tmp_path, changes=lambda settings: replace(settings, events=receiver.settings)) as (
            world,
            portal,
        ),
    ):
        store, events = world.running.portal.store, world.running.portal.admin.store
        browser = world.browser()
        await world.sign_in(browser, "acme")
        await world.expire_access_token(browser, "acme")
        refused = FaultyResponse(400, b'{"error": "invalid_grant"}')
        fault = EndpointFault(hold=asyncio.Event(), response=refused, remaining=1)
        world.acme.faults.endpoints["refresh"] = fault
        call = asyncio.create_task(
            browser.fetch(world.at("/t/acme/api/echo"), headers={"X-Portal-CSRF": "1"})
        )
        await until(lambda: fault.remaining == 0, "no refresh was sent")
        call.cancel()
        browser.close()
        world.browsers.remove(browser)
        stopping = asyncio.create_task(portal.stop())
        while json.loads(await store.get_meta(RECORD) or "{}").get("owner") != "":
            await asyncio.sleep(0.01)  # until the work in the background has ended
        assert fault.hold is not None
        fault.hold.set()
        await stopping
        stored = [event.kind for event in await events.read_events(most=100)]
        assert stored.count("session_ended") == 1
