"""The order desk in every state and look: accessible, without a layout shift, and small."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.desk import DeskStage, NewVisitor, end_login, fill_in, open_desk, row
from tests.browser.visitor import Look, Visitor
from tests.kit import axe
from tests.kit.faulty.endpoints import EndpointFault, Response

SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
    for (const entry of list.getEntries())
        window.shifts.push([entry.value, ...entry.sources.map(({ node }) => node?.outerHTML ?? "")]);
}).observe({ type: "layout-shift", buffered: true });
"""
"""Records every layout shift, also those soon after a key or a click."""
LARGEST_PAGE = 40 * 1024
LOOKS = [Look(1280, "light"), Look(1280, "dark"), Look(390, "dark"), Look(320, "light")]
each_look = pytest.mark.parametrize(
    ("look", "locale"),
    [
        (LOOKS[0], "en-GB"),
        (LOOKS[1], "de-DE"),
        (LOOKS[2], "en-GB"),
        (LOOKS[3], "de-DE"),
    ],
    ids=str,
)
"""Each look once; German, whose words are longer, where there is the least room."""


@pytest.fixture
def stage(tmp_path: Path, log_lines: io.StringIO) -> Iterator[DeskStage]:
    with contextlib.closing(DeskStage(tmp_path)) as made:
        yield made


def check(visitor: Visitor, state: str) -> None:
    """Check a state of the page, and keep its picture where a person asks for it."""
    page = visitor.page
    folder = os.environ.get("PORTAL_TEST_PICTURES")
    if folder:
        page.screenshot(path=f"{folder}/desk-{state}-{visitor.look}.png", full_page=True)
    needed = page.evaluate("() => document.documentElement.scrollWidth")
    assert needed <= visitor.look.width, f"{state} is {needed} pixels wide"
    assert page.evaluate("() => [document.cookie, localStorage.length, sessionStorage.length]") == ["", 0, 0]
    axe.check(page, state)


@each_look
def test_every_state_is_accessible(
    stage: DeskStage, new_visitor: NewVisitor, look: Look, locale: str
) -> None:
    visitor = new_visitor(look, locale=locale, reduced_motion="reduce")
    page = visitor.open("/desk/acme/")
    expect(page.locator("#gate-sign-in")).to_be_visible()
    check(visitor, "not-signed-in")
    open_desk(visitor, "globex")
    visitor.open("/desk/")
    expect(page.locator("#gate-list a")).to_have_count(1)
    check(visitor, "choice")
    open_desk(visitor)
    check(visitor, "orders")
    page.locator("#switcher").click()
    check(visitor, "organisations")
    page.keyboard.press("Escape")
    page.locator("#account").click()
    check(visitor, "account")
    page.keyboard.press("Escape")
    page.locator("#order-send").click()
    expect(page.locator("#item-error")).not_to_be_empty()
    check(visitor, "errors-of-the-form")
    fill_in(page, "W" * 80, item="<b>" + "م" * 60)
    waiting: list[Route] = []
    page.route("**/t/acme/api/orders", lambda route: waiting.append(route))
    page.locator("#order-send").click()
    expect(page.locator(".pending")).to_be_visible()
    check(visitor, "being-sent")
    waiting.pop().continue_()
    page.unroute_all()
    expect(page.locator("#status")).to_contain_text("NEW-4")
    check(visitor, "placed")
    page.locator('[data-view="files"]').click()
    check(visitor, "files")
    page.locator("#file-form button[type=submit]").click()
    expect(page.locator("#file-error")).not_to_be_empty()
    check(visitor, "no-file")
    page.locator("#file").set_input_files({"name": "a" * 90, "mimeType": "text/plain", "buffer": b"a" * 1000})
    page.locator("#file-form button[type=submit]").click()
    expect(page.locator("#file-list code")).to_be_visible()
    check(visitor, "uploaded")
    other = visitor.context.new_page()
    other.goto(stage.at("/desk/icon.svg"))
    notice = page.locator("#notice-end")
    for name, message in {
        "session-ends": {"type": "expiring", "tenant": None, "expires_at": 1_900_000_000},
        "sign-in-ends": {"type": "expiring", "tenant": "acme", "expires_at": 1_900_000_000},
    }.items():
        other.evaluate("(message) => new BroadcastChannel('portal').postMessage(message)", message)
        expect(notice).to_be_visible()
        check(visitor, name)
    end_login(visitor)
    other.evaluate("() => new BroadcastChannel('portal').postMessage({type: 'ended', tenant: 'acme'})")
    expect(notice.get_by_role("button")).to_have_text(
        {"en": "Sign in again", "de": "Erneut anmelden"}[locale[:2]]
    )
    check(visitor, "ended")
    other.close()
    open_desk(visitor)
    fault = EndpointFault(response=Response(500))
    stage.ask(lambda world: world.acme_api.faults.__setitem__("collection", fault))
    page.reload()
    expect(page.locator("#order-again")).to_be_visible()
    check(visitor, "no-response")
    page.route("**/session", lambda route: route.abort())
    page.reload()
    expect(page.locator("#gate-title")).to_be_visible()
    check(visitor, "offline")


def test_forced_colours_keep_everything_visible(stage: DeskStage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor(forced_colors="active")
    page = open_desk(visitor)
    check(visitor, "forced-colours")
    underline = "(link) => getComputedStyle(link).borderBottomStyle"
    assert page.locator(".tabs [aria-current]").evaluate(underline) == "solid"


@each_look
def test_nothing_moves_while_it_loads_and_while_orders_arrive(
    stage: DeskStage, new_visitor: NewVisitor, look: Look, locale: str
) -> None:
    visitor = new_visitor(look, locale=locale)
    visitor.page.add_init_script(SHIFTS)
    slow = EndpointFault(delay=0.3)
    stage.ask(lambda world: world.acme_api.faults.__setitem__("collection", slow))
    page = open_desk(visitor)
    expect(row(page, "Hooli")).to_be_visible()
    expect(page.locator("#live-state")).to_have_attribute("data-on", "")
    for number in range(3):
        record = {"id": f"E-{number}", "customer": "Live", "item": "Anvil", "quantity": 1, "total": "1.00"}
        record |= {"currency": "EUR", "status": "new"}
        stage.ask(lambda world, made=record: world.acme_api.announcements.added("orders", made))  # type: ignore[misc]
        expect(page.locator("#order-list li")).to_have_count(4 + number)
    page.wait_for_timeout(100)
    assert page.evaluate("() => window.shifts") == []


def test_the_measure_notices_a_shift(stage: DeskStage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    visitor.page.add_init_script(SHIFTS)
    page = open_desk(visitor)
    page.evaluate(
        "() => { document.querySelector('main').prepend(Object.assign(document.createElement('p'), "
        "{textContent: 'x', style: 'height: 200px'})); }"
    )
    page.wait_for_function("() => window.shifts.length > 0")


def test_the_first_page_has_at_most_40_kb_when_it_is_compressed(
    stage: DeskStage, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor()
    open_desk(visitor)
    fresh = new_visitor(storage_state=visitor.context.storage_state())  # nothing cached
    sizes = first_page_sizes(fresh)
    assert {"/desk/acme/", "/desk/desk.css", "/static/portal.js", "/session"} <= sizes.keys()
    assert sum(sizes.values()) <= LARGEST_PAGE, sizes


def first_page_sizes(visitor: Visitor) -> dict[str, int]:
    """Bytes of each response of the first page, bodies compressed with gzip and heads as they are."""
    sizes: dict[str, int] = {}

    def add(response: Any) -> None:
        path = response.url.removeprefix(visitor.stage.url)
        if path.endswith("/events") or not response.ok:  # streams, and the API that Acme does not have
            return
        head = sum(len(k) + len(v) + 4 for k, v in response.all_headers().items())
        sizes[path] = head + len(gzip.compress(response.body()))

    finished: list[Any] = []
    visitor.page.on("response", lambda response: finished.append(response))
    page: Page = visitor.open("/desk/acme/")
    expect(page.locator("#order-list")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#live-state")).to_have_attribute("data-on", "")
    for response in finished:
        add(response)
    return sizes
