"""Writes the table of docs/reference/live-checks.md from docs/live-checks.yaml.

    python scripts/live_checks.py

The tests of wrong set-ups compare docs/live-checks.yaml with what the live checks say at real providers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))
from generated_pages import ROOT, begin_of, replace_generated, write_page

SOURCE = ROOT / "docs" / "live-checks.yaml"
PAGE = ROOT / "docs" / "reference" / "live-checks.md"
BEGIN = begin_of("live_checks.py")
_HEAD = "| what is wrong | check | what it says | what to do |"


def main() -> int:
    """Write the table into the page."""
    write_page(PAGE, rendered(PAGE.read_text(encoding="utf-8")))
    return 0


def rendered(page: str) -> str:
    """Return the page with the current table. Parameters: page, its current text."""
    return replace_generated(page, BEGIN, _tables())


def _tables() -> Iterator[str]:
    document = yaml.load(SOURCE.read_text(encoding="utf-8"), yaml.CSafeLoader)
    for provider, entries in document.items():
        yield from ("", f"### At {_title(provider)}", "", _HEAD, "|---|---|---|---|")
        for entry in entries:
            check = f"`{entry['check']}`: {entry['status']}"
            cells = (entry["mistake"], check, _code(entry["seen"]), _code(entry["advice"]))
            yield f"| {' | '.join(cells)} |"


def _title(provider: str) -> str:
    return f"a {provider}" if provider.startswith("development") else provider


def _code(text: str) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return escaped.replace("*", "\\*").replace("_", "\\_").replace("`", "\\`")


if __name__ == "__main__":
    sys.exit(main())
