"""Content codings, entity tags and ranges."""

from __future__ import annotations

import pytest

from portal.web.front_ends.conditions import RangeNotSatisfiable, accepted_codings, byte_range, matches

CODINGS = ("br", "zstd", "gzip")
TAG = '"abc"'


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("", ()),
        ("gzip, deflate, br", ("br", "gzip")),
        ("gzip, deflate, br, zstd", ("br", "zstd", "gzip")),
        ("gzip;q=1.0, br;q=0.5", ("gzip", "br")),
        ("br;q=0, *", ("zstd", "gzip")),
        ("*;q=0", ()),
        ("identity;q=1, *;q=0", ()),
        ("GZIP ; Q=0.3", ("gzip",)),
        ("gzip;q=2", ()),
        ("gzip;level=9", ()),
        ("gzip," * 2000, ()),
    ],
)
def test_accept_encoding_orders_the_codings(header: str, accepted: tuple[str, ...]) -> None:
    assert accepted_codings(header, CODINGS) == accepted


@pytest.mark.parametrize("header", [TAG, f"W/{TAG}", f'"x", {TAG}', f'"x",W/{TAG}', "*", " * "])
def test_if_none_match_is_met(header: str) -> None:
    assert matches(header, TAG)


@pytest.mark.parametrize("header", ["", '"ab"', "abc", '"x"', '"' + "a" * 3000 + f'",{TAG}'])
def test_if_none_match_is_not_met(header: str) -> None:
    assert not matches(header, TAG)


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-9", range(10)),
        ("bytes=90-", range(90, 100)),
        ("bytes=90-1000", range(90, 100)),
        ("bytes=-10", range(90, 100)),
        ("bytes=-1000", range(100)),
        ("bytes=99-99", range(99, 100)),
        ("bytes=-", None),
        ("bytes=9-0", None),
        ("bytes=0-1,5-6", None),
        ("items=0-1", None),
        ("bytes=a-b", None),
        ("bytes=" + "1" * 4000, None),
    ],
)
def test_a_range_of_a_hundred_bytes(header: str, part: range | None) -> None:
    assert byte_range(header, if_range="", etag=TAG, size=100) == part


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_after_the_end_is_an_error(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        byte_range(header, if_range="", etag=TAG, size=100)


def test_an_empty_file_has_no_range() -> None:
    with pytest.raises(RangeNotSatisfiable):
        byte_range("bytes=0-0", if_range="", etag=TAG, size=0)


def test_if_range_needs_the_strong_tag() -> None:
    assert byte_range("bytes=0-0", if_range=TAG, etag=TAG, size=9) == range(1)
    for other in (f"W/{TAG}", '"other"', "Sun, 22 Nov 2026 14:26:14 GMT"):
        assert byte_range("bytes=0-0", if_range=other, etag=TAG, size=9) is None
