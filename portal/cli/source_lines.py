"""Shows the line of a tenant file that a problem is about, without its contents.

A secret may stand anywhere in a file that is wrong. So of a line only the keys of tenant files and the
punctuation are shown, and every other letter and digit as `x`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from portal.config.source_lines import lines_of, position_of, source_line
from portal.errors import Problem
from portal.tenancy.schema.tenant import ManyProvidersTenantFile, OneProviderTenantFile

_WORD = re.compile(r"\w+(?=\s*(:?))")
_LARGEST_FILE = 300_000
"""Characters."""


def source_lines(problem: Problem) -> list[str]:
    """Return the line that a problem names, and a line with a caret below the column.

    Empty when the problem names no line of a file that can be read.
    """
    position = position_of(problem)
    if position is None:
        return []
    try:
        with Path(position[0]).open(encoding="utf-8") as file:
            lines = lines_of(file.read(_LARGEST_FILE))
    except (OSError, ValueError):
        return []
    line = source_line(problem, lines)
    return [_WORD.sub(_shown, line.text), line.caret] if line is not None else []


def _shown(word: re.Match[str]) -> str:
    return word[0] if word[1] and word[0] in _keys() else "x" * len(word[0])


@cache
def _keys() -> frozenset[str]:
    """The keys of tenant files, at every level."""
    return frozenset((*_keys_of(OneProviderTenantFile), *_keys_of(ManyProvidersTenantFile)))


def _keys_of(annotation: Any) -> Iterator[str]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield name
            yield from _keys_of(field.annotation)
    for inner in get_args(annotation):
        yield from _keys_of(inner)
