"""Finding an organisation: the list, exact names, work e-mail addresses, and what a browser remembers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import yaml

from tests.kit.browser import Browser, Response
from tests.kit.raw import add_second_provider, change_tenant
from tests.kit.world import World, world

MISS = "Nothing was found"
Searching = Callable[[str], AbstractAsyncContextManager[World]]


@pytest.fixture
def searching(tmp_path: Path) -> Searching:
    """Starts a portal with another value of `chooser`."""

    @asynccontextmanager
    async def started(chooser: str) -> AsyncIterator[World]:
        async with world(tmp_path, chooser=chooser) as made:
            yield made

    return started


async def find(made: World, browser: Browser, text: str, **more: str) -> Response:
    """Send the form of the start page, without following the redirect."""
    return await browser.step(made.at("/find"), "POST", urlencode({"q": text, **more}), site="same-origin")


def authorization(response: Response) -> dict[str, str]:
    """The parameters of the authorization request to which a response leads."""
    query = parse_qs(urlsplit(response.headers["Location"]).query)
    return {name: values[0] for name, values in query.items()}


def comparable(page: Response, query: str) -> str:
    """A page without what differs in every response, and without what the user typed."""
    text = page.text.replace(query, "QUERY")
    for value in (page.headers["X-Request-Id"], *re.findall(r'name="_xsrf" value="([^"]+)"', text)):
        text = text.replace(value, "")
    return text


def add_tenants(made: World, count: int) -> None:
    """Add tenants that are like acme."""
    folder = made.parts.tenants_folder
    acme = yaml.safe_load((folder / "acme.yaml").read_text()) | {"email_domains": []}
    for number in range(count):
        (folder / f"more-{number:02}.yaml").write_text(yaml.safe_dump(acme | {"name": f"More {number:02}"}))
    made.running.portal.registry.load()


# --- the list


@pytest.mark.gen_test
async def test_a_listing_start_page_has_every_listed_organisation_in_pages(world: World) -> None:
    add_tenants(world, 30)
    change_tenant(world, "globex", listed=False)
    browser = world.browser()
    first = await browser.open(world.at("/"))
    assert "31 organisations" in first.text
    assert "Globex" not in first.text
    second = await browser.click(next(link for link in first.links if "page=2" in link))
    cards = [link for page in (first, second) for link in page.links if link.endswith("/login")]
    assert len(cards) == len(set(cards)) == 31
    assert "Page 2 of 2" in second.text
    for number in ("0", "-1", "3", "99999999", "x", "²"):
        page = await browser.open(world.at(f"/?{urlencode({'page': number})}"))
        assert page.status == 200
        assert "Page " in page.text


@pytest.mark.gen_test
async def test_a_search_of_the_list_says_how_many_there_are(world: World) -> None:
    add_tenants(world, 30)
    browser = world.browser()
    page = await browser.submit((await browser.open(world.at("/"))).form("/find"), {"q": "more"})
    assert "30 found for" in page.text
    assert sum(link.startswith("/t/more-") for link in page.links) == 24
    following = await browser.click(next(link for link in page.links if "page=2" in link))
    assert sum(link.startswith("/t/more-") for link in following.links) == 6
    nothing = await find(world, browser, "<script>nobody</script>")
    assert nothing.status == 200
    assert "<script>nobody" not in nothing.text
    assert MISS in nothing.text


@pytest.mark.gen_test
async def test_one_click_leads_from_the_list_to_the_only_provider(world: World) -> None:
    browser = world.browser()
    await browser.open(world.at("/"))
    page = await browser.click("/t/acme/login")
    assert page.url.startswith(world.acme.issuer)


# --- exact names


@pytest.mark.gen_test
async def test_a_searching_start_page_lists_nothing_and_finds_whole_names(searching: Searching) -> None:
    async with searching("search") as made:
        browser = made.browser()
        for path in ("/", "/?q=acme", "/?page=2"):
            page = await browser.open(made.at(path))
            assert "Acme" not in page.text
            assert "Globex" not in page.text
        found = await find(made, browser, "ＡＣＭＥ  corporation")
        assert "/t/acme/login" in found.links
        assert not any("globex" in link for link in found.links)
        by_domain = await find(made, browser, "globex.example")
        assert "/t/globex/login" in by_domain.links


@pytest.mark.gen_test
async def test_nothing_tells_one_miss_from_another(searching: Searching) -> None:
    async with searching("search") as made:
        change_tenant(made, "globex", listed=False)
        browser = made.browser()
        await browser.open(made.at("/"))
        texts = [
            "nowhere",
            "Acme",
            "acme",
            "acm",
            "Globex",
            "globex",
            "%",
            "nobody@nowhere.example",
            "@",
            "a@b",
        ]
        pages = {text: comparable(await find(made, browser, text), text) for text in texts}
        for is_address in (False, True):  # the advice is about what was typed: a name or an address
            kind = {page for text, page in pages.items() if ("@" in text) is is_address}
            assert len(kind) == 1, "a miss differs"
        assert MISS in pages["nowhere"]


@pytest.mark.gen_test
async def test_a_deployment_for_addresses_finds_no_names(searching: Searching) -> None:
    async with searching("email") as made:
        browser = made.browser()
        await browser.open(made.at("/"))
        miss = comparable(await find(made, browser, "nowhere"), "nowhere")
        assert comparable(await find(made, browser, "Acme Corporation"), "Acme Corporation") == miss
        assert (await find(made, browser, "ann@acme.example")).status == 303


# --- work e-mail addresses


@pytest.mark.parametrize("chooser", ["list", "search", "email"])
@pytest.mark.gen_test
async def test_a_work_address_leads_straight_to_its_provider(searching: Searching, chooser: str) -> None:
    async with searching(chooser) as made:
        browser = made.browser()
        change_tenant(made, "acme", listed=False)
        begun = await find(made, browser, " Ann.Other@ACME.example")
        assert begun.status == 303
        assert begun.headers["Location"].startswith(made.acme.issuer)
        assert authorization(begun)["login_hint"] == "Ann.Other@ACME.example"
        made.acme.automatic_user = "alice"
        done = await browser.open(begun.headers["Location"])
        assert done.url == made.at("/t/acme/")


@pytest.mark.gen_test
async def test_the_response_is_the_same_for_every_person_of_a_domain(world: World) -> None:
    browser = world.browser()
    one, other = [
        authorization(await find(world, browser, f"{name}@acme.example")) for name in ("alice", "x")
    ]
    for parameters in (one, other):
        for name in ("state", "nonce", "code_challenge", "login_hint"):
            parameters.pop(name)
    assert one == other


@pytest.mark.gen_test
async def test_an_address_of_several_organisations_is_a_choice(world: World) -> None:
    for tenant in ("acme", "globex"):
        change_tenant(world, tenant, shared_email_domains=["group.example"], listed=False)
    browser = world.browser()
    page = await browser.submit((await browser.open(world.at("/"))).form("/find"), {"q": "ann@group.example"})
    assert "Several organisations use this e-mail address" in page.text
    choices = [dict(form.fields) for form in page.forms if "tenant" in dict(form.fields)]
    assert [(one["q"], one["tenant"]) for one in choices] == [
        ("ann@group.example", "acme"),
        ("ann@group.example", "globex"),
    ]
    begun = await find(world, browser, "ann@group.example", tenant="globex")
    assert begun.headers["Location"].startswith(world.globex.issuer)
    assert authorization(begun)["login_hint"] == "ann@group.example"
    for tenant in ("initech", "nowhere", ""):
        assert MISS in (await find(world, browser, "ann@group.example", tenant=tenant)).text
    assert MISS in (await find(world, browser, "ann@nowhere.example", tenant="acme")).text


@pytest.mark.gen_test
async def test_an_organisation_with_several_providers_asks_which_and_passes_the_address(world: World) -> None:
    add_second_provider(world)
    browser = world.browser()
    page = await browser.submit((await browser.open(world.at("/"))).form("/find"), {"q": "ann@acme.example"})
    assert page.url == world.at("/find"), "the address must not be in a URL"
    staff = next(form for form in page.forms if ("provider", "staff") in form.fields)
    begun = await browser.step(world.at("/find"), "POST", urlencode(staff.fields), site="same-origin")
    assert authorization(begun)["login_hint"] == "ann@acme.example"
    assert begun.headers["Location"].startswith(world.acme.issuer)
    unknown = await find(world, browser, "ann@acme.example", tenant="acme", provider="nobody")
    assert unknown.status == 404


@pytest.mark.gen_test
async def test_an_address_of_a_failing_provider_is_an_error_with_a_way_back(world: World) -> None:
    await world.parts.disconnect()
    world.acme.faults.endpoints.clear()
    change_tenant(world, "acme", issuer="http://127.0.0.1:9")
    page = await find(world, world.browser(), "ann@acme.example")
    assert page.status == 503
    assert "/" in page.links
    assert "/find" not in page.links


@pytest.mark.gen_test
async def test_no_form_of_another_site_starts_a_login(world: World) -> None:
    browser = world.browser()
    body = urlencode({"q": "ann@acme.example"})
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {}):
        response = await browser.fetch(
            world.at("/find"), "POST", headers={**headers}, body=body, site=None, csrf=False
        )
        assert response.status == 403
    assert world.acme.requests.total() == 0


@pytest.mark.gen_test
async def test_a_host_of_one_organisation_finds_no_other(world: World) -> None:
    change_tenant(world, "acme", hosts=["acme.localhost"])
    browser = world.browser()
    own = {"Host": f"acme.localhost:{urlsplit(world.url).port}"}

    async def search(text: str) -> Response:
        form = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html", **own}
        return await browser.fetch(world.at("/find"), "POST", headers=form, body=urlencode({"q": text}))

    for text in ("Globex", "", "Acme"):
        assert (await search(text)).headers["Location"] == "/t/acme/"
    assert MISS in (await search("ann@globex.example")).text
    assert (await search("ann@acme.example")).headers["Location"].startswith(world.acme.issuer)


# --- what a browser remembers


@pytest.mark.gen_test
async def test_an_organisation_that_was_used_is_offered_again_and_can_be_removed(
    searching: Searching,
) -> None:
    async with searching("search") as made:
        browser = made.browser()
        await made.quick_sign_in(browser, "acme")
        await made.quick_sign_in(browser, "globex")
        home = await browser.open(made.at("/account"))
        await browser.submit(next(form for form in home.forms if form.action == "/logout"))
        page = await browser.open(made.at("/"))
        again = [link for link in page.links if "prompt=none" in link]
        assert [urlsplit(link).path for link in again] == ["/t/globex/login", "/t/acme/login"] * 2
        removal = next(form for form in page.forms if ("tenant", "globex") in form.fields)
        page = await browser.submit(removal)
        assert page.url == made.at("/")
        assert not any("globex" in link for link in page.links)
        assert any("/t/acme/login" in link for link in page.links)
        everything = [form for form in page.forms if form.action == "/forget"][-1]
        page = await browser.submit(everything)
        assert browser.cookie("localhost", "portal-organisations") is None
        assert not any("acme" in link for link in page.links)


@pytest.mark.gen_test
async def test_signing_in_again_needs_no_form_while_the_provider_knows_the_user(world: World) -> None:
    browser = world.browser()
    await world.sign_in(browser, "acme")
    await world.running.portal.store.delete_login(world.session_id(browser), "acme")
    page = await browser.open(world.at("/"))
    again = next(link for link in page.links if "prompt=none" in link)
    page = await browser.click(again)
    assert page.url == world.at("/t/acme/")
    assert "Alice Archer" in page.text
    assert urlsplit(page.trail[0]).path == "/t/acme/login"


@pytest.mark.gen_test
async def test_signing_in_again_shows_the_form_when_the_provider_has_no_session(world: World) -> None:
    browser = world.browser()
    await world.sign_in(browser, "acme")
    page = await browser.open(world.at("/t/acme/"))
    await browser.submit(page.form("/t/acme/logout"))
    page = await browser.open(world.at("/"))
    page = await browser.click(next(link for link in page.links if "prompt=none" in link))
    assert page.url.startswith(world.acme.issuer)
    page = await world.fill_in(browser, page, "acme", "alice")
    assert page.url == world.at("/t/acme/")


@pytest.mark.gen_test
async def test_an_organisation_that_is_gone_is_not_offered_again(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "globex")
    (world.parts.tenants_folder / "globex.yaml").unlink()
    world.running.portal.registry.load()
    page = await browser.open(world.at("/"))
    assert page.status == 200
    assert "globex" not in page.text.lower()


# --- the switcher


@pytest.mark.gen_test
async def test_switching_to_an_organisation_with_a_login_asks_no_provider(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    page = await world.quick_sign_in(browser, "globex")
    before = world.acme.requests.total(), world.globex.requests.total()
    page = await browser.click(next(link for link in page.links if link.startswith("/t/acme/")))
    assert page.trail == [world.at("/t/acme/")]
    assert "Alice Archer" in page.text
    assert (world.acme.requests.total(), world.globex.requests.total()) == before


@pytest.mark.gen_test
async def test_two_tabs_in_two_organisations_never_mix(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")

    async def tab(tenant: str, user: str, path: str) -> None:
        for _ in range(5):
            page = await browser.fetch(world.at(f"/t/{tenant}/"))
            assert f'Signed in as <bdi class="strong">{user}' in page.text
            called = await browser.fetch(world.at(f"/t/{tenant}/api{path}"))
            assert called.status == 200

    await asyncio.gather(tab("acme", "Alice Archer", "/orders"), tab("globex", "Gina Gomez", "/projects"))
    tokens = {
        tenant: {call.bearer for call in api.received}
        for tenant, api in (("acme", world.acme_api), ("globex", world.globex_api))
    }
    assert all(tokens.values())
    assert tokens["acme"].isdisjoint(tokens["globex"])


@pytest.mark.gen_test
async def test_a_page_of_another_organisation_says_where_the_user_is_signed_in(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    page = await browser.open(world.at("/t/globex/"))
    assert "You are not signed in to" in page.text
    assert "Alice Archer" in page.text
    assert "/t/acme/" in page.links
    assert any(link.startswith("/t/globex/login") for link in page.links)
