"""Event streams: one user or tenant takes no place of the others (THREATS D5)."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from portal.web.session_streams import MOST_OF_A_SESSION, MOST_OF_A_USER
from tests.kit.browser import Browser
from tests.kit.event_stream import events_of
from tests.kit.world import World, world


@pytest.mark.gen_test(timeout=60)
async def test_D5_one_user_does_not_take_the_streams_of_other_tenants(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    async with world(tmp_path / "first") as defaults:
        limits = replace(defaults.settings.limits, connections=400)
    async with world(tmp_path / "second", limits=limits) as served, contextlib.AsyncExitStack() as stack:
        streams = served.running.portal.session_streams
        for _ in range(3):
            alice = served.browser()
            await served.quick_sign_in(alice, "acme")
            for _ in range(MOST_OF_A_SESSION):
                await stack.enter_async_context(events_of(served, alice))
        assert len(streams) == MOST_OF_A_USER
        bob, gina = served.browser(), served.browser()
        await served.sign_in(bob, "acme", user="bob")
        await served.quick_sign_in(gina, "globex")
        assert await _hears_of_a_sign_out(served, bob, "acme")
        assert await _hears_of_a_sign_out(served, gina, "globex")


async def _hears_of_a_sign_out(served: World, browser: Browser, tenant: str) -> bool:
    async with events_of(served, browser) as events:
        await browser.fetch(served.at(f"/t/{tenant}/logout"), "POST", body="")
        return await events.event() == ("ended", {"tenant": tenant})
