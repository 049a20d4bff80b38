"""The pages of the console: overview, tenant, logins, events, revisions, status, adding a tenant."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import pytest

from portal.admin import logins
from portal.admin.actors import Actor, ActorType
from portal.admin.events import Act, EventKind, Outcome
from portal.errors import StoreUnavailable
from portal.stores.tenant_records import Event, TenantStatus
from portal.tenancy.stored import FORMAT
from tests.kit.browser import Browser, Response
from tests.kit.console import ACT, SOON, ConsoleWorld
from tests.kit.raw import until


async def kinds(console: ConsoleWorld, slug: str = "globex") -> list[str]:
    """The kinds of a tenant's events, the oldest first."""
    return [event.kind for event in reversed(await events(console, slug))]


async def events(console: ConsoleWorld, slug: str = "globex") -> list[Event]:
    return await console.services.store.list_events(tenant=slug)


async def submitted(browser: Browser, page: Response, action: str, **values: str) -> Response:
    """Submit the form with this action; return the page after its redirect."""
    assert browser.page is page
    return await browser.submit(page.form(action), values)


def draft_links(page: Response) -> list[str]:
    """The links of a page without those of its navigation."""
    return [link for link in page.links if page.text.count(f'href="{link}"') > 1]


# --- overview


@pytest.mark.gen_test
async def test_the_overview_tells_where_a_tenant_lives_and_what_waits(console: ConsoleWorld) -> None:
    await console.services.tenants.make("initech", "Initech", ACT)
    page = await console.get(console.operator, "/admin/")
    for text in ("tenants/acme.yaml", "Console · Revision 1", "Not published yet", "Draft waiting"):
        assert text in page.text, text
    assert "1–3 of 3" in page.text
    found = await console.get(console.operator, "/admin/?q=ini")
    assert "/admin/t/initech/" in found.links
    assert "/admin/t/acme/" not in found.links
    nothing = await console.get(console.operator, "/admin/?q=%3Cb%3E&page=9999999")
    assert "Nothing found" in nothing.text
    assert "<b>" not in nothing.text


@pytest.mark.gen_test
async def test_the_overview_of_many_tenants_has_pages(console: ConsoleWorld) -> None:
    for number in range(60):
        assert await console.services.tenants.make(f"t-{number:02}", f"T {number}", ACT)
    seen: list[str] = []
    for address in ("/admin/", "/admin/?page=2", "/admin/?page=3"):
        page = await console.get(console.operator, address)
        seen += [link for link in page.links if link.startswith("/admin/t/")]
        assert ("More" in page.text) is (address != "/admin/?page=3")
    assert len(seen) == len(set(seen)) == 62


@pytest.mark.gen_test
async def test_a_problem_of_a_file_is_told_without_the_folder(console: ConsoleWorld) -> None:
    folder = console.world.parts.tenants_folder
    path = folder / "acme.yaml"
    path.write_text(path.read_text() + "nonsense: 1\n")
    registry = console.world.running.portal.registry
    await until(lambda: registry.problems, "the problem is not found")
    for browser in (console.operator, console.file_admin):
        for address in ("/admin/", "/admin/t/acme/"):
            page = await console.get(browser, address)
            assert "acme.yaml:" in page.text
            assert "unknown key" in page.text
            assert str(folder) not in page.text


# --- tenant


@pytest.mark.gen_test
async def test_the_page_of_a_tenant_shows_what_is_live(console: ConsoleWorld) -> None:
    page = await console.get(console.admin, "/admin/t/globex/")
    provider = console.world.globex
    for text in (
        provider.issuer,
        console.at("/t/globex/callback"),
        "Set, sealed:",
        "email must be &quot;gina@globex.example&quot;",
        "Everybody with an account there",
        "https://api.globex.example",
        "Last contact on",
    ):
        assert text in page.text, text
    secret = console.world.running.portal.registry.get("globex").default_provider.client_secret  # type: ignore[union-attr]
    assert secret is not None
    assert secret.reveal() not in page.text
    assert {f"/admin/t/globex/{name}" for name in ("sessions", "events", "revisions")} <= set(page.links)
    assert "/admin/t/globex/status" not in page.links, "only operators change the status"


@pytest.mark.gen_test
async def test_the_page_of_a_tenant_of_a_file_has_no_links_to_change_it(console: ConsoleWorld) -> None:
    page = await console.get(console.operator, "/admin/t/acme/")
    assert {link for link in page.links if link.startswith("/admin/t/acme/")} == {
        f"/admin/t/acme/{name}" for name in ("", "sessions", "events")
    }
    for path in ("revisions", "status"):
        refused = await console.get(console.operator, f"/admin/t/acme/{path}")
        assert refused.status == 409
        assert "Its settings are in the file tenants/acme.yaml" in refused.text


@pytest.mark.gen_test
async def test_a_tenant_of_a_file_without_admins_is_not_for_operators_to_change(
    console: ConsoleWorld,
) -> None:
    path = console.world.parts.tenants_folder / "acme.yaml"
    path.write_text(path.read_text().replace("admins: [", "# admins: ["))
    await until(lambda: not console.registry.get("acme").admins, "it has admins")  # type: ignore[union-attr]
    page = await console.get(console.operator, "/admin/t/acme/")
    assert "Nobody: the file names no admins." in page.text
    assert "can change this organisation" not in page.text


# --- logins


@pytest.mark.gen_test
async def test_an_admin_ends_one_login(console: ConsoleWorld) -> None:
    page = await console.get(console.admin, "/admin/t/globex/sessions")
    for text in ("Gina Gomez", "hank@globex.example", "globex-9b21", "2 logins"):
        assert text in page.text, text
    assert "Alice" not in page.text
    session = console.world.session_id(console.user)
    assert session not in page.text, "a session's id is no business of the admin"
    rows = page.text.split('class="row"')
    number = next(place for place, row in enumerate(rows[1:]) if "Hank" in row)
    forms = [form for form in page.forms if form.action.endswith("/sessions/end")]
    done = await console.admin.submit(forms[number])
    assert "The login has ended." in done.text
    assert "Hank" not in done.text
    assert "End all" not in done.text, "one login is left"
    assert (await console.user.fetch(console.at("/t/globex/api/projects"))).status == 401
    assert (await console.admin.fetch(console.at("/t/globex/api/projects"))).status == 200
    (event,) = [event for event in await events(console) if event.kind == EventKind.LOGIN_ENDED]
    assert (event.target, event.client) == ("globex-9b21", "127.0.0.0/24")
    again = await console.admin.fetch(
        console.at("/admin/t/globex/sessions/end"),
        "POST",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        body=f"login={dict(forms[number].fields)['login']}",
    )
    assert again.headers["Location"] == "/admin/t/globex/sessions?ended=gone"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("user=hank%40globex.example", ("Hank",)),
        ("user=+globex-9b21+", ("Hank",)),
        ("user=HANK%40globex.example", ()),
        ("user=alice%40acme.example", ()),
        ("issuer=https%3A%2F%2Funknown.example", ()),
        ("device=no+such+browser", ()),
        ("device=&user=&issuer=", ("Gina", "Hank")),
    ],
)
@pytest.mark.gen_test
async def test_an_admin_searches_the_logins(
    console: ConsoleWorld, query: str, found: tuple[str, ...]
) -> None:
    page = await console.get(console.admin, f"/admin/t/globex/sessions?{query}")
    assert page.text.count('class="row"') == len(found)
    rows = page.text.split('class="row"')[1:]
    for name in found:
        assert any(name in row for row in rows), name
    assert ("No login matches" in page.text) == (not found)
    assert ("End all" in page.text) == (len(found) == 2), "a search does not offer to end all logins"


@pytest.mark.gen_test
async def test_a_search_keeps_its_values_from_page_to_page(console: ConsoleWorld) -> None:
    with (
        mock.patch.object(logins, "_READ_AT_ONCE", 1),
        mock.patch.object(logins, "MOST_SEARCHED", 1),
    ):
        page = await console.get(console.admin, "/admin/t/globex/sessions?user=gina%40globex.example")
        assert "Not all logins have been searched yet." in page.text
        assert 'value="gina@globex.example"' in page.text
        (more,) = [link for link in page.links if "after=" in link]
        assert "user=gina%40globex.example" in more
        assert "Gina Gomez" in (await console.get(console.admin, more)).text.split('class="row"', 1)[1]


@pytest.mark.gen_test
async def test_a_value_that_nothing_can_have_is_not_searched(console: ConsoleWorld) -> None:
    page = await console.get(console.admin, f"/admin/t/globex/sessions?user={'x' * 2_049}")
    assert page.status == 400


@pytest.mark.gen_test
async def test_the_tokens_of_a_login_that_an_admin_ended_are_revoked(console: ConsoleWorld) -> None:
    page = await console.get(console.admin, "/admin/t/globex/sessions")
    form = next(form for form in page.forms if form.action.endswith("/sessions/end"))
    assert console.world.globex.requests["revocation"] == 0
    await console.admin.submit(form)
    assert console.world.globex.requests["revocation"] == 1


@pytest.mark.gen_test
async def test_all_logins_end_with_one_event(console: ConsoleWorld) -> None:
    page = await console.get(console.operator, "/admin/t/globex/sessions")
    done = await submitted(console.operator, page, "/sessions/end-all", reason="a drill")
    assert "2 logins have ended." in done.text
    assert "Nobody is signed in" in done.text
    assert (await console.user.fetch(console.at("/t/globex/api/projects"))).status == 401
    (event,) = [event for event in await events(console) if event.kind == EventKind.LOGINS_ENDED]
    assert (event.target, event.reason) == ("2 logins", "a drill")
    assert (await console.file_admin.fetch(console.at("/t/acme/api/orders"))).status == 200


@pytest.mark.gen_test
async def test_a_reason_that_is_too_long_stays_in_the_form(console: ConsoleWorld) -> None:
    page = await console.get(console.admin, "/admin/t/globex/sessions")
    again = await submitted(console.admin, page, "/sessions/end-all", reason="x" * 301)
    assert again.status == 422
    assert "At most 300 characters; this has 301." in again.text
    assert "x" * 301 in again.text
    assert await console.services.logins.count("globex") == 2


@pytest.mark.gen_test
async def test_many_logins_have_pages(console: ConsoleWorld) -> None:
    login = await console.world.login_of(console.user, "globex")
    assert login is not None
    store = console.world.running.portal.store
    sessions, _ = await store.read([login.session], (), now=console.world.clock())
    for number in range(60):
        session = replace(sessions[login.session], id=f"{number:022}", secret_hash=f"{number:064}")
        await store.add_session(session, login=replace(login, session=session.id, subject=f"user-{number}"))
    page = await console.get(console.admin, "/admin/t/globex/sessions")
    first = page.text.count('class="row"')
    (later,) = [link for link in page.links if "after=" in link]
    page = await console.get(console.admin, later)
    assert (first, page.text.count('class="row"')) == (50, 12)


# --- events


@pytest.mark.gen_test
async def test_events_are_told_in_words_with_pages(console: ConsoleWorld) -> None:
    for number in range(60):
        await console.services.tenants.set_status(
            "globex",
            TenantStatus.NO_NEW_LOGINS if number % 2 == 0 else TenantStatus.LIVE,
            replace(ACT, reason=f"reason {number}"),
        )
    page = await console.get(console.admin, "/admin/t/globex/events")
    assert "Tenant status changed: <bdi>live</bdi>" in page.text
    assert "Operator root" in page.text
    assert "reason 59" in page.text
    (later,) = [link for link in page.links if "before=" in link]
    page = await console.get(console.admin, later)
    assert "Tenant added" in page.text
    assert "reason 9<" in page.text
    assert "reason 59" not in page.text


@pytest.mark.gen_test
async def test_an_event_names_the_browser_and_blames_nobody_for_a_refused_link(console: ConsoleWorld) -> None:
    device = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
    link = Act(Actor(ActorType.SETUP_LINK, "Ann (l1)"), client="192.0.2.0/24", device=device, request_id="r1")
    system = Act(Actor(ActorType.SYSTEM, "demo"), device="curl/8.0")
    now = console.world.clock()
    await console.services.store.add_events(
        [
            link.event(EventKind.SETUP_LINK_REFUSED, tenant="globex", at=now, outcome=Outcome.REFUSED),
            system.event(EventKind.TENANT_PUBLISHED, tenant="globex", at=now),
        ]
    )
    page = await console.get(console.admin, "/admin/t/globex/events")
    assert "<bdi>Somebody with setup link Ann (l1)</bdi>" in page.text
    assert "<bdi>from 192.0.2.0/24 · Firefox on Linux</bdi>" in page.text
    assert f'<p dir="auto">{device}</p>' in page.text
    assert "<bdi>The portal (demo)</bdi> · <bdi>curl/8.0</bdi>" in page.text


# --- revisions


@pytest.mark.gen_test
async def test_an_admin_rolls_back_with_one_click_and_one_event(console: ConsoleWorld) -> None:
    await console.publish(console.typed.replace("name: Globex", "name: Globex Ltd"))
    history = await console.get(console.admin, "/admin/t/globex/revisions")
    assert {"/admin/t/globex/revisions/1", "/admin/t/globex/revisions/2"} <= set(history.links)
    assert "/admin/t/globex/revisions/2/rollback" not in history.text, "it is live"
    second = await console.get(console.admin, "/admin/t/globex/revisions/2")
    assert "name: Globex Ltd" in second.text
    assert 'removed: </span><code dir="auto">name: Globex</code>' in second.text
    assert "Roll back" not in second.text, "it is live"
    first = await console.get(console.admin, "/admin/t/globex/revisions/1")
    before = len(await events(console))
    done = await submitted(console.admin, first, "/rollback", reason="the name was right")
    assert "Revision 3 is live" in done.text
    assert "Rolled back to revision 1" in done.text
    assert len(await events(console)) == before + 1
    assert (await kinds(console))[-1] == EventKind.TENANT_ROLLED_BACK
    await console.until_served(3)
    assert console.world.running.portal.registry.get("globex").name == "Globex"  # type: ignore[union-attr]
    done = await submitted(console.admin, done, "/revisions/2/rollback")
    assert "Revision 4 is live" in done.text, "the history has a button too"


@pytest.mark.gen_test
async def test_a_revision_of_a_later_version_is_listed_and_not_published_again(console: ConsoleWorld) -> None:
    live = await console.services.tenants.revision("globex")
    later = replace(
        live, number=2, format=FORMAT + 1, content=live.content.replace("name: Globex", "name: Of the future")
    )
    event = ACT.event(EventKind.TENANT_PUBLISHED, tenant="globex", at=console.world.clock())
    assert await console.services.store.publish(later, replaces=1, draft=None, event=event)
    await console.publish_again(1)
    page = await console.get(console.admin, "/admin/t/globex/revisions")
    assert "Made by a later version" in page.text
    one = await console.get(console.admin, "/admin/t/globex/revisions/2")
    assert one.status == 200
    assert "Of the future" not in one.text
    assert "Roll back" not in one.text
    refused = await console.post(console.admin, "/admin/t/globex/revisions/2/rollback", reason="")
    assert refused.status == 409
    assert "made by a later version" in refused.text


@pytest.mark.gen_test
async def test_a_revision_that_is_no_longer_accepted_says_why(console: ConsoleWorld) -> None:
    live = await console.services.tenants.revision("globex")
    damaged = replace(live, number=2, content=live.content.replace("name: Globex", "name: 7"))
    event = ACT.event(EventKind.TENANT_PUBLISHED, tenant="globex", at=console.world.clock())
    assert await console.services.store.publish(damaged, replaces=1, draft=None, event=event)
    await console.publish_again(1)
    page = await console.post(console.admin, "/admin/t/globex/revisions/2/rollback", reason="try")
    assert page.status == 409
    assert "name must be text" in page.text


# --- status


@pytest.mark.gen_test
async def test_an_operator_closes_suspends_and_opens_a_tenant(console: ConsoleWorld) -> None:
    registry = console.world.running.portal.registry
    page = await console.get(console.operator, "/admin/t/globex/status")
    assert "There are 2 logins now." in page.text
    done = await console.operator.submit(
        page.form("/status"), {"status": "no_new_logins", "reason": "a move"}
    )
    assert "Closed to new logins" in done.text
    await until(lambda: not registry.get("globex").accepts_logins, "logins are open", seconds=SOON)  # type: ignore[union-attr]
    assert await console.services.logins.count("globex") == 2
    done = await console.operator.submit(done.form("/status"), {"status": "suspended"})
    assert "2 logins ended" in done.text
    await until(lambda: registry.get("globex") is None, "it is served", seconds=SOON)
    assert (await console.get(console.operator, "/admin/t/globex/")).status == 200
    assert (await console.get(console.admin, "/admin/t/globex/")).status == 401, "the admin is signed out"
    again = await console.get(console.operator, "/admin/t/globex/status")
    assert ">Resume</button>" in again.text
    await console.operator.submit(again.form("/status"), {"status": "live"})
    await until(lambda: registry.get("globex"), "it is not served", seconds=SOON)
    assert (await kinds(console))[-3:] == [EventKind.TENANT_STATUS_CHANGED] * 3


@pytest.mark.gen_test
async def test_the_status_of_an_organisation_without_logins_counts_none(console: ConsoleWorld) -> None:
    await console.services.tenants.make("initech", "Initech", ACT)
    page = await console.get(console.operator, "/admin/t/initech/status")
    assert 'name="status"' not in page.text, "nothing is published that could be closed"
    assert "0 login" not in page.text
    removed = await submitted(console.operator, page, "/remove", confirm="initech")
    assert "initech was removed." in removed.text
    assert "0 login" not in removed.text
    await console.services.closing.set_status("globex", TenantStatus.SUSPENDED, ACT)
    await console.services.closing.set_status("globex", TenantStatus.LIVE, ACT)
    page = await console.get(console.operator, "/admin/t/globex/status")
    assert "Nobody is signed in now." in page.text
    done = await console.operator.submit(page.form("/status"), {"status": "suspended"})
    assert "Done. Every process follows within seconds." in done.text
    assert "0 login" not in page.text + done.text


@pytest.mark.gen_test
async def test_a_tenant_is_removed_when_its_name_is_typed(console: ConsoleWorld) -> None:
    page = await console.get(console.operator, "/admin/t/globex/status")
    again = await submitted(console.operator, page, "/remove", confirm="acme")
    assert again.status == 422
    assert "Type globex to confirm." in again.text
    done = await submitted(console.operator, again, "/remove", confirm="globex", why="the contract ended")
    assert "globex was removed. 2 logins ended." in done.text
    assert await console.services.store.get_tenant("globex") is None
    assert await console.services.logins.count("globex") == 0
    assert (await events(console))[0].reason == "the contract ended"
    assert (await console.get(console.operator, "/admin/t/globex/status")).status == 404
    assert "Tenant removed" in (await console.get(console.operator, "/admin/t/globex/events")).text


# --- adding a tenant


@pytest.mark.gen_test
async def test_an_operator_adds_a_tenant_with_a_draft(console: ConsoleWorld) -> None:
    page = await console.get(console.operator, "/admin/new")
    for slug in ("acme", "globex"):
        taken = await submitted(console.operator, page, "/admin/new", name="Another", slug=slug)
        assert taken.status == 422
        assert "This short name is taken" in taken.text
        assert 'value="Another"' in taken.text
        page = taken
    for name in ("", "a\u202eb", "a  b", "x" * 101):
        refused = await console.post(console.operator, "/admin/new", name=name, slug="initech")
        assert refused.status == 422, name
    made = await console.post(console.operator, "/admin/new", name='Initech: "the" {best} #1', slug="initech")
    assert (made.status, made.headers["Location"]) == (303, "/admin/t/initech/draft")
    record, draft = (
        await console.services.store.get_tenant("initech"),
        await console.services.store.get_draft("initech"),
    )
    assert record is not None
    assert record.live == 0
    assert draft is not None
    assert draft.content == "name: 'Initech: \"the\" {best} #1'\n"
    assert await kinds(console, "initech") == [EventKind.TENANT_ADDED]
    event = (await events(console, "initech"))[0]
    assert "acme-001" in event.actor
    assert "/admin/t/initech/links" in draft_links(
        await console.get(console.operator, "/admin/t/initech/draft")
    )
    assert "/admin/t/globex/links" not in draft_links(
        await console.get(console.operator, "/admin/t/globex/draft")
    )
    assert "Not published yet" in (await console.get(console.operator, "/admin/t/initech/")).text


@pytest.mark.gen_test
async def test_a_page_of_the_console_survives_a_database_that_is_down(console: ConsoleWorld) -> None:
    store = console.services.store

    async def down(*arguments: object, **named: object) -> None:
        raise StoreUnavailable("the test says so")

    page = await console.get(console.operator, "/admin/new")
    store.add_tenant = down  # type: ignore[method-assign, assignment]
    refused = await submitted(console.operator, page, "/admin/new", name="Initech", slug="initech")
    assert refused.status == 503
    assert "temporarily unavailable" in refused.text
