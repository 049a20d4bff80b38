"""A provider that fails: what users, admins and monitoring see, and what goes on working."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.netutil import bind_sockets

from portal.oidc import provider_health
from portal.oidc.health import HealthState
from portal.web.monitoring import metrics_application
from portal.web.server.http_exchange import RequestLimits
from portal.web.server.http_server import HttpServer
from portal.web.server.listener import ConnectionServer
from tests.kit.browser import Browser
from tests.kit.console import ConsoleWorld
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.faulty.endpoints import Response as FaultyResponse
from tests.kit.raw import add_second_provider, until
from tests.kit.world import World
from tests.kit.world import world as make_world

ENDPOINTS = ("discovery", "jwks", "token", "userinfo")
WARNING = "The sign-in service of this organisation has not worked lately."


def break_provider(world: World) -> None:
    """Let every endpoint of Acme's provider fail that the portal calls."""
    for endpoint in ENDPOINTS:
        world.acme.faults.endpoints[endpoint] = EndpointFault(response=FaultyResponse(503))


def health_of(world: World, tenant: str = "acme") -> HealthState:
    provider = world.running.portal.registry.get(tenant).default_provider  # type: ignore[union-attr]
    return world.running.portal.admin.health.of(provider).state


async def call(world: World, browser: Browser, tenant: str = "acme") -> int:
    response = await browser.fetch(world.at(f"/t/{tenant}/api/echo"), headers={"X-Portal-CSRF": "1"})
    if response.status != 200:
        problem = json.loads(response.body)
        assert problem["code"] == "provider_unavailable", problem
        assert response.headers["Retry-After"]
    return response.status


async def fail_until_unhealthy(world: World) -> None:
    """Let sign-ins fail at the token endpoint for more than 30 seconds of the portal's clock."""
    for _ in range(3):
        browser = world.browser()
        callback = await world.stop_before_callback(browser, "acme")
        break_provider(world)
        assert (await browser.step(callback, site="cross-site")).status == 503
        world.acme.faults.endpoints.clear()
        world.clock.advance(16)
    assert health_of(world) is HealthState.UNHEALTHY


def logged(log_lines: io.StringIO, *events: str) -> list[str]:
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    return [line["event"] for line in lines if line["event"] in events]


@pytest.mark.gen_test(timeout=60)
async def test_calls_with_valid_tokens_pass_while_the_provider_is_dead(
    world: World, log_lines: io.StringIO
) -> None:
    browser, other = world.browser(), world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(other, "globex")
    assert await call(world, browser) == 200  # the API has the keys of the provider now
    await fail_until_unhealthy(world)
    break_provider(world)
    assert await call(world, browser) == 200
    await world.expire_access_token(browser, "acme")
    assert await call(world, browser) == 503
    assert await world.login_of(browser, "acme") is not None
    assert await call(world, other, "globex") == 200
    assert (await browser.fetch(world.at("/readyz"))).status == 200
    world.acme.faults.endpoints.clear()
    while await call(world, browser) != 200:  # the breaker lets a request through soon
        await asyncio.sleep(0.05)
    assert health_of(world) is HealthState.FINE
    changes = logged(log_lines, "provider_unhealthy", "provider_healthy", "provider_health_unknown")
    assert changes == ["provider_unhealthy", "provider_healthy"]


@pytest.mark.gen_test
async def test_the_sign_in_page_warns_and_the_sign_in_still_works(world: World) -> None:
    """THREATS D7: it is a warning, and the first call that succeeds ends it."""
    browser = world.browser()
    assert WARNING not in (await browser.open(world.at("/t/acme/"))).text
    assert "/t/acme/login" in (await browser.open(world.at("/"))).links
    await fail_until_unhealthy(world)
    start = await browser.open(world.at("/"))
    assert "/t/acme/login" not in start.links  # a click leads to the warning first
    assert "/t/acme/" in start.links
    assert "/t/globex/login" in start.links
    page = await browser.open(world.at("/t/acme/"))
    assert WARNING in page.text
    german = await browser.fetch(
        world.at("/t/acme/"), headers={"Accept": "text/html", "Accept-Language": "de"}
    )
    assert "Der Anmeldedienst dieser Organisation hat zuletzt nicht funktioniert." in german.text
    await world.quick_sign_in(browser, "acme")
    assert health_of(world) is HealthState.FINE
    assert WARNING not in (await world.browser().open(world.at("/t/acme/"))).text


@pytest.mark.gen_test
async def test_operators_and_admins_of_the_tenant_see_the_error_and_since_when(console: ConsoleWorld) -> None:
    await fail_until_unhealthy(console.world)
    for browser in (console.operator, console.file_admin):
        overview = await console.get(browser, "/admin/")
        assert "Provider fails" in overview.text
        assert "the provider responded with 503" in overview.text
        page = await console.get(browser, "/admin/t/acme/")
        assert "All calls since " in page.text
        assert "the last success was on " in page.text
        assert "The last error: POST" in page.text
    assert "Provider fails" not in (await console.get(console.admin, "/admin/")).text
    assert (await console.get(console.admin, "/admin/t/acme/")).status in {403, 404}


@pytest.mark.gen_test(timeout=60)
async def test_nobody_is_warned_of_a_provider_that_is_not_called_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_health, "_CHECK_SECONDS", 0.01)
    async with make_world(tmp_path) as made:
        await fail_until_unhealthy(made)
        made.clock.advance(provider_health.FORGET_SECONDS + 1)
        await until(lambda: health_of(made) is HealthState.UNKNOWN, "the provider is still unhealthy")


@asynccontextmanager
async def monitoring(world: World) -> AsyncIterator[str]:
    """What is served at `metrics_listen`; yields its URL."""
    portal, measure = world.running.portal, world.running.measuring.measure
    server = ConnectionServer(
        HttpServer(metrics_application(portal, measure), RequestLimits(body_bytes=0)),
        most=8,
        metrics=portal.metrics,
    )
    sockets = bind_sockets(0, address="127.0.0.1")
    server.add_sockets(sockets)
    try:
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    finally:
        server.stop()
        await server.close_all_connections()


async def get(url: str) -> HTTPResponse:
    return await AsyncHTTPClient().fetch(url, raise_error=False)


@pytest.mark.gen_test
async def test_verbose_readiness_names_what_is_wrong_on_the_address_of_metrics_only(world: World) -> None:
    await world.running.measuring.follow()
    await world.quick_sign_in(world.browser(), "acme")
    async with monitoring(world) as url:
        fine = json.loads((await get(f"{url}/readyz?verbose")).body)
        assert (fine["providers"], fine["unhealthy_providers"], fine["tenant_files"]) == ([], {}, [])
        await fail_until_unhealthy(world)
        (world.parts.tenants_folder / "broken.yaml").write_text("name: 7\n")
        world.running.portal.registry.check_now()
        while not world.running.portal.registry.problems:
            await asyncio.sleep(0.01)
        response = await get(f"{url}/readyz?verbose")
        found = json.loads(response.body)
        assert (response.code, found["status"], found["store"]) == (200, "ready", None)
        (provider,) = found["providers"]
        assert (provider["tenant"], provider["provider"], provider["failures"]) == ("acme", "default", 3)
        assert provider["last_success"] <= provider["failing_since"]
        assert "the provider responded with 503" in provider["error"]
        assert found["unhealthy_providers"] == {"acme": 1}
        assert [one["file"] for one in found["tenant_files"]] == ["broken.yaml"]
        assert found["tenant_files"][0]["problems"]
        assert found["tenant_files_with_problems"] == 1
        short = await get(f"{url}/readyz")
        assert short.code == 200
        assert "providers" not in json.loads(short.body)
        scrape = (await get(f"{url}/metrics")).body.decode()
        assert 'portal_unhealthy_providers{tenant="acme"} 1.0' in scrape
        public = await world.browser().fetch(world.at("/readyz?verbose"))
        assert public.status == 200
        assert "acme" not in public.text
        assert "providers" not in json.loads(public.body)
        await world.running.portal.store.close()
        while (closed := await get(f"{url}/readyz?verbose")).code == 200:  # the result of a second ago
            await asyncio.sleep(0.05)
        assert (closed.code, json.loads(closed.body)["status"]) == (503, "unavailable")
        assert json.loads(closed.body)["store"]


@pytest.mark.gen_test
async def test_a_link_to_a_provider_that_cannot_be_reached_is_an_error_page(world: World) -> None:
    """The redirect itself needs the provider's metadata, so there is nowhere to send the browser."""
    break_provider(world)
    page = await world.browser().open(world.at("/t/acme/login?return_to=/t/acme/reports"))
    assert page.status == 503
    assert "The sign-in service of this organisation does not respond" in page.text
    assert page.headers["Retry-After"]
    assert "/t/acme/login?return_to=/t/acme/reports" in page.links  # try again
    assert "503" not in page.text.replace("Error 503", ""), "what the provider said is for the log"


@pytest.mark.gen_test
async def test_where_one_of_several_providers_cannot_be_reached_the_page_leads_to_the_choice(
    world: World,
) -> None:
    add_second_provider(world)
    break_provider(world)
    browser = world.browser()
    page = await browser.open(
        world.at("/t/acme/login?provider=staff&return_to=/t/acme/reports&login_hint=a@acme.example")
    )
    assert page.status == 503
    (choice,) = [link for link in page.links if link.startswith("/t/acme/login?")]
    assert "provider=" not in choice
    chosen = await browser.open(world.at(choice))
    assert chosen.status == 200
    for provider in ("staff", "partners"):
        (link,) = [each for each in chosen.links if f"provider={provider}" in each]
        assert "return_to=%2Ft%2Facme%2Freports" in link
        assert "login_hint=a%40acme.example" in link
    page = await browser.open(world.at("/t/acme/login?provider=nobody"))
    assert page.status == 404
