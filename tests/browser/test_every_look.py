"""Pages at 200 % zoom (WCAG 2.2, 1.4.4), and pages that are seldom seen, in every look at 1280 pixels."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.stage import Stage
from tests.browser.test_console import prepared
from tests.browser.test_languages import CONSOLE_PAGES, PAGES
from tests.browser.visitor import Look, Visitor
from tests.kit.console import OPERATOR
from tests.kit.raw import change_tenant

NewVisitor = Callable[..., Visitor]
ZOOMED = Look(640)
"""A window of 1280 pixels at 200 %: half as many CSS pixels, each of which is two pixels wide."""
LOOKS = [Look(1280, scheme, scripts) for scheme in ("light", "dark") for scripts in (True, False)]
END = "%2Ft%2Facme%2Fsigned-in"
FORMS = ("draft/api", "draft/apis", "draft/applications", "draft/general")
PLACEHOLDERS = """() => {
  const luminance = (color) => color.match(/[\\d.]+/g).slice(0, 3).map((one) => one / 255)
    .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
  const contrasts = [...document.querySelectorAll("[placeholder]:not([placeholder=''])")].map((field) => {
    const text = luminance(getComputedStyle(field, "::placeholder").color);
    const ground = luminance(getComputedStyle(field).backgroundColor);
    return (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
  });
  return Math.min(...contrasts);
}"""
"""The lowest contrast of a placeholder (WCAG 2.2, 1.4.3), which axe does not check."""


@pytest.fixture
def stage(tmp_path: Path, log_lines: io.StringIO) -> Iterator[Stage]:
    with contextlib.closing(Stage(tmp_path, operators=(OPERATOR,))) as made:
        made.run(prepared)
        yield made


def check(visitor: Visitor, name: str) -> None:
    """Check the page, and keep its picture where a person asks for it."""
    visitor.check()
    folder = os.environ.get("PORTAL_TEST_PICTURES")
    if folder:
        visitor.page.screenshot(path=f"{folder}/{name}-{visitor.look}.png", full_page=True)


def named(path: str) -> str:
    return path.partition("?")[0].strip("/").replace("/", "-") or "start"


def test_every_page_is_accessible_at_200_percent(new_visitor: NewVisitor) -> None:
    visitor = new_visitor(ZOOMED, device_scale_factor=2, reduced_motion="reduce")
    for path in PAGES:
        visitor.open(path)
        check(visitor, f"out-{named(path)}")
    visitor.arrive("acme")
    for path in ("/", "/account", "/t/acme/", "/t/acme/developer", *CONSOLE_PAGES):
        visitor.open(path)
        check(visitor, named(path))


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_seldom_seen_pages_are_sound_in_every_look(stage: Stage, new_visitor: NewVisitor, look: Look) -> None:
    visitor = new_visitor(look, reduced_motion="reduce")
    for query, name in (("", "cancelled"), (f"?return_to={END}", "cancelled-window")):
        page = visitor.open(f"/t/acme/login{query}")
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign-in was cancelled")
        check(visitor, name)
    page = visitor.open(f"/t/acme/login?return_to={END}&provider=none")
    expect(page.locator("main")).to_contain_text("Close this window, and load that page again.")
    check(visitor, "error-window")
    visitor.arrive("acme")
    visitor.open("/account")
    check(visitor, "account")
    for form in FORMS:
        visitor.open(f"/admin/t/globex/{form}")
        assert visitor.page.evaluate(PLACEHOLDERS) >= 4.5
        check(visitor, f"form-{named(form)}")
    visitor.open("/t/acme/login?prompt=login")
    rules = {"require": [{"claim": "roles", "contains": "nobody"}], "contact": "IT desk, help@acme.example"}
    stage.ask(lambda world: change_tenant(world, "acme", access=rules))
    page.get_by_label("User name").fill("alice")
    page.get_by_label("Password").fill("acme-alice")
    page.get_by_role("button", name="Sign in", exact=True).click()
    if page.get_by_role("button", name="Allow", exact=True).count():
        page.get_by_role("button", name="Allow", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("This account may not sign in")
    check(visitor, "not-allowed")
