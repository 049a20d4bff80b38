"""Writes the tables of docs/reference/events.md from the enums in portal/admin/.

    python scripts/events.py

Their docstrings are the sentences.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from generated_pages import ROOT, begin_of, members, replace_generated, write_page

ADMIN = ROOT / "portal" / "admin"
PAGE = ROOT / "docs" / "reference" / "events.md"
BEGIN = begin_of("events.py")
_TABLES = (
    ("Kinds", "events.py", "EventKind"),
    ("Outcomes", "events.py", "Outcome"),
    ("Types of actors", "actors.py", "ActorType"),
)


def main() -> int:
    """Write the tables into the page."""
    write_page(PAGE, rendered(PAGE.read_text(encoding="utf-8")))
    return 0


def rendered(page: str) -> str:
    """Return the page with the current tables. Parameters: page, its current text."""
    return replace_generated(page, BEGIN, _tables())


def _tables() -> Iterator[str]:
    for title, file, name in _TABLES:
        yield from ("", f"## {title}", "", f"| {name_of_column(title)} | meaning |", "|---|---|")
        for value, sentence in members((ADMIN / file).read_text(encoding="utf-8"), name):
            yield f"| `{value}` | {sentence} |"


def name_of_column(title: str) -> str:
    """The heading of the first column: `kind`, `outcome` or `type`."""
    return title.partition(" ")[0].lower().removesuffix("s")


if __name__ == "__main__":
    sys.exit(main())
