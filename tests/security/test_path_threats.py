"""THREATS S3: no spelling of a path leaves the API, whichever decoder reads it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import product
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.errors import RequestRefused
from portal.outbound import dot_segments
from portal.web.api_proxy.rules import target_url

BASE = "https://api.acme.example/v1"
_OVERLONG = {".": 0x2E, "/": 0x2F, "\\": 0x5C, ";": 0x3B}


def _percent(*octets: int) -> str:
    return "".join(f"%{octet:02x}" for octet in octets)


def _encoded_again(text: str, times: int = 1) -> str:
    return text.replace("%", "%" + "25" * times)


def spellings(character: str) -> list[str]:
    """All spellings that some decoder turns into a character."""
    code = ord(character)
    plain = _percent(code)
    overlong = [
        _percent(0xC0 | code >> 6, 0x80 | code & 0x3F),
        _percent(0xC0 | code >> 6, code & 0x3F),
        _percent(0xC0 | code >> 6, 0x40 | code & 0x3F),
        _percent(0xE0, 0x80 | code >> 6, 0x80 | code & 0x3F),
        _percent(0xF0, 0x80, 0x80 | code >> 6, 0x80 | code & 0x3F),
        _percent(0xF8, 0x80, 0x80, 0x80 | code >> 6, 0x80 | code & 0x3F),
        _percent(0xFC, 0x80, 0x80, 0x80, 0x80 | code >> 6, 0x80 | code & 0x3F),
    ]
    return [
        character,
        plain,
        plain.upper(),
        *(_encoded_again(plain, times) for times in (1, 2, 3, 4, 9)),
        f"%25{_percent(*plain[1:].encode())}",
        f"%c0%a5{plain[1:]}",
        f"%25u00{plain[1:]}",
        f"%u00{plain[1:]}",
        *overlong,
        *(_encoded_again(one) for one in overlong[:2]),
        _percent(*chr(code + 0xFEE0).encode()),
    ]


# --- an independent reader: decodes as leniently as any decoder, repeatedly, and checks every stage


def _decoded_once(text: str) -> str:
    text = re.sub(r"%u([0-9A-Fa-f]{4})", lambda match: chr(int(match[1], 16)), text)
    return re.sub(r"%([0-9A-Fa-f]{2})", lambda match: chr(int(match[1], 16)), text)


def _lenient_utf8(text: str) -> str:
    """Decode bytes, each given as a character, without any checks."""
    read, at = "", 0
    while at < len(text):
        first = ord(text[at])
        more = next(
            (n for n, lead in enumerate((0xC0, 0xE0, 0xF0, 0xF8, 0xFC), 1) if first & ~_KEPT[n] == lead), 0
        )
        rest = text[at + 1 : at + 1 + more]
        if not 0x80 <= first <= 0xFF or len(rest) < more or any(ord(one) > 0xFF for one in rest):
            more, value = 0, first
        else:
            value = first & _KEPT[more]
            for one in rest:
                value = value << 6 | ord(one) & 0x3F
        read += chr(value) if value <= 0x10FFFF else "?"
        at += 1 + more
    return read


_KEPT = {0: 0xFF, 1: 0x1F, 2: 0x0F, 3: 0x07, 4: 0x03, 5: 0x01}


def readings(path: str) -> set[str]:
    """All results of any chain of such decoders."""
    found, new = set[str](), {path}
    while new:
        found |= new
        made = {step(one) for one in new for step in (_decoded_once, _lenient_utf8)}
        made |= {unicodedata.normalize("NFKC", one) for one in made}
        new = made - found
    return found


def leaves_the_api(path: str) -> bool:
    """Whether any reading has a dot segment, with every possible separator of segments."""
    return any(
        re.split(r"[;?#]", segment)[0].strip() in {".", ".."}
        for read in readings(path)
        for segment in re.split(r"[/\\]", read)
    )


def passes(path: str) -> bool:
    try:
        return target_url(BASE, path, "") == BASE + path
    except RequestRefused:
        return False


# --- the search


def written_dot_segments() -> Iterator[str]:
    dots, slashes = spellings("."), [*spellings("/"), *spellings("\\")]
    ends = ["", *spellings(";"), "%3f", "%23", "%20", "%c2%a0"]
    for first, second in product(dots, ["", *dots]):
        for end in ("", "/b", "%3bx=1/b", "%2fb"):
            yield f"/a/{first}{second}{end}"
    for slash, dot, end in product(slashes, (".", "..", "%2e%2e"), ends):
        yield f"/a{slash}{dot}{end}"


def test_S3_no_spelling_of_a_dot_segment_passes() -> None:
    written = list(written_dot_segments())
    assert len(written) > 3_000
    assert [path for path in written if passes(path)] == []


def test_S3_the_independent_reader_finds_known_dot_segments() -> None:
    for path in (
        "/a/../b",
        "/a/%2e",
        "/..%3bx",
        "/a%2f..",
        "/%c0%ae",
        "/%e0%80%ae%2e",
        "/%252e%252e",
        "/a%5c..",
    ):
        assert leaves_the_api(path), path
    for path in ("/a.b/..c", "/...", "/a;b", "/%e2%82%ac"):
        assert not leaves_the_api(path), path


PIECES = [
    *spellings("."), *spellings("/"), *spellings("\\"), *spellings(";"), "a", "b.c", "25", "2e", "2", "e",
    "%", "%25", "%c0", "%e0", "%80", "%ae", "%e2%82%ac", "%20", "%3f", "%23", "%2500", "u002e", "/",
    "/", "..",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=8).map(lambda pieces: "/" + "".join(pieces)))
def test_S3_an_accepted_path_has_no_dot_segment_in_any_reading(path: str) -> None:
    if passes(path):
        assert not leaves_the_api(path)
        assert not any(re.search(r"[\x00-\x1f\x7f]", read) for read in readings(path))


def test_S3_every_character_that_is_normalised_to_part_of_a_dot_segment_is_refused() -> None:
    found = 0
    for character in map(chr, range(0x80, 0x110000)):
        if re.search(r"[/\\;?#]|^\.+$", unicodedata.normalize("NFKC", character)) is None:
            continue
        for text in (character, f".{character}", f"..{character}", f"{character}..", f"a{character}.."):
            path = "/a/" + _percent(*text.encode())
            if leaves_the_api(path):
                found += 1
                assert not passes(path), unicodedata.name(character)
    assert found > 30


@pytest.mark.parametrize(
    "path",
    [
        "/a.b/..c/c../%E2%82%AC",
        "/.well-known/%2Ehidden/...",
        "/c%3Bd;".rstrip(";"),
        "/a%3Bv=1/b",
        "/100%25",
        "/50%25off/a%25",
        "/a%2520b",
        "/is%3Fit/%23tag/%40me",
        "/AC%EF%BC%8FDC/%E6%97%A5%E6%9C%AC",
        "/%E2%80%A6/a%20b",
    ],
)
def test_a_harmless_path_is_accepted_unchanged(path: str) -> None:
    assert passes(path)


@pytest.mark.parametrize(
    "path", ["/caf%E9", "/%ff", "/a%2500", "/a%250d%250a", "/a;v=1", "/a%252fb", "/%25u002e"]
)
def test_S3_an_ambiguous_path_is_refused(path: str) -> None:
    assert not passes(path)


@pytest.mark.parametrize(
    "piece", ["%25", "%2525252e", "%c3%a9", "/%2e.", " %20", "%e2%80%a5a", "/ ", "%252e/"]
)
def test_D1_a_long_path_is_decoded_in_linear_time(piece: str) -> None:
    """Count the decoded bytes, because times are unreliable on a busy machine."""
    counted = 0

    def count(octets: bytes) -> bytes:
        nonlocal counted
        counted += len(octets)
        return unquote_to_bytes(octets)

    path = "/" + piece * (7_900 // len(piece))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dot_segments, "unquote_to_bytes", count)
        passes(path)
    assert counted <= 5 * len(path)
