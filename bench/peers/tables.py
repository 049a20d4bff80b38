"""Tables of figures as text, and their places in a document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a heading for each column.

    `name` is that of its place in a document; `round` describes one of the rounds whose medians it shows.
    """

    name: str
    round: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """The table in Markdown, with columns of even width; all but the first are aligned to the right."""
        widths = [max(map(len, cells)) for cells in zip(self.columns, *self.rows, strict=True)]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        return "\n".join(_line(cells, widths) for cells in (self.columns, rule, *self.rows))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return f"| {' | '.join(padded)} |"


def number(value: float) -> str:
    """A figure with at most three digits that matter, and commas in thousands."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(value: float, reference: float | None) -> str:
    """How many times the reference a value is; empty without a reference."""
    return f"{value / reference:.2f} ×" if reference else ""


def replace_section(document: str, name: str, text: str) -> str:
    """Replace what stands between the two marks of a section. Raises ValueError when they are missing."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    replaced, count = re.subn(
        f"{re.escape(begin)}.*?{re.escape(end)}",
        lambda _: f"{begin}\n{text}\n{end}",
        document,
        flags=re.DOTALL,
    )
    if count != 1:
        raise ValueError(f"the document has {count} sections {name!r}")
    return replaced
