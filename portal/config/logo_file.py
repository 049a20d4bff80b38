"""Reads the operator's logo: an SVG or PNG file that is safe to serve from the portal's own origin."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from xml.parsers import expat

from portal.config.yaml_document import read_bytes
from portal.errors import ConfigurationError

LARGEST_LOGO = 256 * 1024
"""Bytes."""
MOST_PIXELS_WIDE = 4096
WIDEST = 4.0
"""Largest ratio of width to height, and of height to width."""

_PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_SVG = "http://www.w3.org/2000/svg"
_ACTIVE_ELEMENTS = frozenset({"script", "foreignobject", "iframe", "object", "embed", "handler"})
_LENGTH = re.compile(r"\s*([0-9]{1,7}(?:\.[0-9]{1,9})?)(?:px)?\s*")
_DEEPEST = 100
_REMEDY = "name an SVG or PNG file, relative to the folder of the settings file"


@dataclass(frozen=True, slots=True)
class Logo:
    """The content of a logo that was checked."""

    content: bytes = field(repr=False)
    kind: Literal["svg", "png"]
    ratio: float
    """Width divided by height."""


class LogoRefused(Exception):
    """A file cannot be the logo. The message says why and what to do, and quotes nothing of the file."""


def read_logo(path: Path) -> Logo:
    """Return the logo in a file. Raises: LogoRefused."""
    content = _content(path)
    if content.startswith(_PNG_START):
        return Logo(content, "png", _png_ratio(content))
    if b"<svg" in content or b":svg" in content:
        return Logo(content, "svg", _svg_ratio(content))
    raise LogoRefused("is neither an SVG nor a PNG file; export the logo as one of these")


def _content(path: Path) -> bytes:
    try:
        return read_bytes(path, name="", limit=LARGEST_LOGO)
    except ConfigurationError as error:
        raise LogoRefused(f"cannot be used: {error.problems[0].message}; {_REMEDY}") from None


def _png_ratio(content: bytes) -> float:
    """Width divided by height, from the IHDR chunk (PNG, Third Edition, 11.2.1)."""
    start = len(_PNG_START)
    if len(content) < start + 8 or not content.endswith(b"IEND\xaeB`\x82"):
        raise LogoRefused("is not a complete PNG file; export it again")
    width, height = struct.unpack(">II", content[start : start + 8])
    if not 0 < width <= MOST_PIXELS_WIDE or not 0 < height <= MOST_PIXELS_WIDE:
        raise LogoRefused(f"is more than {MOST_PIXELS_WIDE} pixels wide or high; export it smaller")
    return _bounded(width / height)


def _svg_ratio(content: bytes) -> float:
    """Check an SVG document, and return width divided by height from its root element."""
    reader = _SvgReader()
    parser = expat.ParserCreate(encoding="utf-8", namespace_separator=" ")
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.EntityDeclHandler = reader.entity
    parser.ProcessingInstructionHandler = reader.instruction
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        where = f"line {error.lineno}, column {error.offset + 1}"
        raise LogoRefused(f"is not well-formed XML in UTF-8 ({where}); export it again") from None
    return _bounded(reader.ratio)


class _SvgReader:
    """Refuses what can run a script, load another file or grow while it is read."""

    def __init__(self) -> None:
        self.ratio = 1.0
        self._depth = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, element = name.rpartition(" ")
        if self._depth == 0:
            if (namespace, element) != (_SVG, "svg"):
                raise LogoRefused(f'is not an SVG document: its root must be <svg xmlns="{_SVG}">')
            self.ratio = _ratio_of(attributes)
        self._depth += 1
        if self._depth > _DEEPEST:
            raise LogoRefused(f"has elements nested deeper than {_DEEPEST}; export it as plain SVG")
        if element.lower() in _ACTIVE_ELEMENTS:
            raise LogoRefused("contains a script or a foreign element; export it as plain SVG, without them")
        for key, value in attributes.items():
            attribute = key.rpartition(" ")[2].lower()
            if attribute.startswith("on"):
                raise LogoRefused("contains an event handler (on…=); export it as plain SVG, without it")
            if attribute in ("href", "src") and not value.strip().startswith(("#", "data:image/")):
                raise LogoRefused("refers to another file or address; embed it, or export it as plain SVG")

    def end(self, name: str) -> None:
        self._depth -= 1

    def entity(self, *declaration: object) -> None:
        raise LogoRefused("declares entities; export it as plain SVG, without them")

    def instruction(self, target: str, data: str) -> None:
        raise LogoRefused("refers to a style sheet; export it as plain SVG, without it")


def _ratio_of(attributes: dict[str, str]) -> float:
    """Width divided by height, of `viewBox` or else of `width` and `height`; 1 when they are not given."""
    box = re.split(r"[\s,]+", attributes.get("viewBox", "").strip())
    sizes = box[2:] if len(box) == 4 else [attributes.get("width", ""), attributes.get("height", "")]
    found = [_LENGTH.fullmatch(size) for size in sizes]
    width, height = (float(match[1]) if match else 0.0 for match in found)
    return width / height if width and height else 1.0


def _bounded(ratio: float) -> float:
    if not 1 / WIDEST <= ratio <= WIDEST:
        raise LogoRefused(
            f"is more than {WIDEST:.0f} times as wide as high, or as high as wide; leave out a part of it"
        )
    return ratio
