"""Bounds what a browser draws for an SVG document whose elements refer to each other.

An element with `href="#id"` or `url(#id)` draws the element with that id once more. References of references
multiply: a document of 2 KB could ask for a hundred million elements. So the elements are counted as if each
reference were replaced by what it refers to, generously: an element counts the `url(#id)` of all elements
around it, because `fill`, `stroke` and others are inherited.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

MOST_DRAWN = 20_000
"""Elements, each as often as it is drawn."""

_NOT_DRAWN = frozenset({"a", "animate", "animatemotion", "animatetransform", "discard", "mpath", "set"})
"""Elements whose `href` does not draw what it refers to."""
_GRADIENTS = frozenset({"lineargradient", "radialgradient"})
_URL = re.compile(r"""url\(\s*+["']?+\s*+\#(?=([^)"']{0,800}+))""", re.IGNORECASE)
"""The text behind it is searched too: `url(` within a string could hide another one."""
_IGNORED_IN_URLS = re.compile(r"[\t\n\r]")
_END_OF_ID = re.compile(r"""[)"']""")
_ID_CHARACTERS = 60
"""Of an id; what has the same beginning is counted together. Of 800, if each is encoded with `%`."""
_VERTEX_CHARACTERS = 3
"""Of a vertex in a path, at least."""
_COMMENT_OR_STRING = re.compile(
    r"""/\*[^*]*+(?:\*(?!/)[^*]*+)*+(?:\*/|\Z) | "[^"\n\r\f]*+" | '[^'\n\r\f]*+'""", re.VERBOSE
)
_NAMES = re.compile(r"\s*+[.#]?[\w-]++\s*+(?:,\s*+[.#]?[\w-]++\s*+)*+")
"""Selectors that are a class, an id or the name of an element."""
_EVERYTHING = "*"


class TooMuchToDraw(Exception):
    """References of a document multiply, or lead back to where they began."""


@dataclass(slots=True)
class _Element:
    parent: int
    is_gradient: bool
    keys: list[str]
    """What a selector may name it by: `rect`, `#id`, `.class`."""
    ids: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    """The ids of `url(#…)`, later also of those of the elements around it."""
    drawn: list[str] = field(default_factory=list)
    """The ids of `href`."""
    children: list[int] = field(default_factory=list)


class SvgReferences:
    """Collects the elements of a document, in its order; then `check` counts them."""

    def __init__(self) -> None:
        self._elements: list[_Element] = []
        self._open: list[int] = []
        self._ids: dict[str, list[int]] = {}
        self._markers: set[str] = set()
        self._most_vertices = 1

    def start(self, name: str, attributes: Sequence[tuple[str, str]]) -> None:
        """Add an element. Parameters: name, and attributes, by their local names in lower case."""
        place, parent = len(self._elements), self._open[-1] if self._open else -1
        element = _Element(parent, name in _GRADIENTS, keys=[name, _EVERYTHING])
        if parent >= 0:
            self._elements[parent].children.append(place)
            element.is_gradient |= self._elements[parent].is_gradient
        for attribute, value in attributes:
            element.urls += _ids_in(value)
            if attribute == "href" and value.strip().startswith("#") and name not in _NOT_DRAWN:
                element.drawn += _spellings(value.strip()[1:])
            elif attribute == "class":
                element.keys += [f".{one}" for one in value.split()]
            elif attribute == "id":
                self._name(place, element, value)
                if name == "marker":
                    self._markers.add(_bounded(value))
            if attribute != "href":
                self._most_vertices = max(self._most_vertices, len(value) // _VERTEX_CHARACTERS)
        self._elements.append(element)
        self._open.append(place)

    def _name(self, place: int, element: _Element, identifier: str) -> None:
        element.ids.append(_bounded(identifier))
        element.keys.append(f"#{identifier}")
        self._ids.setdefault(_bounded(identifier), []).append(place)

    def end(self) -> None:
        """The last element that was added and has not ended, ends."""
        self._open.pop()

    def check(self, styles: str) -> None:
        """Count what is drawn. Parameters: styles, the texts of all `style` elements.

        Raises: TooMuchToDraw.
        """
        self._most_vertices = max(self._most_vertices, len(styles) // _VERTEX_CHARACTERS)
        selected = {
            selector: [one for one in ids if one in self._ids]
            for selector, ids in _ids_by_selector(styles).items()
        }
        self._inherit(selected)
        counted: dict[int, int] = {}
        waiting, entered = [0], set()
        while waiting:
            place = waiting[-1]
            if place in counted:
                waiting.pop()
                continue
            missing = [one for one in self._needed(self._elements[place]) if one not in counted]
            if not missing:
                counted[place] = self._count(self._elements[place], counted)
                waiting.pop()
                if counted[place] > MOST_DRAWN:
                    raise TooMuchToDraw
            elif place in entered:
                raise TooMuchToDraw  # it needs itself
            else:
                entered.add(place)
                waiting += missing

    def _inherit(self, styles: Mapping[str, list[str]]) -> None:
        """Give each element the references of the style sheet and of the elements around it."""
        total = 0
        for element in self._elements:
            if element.is_gradient:
                element.urls = []  # its stops draw nothing else
            else:
                element.urls += [one for key in element.keys if styles for one in styles.get(key, ())]
                if element.parent >= 0:
                    around = self._elements[element.parent].urls
                    element.urls += [one for one in around if one not in element.ids]
                element.urls = [one for one in element.urls if one in self._ids]
            total += sum(len(self._ids.get(one, ())) for one in (*element.urls, *element.drawn))
            if total > MOST_DRAWN:
                raise TooMuchToDraw

    def _needed(self, element: _Element) -> Iterator[int]:
        yield from element.children
        for identifier in (*element.urls, *element.drawn):
            yield from self._ids.get(identifier, ())

    def _count(self, element: _Element, counted: Mapping[int, int]) -> int:
        around = 0
        for identifier in element.urls:
            times = self._most_vertices if identifier in self._markers else 1
            around += times * sum(counted[place] for place in self._ids[identifier])
        drawn = sum(counted[place] for one in element.drawn for place in self._ids.get(one, ()))
        # what is drawn once more inherits from here
        return 1 + around + drawn * (1 + around) + sum(counted[place] for place in element.children)


def _ids_in(text: str) -> list[str]:
    """The ids of each `url(#id)`."""
    if "(" not in text:
        return []
    return [one for match in _URL.finditer(text) for one in _spellings(match[1])]


def _spellings(fragment: str) -> list[str]:
    """The ids that browsers may look for: as written, and decoded (RFC 3986 2.1)."""
    plain = _bounded(fragment)
    return [plain, _bounded(unquote(fragment[:800]))] if "%" in plain else [plain]


def _bounded(identifier: str) -> str:
    """An id as it is compared: as much of it as can be told from any place that names it."""
    text = _IGNORED_IN_URLS.sub("", identifier[:800]).strip()
    return _END_OF_ID.split(text, maxsplit=1)[0][:_ID_CHARACTERS].strip()


def _ids_by_selector(styles: str) -> dict[str, list[str]]:
    """The ids that the rules of a style sheet name; those of rules that are not simple count everywhere."""
    if not _URL.search(styles):
        return {}
    everywhere = {_EVERYTHING: _ids_in(styles)}
    tokens = [match[0] for match in _COMMENT_OR_STRING.finditer(styles)]
    rest = _COMMENT_OR_STRING.sub("", styles)
    if any(sign in rest for sign in ('"', "'", "@", "/*")):
        return everywhere
    if any("{" in token or "}" in token for token in tokens if token[0] != "/"):
        return everywhere
    text = _COMMENT_OR_STRING.sub(lambda match: " " if match[0][0] == "/" else match[0], styles)
    *rules, end = text.split("}")
    if end.strip() or any(rule.count("{") != 1 for rule in rules):
        return everywhere
    found: dict[str, list[str]] = {}
    for rule in rules:
        selectors, _, declarations = rule.partition("{")
        identifiers = _ids_in(declarations)
        names = selectors.split(",") if _NAMES.fullmatch(selectors) else [_EVERYTHING]
        for name in names if identifiers else ():
            key = name.strip()
            found.setdefault(key if key[0] in ".#" else key.lower(), []).extend(identifiers)
    return found
