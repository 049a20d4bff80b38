"""A unified diff as lines for `templates/admin/_diff.html`."""

from __future__ import annotations

from dataclasses import dataclass

from portal.display_text import display_text

_MOST_LINES = 2_000
_LONGEST_LINE = 1_000
_KINDS = {"+": "added", "-": "removed", "@": "place"}


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of a diff. `kind`: `added`, `removed`, `place` of a change, or `same`."""

    kind: str
    text: str


def diff_lines(diff: str) -> tuple[DiffLine, ...]:
    """The lines of a unified diff without its header, at most 2,000."""
    lines = [line for line in diff.split("\n") if line and not line.startswith(("--- ", "+++ "))]
    made = [DiffLine(_KINDS.get(line[0], "same"), _text(line[1:])) for line in lines[:_MOST_LINES]]
    if len(lines) > _MOST_LINES:
        made.append(DiffLine("place", f"{len(lines) - _MOST_LINES} more lines"))
    return tuple(made)


def _text(line: str) -> str:
    """A line with its indentation, as safe text."""
    indentation = len(line) - len(line.lstrip(" "))
    return " " * min(indentation, 60) + display_text(line, limit=_LONGEST_LINE)
