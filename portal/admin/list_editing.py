"""Changes a list of mappings in the content of a tenant, and keeps the text of its other entries.

An entry is text of its own: it is moved, changed or left out with the comments above it (decision 063). What
the result parses to is compared with what it should be; where they differ, the list is written anew.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import yaml

from portal.admin.editing import Keys, Root, set_values, values
from portal.admin.yaml_places import end_of, line_break, line_end, line_start, start_of
from portal.admin.yaml_text import inline
from portal.errors import ConfigurationError

Entry = Mapping[str, object]


def set_entries(
    content: str,
    key: str,
    entries: Sequence[Entry],
    *,
    same: Sequence[str],
    name: str = "content",
) -> str:
    """Return a content with other entries in the list at a key; without entries, the key is removed.

    Parameters: content, YAML, or empty; key, at the top level; entries, with plain values; same, the keys by
    which an entry that was changed is recognized, the most telling first; name, of the tenant, for messages.
    Raises: ConfigurationError if the content is not YAML that a tenant may have, or would not be.
    """
    root = values(content, name)
    now, wanted = root.get(key), [*map(dict, entries)]
    if wanted and isinstance(now, list) and now and all(isinstance(one, dict) for one in now):
        if now == wanted:
            return content
        found = _edited(content, key, now, wanted, origins(now, wanted, same))
        if found is not None and _is_wanted(found, {**root, key: wanted}, name):
            return found
    return set_values(content, {(key,): wanted or None}, name)


def origins(now: Sequence[Entry], entries: Sequence[Entry], same: Sequence[str]) -> list[int | None]:
    """The place that each entry has in the list now; None for a new one. Parameters: as `set_entries`."""
    found: list[int | None] = [None] * len(entries)
    free = dict(enumerate(now))

    def assign(is_same: Iterable[tuple[int, int]]) -> None:
        for new, old in is_same:
            if found[new] is None and old in free:
                found[new] = old
                del free[old]

    assign((new, old) for new, one in enumerate(entries) for old, other in enumerate(now) if one == other)
    for key in same:
        assign(
            (new, old)
            for new, one in enumerate(entries)
            for old, other in enumerate(now)
            if one.get(key) is not None and one.get(key) == other.get(key)
        )
    return found


def _is_wanted(content: str, wanted: Root, name: str) -> bool:
    try:
        return json.dumps(values(content, name), sort_keys=True) == json.dumps(wanted, sort_keys=True)
    except ConfigurationError:  # the list is written anew
        return False


@dataclass(frozen=True, slots=True)
class _Piece:
    """The text of an entry: the comments above it, its lines, and where its first value begins in them."""

    head: str
    body: str
    indent: int


def _edited(
    content: str, key: str, now: Sequence[Entry], wanted: Sequence[Entry], places: Sequence[int | None]
) -> str | None:
    """The content with the text of its entries changed; None where they are not written one below another.

    Parameters: places, as `origins` returns them.
    """
    found = _pieces(content, key)
    if found is None:
        return None
    start, pieces, end = found
    dash = " " * (pieces[0].indent - len(pieces[0].body[: pieces[0].indent].lstrip(" ")))
    heads, rest = _heads(pieces, places)
    text = ""
    for place, one in zip(places, wanted, strict=True):
        if place is None:
            text += f"{dash}- {inline(one)}{line_break(content)}"
            continue
        piece = pieces[place]
        body = _with_values(piece, now[place], one)
        if body is None:
            return None
        text += heads[place] + (body if body.endswith("\n") else body + line_break(content))
    return content[:start] + text + rest + content[end:]


def _heads(pieces: Sequence[_Piece], places: Collection[int | None]) -> tuple[dict[int, str], str]:
    """The comments above each entry that stays, with those of entries before it that do not; and the rest."""
    heads: dict[int, str] = {}
    waiting = ""
    for index, piece in enumerate(pieces):
        waiting += piece.head
        if index in places:
            heads[index], waiting = waiting, ""
    return heads, waiting


def _pieces(content: str, key: str) -> tuple[int, list[_Piece], int] | None:
    """The entries of a list, and where the first begins and the last ends."""
    root = yaml.compose(content, Loader=yaml.CSafeLoader)
    pairs = root.value if isinstance(root, yaml.MappingNode) and not root.flow_style else []
    found = next(((name, value) for name, value in pairs if name.value == key), None)
    if found is None or not isinstance(found[1], yaml.SequenceNode) or found[1].flow_style:
        return None
    holder, node = found
    start = end = line_end(content, start_of(holder))
    pieces = []
    for one in node.value:
        first = line_start(content, start_of(one))
        if first < end or content[first : start_of(one)].strip(" ") != "-":
            return None
        after = line_end(content, end_of(content, one))
        pieces.append(_Piece(content[end:first], content[first:after], start_of(one) - first))
        end = after
    return start, pieces, end


def _with_values(piece: _Piece, now: Entry, wanted: Entry) -> str | None:
    """The lines of an entry with other values; None where they are written in an unusual way."""
    if now == wanted:
        return piece.body
    lead, margin = piece.body[: piece.indent], " " * piece.indent
    lines = piece.body.splitlines(keepends=True)
    if any(line.strip() and not line.startswith(margin) for line in lines[1:]):
        return None
    alone = "".join(line[piece.indent :] if line.strip() else line for line in lines)
    changes: dict[Keys, object] = {
        (key,): wanted.get(key) for key in (*wanted, *now) if now.get(key) != wanted.get(key)
    }
    try:
        edited = set_values(alone, changes)
    except ConfigurationError:  # the list is written anew
        return None
    return lead + "".join(
        line if not index or not line.strip() else margin + line
        for index, line in enumerate(edited.splitlines(keepends=True))
    )
