"""The line of a YAML text that a problem is about, and the column, for a caret below it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from portal.config.yaml_document import visible
from portal.errors import Problem

_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_LONGEST_LINE = 100
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A line of a text; `number` and `column` count from 1."""

    number: int
    text: str
    """At most 100 characters, with control characters escaped."""
    column: int

    @property
    def caret(self) -> str:
        """A line with a caret below the column."""
        return " " * (self.column - 1) + "^"


def lines_of(text: str) -> list[str]:
    """The lines of a text, as YAML counts them."""
    return _LINE_BREAK.split(text)


def position_of(problem: Problem) -> tuple[str, int, int] | None:
    """The file, line and column of a problem; None when it names no line."""
    file, _, column = problem.place.rpartition(":")
    file, _, line = file.rpartition(":")
    if not file or not _is_number(line) or not _is_number(column):
        return None
    return file, int(line), int(column)


def source_line(problem: Problem, lines: Sequence[str]) -> SourceLine | None:
    """The line that a problem names; None when it names none of them. Parameters: lines, as of `lines_of`."""
    position = position_of(problem)
    if position is None or not 0 < position[1] <= len(lines):
        return None
    _, number, column = position
    text = visible(lines[number - 1].rstrip(), _LONGEST_LINE)
    if not text or not 0 < column <= len(text) + 1:
        return None
    return SourceLine(number, text, column)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS
