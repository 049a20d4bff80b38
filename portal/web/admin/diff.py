"""A unified diff as lines for `templates/admin/_diff.html`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from portal.display_text import display_text

_MOST_LINES = 2_000
_LONGEST_LINE = 1_000
_KINDS = {"+": "added", "-": "removed"}
_PLACE = re.compile(r"@@ -[0-9,]{1,20} \+([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of a diff. `kind`: `added`, `removed`, `place` of a change, or `same`."""

    kind: str
    text: str


def diff_lines(diff: str) -> tuple[DiffLine, ...]:
    """The lines of a unified diff without its header, at most 2,000."""
    lines = [line for line in diff.split("\n") if line and not line.startswith(("--- ", "+++ "))]
    made = [_line(line) for line in lines[:_MOST_LINES]]
    if len(lines) > _MOST_LINES:
        made.append(DiffLine("place", f"{len(lines) - _MOST_LINES} more lines"))
    return tuple(made)


def _line(line: str) -> DiffLine:
    place = _PLACE.match(line)
    if place is not None:
        return DiffLine("place", f"Line {place[1]}")
    return DiffLine(_KINDS.get(line[0], "same"), _text(line[1:]))


def _text(line: str) -> str:
    """A line with its indentation, as safe text."""
    indentation = len(line) - len(line.lstrip(" "))
    return " " * min(indentation, 60) + display_text(line, limit=_LONGEST_LINE)
