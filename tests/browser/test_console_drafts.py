"""Two people edit the draft of an organisation and publish it: with and without scripts, in four looks."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.console_stage import ConsoleStage
from tests.browser.visitor import Look, Visitor

NewVisitor = Callable[..., Visitor]
DRAFT = "/admin/t/globex/draft"
LOOKS = [Look(1280, "light", scripts=False), Look(390, "dark", scripts=False), Look(390), Look(1280, "dark")]
NUMBER_ABOVE_HEADING = """step => {
    const number = getComputedStyle(step, "::before"), box = step.querySelector("h2").getBoundingClientRect();
    const top = step.getBoundingClientRect().top + step.clientTop + parseFloat(number.top);
    return (box.top + box.bottom) / 2 - top - parseFloat(number.height) / 2;
}"""
"""How many pixels the middle of a step's number is above the middle of its heading."""
LEFT_OF_TEXT = """nav => nav.getBoundingClientRect().left
    - nav.querySelector("a").getBoundingClientRect().left"""
"""How many pixels the boxes of the navigation begin before the text above them."""


@pytest.fixture
def stage(tmp_path: Path, log_lines: io.StringIO) -> Iterator[ConsoleStage]:
    with contextlib.closing(ConsoleStage(tmp_path)) as made:
        yield made


def picture(page: Page, look: Look, name: str) -> None:
    """Keep a screenshot where PORTAL_TEST_PICTURES says, to look at."""
    folder = os.environ.get("PORTAL_TEST_PICTURES")
    if folder:
        page.screenshot(path=f"{folder}/{name}-{look}.png", full_page=True)


def add_lines(page: Page, text: str) -> None:
    area = page.get_by_label("Configuration")
    area.fill(area.input_value() + text)


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_two_edit_a_draft_and_one_publishes_it(
    stage: ConsoleStage, new_visitor: NewVisitor, look: Look
) -> None:
    admin, operator = new_visitor(look), new_visitor(look)
    admin.arrive("globex")
    operator.arrive("acme")
    page = admin.open(DRAFT)
    expect(page.get_by_text("There is no draft")).to_be_visible()
    picture(page, look, "no-draft")
    admin.check()
    page.get_by_role("link", name="Edit as YAML").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Edit as YAML")
    expect(page.get_by_role("link", name="Draft", exact=True)).to_have_count(1)

    theirs = operator.open(f"{DRAFT}/yaml")
    add_lines(theirs, "session: {idle: 10m}\n")
    theirs.get_by_role("button", name="Save the draft").click()
    expect(theirs.get_by_text("Last changed by")).to_be_visible()

    add_lines(page, "session: {idle: 20m}\n")
    page.get_by_role("button", name="Save the draft").click()
    expect(page.get_by_role("alert")).to_contain_text("changed this draft")
    expect(page.get_by_label("Configuration")).to_have_value(re.compile("idle: 20m"))
    expect(page.locator(".diff-removed")).to_contain_text("idle: 10m")
    picture(page, look, "conflict")
    admin.check()
    page.get_by_role("button", name="Save mine in place of theirs").click()
    expect(page.get_by_label("Configuration")).to_have_value(re.compile("idle: 20m"))
    admin.check()

    area = page.get_by_label("Configuration")
    valid = area.input_value()
    area.fill(valid.replace("name:", "nmae:"))
    page.get_by_role("button", name="Save the draft").click()
    expect(page.get_by_text("Saved as a draft.")).to_be_visible()
    picture(page, look, "problems")
    admin.check()
    page.get_by_label("Configuration").fill("name: [Globex\nissuer: x\n")
    page.get_by_role("button", name="Save the draft").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was stored.")
    expect(page.get_by_label("Configuration")).to_have_value("name: [Globex\nissuer: x\n")
    picture(page, look, "not-yaml")
    page.get_by_label("Configuration").fill(valid)
    page.get_by_role("button", name="Save the draft").click()

    page = admin.open(DRAFT)
    picture(page, look, "steps")
    assert abs(page.locator(".step").first.evaluate(NUMBER_ABOVE_HEADING)) < 2
    assert page.locator(".console-nav").evaluate(LEFT_OF_TEXT) == (0 if look.width < 960 else 12)
    admin.check()
    page.get_by_role("link", name="Review and publish").click()
    expect(page.locator(".diff-added")).to_contain_text("idle: 20m")
    picture(page, look, "publish")
    admin.check()
    page.get_by_label("Reason").fill("shorter sessions")
    page.get_by_role("button", name="Publish for everybody").click()
    expect(page.get_by_role("status")).to_contain_text("Published as revision 2.")
    picture(page, look, "published")
    admin.check()

    page = operator.open(f"{DRAFT}/yaml")
    add_lines(page, "max_age: 1h\n")
    page.get_by_role("button", name="Save the draft").click()
    page = operator.open(f"{DRAFT}/publish")
    expect(page.get_by_role("button", name="Publish without a test login")).to_be_visible()
    picture(page, look, "untested")
    operator.check()
    page = operator.open(f"{DRAFT}/discard")
    picture(page, look, "discard")
    operator.check()
    page.get_by_role("button", name="Discard the draft").click()
    expect(page.get_by_text("There is no draft")).to_be_visible()
