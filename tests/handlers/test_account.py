"""The account page: the user's organisations, and the logins on all devices."""

from __future__ import annotations

import asyncio
import html
import re
from typing import Any

import pytest

from portal.admin.actors import Actor, ActorType
from portal.sessions.ended import EndReason
from portal.stores.sqlite.file import DatabaseFile
from portal.stores.tenant_records import USER_KINDS
from portal.web.account import _WHY_ENDED
from tests.handlers.test_session import change_tenant
from tests.kit.browser import Browser, Form, Response
from tests.kit.console import ConsoleWorld
from tests.kit.provider_logout import Provider, sid_of
from tests.kit.raw import until
from tests.kit.world import World

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def text_of(page: Response) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.text)).split())


def end_forms(page: Response) -> list[Form]:
    return [form for form in page.forms if form.action == "/account/end"]


async def account(world: World, browser: Browser, query: str = "") -> Response:
    page = await browser.open(world.at(f"/account{query}"))
    assert page.status == 200, page.text
    return page


async def calls(world: World, browser: Browser, tenant: str = "acme") -> int:
    return (await browser.fetch(world.at(f"/t/{tenant}/api/echo"))).status


@pytest.mark.gen_test
async def test_each_organisation_says_what_it_knows_of_the_user(world: World) -> None:
    await change_tenant(world, "acme", claims={"roles": "roles", "show": ["team"], "page": ["team", "email"]})
    world.acme.faults.mutate_id_token = lambda _, claims: claims.update(team="Field sales", other="hidden")
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")
    text = text_of(await account(world, browser))
    for shown in (
        "Acme Corporation",
        "Alice Archer",
        "alice@acme.example",
        "sales",
        "team Field sales",
        "Globex",
    ):
        assert shown in text
    assert "hidden" not in text
    assert text.count("This browser") == 3, "two logins and a sentence"


@pytest.mark.gen_test
async def test_more_organisations_need_no_more_reads_of_the_database(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, reads = DatabaseFile.read, []

    async def counted(file: DatabaseFile, work: Any) -> object:
        reads.append(work)
        return await read(file, work)

    browser, counts = world.browser(), []
    monkeypatch.setattr(DatabaseFile, "read", counted)
    for tenant in ("acme", "globex"):
        await world.quick_sign_in(browser, tenant)
        await account(world, browser)
        reads.clear()
        page = await account(world, browser)
        counts.append(len(reads))
    assert text_of(page).count("This browser") == 3, "two logins and a sentence"
    assert counts[0] == counts[1] == 2, "the logins of the users, and their events"


@pytest.mark.gen_test
async def test_the_logins_of_the_user_on_other_devices_are_listed_and_one_can_be_ended(world: World) -> None:
    here, there = world.browser(), world.browser()
    await world.quick_sign_in(there, "acme")
    world.clock.advance(7_000 - 3_500)
    assert await calls(world, there) == 200
    await world.quick_sign_in(here, "acme")
    page = await account(world, here)
    assert "Used in the last few minutes" in text_of(page)
    (form,) = end_forms(page)
    assert world.session_id(there) not in page.text
    ended = await here.submit(form)
    assert ended.url == world.at("/account?ended=1")
    assert "One sign-in has ended." in text_of(ended)
    assert end_forms(ended) == []
    assert await calls(world, there) == 401
    assert await calls(world, here) == 200
    await until(lambda: world.acme.requests["revocation"] == 1, "its tokens were not revoked")
    again = await here.submit(form)
    assert "That sign-in had ended already." in text_of(again)


@pytest.mark.gen_test
async def test_all_others_are_ended_together_at_that_organisation_only(world: World) -> None:
    here, *others = (world.browser() for _ in range(4))
    for browser in (here, *others):
        await world.quick_sign_in(browser, "acme")
        await world.quick_sign_in(browser, "globex")
    page = await account(world, here)
    assert len(end_forms(page)) == 6
    form = next(
        form
        for form in page.forms
        if form.action == "/account/end-others" and ("tenant", "acme") in form.fields
    )
    ended = await here.submit(form)
    assert "3 sign-ins have ended." in text_of(ended)
    for browser in others:
        assert (await calls(world, browser), await calls(world, browser, "globex")) == (401, 200)
    assert (await calls(world, here), len(end_forms(ended))) == (200, 3)


@pytest.mark.gen_test
async def test_many_devices_are_not_all_listed_and_can_be_ended_together(world: World) -> None:
    here = world.browser()
    for _ in range(24):
        await world.quick_sign_in(world.browser(), "acme")
    await world.quick_sign_in(here, "acme")
    page = await account(world, here)
    assert len(end_forms(page)) == 19
    assert "There are more than are listed here." in text_of(page)
    ended = await here.submit(page.form("/account/end-others"))
    assert "24 sign-ins have ended." in text_of(ended)


@pytest.mark.gen_test
async def test_the_device_of_a_login_is_named_in_words(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    store, session = world.running.portal.store, world.session_id(browser)
    assert "Another program" in text_of(await account(world, browser))
    sessions, _ = await store.read((session,), (), now=world.clock())
    assert sessions[session].device != FIREFOX
    url = await world.stop_before_callback(other := world.browser(), "acme")
    response = await other.fetch(
        url, headers={"User-Agent": FIREFOX, "Accept": "text/html"}, site="cross-site"
    )
    assert response.status == 303
    assert "Firefox on Linux" in text_of(await account(world, browser))


@pytest.mark.gen_test
async def test_without_a_login_the_page_says_so(world: World) -> None:
    page = await account(world, world.browser())
    assert "You are not signed in" in text_of(page)


@pytest.mark.gen_test
async def test_the_number_in_the_address_is_only_a_number(world: World) -> None:
    browser = world.browser()
    for value in ("<b>1</b>", "-1", "9" * 50, "\u0661", ""):
        page = await browser.open(
            world.at("/account?ended=") + html.escape(value).replace("\u0661", "%D9%A1")
        )
        assert (page.status, "ended." in text_of(page)) == (200, False), value


async def recent(world: World, browser: Browser, count: int) -> str:
    """The part of the page about recent sign-ins, as soon as it has this many."""
    found = ""

    async def listed() -> int:
        nonlocal found
        text = text_of(await account(world, browser))
        found = text.partition("Recent sign-ins")[2].partition("If you do not recognise")[0]
        return len(re.findall(r"Signed (?:in at|out of)|Ended at", found))

    async with asyncio.timeout(10):
        while await listed() != count:
            await asyncio.sleep(0.05)
    return found


@pytest.mark.gen_test
async def test_recent_sign_ins_and_their_ends_are_listed(world: World) -> None:
    here, there = world.browser(), world.browser()
    provider = Provider(world)
    await world.quick_sign_in(there, "acme")
    await provider.tell(provider.token(sid=await sid_of(world, there)))
    await world.quick_sign_in(there, "acme")
    await there.fetch(world.at("/t/acme/logout"), "POST", body="")
    await world.quick_sign_in(there, "acme")
    await world.quick_sign_in(here, "acme")
    await here.submit((await account(world, here)).form("/account/end-others"))
    text = await recent(world, here, 7)
    assert text.count("Signed in at Acme Corporation") == 4
    assert text.count("Signed out of Acme Corporation") == 1
    assert text.count("Ended at Acme Corporation") == 2
    assert text.count("You ended it from another browser.") == 1
    assert text.count("The organisation’s sign-in service ended it.") == 1
    text = text_of(await account(world, here, "?ui_locales=de"))
    assert "Sie haben sie in einem anderen Browser beendet." in text
    assert "127.0.0.0/24" in text


@pytest.mark.gen_test
async def test_only_the_last_ten_are_listed_and_only_the_users_own(world: World) -> None:
    browser, other = world.browser(), world.browser()
    for _ in range(12):
        await world.quick_sign_in(browser, "acme")
    await world.sign_in(other, "acme", user="bob")
    await recent(world, other, 1)
    await recent(world, browser, 10)


@pytest.mark.gen_test
async def test_a_refused_renewal_is_listed(world: World) -> None:
    browser, there = world.browser(), world.browser()
    await world.quick_sign_in(there, "acme")
    await world.quick_sign_in(browser, "acme")
    await world.expire_access_token(there, "acme")
    world.acme.faults.refresh_error = "invalid_grant"
    assert await calls(world, there) == 401
    text = await recent(world, browser, 3)
    assert "The organisation’s sign-in service did not renew it." in text
    assert "refused" not in text
    assert "invalid_grant" not in text


def test_the_user_reads_a_sentence_for_every_reason() -> None:
    assert {*_WHY_ENDED} == {*EndReason}


@pytest.mark.gen_test
async def test_acts_are_listed_without_sign_ins(console: ConsoleWorld) -> None:
    world, store = console.world, console.services.store
    await world.quick_sign_in(browser := world.browser(), "globex")
    login = await world.login_of(browser, "globex")
    assert login is not None
    actor = Actor(ActorType.USER, login.subject, login.issuer).as_json()
    async with asyncio.timeout(10):
        while not await store.list_user_events([("globex", actor)], since=0.0, most=10):
            await asyncio.sleep(0.05)
    assert not [one.kind for one in await store.list_events(most=1000) if one.kind in USER_KINDS]
