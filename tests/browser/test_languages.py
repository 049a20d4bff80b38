"""Pages in other languages and directions, at 320 pixels: nothing overflows, and no word is broken."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.stage import Stage
from tests.browser.test_console import prepared
from tests.browser.visitor import PASSWORDS, Look, Visitor
from tests.kit.console import OPERATOR
from tests.kit.page_samples import EVERY, STATIC, html_of

NewVisitor = Callable[..., Visitor]
NARROW = Look(320, "light")
BROKEN_WORDS = """() => {
  const ofOthers = "bdi, code, pre, blockquote, textarea, [dir=auto], [dir=ltr]";
  const hidden = ".unseen, .brand-name, .card-go-text";
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const parent = node.parentElement;
    if (parent.closest(`${ofOthers}, ${hidden}`) || !parent.checkVisibility()) continue;
    for (const word of node.data.matchAll(/[\\p{L}\\p{N}_]+/gu)) {
      if (word[0].includes("_")) continue;  // a name of a parameter
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      const lines = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
      if (lines.size > 1) found.push(word[0]);
    }
  }
  return found;
}"""
TOO_WIDE = """() => [...document.querySelectorAll("body *")]
  .filter((one) => one.checkVisibility() && !one.closest(".unseen"))
  .map((one) => [one, one.getBoundingClientRect()])
  .filter(([, box]) => box.right > innerWidth + 0.5 || box.left < -0.5)
  .map(([one]) => one.outerHTML.slice(0, 120)).slice(0, 5)"""
PAGES = ("/", "/account", "/signed-out", "/t/globex/", "/nowhere", "/t/acme/callback?state=x&code=y")
CONSOLE_PAGES = (
    "/admin/",
    "/admin/new",
    *(
        f"/admin/t/globex/{page}"
        for page in (
            "",
            "draft",
            "draft/yaml",
            "draft/general",
            "draft/applications",
            "draft/apis",
            "draft/api",
            "draft/checks",
            "draft/providers/new",
            "draft/providers/default",
            "domains",
            "sessions",
            "revisions",
            "revisions/2",
            "events",
            "links",
            "status",
        )
    ),
    "/admin/t/initech/draft",
)


@pytest.fixture
def stage(tmp_path: Path, log_lines: io.StringIO) -> Iterator[Stage]:
    with contextlib.closing(Stage(tmp_path, operators=(OPERATOR,))) as made:
        made.run(prepared)
        yield made


def check(visitor: Visitor, name: str) -> None:
    """Check the width and the words; keep a picture where a person asks for it."""
    page = visitor.page
    page.wait_for_load_state("load")
    width = page.evaluate("() => document.documentElement.scrollWidth")
    assert width <= visitor.look.width, (page.url, width, page.evaluate(TOO_WIDE))
    assert page.evaluate(BROKEN_WORDS) == [], page.url
    folder = os.environ.get("PORTAL_TEST_PICTURES")
    if folder:
        page.screenshot(path=f"{folder}/{name}-{visitor.look}.png", full_page=True)


def named(path: str) -> str:
    return path.strip("/").replace("/", "-").partition("?")[0] or "start"


@pytest.mark.parametrize("locale", ["de-DE", "en-GB"])
def test_no_page_overflows_or_breaks_a_word_at_320_pixels(
    stage: Stage, new_visitor: NewVisitor, locale: str
) -> None:
    visitor = new_visitor(NARROW, locale=locale, reduced_motion="reduce")
    for path in PAGES:
        visitor.open(path)
        check(visitor, f"{locale}-{named(path)}")
    visitor.arrive("acme")
    check(visitor, f"{locale}-home")
    for path in CONSOLE_PAGES:
        page = visitor.open(path)
        assert page.locator("html").get_attribute("lang") == {"de-DE": "de"}.get(locale, "en-GB")
        check(visitor, f"{locale}-{named(path)}")
    visitor.check_accessibility()


def test_pages_from_right_to_left_and_with_forced_colours_do_not_overflow(
    stage: Stage, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor(NARROW, locale="de-DE", forced_colors="active", reduced_motion="reduce")
    visitor.arrive("acme")
    for path in (*PAGES, "/t/acme/", *CONSOLE_PAGES):
        page = visitor.open(path)
        page.evaluate("() => { document.documentElement.dir = 'rtl'; }")
        check(visitor, f"rtl-{named(path)}")
        assert page.evaluate("() => document.documentElement.scrollLeft") == 0


def test_a_user_signs_in_and_out_in_german(stage: Stage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor(Look(390, "dark"), locale="de-AT")
    page = visitor.open("/t/acme/")
    expect(heading(page)).to_have_text("Bei Acme Corporation anmelden")
    page.get_by_role("link", name="Weiter").click()
    page.get_by_label("Benutzername").fill("alice")
    page.get_by_label("Passwort").fill(PASSWORDS["acme"].format("alice"))
    page.get_by_role("button", name="Anmelden", exact=True).click()
    if page.get_by_role("button", name="Erlauben", exact=True).count():
        page.get_by_role("button", name="Erlauben", exact=True).click()
    expect(page).to_have_url(stage.at("/t/acme/"))
    assert page.locator("html").get_attribute("lang") == "de"
    page.locator(".menu-account summary").click()
    page.get_by_role("button", name="Überall abmelden").click()
    expect(heading(page)).to_have_text("Sie sind überall abgemeldet")
    visitor.check()
    visitor.check_no_errors()


def test_the_reader_chooses_the_language_at_the_foot_of_the_page(
    stage: Stage, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor(Look(1280, "light", scripts=False), locale="de-DE")
    page = visitor.open("/account")
    page.get_by_role("button", name="English").click()
    expect(page).to_have_url(stage.at("/account"))
    assert page.locator("html").get_attribute("lang") == "en-GB"
    page.get_by_role("button", name="Deutsch").click()
    assert page.locator("html").get_attribute("lang") == "de"
    visitor.open("/t/acme/callback?state=unknown&code=unknown")  # a page that sends no Referer
    page.get_by_role("button", name="English").click()
    expect(page).to_have_url(stage.at("/"))
    assert page.locator("html").get_attribute("lang") == "en-GB"


def test_times_are_in_the_reader_s_zone_with_scripts_and_in_utc_without(
    stage: Stage, new_visitor: NewVisitor
) -> None:
    shown = {}
    for scripts in (True, False):
        look = Look(1280, "light", scripts)
        visitor = new_visitor(look, locale="de-DE", timezone_id="America/New_York")
        visitor.arrive("acme")
        time = visitor.open("/admin/t/globex/revisions").locator("time[data-time]").first
        shown[scripts] = time.inner_text()
        assert time.get_attribute("datetime").endswith("Z")  # type: ignore[union-attr]
    assert shown[False].endswith(" UTC")
    assert " um " in shown[True]
    assert "UTC" not in shown[True]


@pytest.mark.parametrize("width", [320, 640])
def test_names_of_120_characters_without_a_space_do_not_widen_a_page(chromium: Browser, width: int) -> None:
    """640 pixels are a window of 1,280 at 200 % zoom."""
    styles = {path.name: path.read_text(encoding="utf-8") for path in STATIC.glob("*.css")}
    page = chromium.new_page(viewport={"width": width, "height": 800}, java_script_enabled=False)
    for name, sample in EVERY.items():
        html = html_of(*sample).replace("Acme", "W" * 120).replace("Ada", "Donaudampfschifffahrt" * 5)
        html = re.sub(r'<link rel="stylesheet" href="/static/([a-z.]+)[^>]*>', partial(inlined, styles), html)
        page.set_content(re.sub(r"<script[^>]*></script>|<link[^>]*>", "", html))
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width, name
    page.close()


def inlined(styles: dict[str, str], link: re.Match[str]) -> str:
    return f"<style>{styles[link[1]]}</style>"


def heading(page: Page) -> Locator:
    return page.get_by_role("heading", level=1)
