"""Which file a path of a front end names, and how long browsers may keep it. No I/O (THREATS F1)."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from portal.config.front_ends import INDEX

_LONGEST = 1024
_LONGEST_NAME = 255
"""Bytes of a file's name on usual file systems."""
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ENCODED = ("br", "gz", "zst")
_EXTENSION = r"\.[a-z0-9]{1,12}(?:\.map)?"
_ONLY_HASH = re.compile(rf"(?P<hash>[0-9a-f]{{16,64}}){_EXTENSION}")
"""A whole name; shorter ones are words and numbers, such as `iphone15`."""
_AFTER_PREFIX = re.compile(
    rf".*[-.](?P<hash>[A-Za-z0-9_]{{8,64}})(?:\.(?:bundle|chunk|min|module|worker))?{_EXTENSION}"
)
"""How webpack, esbuild, Parcel and Rollup name files by their content."""
_VITE = re.compile(rf".+-(?P<hash>[A-Za-z0-9_-]{{8}}){_EXTENSION}")
_VITE_FOLDER = "assets"
_WORD = r"(?:[A-Z]?[a-z]+|[A-Z]?[a-z]{3,}[A-Z][a-z]{3,}|[A-Z]+|[0-9]+)"
_NO_HASH = re.compile(
    rf"[_-]*{_WORD}(?:[_-]+{_WORD})*[_-]*"  # sub_page, IMG_2024, HomePage, 2026-01-
    r"|[A-Za-z_]+[0-9]+"  # version3, OpenSans700
    r"|[0-9]+[A-Za-z_]+"  # 20260101a
    r"|[0-9]+x[0-9]+"  # 1200x800
)
"""What people write after the last hyphen of a name."""
_PAGES = (".html", ".htm", ".xhtml")


def file_path(path: str, *, source_maps: bool) -> str | None:
    """Return the relative path of the file that a path below a front end names; None when there can be none.

    `/` and every path that ends with it name an `index.html`. A path must have one reading, whoever decodes
    it: no dot segments, no files that begin with a dot, no encoded separators, nothing encoded twice.
    Parameters: path, as it was sent, beginning with a slash; source_maps, whether `.map` files are served.
    """
    if len(path) > _LONGEST or _BAD_ESCAPE.search(path):
        return None
    try:
        segments = [unquote_to_bytes(segment).decode() for segment in path.split("/")[1:]]
    except UnicodeDecodeError:
        return None
    if segments[-1] == "":
        segments[-1] = INDEX
    if not all(_is_name(segment) for segment in segments):
        return None
    if not source_maps and _is_source_map(segments[-1]):
        return None
    return "/".join(segments)


def _is_name(segment: str) -> bool:
    return (
        segment != ""
        and segment[0] != "."
        and not any(character in "/\\%" for character in segment)
        and segment.isprintable()
        and len(segment.encode()) <= _LONGEST_NAME
    )


def _is_source_map(name: str) -> bool:
    """Whether a file is a source map, also when it is compressed."""
    parts = name.lower().split(".")
    while len(parts) > 1 and parts[-1] in _ENCODED:
        parts.pop()
    return len(parts) > 1 and parts[-1] == "map"


def is_page(path: str) -> bool:
    """Whether a path can be one of the application's own addresses: its last segment has no extension."""
    return "." not in path.rpartition("/")[2]


def is_hashed(relative: str) -> bool:
    """Whether the name of a file has a hash of its content, so that the file never changes.

    A word, a version or a date is no hash: `hero-download.png`, `terms-version3.pdf` and
    `report.20260101.pdf` may change. In doubt a name has none: browsers then ask again.
    """
    folder, _, name = relative.rpartition("/")
    if name.endswith(_PAGES):
        return False
    found = _ONLY_HASH.fullmatch(name) or _AFTER_PREFIX.fullmatch(name)
    if found is not None and _has_letter_and_digit(found["hash"]) and not _NO_HASH.fullmatch(found["hash"]):
        return True
    of_vite = _VITE.fullmatch(name) if folder.rpartition("/")[2] == _VITE_FOLDER else None
    return of_vite is not None and _NO_HASH.fullmatch(of_vite["hash"]) is None


def _has_letter_and_digit(text: str) -> bool:
    return any(letter.isalpha() for letter in text) and any(digit.isdigit() for digit in text)
