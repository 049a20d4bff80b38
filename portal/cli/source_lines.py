"""Shows the line of a configuration file that a problem is about, without secrets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from portal.config.yaml_document import visible
from portal.errors import Problem

_PLACE = re.compile(r"(?s)(.+):(\d{1,6}):(\d{1,6})")
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_KEY = re.compile(r"""( *+)(?:- ++)*+["']?[A-Za-z_][A-Za-z0-9_.-]{0,40}["']?\s*+(:.*)?""")
_SECRET = re.compile(r"""(?i)(?:secret|key|password|token|certificate|pem|\bca)[a-z_]*["']?\s*:""")
_LONGEST = 100
_LARGEST_FILE = 300_000
"""Bytes."""


def source_lines(problem: Problem) -> list[str]:
    """Return the line that a problem names, and a line with a caret below the column.

    Empty when there is nothing to show: the problem names no line, the file cannot be read, or the line may
    be a part of a secret. A line is shown only if it begins with a key; of a key that may hold a secret, only
    the key, and nothing below it.
    """
    place = _PLACE.fullmatch(problem.place)
    if place is None:
        return []
    number, column = int(place[2]), int(place[3])
    try:
        with Path(place[1]).open(encoding="utf-8") as file:
            lines = _LINE_BREAK.split(file.read(_LARGEST_FILE))
    except (OSError, ValueError):
        return []
    if not 0 < number <= len(lines) or _is_below_secret(lines, number - 1):
        return []
    text = visible(lines[number - 1].rstrip(), _LONGEST)
    shown = _KEY.fullmatch(text)
    if shown is None or column > len(text) + 1 or (shown[1] and not shown[2]):
        return []
    secret = _SECRET.search(text)
    return [f"{text[: secret.end()]} …" if secret else text, " " * (column - 1) + "^"]


def _is_below_secret(lines: Sequence[str], number: int) -> bool:
    """Whether a line belongs to a key that may hold a secret."""
    least = _indent(lines[number])
    for line in reversed(lines[:number]):
        if line.strip() and _indent(line) < least:
            least = _indent(line)
            if _SECRET.search(line[:_LONGEST]):
                return True
    return False


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
