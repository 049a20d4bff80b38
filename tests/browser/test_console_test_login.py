"""A test login in a browser: narrow and wide, light and dark, with and without scripts."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.console_stage import ConsoleStage
from tests.browser.stage import Stage
from tests.browser.visitor import Look, Visitor
from tests.kit.console import ACT
from tests.kit.world import World

NewVisitor = Callable[..., Visitor]
DRAFT = "/admin/t/globex/draft"
REFUSED = "Signed in at the provider, but your rules refuse this account"
"""No account of Globex is a viewer."""
RULES = (
    "\naccess:\n  require:\n"
    "    - {claim: email, ends_with: '@globex.example', verified_by: email_verified}\n"
    "    - {claim: roles, contains: viewer}\n"
    "  paths:\n"
    "    - {path: /reports, require: [{claim: team, one_of: [finance, board]}]}\n"
)


@pytest.fixture
def stage(tmp_path: Path, log_lines: io.StringIO) -> Iterator[Stage]:
    with contextlib.closing(ConsoleStage(tmp_path)) as made:
        made.run(with_rules)
        yield made


async def with_rules(world: World) -> None:
    """Globex has a draft with rules."""
    await save(world, lambda content: content + RULES)


async def save(world: World, change: Callable[[str], str]) -> None:
    drafts = world.running.portal.admin.drafts
    now = await drafts.get("globex")
    saved = await drafts.save("globex", change(now.shown), ACT, replaces=now.version)
    assert saved.problems == ()


def shown(visitor: Visitor, name: str) -> None:
    """Check the page, and keep its picture where a person asks for it."""
    visitor.check()
    folder = os.environ.get("PORTAL_TEST_PICTURES")
    if folder:
        visitor.page.screenshot(path=f"{folder}/test-login-{name}-{visitor.look}.png", full_page=True)


@pytest.mark.parametrize(
    "look",
    [Look(1280, "light"), Look(390, "dark"), Look(390, "light", scripts=False), Look(1280, "dark")],
    ids=str,
)
def test_a_draft_is_tested_and_its_claims_are_chosen(
    stage: Stage, new_visitor: NewVisitor, look: Look
) -> None:
    visitor = new_visitor(look, reduced_motion="reduce")
    visitor.arrive("globex")
    cookies = {one["name"]: one["value"] for one in visitor.context.cookies() if one["name"] == "portal"}
    page = visitor.open(f"{DRAFT}/test")
    expect(page.get_by_text("Not tested yet")).to_be_visible()
    shown(visitor, "providers")
    page.get_by_label("Ask me to sign in again").check()
    page.get_by_role("button", name="Test this provider").click()
    page.get_by_label("User name").fill("gina")
    page.get_by_label("Password").fill("globex-gina")
    page.get_by_role("button", name="Sign in", exact=True).click()
    if page.get_by_role("button", name="Allow", exact=True).count():
        page.get_by_role("button", name="Allow", exact=True).click()
    expect(page).to_have_url(stage.at(f"{DRAFT}/test/default"))
    expect(page.get_by_text(REFUSED)).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("email text gina@globex.example"))).to_be_visible()
    shown(visitor, "result")
    page.get_by_label("Name", exact=True).select_option("email")
    page.get_by_role("button", name="Save in the draft").click()
    expect(page.get_by_label("Name", exact=True)).to_have_value("email")
    expect(page.get_by_text(REFUSED)).to_be_visible()
    now = {one["name"]: one["value"] for one in visitor.context.cookies() if one["name"] == "portal"}
    assert now == cookies, "a test login makes no session"
    page.get_by_role("link", name="Change who may sign in").click()
    expect(page).to_have_url(stage.at(f"{DRAFT}/general"))


@pytest.mark.parametrize("look", [Look(1280, "light"), Look(390, "dark")], ids=str)
def test_a_test_that_failed_says_why(stage: Stage, new_visitor: NewVisitor, look: Look) -> None:
    wrong = re.compile("secret: .*")
    stage.run(lambda world: save(world, lambda content: wrong.sub("secret: another-secret", content)))
    visitor = new_visitor(look, reduced_motion="reduce")
    visitor.arrive("globex")
    page = visitor.open(f"{DRAFT}/test")
    page.get_by_role("button", name="Test this provider").click()
    expect(page.get_by_text("The last test login failed")).to_be_visible()
    expect(page.get_by_text("error=invalid_client")).to_be_visible()
    shown(visitor, "failed")
