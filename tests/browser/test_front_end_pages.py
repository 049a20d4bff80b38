"""Front ends in Chromium: their policy, their caching, and hot reload of a development server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from portal.config.front_ends import FrontEnd
from tests.browser.stage import Stage
from tests.kit.development_server import development_server, in_thread
from tests.kit.front_ends import desk, front_end_folder

PAGE = """<!doctype html><html lang="en"><title>Waiting</title><h1>Desk</h1>
<script type="module" src="/desk/assets/app-BkT3q1aC.js"></script><script>document.title = "inline"</script>
"""
SCRIPT = """document.title = "Desk ready";
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => violations.push(event.effectiveDirective));
"""
OPEN = """(url) => new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.onopen = () => resolve("open");
    socket.onerror = () => resolve("error");
})"""
LOAD = """([name, attribute, url]) => new Promise((resolve) => {
    const element = document.createElement(name);
    element.onload = () => resolve("loaded");
    element.onerror = () => resolve("error");
    element[attribute] = url;
    document.body.append(element);
})"""
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    folder = front_end_folder(
        tmp_path / "dist", **{"index.html": PAGE, "assets/app-BkT3q1aC.js": SCRIPT, "other.js": ""}
    )
    for old in (".gz", ".br"):
        (folder / f"assets/app-BkT3q1aC.js{old}").unlink()
    made = Stage(tmp_path / "world", front_ends=desk(folder, csp={"img-src": ("data:",)}))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context()
    yield context.new_page()
    context.close()


def test_a_deep_link_runs_the_scripts_of_the_folder_and_none_in_its_text(stage: Stage, page: Page) -> None:
    page.goto(stage.at("/desk/acme/orders/7"))
    expect(page).to_have_title("Desk ready")


def test_the_policy_allows_what_is_of_the_origin_and_what_the_setting_adds(stage: Stage, page: Page) -> None:
    page.goto(stage.at("/desk/"))
    expect(page).to_have_title("Desk ready")
    assert page.evaluate(LOAD, ["script", "src", "/desk/other.js"]) == "loaded"
    assert page.evaluate(LOAD, ["img", "src", PIXEL]) == "loaded"
    assert page.evaluate("async () => (await fetch('/session')).status") == 200
    assert page.evaluate("violations") == []
    for what, directive in (
        (["script", "src", f"{stage.other_site}x.js"], "script-src-elem"),
        (["img", "src", f"{stage.other_site}x.png"], "img-src"),
        (["script", "src", "data:text/javascript,"], "script-src-elem"),
    ):
        assert page.evaluate(LOAD, what) == "error"
        assert page.evaluate("violations.pop()") == directive


def test_a_frame_of_another_site_cannot_show_the_page(stage: Stage, page: Page) -> None:
    page.goto(stage.other_site)
    frame = "(url) => document.body.append(Object.assign(document.createElement('iframe'), {src: url}))"
    page.evaluate(frame, stage.at("/desk/"))
    page.wait_for_load_state("networkidle")
    assert page.frames[1].evaluate("document.title") != "Desk ready"


def test_a_websocket_to_the_own_origin_is_allowed_and_to_others_not(stage: Stage, page: Page) -> None:
    """CSP 3 6.7.2.8: 'self' covers ws: and wss: of the same host and port."""
    page.goto(stage.at("/t/acme/login"))
    page.get_by_label("User name").fill("alice")
    page.get_by_label("Password").fill("acme-alice")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Allow", exact=True).click()
    page.goto(stage.at("/desk/"))
    expect(page).to_have_title("Desk ready")
    own, other = stage.url.replace("http:", "ws:"), stage.other_site.replace("http:", "ws:")
    assert page.evaluate(OPEN, f"{own}/t/acme/api/live") == "open"
    assert page.evaluate("violations") == []
    assert page.evaluate(OPEN, f"{other}x") == "error"
    assert page.evaluate("violations") == ["connect-src"]


def test_a_hashed_file_is_loaded_once_and_the_page_is_checked_at_every_visit(
    stage: Stage, page: Page
) -> None:
    statuses: list[tuple[str, int]] = []
    page.goto(stage.at("/desk/"))
    expect(page).to_have_title("Desk ready")
    page.goto("about:blank")
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on(
        "Network.responseReceived",
        lambda event: (
            None
            if event["response"].get("fromDiskCache")
            else statuses.append(
                (event["response"]["url"].removeprefix(stage.url), event["response"]["status"])
            )
        ),
    )
    page.goto(stage.at("/desk/"))
    expect(page).to_have_title("Desk ready")
    assert ("/desk/assets/app-BkT3q1aC.js", 200) not in statuses
    assert [path for path, _ in statuses if path == "/desk/"] == ["/desk/"]


DEVELOPED = """<!doctype html><html lang="en"><title>Old</title><style>h1 { color: rgb(1, 2, 3) }</style>
<h1>Desk</h1><script>
new WebSocket(`ws://${location.host}/desk/hmr`, "vite-hmr").onmessage =
    (event) => { document.title = event.data; };
</script>"""


def test_hot_reload_of_a_development_server_reaches_the_page(tmp_path: Path, page: Page) -> None:
    with in_thread(development_server(page=DEVELOPED)) as server:
        made = Stage(tmp_path, front_ends={"desk": FrontEnd(path="/desk", url=server.url)})
        try:
            page.goto(made.at("/desk/acme/"))
            expect(page).to_have_title("connected")
            expect(page.get_by_role("heading")).to_have_css("color", "rgb(1, 2, 3)")
        finally:
            made.close()
