"""THREATS A2: setup links that are guessed, reused, revoked, expired, or tried for another tenant."""

from __future__ import annotations

import io
import re
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from portal.admin.setup_cookie import BrowserLink, SetupCookie, digest
from portal.admin.setup_links import MadeLink
from portal.stores.tenant_records import Event, TenantStatus
from tests.kit.browser import Browser, Response
from tests.kit.console import ACT, ConsoleWorld, console_world

DAY = 86_400.0


class Link:
    """A setup link of a running portal."""

    def __init__(self, console: ConsoleWorld, made: MadeLink) -> None:
        self.console = console
        self.made = made
        self.url = made.url.reveal()
        self.token = self.url.rpartition("/")[2]
        assert self.url == console.at(f"/setup/{self.token}")

    @classmethod
    async def make(cls, console: ConsoleWorld, slug: str = "initech") -> Link:
        return cls(console, await console.services.setup_links.make(slug, ACT, name="Bill"))

    async def show(self, browser: Browser) -> Response:
        return await browser.step(self.url)

    async def press(self, browser: Browser) -> Response:
        """Send the form of the page, as its button does."""
        return await browser.step(self.url, "POST", "", site="same-origin")

    async def start(self, browser: Browser) -> None:
        assert (await self.show(browser)).status == 200
        assert (await self.press(browser)).status == 303
        assert await self.opens(browser)

    async def opens(self, browser: Browser) -> bool:
        """Whether a browser may edit the draft of the link's tenant."""
        cookie = browser.cookie("localhost", "portal-setup")
        viewer = await self.console.services.viewers.of((), cookie)
        return viewer.setup == self.made.link.tenant

    async def refusals(self) -> list[Event]:
        found = await self.console.services.store.list_events(most=100)
        return [event for event in found if event.kind == "setup_link_refused"]


def without_ids(response: Response) -> str:
    """A page without what differs in every response."""
    text = re.sub(r"<code>[0-9a-f]{16}</code>", "", response.text)
    return re.sub(r'name="_xsrf" value="[^"]*"', "", text)


@pytest.mark.gen_test
async def test_A2_a_guessed_token_is_refused_as_one_of_another_form(console: ConsoleWorld) -> None:
    link = await Link.make(console)
    pages = []
    for guess in ("a" * 43, f"{link.token[:-1]}{'A' if link.token[-1] != 'A' else 'B'}", "x", "", "a" * 5000):
        for method in ("GET", "POST"):
            body = "" if method == "POST" else None
            page = await console.stranger.step(console.at(f"/setup/{guess}"), method, body, "same-origin")
            assert page.status == 404
            assert console.stranger.cookie("localhost", "portal-setup") is None
            pages.append(without_ids(page))
    assert len(set(pages)) == 1, "which part of a guess is right cannot be seen"
    [refusal] = await link.refusals()
    assert (refusal.outcome, refusal.reason, refusal.tenant) == ("refused", "unknown token", "")


@pytest.mark.gen_test
async def test_A2_a_guess_of_another_form_costs_no_read_of_the_database(
    console: ConsoleWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def find(token_hash: str) -> None:
        asked.append(token_hash)

    monkeypatch.setattr(console.services.store, "find_setup_link", find)
    for guess in ("x", "a" * 42, "a" * 44, "a" * 42 + "%2F", "a" * 42 + "%00", "a" * 21 + "/" + "a" * 21):
        assert (await console.stranger.step(console.at(f"/setup/{guess}"))).status == 404
    assert asked == []
    assert (await console.stranger.step(console.at(f"/setup/{'a' * 43}"))).status == 404
    assert asked == [digest("a" * 43)]


@pytest.mark.gen_test
async def test_A2_looking_at_a_link_does_not_use_it_up(console: ConsoleWorld) -> None:
    link, scanner = await Link.make(console), console.world.browser()
    for method in ("GET", "HEAD", "OPTIONS", "GET"):
        response = await scanner.fetch(link.url, method, site=None, csrf=False)
        assert response.status in {200, 405}, method
    assert not await link.opens(scanner)
    await link.start(console.stranger)


@pytest.mark.gen_test
async def test_A2_a_link_is_refused_in_another_browser(console: ConsoleWorld) -> None:
    link, other = await Link.make(console), console.world.browser()
    await link.show(other)
    await link.start(console.stranger)
    for browser in (other, console.world.browser(), console.user):
        for response in (await link.show(browser), await link.press(browser)):
            assert response.status == 403
            assert "already opened in another browser" in response.text
        assert not await link.opens(browser)
    assert await link.opens(console.stranger)
    [refusal] = await link.refusals()
    assert (refusal.tenant, refusal.reason) == ("initech", "another browser")
    assert refusal.target == f"setup link {link.made.link.id}"
    assert f"Bill ({link.made.link.id})" in refusal.actor


@pytest.mark.gen_test
@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_A2_a_link_that_ended_is_refused_at_once_where_it_was_opened(
    console: ConsoleWorld, how: str
) -> None:
    link = await Link.make(console)
    await link.start(console.stranger)
    assert (await console.stranger.step(console.at("/admin/"))).status == 404, "of no tenant"
    if how == "revoked":
        await console.services.setup_links.revoke("initech", link.made.link.id, ACT)
    else:
        console.world.clock.advance(7 * DAY)
    assert not await link.opens(console.stranger)
    assert (await console.stranger.step(console.at("/admin/t/initech/draft"))).status == 401
    for browser in (console.stranger, console.world.browser()):
        for response in (await link.show(browser), await link.press(browser)):
            assert response.status == 410
            assert how in response.text
    [refusal] = await link.refusals()
    assert (refusal.tenant, refusal.reason) == ("initech", how)


@pytest.mark.gen_test
async def test_A2_a_link_opens_nothing_while_its_tenant_is_suspended(console: ConsoleWorld) -> None:
    link, services = await Link.make(console), console.services
    await link.start(console.stranger)
    draft = console.at("/admin/t/initech/draft")
    assert (await console.stranger.step(draft)).status == 200
    await services.closing.set_status("initech", TenantStatus.SUSPENDED, ACT)
    assert not await link.opens(console.stranger)
    assert (await console.stranger.step(draft)).status == 401
    assert (await console.get(console.operator, "/admin/t/initech/draft")).status == 200
    await services.closing.set_status("initech", TenantStatus.LIVE, ACT)
    assert await link.opens(console.stranger)


@pytest.mark.gen_test
async def test_A2_a_link_that_publishes_sees_no_revision(tmp_path: Path) -> None:
    async with console_world(tmp_path, setup_links="publish") as console:
        link = await Link.make(console, "globex")
        await link.start(console.stranger)
        await console.publish(console.typed + "# the second\n")
        name = "/admin/t/globex/revisions/1"
        assert (await console.get(console.stranger, name)).status == 404
        for fields in ({"reason": "a\x01b"}, {"reason": "x" * 5_000}):
            response = await console.post(console.stranger, f"{name}/rollback", **fields)
            assert response.status == 400
            assert "globex.example" not in response.text
        shown = await console.post(console.operator, f"{name}/rollback", reason="a\x01b")
        assert shown.status == 422


@pytest.mark.gen_test
async def test_A2_a_link_opens_no_other_tenant_and_no_other_page(console: ConsoleWorld) -> None:
    link, browser = await Link.make(console), console.stranger
    await link.start(browser)
    missing = await browser.step(console.at("/admin/t/nobody/draft"))
    assert missing.status == 404
    for path in (
        "/admin/t/globex/draft",
        "/admin/t/acme/draft",
        "/admin/t/globex/",
        "/admin/t/initech/",
        "/admin/t/initech/links",
        "/admin/",
        "/admin/new",
    ):
        for method in ("GET", "POST"):
            body = "" if method == "POST" else None
            response = await browser.step(console.at(path), method, body, site="same-origin")
            assert response.status == 404, (path, method)
            assert without_ids(response) == without_ids(missing), path
    [refusal] = await link.refusals()
    assert (refusal.tenant, refusal.outcome, refusal.reason) == ("initech", "refused", "another tenant")


@pytest.mark.gen_test
async def test_A2_a_forged_cookie_opens_nothing(console: ConsoleWorld) -> None:
    link, other = await Link.make(console), await Link.make(console, "globex")
    await link.start(console.stranger)
    await other.show(console.user)
    mine = SetupCookie.parse(console.stranger.cookie("localhost", "portal-setup")).links[0]
    unbound = console.user.cookie("localhost", "portal-setup")
    assert unbound is not None
    other_hash = other.made.link.token_hash
    for forged in (
        SetupCookie((BrowserLink.new(mine.token_hash, mine.expires_at),)).value().reveal(),
        SetupCookie((BrowserLink(other_hash, mine.secret, mine.expires_at),)).value().reveal(),
        f"{mine.token_hash}.{'A' * 43}.9999999999",
        f"{mine.token_hash}..9999999999",
        mine.token_hash,
        unbound,
        "x" * 8000,
        "~" * 400,
    ):
        thief = console.world.browser()
        thief.cookies["localhost"] = {"portal-setup": forged}
        for path in ("/admin/t/initech/draft", "/admin/t/globex/draft"):
            assert (await thief.step(console.at(path))).status == 401, forged[:80]
    cookie = console.stranger.cookie("localhost", "portal-setup")
    twice = await console.world.browser().fetch(
        console.at("/admin/t/globex/draft"), headers={"Cookie": f"portal-setup={cookie}; portal-setup=x"}
    )
    assert twice.status == 401


@pytest.mark.gen_test
async def test_A2_S1_another_site_cannot_make_a_browser_open_a_link(console: ConsoleWorld) -> None:
    link = await Link.make(console)
    await link.show(console.stranger)
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {},
    ):
        response = await console.stranger.fetch(
            link.url, "POST", headers=headers, body="", site=None, csrf=False
        )
        assert response.status == 403, headers
    assert not await link.opens(console.stranger)
    kinds = {event.kind for event in await console.services.store.list_events(tenant="initech")}
    assert kinds == {"setup_link_made", "tenant_added"}


@pytest.mark.gen_test
async def test_A2_a_browser_without_fetch_metadata_opens_a_link_by_its_form(console: ConsoleWorld) -> None:
    """It sends `Origin: null` with the form of a page that has `Referrer-Policy: no-referrer`."""
    link = await Link.make(console)
    [form] = [form for form in (await link.show(console.stranger)).forms if form.action == ""]
    sent = {"Origin": "null", "Accept": "text/html"}
    response = await console.stranger.fetch(
        link.url, "POST", headers=sent, body=urlencode(form.fields), site=None, csrf=False
    )
    assert response.status == 303
    assert await link.opens(console.stranger)


@pytest.mark.gen_test
async def test_A2_the_cookie_of_a_link_is_protected_and_ends_with_it(console: ConsoleWorld) -> None:
    link = await Link.make(console)
    for response in (await link.show(console.stranger), await link.press(console.stranger)):
        [cookie] = [one for one in response.headers.get_list("Set-Cookie") if one.startswith("portal-setup=")]
        assert re.search(r"; HttpOnly; Max-Age=([0-9]+); Path=/; SameSite=Lax$", cookie)
        age = int(re.findall(r"Max-Age=([0-9]+)", cookie)[0])
        assert 7 * DAY - 60 < age <= 7 * DAY


@pytest.mark.gen_test(timeout=60)
async def test_A2_the_token_is_in_no_sink(
    console: ConsoleWorld, log_lines: io.StringIO, tmp_path: Path
) -> None:
    link, other, responses = await Link.make(console), console.world.browser(), []
    world = console.world
    responses += [await link.show(console.stranger), await link.press(console.stranger)]
    responses += [await link.show(console.stranger)]
    responses += [await link.show(other), await link.press(other)]
    json_problem = {"Accept": "application/json"}
    responses += [await other.fetch(link.url, headers=json_problem), await other.fetch(link.url, "DELETE")]
    for mangled in (
        "/setup/{}/",
        "/setup/{}.",
        "/setup/{}%20",
        "/setup/{}?x=1",
        "//setup/{}",
        "/SETUP/{}",
        "/setup%2f{}",
        "/%73etup/{}",
        "/setup/{}%ff",
        "/setup/{}%0a",
        "/setup%252f{}",
        "/%2573etup/{}",
        "/setup{}",
        "/setup;{}",
        "/t/setup/{}",
        "/admin/setup/{}",
    ):
        responses.append(await other.step(console.at(mangled.format(link.token))))
    responses += [await other.step(link.url, "POST", "", site="cross-site")]
    responses += [await other.step(link.url, "POST", "a" * 200_000, site="same-origin")]
    responses += [await console.get(console.operator, "/admin/t/globex/links")]
    await console.services.setup_links.revoke("initech", link.made.link.id, ACT)
    responses += [await link.show(other), await link.press(other)]
    for path in ("/", "/admin/t/initech/draft"):
        responses.append(await console.stranger.step(console.at(path)))
    await world.running.portal.store.close()
    responses.append(await link.show(console.stranger))
    assert {response.status for response in responses} >= {200, 303, 403, 404, 405, 410, 413, 503}

    secrets = [link.token, quote(link.token, safe="")]
    cookie = console.stranger.cookie("localhost", "portal-setup") or ""
    secrets += [SetupCookie.parse(cookie).links[0].secret.reveal()]
    log = log_lines.getvalue()
    assert '"/setup/\\u2026"' in log, "the log has the requests"
    for secret in secrets:
        assert secret not in log
        assert secret not in world.running.portal.metrics.render().decode()
        for response in responses:
            assert secret not in response.text, response.url
            for name, value in response.headers.get_all():
                assert name == "Set-Cookie" or secret not in value, name
        for file in tmp_path.rglob("portal.db*"):
            assert secret.encode() not in file.read_bytes(), file
    for response in responses:
        if re.match(r"/setup/", response.url.removeprefix(world.url)):
            assert response.headers.get("Referrer-Policy") == "no-referrer", response.url
