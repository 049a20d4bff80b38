"""THREATS L1, L5 and S2: stale responses, the page after a sign-out, and the cookie of used organisations."""

from __future__ import annotations

import io
import json
from pathlib import Path
from urllib.parse import urlencode

import pytest

from portal.config.front_ends import FrontEnd
from portal.keys.key_ring import KeyRing
from portal.keys.vault import Vault
from portal.web.remembered import Remembered, RememberedOrganisations
from tests.kit.browser import Browser, Response
from tests.kit.raw import stored
from tests.kit.world import World, world
from tests.security.test_return_to_threats import HOSTILE

REMEMBERED = "portal-organisations"


# --- L1: a response whose attempt is gone


async def _is_not_adopted(world: World, browser: Browser, callback: str, leads_to: str) -> Response:
    before, requests = stored(world), world.acme.requests["token"]
    cookie = browser.cookie("localhost", "portal")
    response = await browser.step(callback, site="cross-site")
    assert response.status == 303
    assert response.headers["Location"] == leads_to
    after = stored(world)
    assert after["logins"] == before["logins"]
    assert [row[:2] for row in after["sessions"]] == [row[:2] for row in before["sessions"]]
    assert world.acme.requests["token"] == requests
    assert browser.cookie("localhost", "portal") == cookie
    return response


@pytest.mark.gen_test
async def test_L1_a_response_of_an_attacker_leads_to_the_login_that_exists_and_adopts_nothing(
    world: World, log_lines: io.StringIO
) -> None:
    attacker, victim = world.browser(), world.browser()
    await world.quick_sign_in(victim, "acme")
    callback = await world.stop_before_callback(attacker, "acme")
    log_lines.seek(0)
    log_lines.truncate()
    await _is_not_adopted(world, victim, callback, "/t/acme/")
    assert [json.loads(line)["event"] for line in log_lines.getvalue().splitlines()] == [
        "request_failed",
        "request",
    ]
    assert (await attacker.step(callback, site="cross-site")).status == 303, "the attempt was consumed"


@pytest.mark.gen_test
async def test_L1_a_login_at_another_tenant_does_not_hide_that_a_response_is_stale(world: World) -> None:
    attacker, victim = world.browser(), world.browser()
    await world.quick_sign_in(victim, "globex")
    response = await victim.step(await world.stop_before_callback(attacker, "acme"), site="cross-site")
    assert response.status == 400
    assert "no longer valid" in response.text


@pytest.mark.gen_test
async def test_a_response_that_comes_too_late_leads_to_the_login_of_another_tab(world: World) -> None:
    browser = world.browser()
    late = await world.stop_before_callback(browser, "acme")
    await world.quick_sign_in(browser, "acme")
    world.clock.advance(601)
    await _is_not_adopted(world, browser, late, "/t/acme/")
    twice = await world.stop_before_callback(browser, "acme", "?return_to=/t/acme/?tab=1")
    assert (await browser.step(twice, site="cross-site")).headers["Location"] == "/t/acme/?tab=1"
    await _is_not_adopted(world, browser, twice, "/t/acme/")


# --- cookies that do not come back


@pytest.mark.gen_test
async def test_a_browser_that_blocks_cookies_is_told_so_once(world: World) -> None:
    callback = await world.stop_before_callback(world.browser(), "acme")
    blocking = world.browser()
    checked = await blocking.step(callback, site="cross-site")
    assert checked.headers["Location"] == "/t/acme/cookie-check?set=1", "the code must leave the URL"
    blocking.cookies.clear()
    page = await blocking.step(world.at("/t/acme/cookie-check?set=1"), site="cross-site")
    assert page.status == 400
    assert "Your browser blocks cookies" in page.text
    assert "/t/acme/" in page.links
    assert "Location" not in page.headers


@pytest.mark.gen_test
async def test_a_browser_that_did_not_begin_the_login_is_told_that(world: World) -> None:
    callback = await world.stop_before_callback(world.browser(), "acme")
    other = world.browser()
    page = await other.open(callback)
    assert page.url == world.at("/t/acme/cookie-check?set=1")
    assert page.status == 400
    assert "no longer valid" in page.text
    assert other.cookie("localhost", "portal-check") is None
    again = await other.open(callback)
    assert again.status == 400
    assert len(again.trail) <= 2


@pytest.mark.gen_test
async def test_the_check_of_cookies_is_nothing_to_bookmark(world: World) -> None:
    page = await world.browser().open(world.at("/t/acme/cookie-check"))
    assert page.url == world.at("/t/acme/")
    assert "blocks cookies" not in page.text
    missing = await world.browser().open(world.at("/t/nowhere/cookie-check?set=1"))
    assert missing.status == 404


# --- L5: after a sign-out


@pytest.mark.parametrize("with_provider", [True, False])
@pytest.mark.gen_test
async def test_a_sign_out_leads_to_a_page_of_the_portal_that_is_asked_for(
    world: World, with_provider: bool
) -> None:
    browser = world.browser()
    if with_provider:
        await world.quick_sign_in(browser, "acme")
    page = await browser.open(world.at("/t/acme/"))
    del page
    target = "/account?left=acme#/orders"
    response = await browser.step(
        world.at("/t/acme/logout"), "POST", urlencode({"return_to": target}), site="same-origin"
    )
    if with_provider:
        assert response.headers["Location"].startswith(world.acme.issuer)
        returned = await browser.step(response.headers["Location"], site="cross-site")
        response = await browser.step(returned.headers["Location"], site="cross-site")
    assert response.headers["Location"] == target


@pytest.mark.gen_test
async def test_L5_a_sign_out_leads_nowhere_else(world: World) -> None:
    browser = world.browser()
    for hostile in HOSTILE:
        body = urlencode({"return_to": hostile})
        response = await browser.step(world.at("/t/acme/logout"), "POST", body, site="same-origin")
        assert response.status == 303
        assert response.headers["Location"] in {"/t/acme/", "/t/acme/signed-out"}, hostile


@pytest.mark.gen_test
async def test_a_head_request_takes_no_step_of_a_sign_out(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")
    left = await browser.step(world.at("/logout"), "POST", "", site="same-origin")
    returned = (await browser.step(left.headers["Location"], site="cross-site")).headers["Location"]
    assert (await browser.step(returned, "HEAD", site="cross-site")).status == 200
    following = await browser.step(returned, site="cross-site")
    assert following.status == 303
    assert not following.headers["Location"].endswith("/signed-out"), "the HEAD took the step"


# --- S2: the cookie of used organisations


@pytest.mark.gen_test
async def test_S2_a_forged_or_foreign_list_of_organisations_is_ignored(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "keys.json"
    KeyRing.create(elsewhere)
    foreign = RememberedOrganisations(Vault(KeyRing.load_or_create(elsewhere)))
    entries = [Remembered("globex", "default")]
    own = world.running.portal.remembered
    values = {
        "of another deployment": foreign.cookie(entries, world.url).reveal(),
        "of another site": own.cookie(entries, "https://acme.example").reveal(),
        "altered": own.cookie(entries, world.url).reveal()[:-2] + "AA",
        "plain": "globex",
        "long": "A" * 8_000,
        "twice": f"x; {REMEMBERED}={own.cookie(entries, world.url).reveal()}",
        "empty": "",
    }
    browser = world.browser()
    for name, value in values.items():
        page = await browser.fetch(world.at("/account"), headers={"Cookie": f"{REMEMBERED}={value}"})
        assert page.status == 200, name
        assert "globex" not in page.text, name
    valid = own.cookie(entries, world.url).reveal()
    page = await browser.fetch(world.at("/account"), headers={"Cookie": f"{REMEMBERED}={valid}"})
    assert "/t/globex/login" in page.text, "the test shows nothing"


@pytest.mark.gen_test
async def test_S2_the_list_of_organisations_says_nothing_to_who_reads_the_cookie(world: World) -> None:
    browser = world.browser()
    response = await browser.step(await world.stop_before_callback(browser, "acme"), site="cross-site")
    (cookie,) = [one for one in response.headers.get_list("Set-Cookie") if one.startswith(f"{REMEMBERED}=")]
    assert "acme" not in cookie
    for attribute in ("HttpOnly", "SameSite=Lax", "Max-Age=31536000", "Path=/"):
        assert attribute in cookie


# --- L5: pages of front ends


@pytest.mark.gen_test
async def test_L5_a_page_that_a_front_end_has_for_another_tenant_is_no_destination(tmp_path: Path) -> None:
    built = tmp_path / "built"
    built.mkdir()
    (built / "index.html").write_text("<!doctype html><title>Desk</title>")
    desk = FrontEnd(path="/desk", directory=built, home="/desk/{tenant}/")
    async with world(tmp_path, front_ends={"desk": desk}) as made:
        for page, leads_to in (
            ("/desk/acme/#/orders/17", "/desk/acme/#/orders/17"),
            ("/desk/about", "/desk/about"),
            ("/desk/globex/#/orders", "/t/acme/"),
            ("/desk/globex", "/t/acme/"),
            ("/desk/%67lobex/", "/t/acme/"),
        ):
            browser = made.browser()
            query = f"?{urlencode({'return_to': page})}"
            callback = await made.stop_before_callback(browser, "acme", query)
            done = await browser.step(callback, site="cross-site")
            assert done.headers["Location"] == leads_to, page
            left = await made.browser().step(
                made.at("/t/acme/logout"), "POST", urlencode({"return_to": page}), site="same-origin"
            )
            assert left.headers["Location"] == leads_to, page
            link = urlencode({"iss": made.acme.issuer, "target_link_uri": made.at(page)})
            begun = await made.browser().step(
                made.at("/t/acme/initiate-login"), "POST", link, site="cross-site"
            )
            assert urlencode({"target_link_uri": leads_to}) in begun.headers["Location"], page
