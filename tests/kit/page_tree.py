"""The HTML of a page as a tree for tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "input", "img", "br", "wbr"}
INLINE = {"a", "bdi", "code", "span", "time"}


@dataclass
class Node:
    """An element with its attributes and its content in order."""

    tag: str
    attrs: dict[str, str]
    parent: Node | None
    content: list[Node | str] = field(default_factory=list)

    @property
    def children(self) -> list[Node]:
        return [part for part in self.content if isinstance(part, Node)]

    @property
    def own_text(self) -> str:
        """The text directly in this element, unchanged."""
        return "".join(part for part in self.content if isinstance(part, str))

    def all(self, *tags: str) -> list[Node]:
        below = [node for child in self.children for node in (child, *child.all())]
        return [node for node in below if not tags or node.tag in tags]

    def ancestors(self) -> list[Node]:
        return [] if self.parent is None else [self.parent, *self.parent.ancestors()]

    @property
    def text(self) -> str:
        """The text in this element and its descendants, with spaces as displayed."""
        return " ".join(self._flow().split())

    def _flow(self) -> str:
        return "".join(
            part if isinstance(part, str) else part._flow() if part.tag in INLINE else f" {part._flow()} "
            for part in self.content
        )


class PageParser(HTMLParser):
    """Builds a tree; asserts that elements are nested correctly and closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.root = self.here = Node("", {}, None)
        self.feed(html)
        self.close()
        assert self.here is self.root, f"<{self.here.tag}> is never closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has a duplicate attribute"
        node = Node(tag, {name: value or "" for name, value in attrs}, self.here)
        self.here.content.append(node)
        if tag not in VOID:
            self.here = node

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.here.tag == tag, f"</{tag}> closes <{self.here.tag}>"
        assert self.here.parent is not None
        self.here = self.here.parent

    def handle_data(self, data: str) -> None:
        self.here.content.append(data)
