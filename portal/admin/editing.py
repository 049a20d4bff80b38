"""Sets and removes values in the content of a tenant, and keeps the rest of its text, comments included.

The text of one entry is replaced, added or cut out where the parser found it. What the result parses to is
compared with what it should be; where they differ (an unusual way of writing YAML), the top-level key that
contains the change is written anew, and if that does not help either, the whole content. So a value can never
become anything but a value (THREATS A3).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import yaml

from portal.admin.yaml_places import end_of, line_break, line_end, line_start, start_of, with_text
from portal.admin.yaml_text import entry, inline
from portal.config.yaml_document import parse_document
from portal.errors import ConfigurationError, Problem
from portal.tenancy.presets.templates import value_at

Keys = tuple[str, ...]
Root = dict[str, Any]


class _NotPossible(Exception):
    """The text cannot be changed in this way."""


def set_values(content: str, changes: Mapping[Keys, object], name: str = "content") -> str:
    """Return a content with other values at some keys.

    Parameters: content, YAML, or empty; changes, by the keys that lead to each value: text, a number, a truth
    value, a list, or a mapping, which replaces what it differs in; None removes the key, and what becomes
    empty by that; name, of the tenant, for messages. A list on the way to a value is replaced.
    Raises: ConfigurationError if the content is not YAML that a tenant may have, or would not be.
    """
    root = values(content, name)
    for path, value in changes.items():
        for keys, one in _differences(root, path, value):
            content, root = _changed(content, root, keys, one, name)
    return content


def values(content: str, name: str = "content") -> Root:
    """Return what a content parses to; empty for an empty one. Raises: ConfigurationError."""
    return dict(parse_document(content.encode(), name).root) if content.strip() else {}


def put_below(content: str, keys: Iterator[str] | tuple[str, ...], below: Keys, name: str = "content") -> str:
    """Return a content whose top-level entries with some keys are moved below other keys.

    Their text is moved as it is, with the comments above each entry. Raises: ConfigurationError.
    """
    root = values(content, name)
    moved = {key: root[key] for key in keys if key in root}
    wanted = {key: value for key, value in root.items() if key not in moved}
    holder = wanted
    for key in below:
        holder = holder.setdefault(key, {})
    holder.update(moved)
    found = _accepted(lambda: _moved_text(content, [*moved], below), wanted, name)
    return _written(wanted, name, below) if found is None else found


# --- one change


def _differences(root: Root, path: Keys, value: object) -> list[tuple[Keys, object]]:
    """The changes of single entries that make the value at a path another; none if it is the same."""
    now = value_at(root, path)
    if isinstance(now, dict) and isinstance(value, Mapping) and value:
        gone = [((*path, key), None) for key in now if key not in value]
        return [*(one for key in value for one in _differences(root, (*path, key), value[key])), *gone]
    return [] if _same(now, value) else [(path, value)]


def _same(one: object, other: object) -> bool:
    """Whether two values are the same in type, too: 1 is not true."""
    return json.dumps(one) == json.dumps(other)


def _changed(content: str, root: Root, path: Keys, value: object, name: str) -> tuple[str, Root]:
    wanted = json.loads(json.dumps(root))
    if value is None:
        while len(path) > 1 and len(cast(Root, value_at(root, path[:-1]))) == 1:
            path = path[:-1]
        del cast(Root, value_at(wanted, path[:-1]))[path[-1]]
    else:
        _put(wanted, path, value)
    top, new = path[:1], wanted.get(path[0])
    attempts: tuple[Callable[[], str], ...] = (
        lambda: _spliced(content, path, value),
        lambda: _spliced(content, top, new, whole=True),
    )
    for attempt in attempts:
        if (found := _accepted(attempt, wanted, name)) is not None:
            return found, wanted
    return _written(wanted, name, path), wanted


def _put(root: Root, path: Keys, value: object) -> None:
    for key in path[:-1]:
        if not isinstance(root.get(key), dict):
            root[key] = {}
        root = root[key]
    root[path[-1]] = json.loads(json.dumps(value))


def _accepted(attempt: Callable[[], str], wanted: Root, name: str) -> str | None:
    """The text that an attempt makes, if it parses to what is wanted."""
    try:
        found = attempt()
        return found if _same(values(found, name), wanted) else None
    except (_NotPossible, ConfigurationError, yaml.YAMLError):  # the next attempt is tried
        return None


def _written(root: Root, name: str, path: Keys) -> str:
    """The content written anew. Raises: ConfigurationError at `path` for what no content may have."""
    text = "".join(entry(key, value) + "\n" for key, value in root.items()) or "{}\n"
    try:
        values(text, name)
    except ConfigurationError as error:
        raise ConfigurationError([Problem(name, error.problems[0].message, path)]) from None
    return text


# --- the text of an entry


@dataclass(frozen=True, slots=True)
class _Entry:
    """A key and its value in the text."""

    key: yaml.ScalarNode
    value: yaml.Node

    @property
    def start(self) -> int:
        return cast(int, self.key.start_mark.index)


def _spliced(content: str, path: Keys, value: object, *, whole: bool = False) -> str:
    """The content with one entry replaced, added or removed. Parameters: whole, also if a part would do."""
    root = yaml.compose(content, Loader=yaml.CSafeLoader)
    if not isinstance(root, yaml.MappingNode):
        if content.strip():
            raise _NotPossible
        return content + entry(path[0], _nested(path[1:], value)) + "\n"
    holder, rest, found = _locate(root, path)
    if found is None:
        return _inserted(content, holder, rest[0], _nested(rest[1:], value))
    if value is None:
        return _removed(content, holder, found)
    if not whole and len(rest) == 1 and _is_inline(content, found.value) and not isinstance(value, Mapping):
        return with_text(content, start_of(found.value), end_of(content, found.value), inline(value))
    return _replaced(content, holder, found, rest[0], _nested(rest[1:], value))


def _locate(root: yaml.MappingNode, path: Keys) -> tuple[yaml.MappingNode, Keys, _Entry | None]:
    """The deepest mapping on a path, the keys from there on, and the entry of the first of them."""
    holder = root
    while True:
        found = next((_Entry(key, value) for key, value in holder.value if key.value == path[0]), None)
        if found is None or len(path) == 1 or not isinstance(found.value, yaml.MappingNode):
            return holder, path, found
        holder, path = found.value, path[1:]


def _nested(path: Keys, value: object) -> object:
    for key in reversed(path):
        value = {key: value}
    return value


def _inserted(content: str, holder: yaml.MappingNode, key: str, value: object) -> str:
    if holder.flow_style:
        last = end_of(content, holder.value[-1][1]) if holder.value else start_of(holder) + 1
        comma = ", " if holder.value else ""
        return with_text(content, last, last, f"{comma}{inline(key)}: {inline(value)}")
    end = line_end(content, end_of(content, holder.value[-1][1]))
    text = entry(key, value, _indent(holder), line_break(content))
    before = "" if content[:end].endswith("\n") else line_break(content)
    return with_text(content, end, end, before + text + line_break(content))


def _replaced(content: str, holder: yaml.MappingNode, found: _Entry, key: str, value: object) -> str:
    end = end_of(content, found.value)
    if holder.flow_style:
        return with_text(content, found.start, end, f"{inline(key)}: {inline(value)}")
    text = entry(key, value, _indent(holder), line_break(content)).lstrip(" ")
    return with_text(content, found.start, end, text)


def _removed(content: str, holder: yaml.MappingNode, found: _Entry) -> str:
    if holder.flow_style:
        return _removed_inline(content, holder, found)
    start = line_start(content, found.start)
    if content[start : found.start].strip():
        raise _NotPossible  # the first entry after the dash of a list
    return with_text(content, start, line_end(content, end_of(content, found.value)), "")


def _removed_inline(content: str, holder: yaml.MappingNode, found: _Entry) -> str:
    entries = [_Entry(*one) for one in holder.value]
    at = next(index for index, one in enumerate(entries) if one.start == found.start)
    if at + 1 < len(entries):
        return with_text(content, found.start, entries[at + 1].start, "")
    if at == 0:
        raise _NotPossible
    return with_text(content, end_of(content, entries[at - 1].value), end_of(content, found.value), "")


def _is_inline(content: str, node: yaml.Node) -> bool:
    """Whether another value on one line can take the place of this one."""
    text = content[start_of(node) : end_of(content, node)]
    if isinstance(node, yaml.CollectionNode):
        return bool(node.flow_style)
    return text != "" and text[0] not in "|>"


def _indent(holder: yaml.MappingNode) -> str:
    return " " * cast(int, holder.start_mark.column)


# --- moving entries


def _moved_text(content: str, keys: list[str], below: Keys) -> str:
    root = yaml.compose(content, Loader=yaml.CSafeLoader)
    if not isinstance(root, yaml.MappingNode) or root.flow_style or root.start_mark.column:
        raise _NotPossible
    kept: list[str] = []
    moved: list[str] = []
    end = 0
    for one in (_Entry(*pair) for pair in root.value):
        after = line_end(content, end_of(content, one.value))
        (moved if one.key.value in keys else kept).append(content[end:after])
        end = after
    ending = line_break(content)
    heads = [f"{'  ' * depth}{inline(key)}:{ending}" for depth, key in enumerate(below)]
    lines = "".join(_ended(text, ending) for text in moved)
    shifted = re.sub(r"^(?=[^\r\n])", "  " * len(below), lines, flags=re.MULTILINE)
    stay = "".join(_ended(text, ending) for text in [*kept, content[end:]] if text)
    return stay + "".join(heads) + shifted


def _ended(text: str, ending: str) -> str:
    return text if text.endswith("\n") else text + ending
