"""What a link to the login asks for stays: through the choice of a provider, and when it is tried again."""

from __future__ import annotations

import html
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.kit.browser import Browser, Response
from tests.kit.provider_logout import set_claims
from tests.kit.raw import add_second_provider
from tests.kit.world import World

ASKED = {
    "prompt": "login",
    "login_hint": "alice@acme.example",
    "acr_values": "mfa",
    "max_age": "0",
    "scope": "delete:orders",
}
LINK = "/t/acme/login?return_to=/t/acme/developer&prompt=login&login_hint=alice@acme.example&acr_values=mfa"
MORE = "&max_age=0&scope=delete:orders"


def logins(page: Response) -> list[dict[str, str]]:
    """The parameters of each link of a page that begins a login."""
    urls = [urlsplit(html.unescape(link)) for link in page.links]
    return [dict(parse_qsl(url.query)) for url in urls if url.path == "/t/acme/login" and url.query]


async def cancelled(world: World, browser: Browser, path: str) -> Response:
    page = await browser.open(world.at(path))
    return await browser.submit(page.form("sign-in"), button="cancel")


# --- the choice of a provider


@pytest.mark.gen_test
async def test_the_choice_of_a_provider_keeps_what_the_link_asks_for(world: World) -> None:
    add_second_provider(world)
    browser = world.browser()
    page = await browser.open(world.at(f"{LINK}{MORE}&unknown=1&prompt_=x"))
    back = {**ASKED, "return_to": "/t/acme/developer"}
    assert logins(page) == [{**back, "provider": "partners"}, {**back, "provider": "staff"}]
    chosen = next(link for link in page.links if "provider=staff" in link)
    begun = await browser.step(world.at(html.unescape(chosen)))
    sent = dict(parse_qsl(urlsplit(begun.headers["Location"]).query))
    assert (sent["prompt"], sent["login_hint"], sent["max_age"]) == ("login", "alice@acme.example", "0")
    assert "delete:orders" in sent["scope"].split()
    assert "mfa" in sent["claims"]


@pytest.mark.parametrize("wrong", ["&max_age=x", "&acr_values=%00", "&scope=a&scope=b", "&scope=a++b"])
@pytest.mark.gen_test
async def test_a_malformed_link_is_refused_before_a_provider_is_chosen(world: World, wrong: str) -> None:
    add_second_provider(world)
    page = await world.browser().open(world.at(f"/t/acme/login?return_to=/t/acme/developer{wrong}"))
    assert page.status == 400
    assert logins(page) == []


@pytest.mark.gen_test
async def test_the_choice_of_a_provider_leads_to_pages_of_the_portal_only(world: World) -> None:
    add_second_provider(world)
    page = await world.browser().open(world.at("/t/acme/login?return_to=https://evil.example/&prompt=none"))
    assert {one["return_to"] for one in logins(page)} == {"/t/acme/"}


# --- the language


@pytest.mark.gen_test
async def test_the_choice_of_a_provider_offers_no_language_because_its_link_would_be_lost(
    world: World,
) -> None:
    add_second_provider(world)
    page = await world.browser().open(world.at(LINK))
    assert 'action="/language"' not in page.text
    home = await world.browser().open(world.at("/t/acme/"))
    assert 'action="/language"' in home.text


@pytest.mark.gen_test
async def test_a_language_chosen_at_an_address_that_begins_a_login_begins_none(world: World) -> None:
    browser = world.browser()
    for path, expected in (
        ("/t/acme/login", "/t/acme/"),
        ("/t/acme/initiate-login", "/t/acme/"),
        ("/find", "/find"),
    ):
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Referer": world.at(path)}
        chosen = await browser.fetch(
            world.at("/language"), "POST", headers=headers, body="language=de", site="same-origin"
        )
        assert chosen.headers["Location"] == expected, path


@pytest.mark.gen_test
async def test_a_page_that_keeps_a_form_offers_no_language(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    page = await browser.open(world.at("/t/acme/developer"))
    assert 'action="/language"' in page.text
    browser.cookies.clear()
    kept = await browser.submit(page.form("/t/acme/developer"), {"path": "/typed"})
    assert "Send again what you entered" in kept.text
    assert 'action="/language"' not in kept.text


# --- try again


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.gen_test
async def test_a_cancelled_step_up_is_tried_again_as_the_same_step_up(world: World, several: bool) -> None:
    browser = world.browser()
    if several:
        add_second_provider(world)
        (client,) = world.acme.settings.clients  # one of several providers has a redirect URI of its own
        client = replace(client, redirect_uris=(world.at("/t/acme/callback/staff"),))
        world.acme.settings = replace(world.acme.settings, clients=(client,))
    await world.sign_in(browser, "acme", query="?provider=staff" if several else "")
    named = {"provider": "staff"} if several else {}
    query = f"{LINK}{MORE}{'&provider=staff' if several else ''}"
    page = await cancelled(world, browser, query)
    assert "Sign-in was cancelled" in page.text
    step_up = {name: ASKED[name] for name in ("acr_values", "max_age", "scope")}
    assert logins(page) == [{"return_to": "/t/acme/developer", **step_up, **named}]
    assert "/t/acme/developer" in page.links  # Continue


@pytest.mark.gen_test
async def test_a_cancelled_sign_in_is_tried_again_without_more(world: World) -> None:
    page = await cancelled(world, world.browser(), "/t/acme/login?return_to=/t/acme/developer")
    assert logins(page) == [{"return_to": "/t/acme/developer"}]


@pytest.mark.gen_test
async def test_a_failed_step_up_begins_again_as_the_same_step_up(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    world.acme.automatic_user = "alice"
    world.acme.faults.mutate_id_token = set_claims(nonce="of another")
    page = await browser.open(world.at("/t/acme/login?return_to=/t/acme/developer&max_age=600"))
    assert page.status == 400
    assert logins(page) == [{"return_to": "/t/acme/developer", "max_age": "600"}]


@pytest.mark.gen_test
async def test_a_step_up_that_was_not_done_leads_back_to_where_it_was_asked_for(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    world.acme.automatic_user = "alice"
    world.acme.faults.mutate_id_token = set_claims(acr="pwd")
    page = await browser.open(world.at("/t/acme/login?return_to=/t/acme/developer&acr_values=mfa"))
    page = await browser.submit(page.form("/second-factor/"))
    assert page.status == 403
    assert "/t/acme/developer" in page.links


@pytest.mark.gen_test
async def test_the_developer_page_is_linked_and_signing_in_again_leads_back_to_it(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    assert "/t/acme/developer" in (await browser.open(world.at("/account"))).links
    page = await browser.open(world.at("/t/acme/developer"))
    found = logins(page)
    assert len(found) >= 2
    assert all(login == {"return_to": "/t/acme/developer"} for login in found)
