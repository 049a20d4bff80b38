"""A unified diff as lines for `templates/admin/_diff.html`.

Who publishes a draft must see all of it, so nothing is left out, shortened or made invisible.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from portal.sentences import plural_sentence, sentence

_MOST_LINES = 2_000
"""That have a row of their own; a page of very many rows would hold the event loop."""
_HEADER_LINES = 2
_KINDS = {"+": "added", "-": "removed"}
_PLACE = re.compile(r"@@ -[0-9,]{1,20} \+([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of a diff.

    `kind`: `added`, `removed`, `place` of a change, or `same`; or `rest`: the lines after the 2,000th as one
    text, each with `+`, `-` or a space before it.
    """

    kind: str
    text: str


def diff_lines(diff: str) -> tuple[DiffLine, ...]:
    """All lines of a unified diff without its header. It may take long: call it in a thread."""
    lines = diff.split("\n")[_HEADER_LINES:]
    made = [_line(line) for line in lines[:_MOST_LINES]]
    rest = lines[_MOST_LINES:]
    if rest:
        made.append(
            DiffLine(
                "place",
                plural_sentence(
                    "%(count)s more line, without colors", "%(count)s more lines, without colors", len(rest)
                ),
            )
        )
        made.append(DiffLine("rest", "\n".join(map(_text, rest))))
    return tuple(made)


def _line(line: str) -> DiffLine:
    place = _PLACE.match(line)
    if place is not None:
        return DiffLine("place", sentence("Line %(number)s", number=place[1]))
    return DiffLine(_KINDS.get(line[:1], "same"), _text(line[1:]))


def _text(line: str) -> str:
    """A line with its white space; what is invisible or changes the direction is shown as its number."""
    if line.isprintable():
        return line
    return "".join(one if one.isprintable() else f"<U+{ord(one):04X}>" for one in line)
