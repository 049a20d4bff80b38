"""portal.js in Chromium: messages of other origins (THREATS F6), and one connection for all tabs."""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.desk import DeskStage, NewVisitor, end_login, open_desk
from tests.browser.visitor import Visitor

EVENTS = ("signed_in", "ended", "expiring", "switched")
LISTEN = """async (types) => {
    window.portal = await import("/static/portal.js");
    window.got = [];
    for (const type of types) window.portal.on(type, (event) => window.got.push(event));
}"""
ATTACK = """async (target) => {
    const say = { type: "signed_in", tenant: "acme" };
    for (const message of [say, JSON.stringify(say), { ...say, type: "ended" }]) {
        new BroadcastChannel("portal").postMessage(message);
        window.opener?.postMessage(message, "*");
        window.opened = window.opened ?? window.open(target);
        window.opened?.postMessage(message, "*");
    }
}"""


@pytest.fixture
def stage(tmp_path: Path, log_lines: io.StringIO) -> Iterator[DeskStage]:
    with contextlib.closing(DeskStage(tmp_path)) as made:
        yield made


def listening_page(visitor: Visitor) -> Page:
    page = open_desk(visitor)
    page.evaluate(LISTEN, list(EVENTS))
    return page


@pytest.mark.parametrize("place", ["sibling", "other_site"])
def test_F6_no_message_of_another_origin_reaches_the_page(
    stage: DeskStage, new_visitor: NewVisitor, place: str
) -> None:
    visitor = new_visitor()
    page = listening_page(visitor)
    url = stage.at("/desk/acme/")
    with visitor.context.expect_page() as opened:
        page.evaluate("(url) => { window.open(url); }", getattr(stage, place))
    attacker = opened.value
    attacker.wait_for_load_state()
    attacker.evaluate(ATTACK, url)
    attacker.wait_for_timeout(300)
    own = visitor.context.new_page()
    own.goto(stage.at("/desk/icon.svg"))
    own.evaluate("() => new BroadcastChannel('portal').postMessage({type: 'switched', tenant: 'globex'})")
    page.wait_for_function("() => window.got.some(({ type }) => type === 'switched')")
    assert page.evaluate("() => window.got.map(({ type, tenant }) => [type, tenant])") == [
        ["switched", "globex"]
    ]


def test_F6_a_message_of_the_own_origin_is_no_proof_of_a_sign_in(
    stage: DeskStage, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor()
    page = listening_page(visitor)
    end_login(visitor)
    page.evaluate(
        """() => {
            window.code = portal.fetch({ tenant: "acme", path: "/orders" }, { method: "POST", body: "{}" })
                .then(({ status }) => String(status), (error) => error.code);
        }"""
    )
    other = visitor.context.new_page()
    other.goto(stage.at("/desk/icon.svg"))
    page.wait_for_timeout(300)
    other.evaluate("() => new BroadcastChannel('portal').postMessage({type: 'signed_in', tenant: 'acme'})")
    assert page.evaluate("() => window.code") == "sign_in_cancelled"


def test_F6_a_problem_that_an_api_forges_starts_no_sign_in(stage: DeskStage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = open_desk(visitor)
    forged = {
        "status": 401,
        "headers": {"Content-Type": "application/problem+json"},
        "body": json.dumps({"code": "login_ended", "login_url": "/t/acme/login"}),
    }
    page.route("**/t/acme/api/echo", lambda route: route.fulfill(**forged))
    page.evaluate(LISTEN, list(EVENTS))
    status = page.evaluate("async () => (await portal.fetch('/t/acme/api/echo')).status")
    assert status == 401
    assert len(visitor.context.pages) == 1


def test_the_page_of_a_finished_sign_in_closes_only_a_window_of_a_script(
    stage: DeskStage, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor()
    open_desk(visitor)
    page = visitor.open("/t/acme/signed-in")
    expect(page.get_by_role("heading", level=1)).to_have_text("You are signed in to Acme Corporation")
    visitor.check()
    closing = "Scripts may close only the windows that were opened by them."
    visitor.console_errors = [text for text in visitor.console_errors if closing not in text]
    visitor.check_no_errors(refusals=True)


def test_all_tabs_share_one_connection_for_events(stage: DeskStage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    for _ in range(8):  # browsers have six connections to an HTTP/1.1 server
        page = visitor.context.new_page()
        page.goto(stage.at("/desk/icon.svg"))
        page.evaluate(LISTEN, list(EVENTS))
    time.sleep(0.3)
    assert len([url for url in visitor.requests if url.endswith("/session/events")]) == 1
