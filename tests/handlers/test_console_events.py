"""The events in the console: of one organisation and of all, searched and paged without loss."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from portal.admin import event_search
from portal.admin.actors import Actor, ActorType
from portal.admin.events import Act, EventKind, Outcome
from portal.stores.event_store import EventPage
from portal.web.admin import events as events_page
from portal.web.admin.event_words import GROUPS, kind_in_words, kinds_of
from tests.kit.browser import Browser
from tests.kit.console import ACT, ConsoleWorld, console_world
from tests.kit.raw import until

ALL = "/admin/events"
OF_GLOBEX = "/admin/t/globex/events"
DAY = 86400.0


def user(subject: str, **more: str) -> Act:
    return Act(Actor(ActorType.USER, subject, "https://login.example"), **more)


async def add(console: ConsoleWorld, *, tenant: str = "globex") -> None:
    """Some events of users: a sign-in, a refusal, an end."""
    now = console.world.clock()
    made = [
        user("ada-1").event(EventKind.SIGNED_IN, tenant=tenant, at=now + 1),
        user("bea-2", reason="no admission").event(
            EventKind.SIGN_IN_REFUSED,
            tenant=tenant,
            target="access_rule",
            at=now + 2,
            outcome=Outcome.REFUSED,
        ),
        user("ada-1", reason="refresh_refused").event(EventKind.SESSION_ENDED, tenant=tenant, at=now + 3),
    ]
    await console.services.store.add_events(made)


async def rows_of(console: ConsoleWorld, browser: Browser, path: str) -> list[str]:
    page = await console.get(browser, path)
    assert page.status == 200
    return page.text.split('class="row"')[1:]


def test_each_kind_is_in_one_group_and_has_words_of_its_own() -> None:
    grouped = [kind for group in GROUPS for kind in group.kinds]
    assert sorted(grouped) == sorted(EventKind)
    assert len({kind_in_words(kind) for kind in EventKind}) == len(EventKind)
    assert not {group.name for group in GROUPS} & set(EventKind)
    assert kinds_of("logins") == frozenset(map(str, GROUPS[0].kinds))
    assert kinds_of("signed_in") == frozenset({"signed_in"})
    assert kinds_of("") == frozenset()
    assert kinds_of("x") is None
    assert kind_in_words("kind_of_tomorrow") == "Kind of tomorrow"


@pytest.mark.gen_test
async def test_sign_ins_refusals_and_ends_are_among_the_events(console: ConsoleWorld) -> None:
    await add(console)
    ended, refused, signed_in, *_ = await rows_of(console, console.admin, OF_GLOBEX)
    assert "User signed in" in signed_in
    assert "User ada-1" in signed_in
    assert "Sign-in refused: <bdi>access_rule</bdi>" in refused
    assert "no admission" in refused
    assert "The provider refused to renew it." in ended
    first, *_ = await rows_of(console, console.operator, ALL)
    assert 'href="/admin/t/globex/events"' in first


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("kind=signed_in&person=ada-1", 1),
        ("kind=logins&person=ada-1", 2),
        ("kind=changes&person=ada-1", 0),
        ("person=ada-1", 2),
        ("person=ada", 0),
        ("outcome=refused&person=bea-2", 1),
        ("outcome=done&person=bea-2", 0),
        ("person=bea-2&since=2001-01-01&until=9998-01-01", 1),
        ("person=bea-2&since=9998-01-01", 0),
        ("person=bea-2&until=2001-01-01", 0),
    ],
)
@pytest.mark.gen_test
async def test_events_are_searched_on_both_pages(console: ConsoleWorld, query: str, found: int) -> None:
    await add(console)
    assert len(await rows_of(console, console.admin, f"{OF_GLOBEX}?{query}")) == found
    assert len(await rows_of(console, console.operator, f"{ALL}?{query}")) == found
    assert len(await rows_of(console, console.operator, f"{ALL}?tenant=globex&{query}")) == found
    assert await rows_of(console, console.operator, f"{ALL}?tenant=acme&{query}") == []
    page = await console.get(console.operator, f"{ALL}?{query}")
    assert ("No event matches" in page.text) is (found == 0)
    for name, value in (part.split("=") for part in query.split("&")):
        chosen = (
            f'value="{value}" selected' if name in {"kind", "outcome"} else f'name="{name}" value="{value}"'
        )
        assert chosen in page.text, "the form keeps what was searched for"


@pytest.mark.gen_test
async def test_a_day_until_which_events_are_searched_is_included(console: ConsoleWorld) -> None:
    noon = 1_000_000_000 // DAY * DAY + DAY / 2  # 9 September 2001
    made = [
        user("eve").event(EventKind.LOGINS_ENDED, tenant="acme", at=noon + days * DAY, target=f"day {days}")
        for days in (-1, 0, 1)
    ]
    await console.services.store.add_events(made)
    (row,) = await rows_of(console, console.operator, f"{ALL}?since=2001-09-09&until=2001-09-09")
    assert "day 0" in row


@pytest.mark.parametrize(
    "query",
    [
        "kind=x",
        "outcome=x",
        "since=yesterday",
        "since=2026-02-30",
        "until=1969-12-31",
        "until=9999-12-31",
        "tenant=A%20B",
        f"person={'x' * 2_049}",
    ],
)
@pytest.mark.gen_test
async def test_what_no_form_sends_is_refused(console: ConsoleWorld, query: str) -> None:
    assert (await console.get(console.operator, f"{ALL}?{query}")).status == 400


@pytest.mark.gen_test
async def test_pages_lose_no_event_and_repeat_none_also_with_damaged_ones(console: ConsoleWorld) -> None:
    now = console.world.clock()
    made = [
        user(f"user-{number}").event(EventKind.SIGNED_IN, tenant="globex", at=now + 1, target=f"<{number}>")
        for number in range(120)
    ]
    await console.services.store.add_events(made)
    seen: list[str] = []
    address: str | None = f"{OF_GLOBEX}?kind=signed_in&since=2001-01-01"
    with mock.patch.object(event_search, "AMONG", 30):  # less than a page
        while address is not None:
            page = await console.get(console.admin, address)
            seen += re.findall(r"&lt;(\d+)&gt;", page.text)
            links = [link for link in page.links if "before=" in link]
            assert all("kind=signed_in" in link and "since=2001-01-01" in link for link in links)
            address = links[0] if links else None
    assert seen == [str(number) for number in range(119, -1, -1)]


@pytest.mark.gen_test
async def test_a_search_that_found_nothing_yet_goes_on(console: ConsoleWorld) -> None:
    await add(console)
    with mock.patch.object(event_search, "AMONG", 2):
        page = await console.get(console.admin, f"{OF_GLOBEX}?kind=tenant_added")
        assert "Not all events have been searched yet." in page.text
        while "Tenant added</p>" not in page.text:
            (more,) = [link for link in page.links if "before=" in link]
            page = await console.get(console.admin, more)


@pytest.mark.gen_test
async def test_T5_admins_see_no_sign_in_from_before_their_organisation_had_the_name(tmp_path: Path) -> None:
    """Of the database: since the tenant was made. Of a file: since the file before it was removed."""
    async with console_world(tmp_path) as console:
        record = await console.services.store.get_tenant("globex")
        assert record is not None
        old = user("old-user").event(EventKind.SIGNED_IN, tenant="globex", at=record.created_at - 1)
        await console.services.store.add_events([old])
        for query in ("", "?person=old-user", f"?before={'f' * 32}", "?until=9998-01-01"):
            assert "old-user</bdi>" not in (await console.get(console.admin, OF_GLOBEX + query)).text
        assert "old-user</bdi>" in (await console.get(console.operator, f"{OF_GLOBEX}?person=old-user")).text

        now = console.world.clock()
        ended = ACT.event(EventKind.TENANT_FILE_REMOVED, tenant="acme", at=now + 2)
        of_file = [
            user("file-user").event(EventKind.SIGNED_IN, tenant="acme", at=now + 1),
            user("later-user").event(EventKind.SIGNED_IN, tenant="acme", at=now + 3),
        ]
        page = "/admin/t/acme/events"
        await console.services.store.add_events(of_file)
        assert "file-user</bdi>" in (await console.get(console.file_admin, page)).text
        await console.services.store.add_events([ended])
        text = (await console.get(console.file_admin, page)).text
        assert "later-user</bdi>" in text
        assert "file-user</bdi>" not in text
        assert "file-user</bdi>" in (await console.get(console.operator, page)).text
        assert events_page.AllEventsHandler.right is not events_page.EventsHandler.right


@pytest.mark.gen_test
async def test_the_events_of_all_organisations_are_for_operators(console: ConsoleWorld) -> None:
    for browser, status in ((console.admin, 404), (console.user, 404), (console.stranger, 401)):
        assert (await console.get(browser, ALL)).status == status
    assert ALL in (await console.get(console.operator, "/admin/")).links
    assert ALL not in (await console.get(console.admin, "/admin/")).links


@pytest.mark.gen_test
async def test_a_sign_in_of_a_browser_is_found_by_its_subject(console: ConsoleWorld) -> None:
    login = await console.world.login_of(console.user, "globex")
    assert login is not None
    store = console.services.store
    wanted = replace(event_search.EventFilter(), subject=login.subject, kinds=("signed_in",))

    async def found() -> bool:
        return bool((await event_search.newest_first(store, wanted, most=1)).events)

    while not await found():
        pass
    assert len(await rows_of(console, console.operator, f"{ALL}?person={login.subject}&kind=signed_in")) == 1


@pytest.mark.gen_test
async def test_searches_of_a_console_run_one_at_a_time(console: ConsoleWorld) -> None:
    """THREATS D5: an admin who searches much delays no call and no sign-in of another organisation."""
    store, release, running = console.services.store, asyncio.Event(), list[str]()
    search = store.search_events

    async def slow(**asked: Any) -> EventPage:
        running.append(str(asked["tenant"]))
        await release.wait()
        return await search(**asked)

    with mock.patch.object(store, "search_events", slow):
        many = [
            asyncio.create_task(console.get(console.admin, f"{OF_GLOBEX}?person=nobody")) for _ in range(4)
        ]
        await until(lambda: running, "no search has begun")
        many.append(asyncio.create_task(console.get(console.operator, "/admin/events?person=nobody")))
        many.append(asyncio.create_task(console.get(console.operator, "/admin/sessions?device=nobody")))
        many.append(asyncio.create_task(console.get(console.admin, "/admin/t/globex/sessions?device=nobody")))
        for _ in range(3):  # other pages and sign-ins do not wait
            await console.world.quick_sign_in(console.world.browser(), "acme")
        assert len(running) == 1
        assert not [task for task in many if task.done()]
        release.set()
        assert {page.status for page in await asyncio.gather(*many)} == {200}
