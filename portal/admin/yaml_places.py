"""Where a parser found values in a text, and texts with another part there."""

from __future__ import annotations

from typing import cast

import yaml


def start_of(node: yaml.Node) -> int:
    """Where a value begins, in characters."""
    return cast(int, node.start_mark.index)


def end_of(content: str, node: yaml.Node) -> int:
    """Where a value ends: the parser's mark of a value of several lines is behind comments that follow it."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(node, yaml.MappingNode) else last
    end = cast(int, node.end_mark.index)
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        return start_of(node) + len(content[start_of(node) : end].rstrip())
    return end


def with_text(content: str, start: int, end: int, text: str) -> str:
    """The content with a text in place of the characters from `start` to `end`."""
    return content[:start] + text + content[end:]


def line_start(content: str, index: int) -> int:
    """Where the line with a character begins."""
    return content.rfind("\n", 0, index) + 1


def line_end(content: str, index: int) -> int:
    """The beginning of the next line."""
    found = content.find("\n", index)
    return len(content) if found < 0 else found + 1


def line_break(content: str) -> str:
    """How the lines of a content end."""
    return "\r\n" if "\r\n" in content else "\n"
