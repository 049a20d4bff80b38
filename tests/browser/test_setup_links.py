"""A setup link, from the operator who makes it to the administrator who opens it."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.stage import Stage
from tests.browser.visitor import Look, Visitor
from tests.kit.console import ACT, OPERATOR
from tests.kit.world import World

NewVisitor = Callable[..., Visitor]
LOOKS = [Look(390, "dark"), Look(1280, "light", scripts=False)]


@pytest.fixture
def stage(tmp_path: Path, log_lines: io.StringIO) -> Iterator[Stage]:
    with contextlib.closing(Stage(tmp_path, operators=(OPERATOR,))) as made:
        yield made


async def _add_initech(world: World) -> None:
    await world.running.portal.admin.tenants.make("initech", "Initech", ACT)


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_an_operator_invites_an_administrator_who_opens_the_link_in_one_browser(
    stage: Stage, new_visitor: NewVisitor, look: Look
) -> None:
    stage.run(_add_initech)
    operator, invited, other = new_visitor(look), new_visitor(look), new_visitor(look)
    operator.arrive("acme", "alice")
    page = operator.open("/admin/t/initech/links")
    operator.check()
    page.get_by_label("Who it is for").fill("Bill Lumbergh")
    page.get_by_label("Valid for").select_option("30 days")
    page.get_by_role("button", name="Make a setup link").click()
    expect(page.get_by_role("heading", name="The new link for Bill Lumbergh")).to_be_visible()
    operator.check()
    link = page.get_by_label("The new setup link").inner_text()
    expect(page.get_by_role("button", name="Copy the new setup link")).to_be_visible(visible=look.scripts)
    assert re.fullmatch(rf"{re.escape(stage.url)}/setup/[A-Za-z0-9_-]{{43}}", link)

    scanner = invited.context.request.get(link, headers={"Cookie": ""})
    assert scanner.ok, "looking at the link does not use it up"
    shown = invited.page
    shown.goto(link)
    expect(shown.get_by_role("heading", name="Set up Initech")).to_be_visible()
    expect(shown).to_have_title(re.compile("^Set up Initech – "))
    assert link.rpartition("/")[2] not in shown.content()
    invited.check()
    shown.get_by_role("button", name="Start in this browser").click()
    expect(shown).to_have_url(stage.at("/admin/t/initech/draft"))
    expect(shown.get_by_role("heading", level=1)).to_contain_text(re.compile("initech", re.IGNORECASE))
    invited.check()
    referrers = [request for request in invited.requests if link.rpartition("/")[2] in request]
    assert set(referrers) == {link}, "the token is in no other address"

    refused = other.page
    refused.goto(link)
    expect(refused.get_by_role("heading", level=1)).to_have_text(
        "This setup link was already opened in another browser"
    )
    other.check()

    page = operator.open("/admin/t/initech/links")
    expect(page.get_by_text("Opened", exact=True)).to_be_visible()
    operator.check()
    page.get_by_role("button", name="Revoke the link").click()
    expect(page.get_by_text("Revoked", exact=True)).to_be_visible()
    shown.goto(link)
    expect(shown.get_by_role("heading", level=1)).to_have_text("This setup link was revoked")
    operator.check_no_errors()
    for visitor in (invited, other):
        visitor.check_no_errors(refusals=True)


def test_A2_no_request_of_the_page_has_a_referrer(stage: Stage, new_visitor: NewVisitor) -> None:
    stage.run(_add_initech)

    async def invite(world: World) -> str:
        return (await world.running.portal.admin.setup_links.make("initech", ACT)).url.reveal()

    link, visitor = stage.run(invite), new_visitor()
    headers: list[dict[str, str]] = []
    visitor.context.on("request", lambda request: headers.append(request.all_headers()))
    visitor.page.goto(link)
    visitor.page.get_by_role("button", name="Start in this browser").click()
    expect(visitor.page).to_have_url(stage.at("/admin/t/initech/draft"))
    assert len(headers) > 3, "the page, its style sheets and scripts, and its form"
    token = link.rpartition("/")[2]
    assert [one for one in headers if token in one.get("referer", "")] == []
