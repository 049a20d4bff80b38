"""Writes the tables of docs/reference/events.md from the enums in portal/admin/.

    python scripts/events.py

Their docstrings are the sentences.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ADMIN = ROOT / "portal" / "admin"
PAGE = ROOT / "docs" / "reference" / "events.md"
BEGIN = "<!-- made by scripts/events.py -->"
_TABLES = (
    ("Kinds", "events.py", "EventKind"),
    ("Outcomes", "events.py", "Outcome"),
    ("Types of actors", "actors.py", "ActorType"),
)


def main() -> int:
    """Write the tables into the page."""
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


def rendered(page: str) -> str:
    """Return the page with the current tables. Parameters: page, its current text."""
    return page.partition(BEGIN)[0] + "\n".join([BEGIN, *_tables()]) + "\n"


def _tables() -> Iterator[str]:
    for title, file, name in _TABLES:
        yield from ("", f"## {title}", "", f"| {name_of_column(title)} | meaning |", "|---|---|")
        for value, sentence in members((ADMIN / file).read_text(encoding="utf-8"), name):
            yield f"| `{value}` | {sentence} |"


def name_of_column(title: str) -> str:
    """The heading of the first column: `kind`, `outcome` or `type`."""
    return title.partition(" ")[0].lower().removesuffix("s")


def members(source: str, name: str) -> list[tuple[str, str]]:
    """The values of an enum and their docstrings, in order.

    Raises ValueError for a member without a docstring. Parameters: source, of its module.
    """
    [found] = [
        node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == name
    ]
    result = []
    for node, following in zip(found.body, [*found.body[1:], None], strict=True):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Constant):
            continue
        value = str(node.value.value)
        sentence = (
            following.value.value
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            else None
        )
        if sentence is None:
            raise ValueError(f"{name}: {value} has no docstring")
        result.append((value, " ".join(str(sentence).split())))
    return result


if __name__ == "__main__":
    sys.exit(main())
