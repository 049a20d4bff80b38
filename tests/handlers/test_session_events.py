"""`GET /session/events`: pages learn of sign-ins, ends and coming ends while they happen."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest

from portal.web.session_streams import MOST_OF_A_SESSION
from tests.handlers.test_session import change_tenant, facts
from tests.kit.event_stream import events_of, events_request
from tests.kit.provider_logout import Provider, sid_of
from tests.kit.raw import connected, until
from tests.kit.world import World

WITHIN = 5.0
"""Seconds in which an end is reported."""


@pytest.mark.gen_test
async def test_a_browser_without_a_session_does_not_connect_again(world: World) -> None:
    async with events_of(world, world.browser()) as events:
        assert events.head.status == 204


@pytest.mark.gen_test
async def test_the_stream_is_one_of_server_sent_events_that_no_proxy_keeps(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    async with events_of(world, browser) as events:
        assert events.head.header("Content-Type") == "text/event-stream"
        assert events.head.header("Cache-Control") == "no-store"
        assert events.head.header("X-Accel-Buffering") == "no"
        assert events.head.header("Cross-Origin-Resource-Policy") == "same-origin"


@pytest.mark.gen_test
async def test_L6_a_sign_in_ends_the_stream_whose_cookie_it_replaced(world: World) -> None:
    """Whoever has the former cookie hears of nothing; the browser opens another stream with the new one."""
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    async with events_of(world, browser) as events:
        await world.quick_sign_in(browser, "globex")
        assert (await events.part()).startswith("retry: ")
        assert await events.part() == "", "nothing of the sign-in is told"
        assert [one["slug"] for one in (await facts(world, browser))["tenants"]] == ["acme", "globex"]
        async with events_of(world, browser) as following:
            await browser.fetch(world.at("/t/globex/logout"), "POST", body="")
            assert await following.event() == ("ended", {"tenant": "globex"})


@pytest.mark.gen_test
async def test_L6_a_former_cookie_opens_no_stream(world: World) -> None:
    browser, thief = world.browser(), world.browser()
    await world.quick_sign_in(browser, "acme")
    thief.cookies["localhost"] = dict(browser.cookies["localhost"])
    async with events_of(world, thief) as events:
        await world.quick_sign_in(browser, "globex")
        assert await events.event() is None
        async with events_of(world, thief) as following:
            assert following.head.status == 204


@pytest.mark.gen_test
async def test_a_logout_is_reported_in_time(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")
    async with events_of(world, browser) as events:
        begun = time.monotonic()
        await browser.fetch(world.at("/t/acme/logout"), "POST", body="")
        assert await events.event() == ("ended", {"tenant": "acme"})
        assert time.monotonic() - begun < WITHIN
        await browser.fetch(world.at("/logout"), "POST", body="")
        assert await events.event() == ("ended", {"tenant": "globex"})
        assert await events.event() == ("ended", {"tenant": None})
        assert await events.event() is None
    await until(lambda: len(world.running.portal.session_streams) == 0, "the stream was kept")


@pytest.mark.gen_test
async def test_a_logout_at_the_provider_is_reported(world: World) -> None:
    browser, provider = world.browser(), Provider(world)
    await world.quick_sign_in(browser, "acme")
    async with events_of(world, browser) as events:
        response = await provider.tell(provider.token(sid=await sid_of(world, browser)))
        assert response.status == 200
        assert await events.event() == ("ended", {"tenant": "acme"})


@pytest.mark.gen_test
async def test_a_refused_refresh_is_reported(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.expire_access_token(browser, "acme")
    world.acme.faults.refresh_error = "invalid_grant"
    async with events_of(world, browser) as events:
        assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 401
        assert await events.event() == ("ended", {"tenant": "acme"})


@pytest.mark.gen_test
async def test_a_tenant_that_stops_accepting_a_login_ends_it(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    async with events_of(world, browser) as events:
        await change_tenant(world, "acme", access={"require": [{"claim": "email", "equals": "boss"}]})
        assert await events.event() == ("ended", {"tenant": "acme"})


@pytest.mark.gen_test
async def test_the_end_of_a_session_is_announced_once_and_then_reported(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    idle_expires_at = (await facts(world, browser))["session"]["idle_expires_at"]
    async with events_of(world, browser) as events:
        world.clock.advance(3_600 - 110)
        expected = ("expiring", {"tenant": None, "expires_at": idle_expires_at})
        assert await events.event() == expected
        async with events_of(world, browser) as later:
            assert await later.event() == expected, "a tab that is opened now"
        world.clock.advance(120)
        assert await events.event() == ("ended", {"tenant": "acme"})
        assert await events.event() == ("ended", {"tenant": None})


@pytest.mark.gen_test
async def test_the_end_of_a_login_is_announced(world: World) -> None:
    ends_at = int(world.clock()) + 900
    world.acme.faults.mutate_id_token = lambda _, claims: claims.update(session_expiry=ends_at)
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    async with events_of(world, browser) as events:
        world.clock.advance(800)
        assert await events.event() == ("expiring", {"tenant": "acme", "expires_at": ends_at})
        world.clock.advance(101)
        assert await events.event() == ("ended", {"tenant": "acme"})


@pytest.mark.gen_test
async def test_a_session_that_is_extended_is_announced_again(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    async with events_of(world, browser) as events:
        world.clock.advance(3_550)
        assert await events.event() is not None
        await browser.fetch(world.at("/session"), "POST", body="")
        await until(
            lambda: all(not one.announced for one in _watched(world)), "the extension was not noticed"
        )
        world.clock.advance(3_550)
        named, data = await events.event() or ("", {})
        assert (named, data["tenant"]) == ("expiring", None)


def _watched(world: World) -> list[Any]:
    watch = world.running.portal.session_streams._watch
    return list(watch._watched.values())


@pytest.mark.gen_test
async def test_a_stream_does_not_extend_the_session(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    before = (await facts(world, browser))["session"]
    world.clock.advance(600)
    async with events_of(world, browser):
        assert (await facts(world, browser))["session"] == before


@pytest.mark.gen_test
async def test_a_further_stream_replaces_the_oldest_which_does_not_come_back_soon(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(events_of(world, browser))
        for _ in range(MOST_OF_A_SESSION - 1):
            await stack.enter_async_context(events_of(world, browser))
        assert len(world.running.portal.session_streams) == MOST_OF_A_SESSION
        await stack.enter_async_context(events_of(world, browser))
        assert await first.part() == "retry: 600000\n\n"
        assert await first.part() == ""
        assert len(world.running.portal.session_streams) == MOST_OF_A_SESSION


@pytest.mark.gen_test
async def test_a_process_with_too_many_streams_ends_further_ones(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    world.running.portal.session_streams._most = 1
    async with events_of(world, browser) as kept, connected(world) as connection:
        await connection.send(events_request(world, browser))
        response = await connection.read_response()
        assert response is not None
        assert response.text == "retry: 60000\n\n"
        await browser.fetch(world.at("/t/acme/logout"), "POST", body="")
        assert await kept.event() == ("ended", {"tenant": "acme"})


@pytest.mark.gen_test
async def test_a_page_that_is_closed_leaves_nothing_behind(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    async with events_of(world, browser):
        assert len(world.running.portal.session_streams) == 1
    await until(lambda: len(world.running.portal.session_streams) == 0, "the stream was kept")
    assert _watched(world) == []
    await until(lambda: world.running.portal.in_flight.count == 0, "the request was kept")


@pytest.mark.gen_test
async def test_streams_end_at_once_when_the_portal_stops(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    async with events_of(world, browser) as events:
        await world.running.portal.session_streams.close_all()
        assert (await events.part()).startswith("retry: ")
        assert await events.part() == ""
        async with events_of(world, browser) as further:
            assert await asyncio.wait_for(further.part(), 5) == ""
