"""The parts of THREATS T4, S1 and S12 that need a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Response, expect

from tests.browser.stage import Stage
from tests.browser.visitor import Visitor
from tests.kit.faulty.hostile_responses import HOSTILE

NewVisitor = Callable[..., Visitor]
ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("html", "svg", "xml", "script", "html-as-text", "no-type")


def count_hostile_calls(stage: Stage) -> int:
    return stage.ask(lambda world: world.acme_api.calls["hostile"])


def expect_untouched(visitor: Visitor, title: str = "Acme Corporation – Tenant Portal") -> None:
    """Check that no script of the API ran in the portal's origin, and that none is registered."""
    page = visitor.page
    assert page.title() == title
    assert page.evaluate("() => document.cookie") == ""
    assert page.evaluate("async () => (await navigator.serviceWorker.getRegistrations()).length") == 0
    names = {cookie["name"] for cookie in visitor.context.cookies(visitor.stage.url)}
    assert names == {"portal", "portal-attempt", "portal-organisations", "portal-xsrf"}


# --- T4: an API's response is data


def test_T4_nothing_that_a_page_fetches_from_an_api_runs_or_sets_a_cookie(
    stage: Stage, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor()
    page = visitor.arrive()
    for name, response in HOSTILE.items():
        if name.startswith("redirect") or name == "gzip-broken":
            continue
        status = page.evaluate(
            """async (name) => {
                const headers = {"X-Portal-CSRF": "1"};
                const response = await fetch(`/t/acme/api/hostile/${name}`, {headers});
                await response.text();
                return response.status;
            }""",
            name,
        )
        assert status == response.status, name
        expect_untouched(visitor)
    assert count_hostile_calls(stage) > 15


def test_T4_the_sample_of_the_documentation_follows_the_portals_problems_alone(
    stage: Stage, new_visitor: NewVisitor
) -> None:
    page_source = (ROOT / "docs" / "reference" / "http.md").read_text()
    (sample,) = [
        code for code in re.findall(r"```js\n(.*?)```", page_source, re.DOTALL) if "login_url" in code
    ]
    visitor = new_visitor()
    page = visitor.arrive()
    page.evaluate(f"async () => {{ {sample}\n await call('/hostile/problem'); }}")
    expect_untouched(visitor)
    assert count_hostile_calls(stage) == 2, "the portal repeats a call that is responded with 401"
    visitor.context.clear_cookies(name="portal")
    page.evaluate(f"() => {{ {sample}\n call('/orders'); }}")
    expect(page).to_have_url(re.compile(re.escape(stage.ask(lambda world: world.acme.issuer))))


def test_T4_an_apis_response_that_is_opened_as_a_page_is_sandboxed(
    stage: Stage, new_visitor: NewVisitor
) -> None:
    """A link of the portal's own page may open it; the address bar and a reload of another site may not."""
    visitor = new_visitor()
    page = visitor.arrive()
    for number, name in enumerate(DOCUMENTS, 1):
        address = stage.at(f"/t/acme/api/hostile/{name}")
        navigated = page.goto(address)
        assert navigated is not None
        assert navigated.status == 403, name
        visitor.open("/t/acme/")
        assert follow_link(page, address).status == 200, name
        assert page.evaluate("() => self.origin") == "null", name
        assert page.title() == "", name
        assert page.evaluate("() => { try { return document.cookie } catch { return 'none' } }") == "none"
        visitor.open("/t/acme/")
        expect_untouched(visitor)
        assert count_hostile_calls(stage) == number


@pytest.mark.parametrize("options", [{}, {"bypass_csp": True}], ids=["policy", "no-policy"])
def test_T4_no_element_of_a_page_takes_an_apis_response_for_code(
    stage: Stage, new_visitor: NewVisitor, options: dict[str, bool]
) -> None:
    """Without the page's policy, only Sec-Fetch-Dest protects."""
    visitor = new_visitor(**options)
    page = visitor.arrive()
    for attempt in (
        "() => import('/t/acme/api/hostile/script').then(() => 'ran', () => 'refused')",
        element("script", "src", "script"),
        element("script", "src", "script", more="element.type = 'module';"),
        """() => new Promise((done) => {
            const worker = new Worker("/t/acme/api/hostile/script");
            worker.onerror = (event) => done(event.message === undefined ? "refused" : "ran");
        })""",
        """() => new Promise((done) => {
            const worker = new SharedWorker("/t/acme/api/hostile/script");
            worker.onerror = (event) => done(event.message === undefined ? "refused" : "ran");
        })""",
        """() => new AudioContext().audioWorklet.addModule("/t/acme/api/hostile/script")
            .then(() => "ran", () => "refused")""",
        """() => new Promise((done) => {
            const frame = document.createElement("iframe");
            frame.onload = () => done(frame.contentDocument === null ? "refused" : "ran");
            frame.src = "/t/acme/api/hostile/html";
            document.body.append(frame);
        })""",
        element("object", "data", "svg"),
        element("embed", "src", "svg"),
        element("link", "href", "html-as-text", more="element.rel = 'stylesheet';"),
        """() => new FontFace("hostile", "url(/t/acme/api/hostile/script)").load()
            .then(() => "ran", () => "refused")""",
    ):
        assert page.evaluate(attempt) == "refused", attempt
    assert count_hostile_calls(stage) == 0
    expect_untouched(visitor)


def element(name: str, attribute: str, hostile: str, more: str = "") -> str:
    """A script that inserts an element which loads a hostile response."""
    return f"""() => new Promise((done) => {{
        const element = document.createElement("{name}");
        const shown = () => element.contentDocument || (element.getSVGDocument && element.getSVGDocument());
        const isFrame = ["object", "embed"].includes("{name}");
        element.onload = () => done(isFrame && !shown() ? "refused" : "ran");
        element.onerror = () => done("refused");
        {more}
        element.{attribute} = "/t/acme/api/hostile/{hostile}";
        document.body.append(element);
        if (isFrame) setTimeout(() => done("refused"), 1000);  // Chromium tells nobody
    }})"""


def test_T4_an_image_of_an_api_is_shown_and_runs_nothing(stage: Stage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = visitor.arrive()
    shown = page.evaluate(
        """() => new Promise((done) => {
            const image = new Image();
            image.onload = () => done("shown");
            image.onerror = () => done("refused");
            image.src = "/t/acme/api/hostile/svg";
        })"""
    )
    assert shown == "shown"
    assert count_hostile_calls(stage) == 1
    expect_untouched(visitor)


def test_T4_a_link_downloads_a_file_of_an_api(stage: Stage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = visitor.arrive()
    for attribute in ("", "download"):
        with page.expect_download() as downloading:
            page.evaluate(
                """(attribute) => {
                    const link = document.createElement("a");
                    link.href = "/t/acme/api/download?mb=0.01";
                    if (attribute) link.setAttribute(attribute, "");
                    document.body.append(link);
                    link.click();
                }""",
                attribute,
            )
        assert downloading.value.suggested_filename == "sample.bin"
        assert Path(downloading.value.path()).stat().st_size == 10485
    expect_untouched(visitor)


def test_F3_a_page_of_the_portal_gets_events_and_messages(stage: Stage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = visitor.arrive()
    said = page.evaluate(
        """() => new Promise((done, failed) => {
            const socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/t/acme/api/live");
            socket.onopen = () => socket.send(JSON.stringify({type: "say", text: "hello"}));
            socket.onmessage = (event) => { done(JSON.parse(event.data)); socket.close(1000); };
            socket.onclose = (event) => failed(new Error(`closed with ${event.code}`));
        })"""
    )
    assert said["text"] == "hello"
    order = page.evaluate(
        """() => new Promise((done, failed) => {
            const events = new EventSource("/t/acme/api/events");
            events.onerror = () => failed(new Error("no event stream"));
            events.onopen = () => fetch("/t/acme/api/orders", {
                method: "POST", headers: {"X-Portal-CSRF": "1"}, body: JSON.stringify({item: "anvil"}),
            });
            events.addEventListener("order", (event) => { events.close(); done(JSON.parse(event.data)); });
        })"""
    )
    assert order["item"] == "anvil"


def test_F3_the_page_learns_why_its_socket_ended(stage: Stage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = visitor.arrive()
    page.evaluate(
        """() => new Promise((done) => {
            const socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/t/acme/api/live");
            window.code = new Promise((done) => { socket.onclose = (event) => done(event.code); });
            socket.onopen = done;
        })"""
    )
    page.evaluate("() => fetch('/t/acme/logout', {method: 'POST', redirect: 'manual'})")
    assert page.evaluate("() => window.code") == 4401


@pytest.mark.parametrize("site", ["sibling", "other"])
def test_F3_a_page_of_another_site_opens_no_socket(stage: Stage, new_visitor: NewVisitor, site: str) -> None:
    visitor = new_visitor()
    visitor.arrive()
    page = open_attack(visitor, site)
    code = page.evaluate(
        """(url) => new Promise((done) => {
            const socket = new WebSocket(url);
            socket.onopen = () => done("open");
            socket.onclose = (event) => done(event.code);
        })""",
        stage.at("/t/acme/api/live").replace("http", "ws", 1),
    )
    assert code == 1006
    assert stage.ask(lambda world: world.acme_api.calls["live"]) == 0


@pytest.mark.parametrize("kind", ["classic", "module"])
def test_T4_an_api_cannot_install_a_service_worker(stage: Stage, new_visitor: NewVisitor, kind: str) -> None:
    visitor = new_visitor()
    page = visitor.arrive()
    result = page.evaluate(
        """(type) => navigator.serviceWorker.register("/t/acme/api/hostile/service-worker", {type})
            .then(() => "registered", (error) => error.message)""",
        kind,
    )
    assert "403" in result
    assert count_hostile_calls(stage) == 0
    expect_untouched(visitor)
    visitor.open("/t/acme/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Acme Corporation")


def follow_link(page: Page, address: str) -> Response:
    """Add a link to the open page and follow it."""
    page.evaluate(
        """(address) => {
            const link = document.createElement("a");
            link.href = address;
            link.textContent = "hostile";
            link.id = "hostile";
            document.querySelector("h1").append(link);
        }""",
        address,
    )
    with page.expect_response(address) as responded:
        page.locator("#hostile").click()
    page.wait_for_url(address)
    return responded.value


# --- S1: other sites; S12: frames


SITES = pytest.mark.parametrize("site", ["sibling", "other"])


@SITES
def test_S1_a_form_of_another_site_does_nothing(stage: Stage, new_visitor: NewVisitor, site: str) -> None:
    visitor = new_visitor()
    visitor.arrive()
    for path in ("/logout", "/t/acme/logout", "/t/acme/", "/t/acme/api/orders"):
        page = open_attack(visitor, site)
        page.evaluate(
            """(action) => {
                document.body.innerHTML = `<form method="post" action="${action}">
                    <input name="path" value="/orders"><input name="method" value="GET">
                    <input name="body"><button>Win a prize</button></form>`;
            }""",
            stage.at(path),
        )
        with page.expect_response(stage.at(path)) as responded:
            page.get_by_role("button").click()
        assert responded.value.status == 403, path
        sent = responded.value.request.all_headers()
        assert sent["sec-fetch-site"] == ("same-site" if site == "sibling" else "cross-site")
        assert ("portal=" in sent.get("cookie", "")) == (site == "sibling")
        page.wait_for_load_state()
    expect_still_signed_in(visitor)


@SITES
def test_S1_a_script_of_another_site_neither_calls_nor_reads(
    stage: Stage, new_visitor: NewVisitor, site: str
) -> None:
    visitor = new_visitor()
    visitor.arrive()
    page = open_attack(visitor, site)
    for options in (
        {"headers": {"X-Portal-CSRF": "1"}},
        {"method": "POST", "headers": {"X-Portal-CSRF": "1"}, "body": "{}"},
        {"method": "POST", "body": "{}"},
        {"method": "POST", "body": "{}", "mode": "no-cors"},
        {},
    ):
        for path in ("/t/acme/api/orders", "/session", "/logout", "/account"):
            result = page.evaluate(
                """([url, options]) => fetch(url, {...options, credentials: "include"})
                    .then((response) => response.status, (error) => error.name)""",
                [stage.at(path), options],
            )
            unreadable = 0 if options.get("mode") == "no-cors" else "TypeError"
            assert result in {"TypeError", unreadable}, (path, options)
    expect_still_signed_in(visitor)


@SITES
def test_S12_no_other_site_can_frame_the_portal(stage: Stage, new_visitor: NewVisitor, site: str) -> None:
    visitor = new_visitor()
    visitor.arrive()
    page = open_attack(visitor, site)
    for path in ("/", "/t/acme/", "/account", "/nowhere", "/t/acme/api/orders"):
        page.evaluate(
            """(url) => new Promise((done) => {
                const frame = document.createElement("iframe");
                frame.onload = done;
                frame.src = url;
                document.body.append(frame);
            })""",
            stage.at(path),
        )
        page.frames[-1].wait_for_url("chrome-error://chromewebdata/")
    assert len(page.frames) == 6


def open_attack(visitor: Visitor, site: str) -> Page:
    page = visitor.page
    page.goto(visitor.stage.sibling if site == "sibling" else visitor.stage.other_site)
    return page


def expect_still_signed_in(visitor: Visitor) -> None:
    assert visitor.stage.ask(lambda world: world.acme_api.calls.total()) == 0
    expect(visitor.open("/t/acme/").get_by_text("Signed in as Alice Archer")).to_be_visible()
