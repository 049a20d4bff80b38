"""The API explorer: an API gets the same request with and without scripts."""

from __future__ import annotations

import html
import re
from urllib.parse import urlencode

import pytest

from portal.errors import StoreUnavailable
from portal.web.assets import assets_folder
from tests.kit.raw import change_tenant, raw_api
from tests.kit.world import World


@pytest.mark.gen_test
async def test_the_page_and_its_script_send_the_same_accept_header(world: World) -> None:
    browser = world.browser()
    page = await world.developer_page(browser, "acme")
    form = next(form for form in page.forms if "body" in dict(form.fields))
    await browser.submit(form, {"method": "GET", "path": "/orders", "body": ""})
    accept = dict(world.acme_api.received[-1].headers)["Accept"]
    assert accept == "application/json, */*;q=0.5"
    script = (assets_folder("static") / "explorer.js").read_text()
    assert re.findall(r'ACCEPT = "(.*)";', script) == [accept]
    assert "Accept: ACCEPT," in script


@pytest.mark.gen_test
async def test_a_form_that_is_too_large_gets_a_link_back_to_its_page(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    page = await browser.fetch(
        world.at("/t/acme/developer"),
        "POST",
        headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"},
        body="body=" + "x" * 1_100_000,
    )
    assert page.status == 413
    assert re.search(r'<a class="button" href="/t/acme/developer">Go back</a>', page.text)


@pytest.mark.gen_test
async def test_a_page_without_database_offers_a_retry(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")

    async def unavailable(*_: object) -> None:
        raise StoreUnavailable("told to fail")

    monkeypatch.setattr(world.running.portal.sessions, "logins", unavailable)
    page = await browser.open(world.at("/t/acme/developer"))
    assert page.status == 503
    assert re.search(r'<a class="button" href="/t/acme/developer">Try again</a>', page.text)


@pytest.mark.gen_test
async def test_without_scripts_json_is_shown_as_the_api_sent_it(world: World) -> None:
    body = '{"id":9007199254740993, "x":-2.50e3,"x":1.10}'
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    async with raw_api(f"{head}{body}".encode()) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        page = await browser.step(
            world.at("/t/acme/developer"),
            "POST",
            urlencode({"method": "GET", "path": "/x"}),
            site="same-origin",
        )
    shown = re.search(r"<pre[^>]*data-response-body>(.*?)</pre>", page.text, re.DOTALL)
    assert shown is not None
    assert html.unescape(shown[1]) == body
