"""The page of a setup link, and the setup links of a tenant in the console."""

from __future__ import annotations

import html
import re

import pytest

from portal.admin.setup_links import MadeLink
from portal.stores.tenant_records import Draft
from tests.kit.browser import Browser, Response
from tests.kit.console import ACT, ConsoleWorld
from tests.kit.raw import until

DAY = 86_400.0
NAME_SENTENCE = "Write the name on one line, without control characters."


async def invite(console: ConsoleWorld, slug: str = "initech", **options: object) -> tuple[MadeLink, str]:
    """Make a setup link as `portal tenant invite` does; return it and its path."""
    made = await console.services.setup_links.make(slug, ACT, **options)  # type: ignore[arg-type]
    return made, made.url.reveal().removeprefix(console.world.url)


async def start(console: ConsoleWorld, browser: Browser, path: str) -> Response:
    """Open the page of a link and press its button, without following the redirect."""
    page = await console.get(browser, path)
    assert page.status == 200, page.text
    [form] = [form for form in page.forms if form.action == ""]
    body = "&".join(f"{name}={value}" for name, value in form.fields)
    return await browser.step(page.url, "POST", body, site="same-origin")


async def tenant_of(console: ConsoleWorld, browser: Browser) -> str | None:
    """The tenant that the setup link of a browser opens."""
    cookie = browser.cookie("localhost", "portal-setup")
    viewer = await console.services.viewers.of((), cookie)
    return viewer.setup


async def events(console: ConsoleWorld, tenant: str = "initech") -> list[str]:
    found = await console.services.store.list_events(tenant=tenant)
    return sorted(f"{event.kind} {event.outcome} {event.reason}".strip() for event in found)


@pytest.mark.gen_test
async def test_a_setup_link_leads_somebody_without_a_login_to_the_draft(console: ConsoleWorld) -> None:
    made, path = await invite(console, name="Bill <b>")
    page = await console.get(console.stranger, path)
    assert "Set up <bdi>Initech</bdi>" in page.text
    assert "Bill &lt;b&gt;" in page.text
    assert "You propose the result" in page.text
    assert await tenant_of(console, console.stranger) is None, "the page gives no right"
    begun = await start(console, console.stranger, path)
    assert (begun.status, begun.headers["Location"]) == (303, "/admin/t/initech/draft")
    assert await tenant_of(console, console.stranger) == "initech"
    draft = await console.get(console.stranger, "/admin/t/initech/draft")
    assert draft.status == 200
    assert path.rpartition("/")[2] not in draft.text
    [opened] = await console.services.store.list_events(tenant="initech", most=1)
    assert (opened.kind, opened.target) == ("setup_link_opened", f"setup link {made.link.id}")
    assert (opened.client, opened.request_id) == ("127.0.0.0/24", begun.headers["X-Request-Id"])


@pytest.mark.gen_test
async def test_who_opens_the_link_again_goes_straight_on(console: ConsoleWorld) -> None:
    _, path = await invite(console)
    await start(console, console.stranger, path)
    again = await console.stranger.step(console.at(path))
    assert (again.status, again.headers["Location"]) == (303, "/admin/t/initech/draft")
    assert await tenant_of(console, console.stranger) == "initech"
    await console.stranger.step(console.at(path))
    assert await events(console) == [
        "setup_link_made done",
        "setup_link_opened done",
        "setup_link_reopened done",
        "tenant_added done",
    ]


@pytest.mark.gen_test
async def test_a_link_says_what_it_may_publish_and_calls_the_organisation_by_its_name(
    console: ConsoleWorld,
) -> None:
    _, path = await invite(console, "globex")
    assert "Set up <bdi>Globex" in (await console.get(console.stranger, path)).text, "as it is live"
    _, path = await invite(console)
    draft = Draft("initech", "name: Initech & Sons", 1, 1, 0, "{}", "", console.world.clock())
    await console.services.store.put_draft(draft, replaces=None, event=None)
    assert "Set up <bdi>Initech &amp; Sons</bdi>" in (await console.get(console.stranger, path)).text


@pytest.mark.gen_test
async def test_a_name_in_a_draft_is_shown_as_text(console: ConsoleWorld) -> None:
    _, path = await invite(console)
    name = '"<script>alert(1)</script> {{ 1 }} ' + "x" * 5000 + '"'
    draft = Draft("initech", f"name: {name}", 1, 1, 0, "{}", "", console.world.clock())
    await console.services.store.put_draft(draft, replaces=None, event=None)
    page = await console.get(console.stranger, path)
    assert page.status == 200
    assert "<script>alert" not in page.text
    assert "Set up <bdi>&lt;script&gt;alert(1)&lt;/script&gt; {{ 1 }} xxx" in page.text
    assert "x" * 200 not in page.text


@pytest.mark.gen_test
async def test_an_operator_makes_lists_and_revokes_links(console: ConsoleWorld) -> None:
    address = "/admin/t/globex/links"
    page = await console.get(console.operator, address)
    assert "No setup links" in page.text
    form = next(form for form in page.forms if form.action == "")
    shown = await console.operator.submit(form, {"name": "Gina", "valid": "30d"})
    assert (shown.status, shown.url) == (200, console.at(address)), "no redirect"
    [link] = re.findall(r">(http[^<]*/setup/[^<]*)<", shown.text)
    assert "for <bdi>Gina</bdi>" in shown.text
    [stored] = await console.services.setup_links.of_tenant("globex")
    assert f'data-copy="{link}"' in shown.text
    assert '<li class="tag">Not opened</li>' in shown.text
    assert stored.expires_at == pytest.approx(console.world.clock() + 30 * DAY, abs=60)
    path = html.unescape(link).removeprefix(console.world.url)
    assert (await start(console, console.stranger, path)).status == 303

    listed = await console.get(console.operator, address)
    assert link not in listed.text, "it is shown once"
    assert '<li class="tag tag-good">Opened</li>' in listed.text
    revoked = await console.operator.submit(listed.form("/revoke"))
    assert revoked.url == console.at(address)
    assert '<li class="tag">Revoked</li>' in revoked.text
    assert await tenant_of(console, console.stranger) is None
    actors = {event.kind: event.actor for event in await console.services.store.list_events(tenant="globex")}
    assert '"type": "operator"' in actors["setup_link_made"]
    assert '"type": "operator"' in actors["setup_link_revoked"]


@pytest.mark.gen_test
async def test_a_field_that_is_not_valid_is_shown_with_a_sentence(console: ConsoleWorld) -> None:
    page = await console.get(console.operator, "/admin/t/globex/links")
    form = next(form for form in page.forms if form.action == "")
    for values, sentence in (
        ({"name": "x" * 101}, "At most 100 characters; this has 101."),
        ({"name": "two\nlines"}, NAME_SENTENCE),
        ({"name": "\u202egnp"}, NAME_SENTENCE),
        ({"name": "Bill", "valid": "365d"}, "Choose one of these."),
    ):
        refused = await console.operator.submit(form, {"valid": "7d", **values})
        assert refused.status == 422, values
        assert sentence in html.unescape(refused.text)
        assert html.escape(values["name"]).encode() in refused.body
    assert await console.services.setup_links.of_tenant("globex") == []


@pytest.mark.gen_test
async def test_too_many_links_are_refused_with_a_sentence(
    console: ConsoleWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.admin.setup_links.MOST_LIVE", 0)
    page = await console.get(console.operator, "/admin/t/globex/links")
    form = next(form for form in page.forms if form.action == "")
    refused = await console.operator.submit(form, {"name": "Bill", "valid": "7d"})
    assert refused.status == 422
    assert "Revoke those that are not needed any more." in refused.text
    assert 'value="Bill"' in refused.text


@pytest.mark.gen_test
async def test_links_are_for_operators_and_tenants_of_the_database(console: ConsoleWorld) -> None:
    for browser, path, status in (
        (console.operator, "/admin/t/globex/links", 200),
        (console.operator, "/admin/t/acme/links", 409),
        (console.operator, "/admin/t/nobody/links", 404),
        (console.admin, "/admin/t/globex/links", 404),
        (console.user, "/admin/t/globex/links", 404),
        (console.stranger, "/admin/t/globex/links", 401),
    ):
        for method in ("GET", "POST"):
            body = "name=&valid=7d" if method == "POST" else None
            response = await browser.step(console.at(path), method, body, site="same-origin")
            assert response.status == status, (path, method, response.text)
    assert len(await console.services.setup_links.of_tenant("globex")) == 1, "that of the operator"
    assert await console.services.store.get_tenant("nobody") is None


@pytest.mark.gen_test
async def test_a_link_that_is_not_there_cannot_be_revoked(console: ConsoleWorld) -> None:
    for browser, status in ((console.operator, 404), (console.admin, 404), (console.stranger, 401)):
        url = console.at("/admin/t/globex/links/0123456789ab/revoke")
        response = await browser.step(url, "POST", "", site="same-origin")
        assert response.status == status


@pytest.mark.gen_test
async def test_a_setup_link_is_for_the_main_site_only(console: ConsoleWorld) -> None:
    _, path = await invite(console)
    await console.publish(console.typed + "hosts: [globex.localhost]\n")
    await console.until_served(2)
    revision = await console.services.tenants.revision("globex")
    assert revision.number == 2
    assert await console.services.domains.approve_all(revision, ACT) == {}
    registry = console.world.running.portal.registry
    await until(lambda: registry.by_host("globex.localhost"), "the host does not count")
    port = console.world.url.rpartition(":")[2]
    headers = {"Host": f"globex.localhost:{port}"}
    assert (await console.stranger.fetch(console.at(path), headers=headers)).status == 404
    assert (await console.stranger.fetch(console.at(path))).status == 200
