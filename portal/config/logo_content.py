"""Checks the content of a logo: a picture that is safe to serve from the portal's own origin.

The operator's logo and those of tenants follow the same rules. Formats: SVG; PNG (Third Edition); WebP (RFC
9649); JPEG (ITU-T T.81). Reading is linear in the size; an SVG of the largest size takes longer than an event
loop may be held, so logos are checked in a thread.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from typing import Literal
from xml.parsers import expat

from portal.config.svg_references import MOST_DRAWN, SvgReferences, TooMuchToDraw

LARGEST_TENANT_LOGO = 64 * 1024
"""Bytes of a tenant's logo, which the portal keeps in memory."""
MOST_PIXELS_WIDE = 4096
WIDEST = 4.0
"""Largest ratio of width to height, and of height to width."""

_PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_SVG = "http://www.w3.org/2000/svg"
_SILENT_NAMESPACES = (
    "http://sodipodi.sourceforge.net/",
    "http://www.inkscape.org/namespaces/",
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "http://creativecommons.org/ns#",
    "http://web.resource.org/cc/",
    "http://purl.org/dc/",
    "http://ns.adobe.com/",
    "http://www.bohemiancoding.com/sketch/",
    "http://schemas.microsoft.com/visio/",
    "http://www.serif.com/",
    "http://www.figma.com/",
    "http://xml.openoffice.org/",
)
"""Beginnings of the namespaces that drawing programs write and no browser shows."""
_ACTIVE_ELEMENTS = frozenset({"script", "foreignobject", "iframe", "object", "embed", "handler"})
_LENGTH = re.compile(r"\s*([0-9]{1,7}(?:\.[0-9]{1,9})?)(?:px)?\s*")
_DEEPEST = 100
_ACTIVE = "contains a script or a foreign element; export it as plain SVG, without them"
_REFERS = "refers to another file or address; embed it, or export it as plain SVG"
_EXTERNAL_URL = re.compile(
    r"""url\(\s*+["']?+\s*+(?!\#|data:image/(?:png|jpeg|jpg|webp|gif)[;,])
    | @import | \\ | (?:image-set|element|src)\(""",
    re.IGNORECASE | re.VERBOSE,
)
"""In styles: an address that is not within the document; with escapes, a style could hide one."""
_EMBEDDED = re.compile(r"\#|data:image/(?:png|jpeg|jpg|webp|gif)[;,]", re.IGNORECASE)
"""Beginnings of addresses within the document: of an element, or of a picture without elements of its own."""
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_JPEG_SIZES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""Markers of segments with the size of the picture."""


@dataclass(frozen=True, slots=True)
class Logo:
    """The content of a logo that was checked."""

    content: bytes = field(repr=False)
    kind: Literal["svg", "png", "webp", "jpeg"]
    ratio: float
    """Width divided by height."""


class LogoRefused(Exception):
    """A file cannot be a logo. The message says why and what to do, and quotes nothing of the file."""


def logo_of(content: bytes) -> Logo:
    """Return the logo with this content; its kind is that of the content. Raises: LogoRefused."""
    if content.startswith(_PNG_START):
        return Logo(content, "png", _png_ratio(content))
    if content.startswith(_JPEG_START):
        return Logo(content, "jpeg", _jpeg_ratio(content))
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return Logo(content, "webp", _webp_ratio(content))
    if b"<svg" in content or b":svg" in content:
        return Logo(content, "svg", _svg_ratio(content))
    raise LogoRefused("is no SVG, PNG, WebP or JPEG file; export the logo as one of these")


def _png_ratio(content: bytes) -> float:
    """Width divided by height, from the IHDR chunk (PNG, Third Edition, 11.2.1)."""
    start = len(_PNG_START)
    if len(content) < start + 8 or not content.endswith(b"IEND\xaeB`\x82"):
        raise LogoRefused("is not a complete PNG file; export it again")
    return _ratio_of_pixels(*struct.unpack(">II", content[start : start + 8]))


def _jpeg_ratio(content: bytes) -> float:
    """Width divided by height, from the frame header (ITU-T T.81, B.2.2)."""
    at = 2
    while at + 9 <= len(content) and content.endswith(_JPEG_END) and content[at] == 0xFF:
        marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        if marker in _JPEG_SIZES:
            height, width = struct.unpack(">HH", content[at + 5 : at + 9])
            return _ratio_of_pixels(width, height)
        at += 2 + length
    raise LogoRefused("is not a complete JPEG file; export it again")


def _webp_ratio(content: bytes) -> float:
    """Width divided by height, from the first chunk (RFC 9649 2.5 to 2.7)."""
    kind, data = content[12:16], content[20:30]
    if len(content) < 30 or int.from_bytes(content[4:8], "little") + 8 > len(content):
        raise LogoRefused("is not a complete WebP file; export it again")
    if kind == b"VP8X":
        return _ratio_of_pixels(*(int.from_bytes(data[i : i + 3], "little") + 1 for i in (4, 7)))
    if kind == b"VP8L":
        bits = int.from_bytes(data[1:5], "little")
        return _ratio_of_pixels((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    width, height = struct.unpack("<HH", data[6:10])
    return _ratio_of_pixels(width & 0x3FFF, height & 0x3FFF)


def _ratio_of_pixels(width: int, height: int) -> float:
    if not 0 < width <= MOST_PIXELS_WIDE or not 0 < height <= MOST_PIXELS_WIDE:
        raise LogoRefused(f"is more than {MOST_PIXELS_WIDE} pixels wide or high; export it smaller")
    return _bounded(width / height)


def _svg_ratio(content: bytes) -> float:
    """Check an SVG document, and return width divided by height from its root element."""
    reader = _SvgReader()
    parser = expat.ParserCreate(encoding="utf-8", namespace_separator=" ")
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    parser.XmlDeclHandler = reader.declaration
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.EntityDeclHandler = reader.entity
    parser.ProcessingInstructionHandler = reader.instruction
    try:
        parser.Parse(content, True)
        reader.check_styles()
    except expat.ExpatError as error:
        where = f"line {error.lineno}, column {error.offset + 1}"
        raise LogoRefused(f"is not well-formed XML in UTF-8 ({where}); export it again") from None
    return _bounded(reader.ratio)


class _SvgReader:
    """Refuses what can run a script, load another file or grow while it is read."""

    def __init__(self) -> None:
        self.ratio = 1.0
        self._depth = 0
        self._styles: list[str] = []
        self._in_style = False
        self._references = SvgReferences()

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
            raise LogoRefused(_ACTIVE)
        if self._in_style:
            raise LogoRefused(_ACTIVE)
        if namespace != _SVG and not namespace.startswith(_SILENT_NAMESPACES):
            raise LogoRefused(_ACTIVE)
        self._in_style = element.lower() == "style"
        for key, value in attributes.items():
            if _EXTERNAL_URL.search(value):
                raise LogoRefused(_REFERS)
            attribute = key.rpartition(" ")[2].lower()
            if attribute.startswith("on"):
                raise LogoRefused("contains an event handler (on…=); export it as plain SVG, without it")
            if attribute in ("href", "src") and not _EMBEDDED.match(value.strip()):
                raise LogoRefused(_REFERS)
            if attribute == "attributename" and (
                value.strip().lower().endswith(("href", "src", "class"))
                or any("url(" in other.lower() for other in attributes.values())
            ):
                raise LogoRefused("animates an address; export it as plain SVG, without it")
        local = [(key.rpartition(" ")[2].lower(), value) for key, value in attributes.items()]
        self._references.start(element.lower(), local)

    def text(self, data: str) -> None:
        if self._in_style:
            self._styles.append(data)

    def check_styles(self) -> None:
        """Look at the texts of all `style` elements together, and at what is drawn with them."""
        styles = "".join(self._styles)
        if _EXTERNAL_URL.search(styles):
            raise LogoRefused(_REFERS)
        try:
            self._references.check(styles)
        except TooMuchToDraw:
            raise LogoRefused(
                f"has references to elements that draw more than {MOST_DRAWN} of them or that lead to "
                "themselves; export it as plain SVG, without symbols and masks"
            ) from None

    def declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        """Refuse an encoding in which a browser could read something else than what was checked."""
        if encoding is not None and encoding.lower() not in ("utf-8", "us-ascii"):
            raise LogoRefused("declares another encoding than UTF-8; export it in UTF-8")

    def end(self, name: str) -> None:
        self._depth -= 1
        self._references.end()
        self._in_style = False

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
