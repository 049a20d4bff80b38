"""JSON laid out for people: one member a line, every number as the API wrote it."""

from __future__ import annotations

import json
import re

_WORD = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)


def indented(text: str, *, most: int) -> str:
    """Lay out a JSON text; one that is not JSON, or that would grow beyond `most` characters, stays as it is.

    Works on the text: what is read and written again would lose digits of numbers and repeated members.
    """
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    pieces: list[str] = []
    size = depth = 0
    opened = False
    for found in _WORD.finditer(text):
        word = found[0]
        if word in "}]":
            depth -= 1
            piece = word if opened else _line(depth) + word
        else:
            piece = (_line(depth) if opened else "") + word
        opened = word in "{["
        if opened:
            depth += 1
        elif word == ",":
            piece += _line(depth)
        elif word == ":":
            piece += " "
        pieces.append(piece)
        size += len(piece)
        if size > most:
            return text
    return "".join(pieces)


def _line(depth: int) -> str:
    return "\n" + "  " * depth
