"""The logins at all organisations in the console, for operators: searched, and ended with a reason."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock
from urllib.parse import urlsplit

import pytest

from portal.admin import all_logins
from portal.admin.events import EventKind
from portal.stores.tenant_records import Event
from tests.kit.browser import Browser, Response
from tests.kit.console import ConsoleWorld

PAGE = "/admin/sessions"


async def ended_events(console: ConsoleWorld) -> list[Event]:
    found = await console.services.store.read_events(most=500)
    return [event for event in found if event.kind == EventKind.LOGIN_ENDED]


def rows(page: Response) -> list[str]:
    return page.text.split('class="row"')[1:]


async def to_confirm(console: ConsoleWorld, query: str, scope: str) -> Response:
    """Search for one login, and choose what is to end."""
    page = await console.get(console.operator, f"{PAGE}?{query}")
    (link,) = [link for link in page.links if f"scope={scope}&" in link]
    return await console.get(console.operator, link)


async def confirmed(console: ConsoleWorld, page: Response, reason: str = "a drill") -> Response:
    return await console.operator.submit(page.form("/sessions/end"), {"reason": reason})


async def works(console: ConsoleWorld, browser: Browser, path: str = "/t/globex/api/projects") -> bool:
    return (await browser.fetch(console.at(path))).status == 200


@pytest.mark.gen_test
async def test_an_operator_sees_the_logins_of_all_organisations(console: ConsoleWorld) -> None:
    page = await console.get(console.operator, PAGE)
    found = rows(page)
    assert len(found) == 4  # Alice and Bob of Acme, Gina and Hank of Globex
    for text in ("Alice", "Gina", "globex-9b21", 'href="/admin/t/acme/sessions"'):
        assert any(text in row for row in found), text
    for browser in (console.operator, console.user):
        assert console.world.session_id(browser) not in page.text, "the id is a part of the cookie"


@pytest.mark.gen_test
async def test_logins_are_searched_by_subject_session_and_device(console: ConsoleWorld) -> None:
    session = console.world.session_id(console.user)
    for query, names in (
        ("user=globex-9b21", ["Hank"]),
        (f"session={session}", ["Hank"]),
        (f"session={session}&user=globex-9b21", ["Hank"]),
        (f"session={session}&user=nobody", []),
        ("user=globex", []),
        ("device=no+such+browser", []),
    ):
        page = await console.get(console.operator, f"{PAGE}?{query}")
        assert len(rows(page)) == len(names), query
        assert all(name in row for name, row in zip(names, rows(page), strict=True))
        assert ("No login matches" in page.text) is (not names)
    assert (await console.get(console.operator, f"{PAGE}?user={'x' * 2_049}")).status == 400


@pytest.mark.gen_test
async def test_pages_show_every_login_once(console: ConsoleWorld) -> None:
    login = await console.world.login_of(console.user, "globex")
    assert login is not None
    store = console.world.running.portal.store
    sessions, _ = await store.read([login.session], (), now=console.world.clock())
    for number in range(60):
        session = replace(sessions[login.session], id=f"{number:022}", secret_hash=f"{number:064}")
        await store.add_session(
            session, login=replace(login, session=session.id, subject=f"user-{number:02}")
        )
    for read, searched in ((200, 2_000), (7, 7), (1, 30)):
        with (
            mock.patch.object(all_logins, "_READ_AT_ONCE", read),
            mock.patch.object(all_logins, "MOST_SEARCHED", searched),
        ):
            found: list[str] = []
            address: str | None = PAGE
            while address is not None:
                page = await console.get(console.operator, address)
                found += rows(page)
                links = [link for link in page.links if "after=" in link]
                address = links[0] if links else None
        assert len(found) == 64
        for number in range(60):
            assert sum(f"<code>user-{number:02}</code>" in row for row in found) == 1


@pytest.mark.gen_test
async def test_one_login_ends_after_a_question_and_with_a_reason(console: ConsoleWorld) -> None:
    await console.world.sign_in(console.user, "acme", "bob")
    page = await to_confirm(console, "user=globex-9b21", "login")
    assert "Hank" in page.text
    assert await works(console, console.user), "the question ends nothing"
    again = await confirmed(console, page, "x" * 301)
    assert again.status == 422
    assert "At most 300 characters" in again.text
    assert await works(console, console.user)
    done = await confirmed(console, again)
    assert "One login has ended." in done.text
    assert not await works(console, console.user)
    assert await works(console, console.user, "/t/acme/api/orders"), "another login of the same session"
    assert await works(console, console.admin)
    (event,) = await ended_events(console)
    assert (event.tenant, event.target, event.reason) == ("globex", "globex-9b21", "a drill")
    assert console.world.globex.requests["revocation"] == 1
    gone = await confirmed(console, page)
    assert "0 logins have ended." in gone.text
    assert len(await ended_events(console)) == 1


@pytest.mark.gen_test
async def test_every_login_of_a_session_ends(console: ConsoleWorld) -> None:
    await console.world.sign_in(console.user, "acme", "bob")
    page = await to_confirm(console, "user=globex-9b21", "session")
    assert len(rows(page)) == 2
    done = await confirmed(console, page)
    assert "2 logins have ended." in done.text
    assert not await works(console, console.user)
    assert not await works(console, console.user, "/t/acme/api/orders")
    assert await works(console, console.file_admin, "/t/acme/api/orders"), "Bob in another browser"
    assert sorted(event.tenant for event in await ended_events(console)) == ["acme", "globex"]


@pytest.mark.gen_test
async def test_every_login_of_a_person_ends_in_all_browsers_and_no_other(console: ConsoleWorld) -> None:
    second = console.world.browser()
    await console.world.sign_in(second, "globex", "hank")
    await console.world.sign_in(console.user, "acme", "bob")
    login = await console.world.login_of(console.user, "globex")
    assert login is not None
    page = await to_confirm(console, f"session={login.session}&user={login.subject}", "person")
    assert len(rows(page)) == 2
    done = await confirmed(console, page)
    assert "2 logins have ended." in done.text
    assert not await works(console, second)
    assert not await works(console, console.user)
    assert await works(console, console.user, "/t/acme/api/orders"), "another person, in the same browser"
    assert await works(console, console.admin)


@pytest.mark.gen_test
async def test_only_operators_and_only_what_a_page_has_chosen(console: ConsoleWorld) -> None:
    page = await console.get(console.operator, f"{PAGE}?user=globex-9b21")
    (link,) = [link for link in page.links if "scope=person" in link]
    reference = link.partition("login=")[2]
    for path in (PAGE, link):
        for browser, status in ((console.admin, 404), (console.user, 404), (console.stranger, 401)):
            assert (await console.get(browser, path)).status == status
    assert (await console.post(console.admin, f"{PAGE}/end", scope="person", login=reference)).status == 404
    assert urlsplit((await console.get(console.operator, f"{PAGE}/end")).url).path == PAGE
    for query in ("scope=all", "scope=login", f"scope=x&login={reference}", "scope=login&login=x"):
        assert (await console.get(console.operator, f"{PAGE}/end?{query}")).status == 400
    globex = await console.get(console.admin, "/admin/t/globex/sessions")
    form = next(form for form in globex.forms if form.action.endswith("/sessions/end"))
    of_tenant = str(dict(form.fields)["login"])
    refused = await console.post(console.operator, f"{PAGE}/end", scope="login", login=of_tenant)
    assert refused.status == 400
    assert await works(console, console.user)
