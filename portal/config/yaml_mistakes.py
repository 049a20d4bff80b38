"""The likely cause of a YAML syntax error, in words.

A YAML parser says what it expected where it gave up, which is often a line after the mistake. People who
write a file by hand make few kinds of mistakes; this module looks for them around that place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import yaml

_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_LONGEST_LINE = 500
"""Characters of a line that are looked at."""
_KEY = re.compile(r" *+(?:- ++)*+[A-Za-z_][A-Za-z0-9_-]*+:(?P<value>.*)")
_NOT_A_START = frozenset("@`%")
_CLOSING = {"[": "]", "{": "}"}


class Mistake(NamedTuple):
    """A likely mistake; line and column count from 1."""

    line: int
    column: int
    message: str


def likely_mistake(text: str, error: yaml.MarkedYAMLError) -> Mistake:
    """Return what is probably wrong in a text that is not YAML, and where."""
    lines = [line[:_LONGEST_LINE] for line in _LINE_BREAK.split(text)]
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Mistake(1, 1, f"this is not YAML: {error.problem}")
    began = error.context_mark or mark
    problem, context = str(error.problem), str(error.context or "")
    if "quoted scalar" in context:
        return Mistake(began.line + 1, began.column + 1, "the quote that begins here is not closed")
    if "flow" in context:
        opened = _character(lines, began.line, began.column)
        if closing := _CLOSING.get(opened):
            return Mistake(
                began.line + 1, began.column + 1, f"the {opened} that begins here is not closed by {closing}"
            )
    character = _character(lines, mark.line, mark.column)
    if character in _NOT_A_START:
        return Mistake(
            mark.line + 1, mark.column + 1, f"a value cannot begin with {character}; put it in quotes"
        )
    if "':'" in problem:
        message = 'a colon is missing: write "key: value", or "key:" before indented lines'
        return Mistake(began.line + 1, began.column + 1, message)
    found = (
        _without_space(lines, mark.line)
        or _colon_in_value(lines, mark.line)
        or _apostrophe(lines, mark.line)
        or _indentation(lines, mark.line)
    )
    more = f" {context}" if context else ""
    return found or Mistake(mark.line + 1, mark.column + 1, f"this is not YAML: {problem}{more}")


def _character(lines: Sequence[str], line: int, column: int) -> str:
    return lines[line][column : column + 1] if line < len(lines) else ""


def _without_space(lines: Sequence[str], line: int) -> Mistake | None:
    """`key:value`: YAML takes it for text, and fails at the next key."""
    for number in (line, line - 1):
        match = _KEY.fullmatch(lines[number]) if 0 <= number < len(lines) else None
        if match and match["value"] and match["value"][0] not in " /":
            return Mistake(number + 1, match.start("value") + 1, "a space is missing after the colon")
    return None


def _colon_in_value(lines: Sequence[str], line: int) -> Mistake | None:
    match = _KEY.fullmatch(lines[line]) if line < len(lines) else None
    if match is None or match["value"].lstrip()[:1] in ("", '"', "'", "[", "{", "|", ">", "#"):
        return None
    colon = match["value"].find(": ")
    if colon < 0 and match["value"].endswith(":"):
        colon = len(match["value"]) - 1
    if colon < 0:
        return None
    message = "a value that contains a colon and a space must be in quotes"
    return Mistake(line + 1, match.start("value") + colon + 1, message)


def _apostrophe(lines: Sequence[str], line: int) -> Mistake | None:
    match = _KEY.fullmatch(lines[line]) if line < len(lines) else None
    value = match["value"].strip() if match else ""
    if match is None or value[:1] not in ("'", '"'):
        return None
    second = value.find(value[0], 1)
    if 0 < second < len(value) - 1 and not value[second + 1 :].lstrip().startswith("#"):
        column = lines[line].find(value) + second + 1
        other = "double" if value[0] == "'" else "single"
        return Mistake(
            line + 1,
            column,
            f"the text in quotes ends here, but the line goes on; use {other} quotes around it",
        )
    return None


def _indentation(lines: Sequence[str], line: int) -> Mistake | None:
    """A line that is indented like none of the lines above that it could belong to."""
    if line >= len(lines) or not lines[line].strip():
        return None
    own = _indent(lines[line])
    above: list[int] = []
    least = _LONGEST_LINE
    for text in reversed(lines[:line]):
        if not text.strip() or text.lstrip().startswith("#") or _indent(text) >= least:
            continue
        least = _indent(text)
        above.append(least)
        if least == 0:
            break
    if not above or own in above:
        return None
    expected = " or ".join(str(indent) for indent in sorted(above))
    return Mistake(
        line + 1, own + 1, f"this line is indented by {_spaces(own)}; the lines above it by {expected}"
    )


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _spaces(count: int) -> str:
    return "1 space" if count == 1 else f"{count} spaces" if count else "no space"
