"""axe-core in a page of Playwright: nothing that WCAG 2.2 A and AA forbid."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
WCAG = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
"""The rules that are checked: those of WCAG up to 2.2, levels A and AA, and best practices."""
_RUN = """(tags) => axe.run(document, {runOnly: {type: 'tag', values: tags}, resultTypes: ['violations']})"""


def violations(page: Page, tags: tuple[str, ...] = WCAG) -> list[tuple[str, list[str]]]:
    """Return the rules that the page breaks, each with up to three elements that do."""
    page.evaluate(AXE.read_text())  # through the debugger, which the page's policy does not restrict
    found = page.evaluate(_RUN, list(tags))
    assert found["passes"], "axe checked nothing"
    return [(rule["id"], [node["html"] for node in rule["nodes"]][:3]) for rule in found["violations"]]


def check(page: Page, state: str = "") -> None:
    """Fail when the page breaks a rule. Parameters: state, what the page shows, for the message."""
    broken = violations(page)
    assert broken == [], (state or page.url, broken)
