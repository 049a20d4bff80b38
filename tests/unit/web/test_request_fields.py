"""Header fields that several requests share: nobody changes them, and their memory is counted."""

from __future__ import annotations

import gc
import tracemalloc
import weakref

import pytest

from portal.web.api_proxy.call_headers import call_headers
from portal.web.server.dispatch import _has_valid_host
from portal.web.server.request_error import RequestError
from portal.web.server.request_fields import MAX_HEADER_FIELDS, FieldsCache, RequestFields
from portal.web.sites import Site

SITE = Site("https://portal.example")


def fields_of(cache: FieldsCache, *lines: str) -> RequestFields:
    return cache.read(block(*lines))[0]


def block(*lines: str) -> bytes:
    return "\r\n".join(["", "Host: x", *lines, "", ""]).encode("latin-1")


def test_requests_with_the_same_bytes_share_their_fields() -> None:
    cache = FieldsCache()
    first = fields_of(cache, "Accept: a", "Cookie: portal=1")
    assert fields_of(cache, "Accept: a", "Cookie: portal=1") is first
    assert fields_of(cache, "Accept: b", "Cookie: portal=1") is not first
    assert fields_of(cache, "accept: a", "Cookie: portal=1") is not first


@pytest.mark.parametrize("lines", [("Cookie: {}", "Accept: a"), ("Accept: a", "Cookie: {}"), ("Cookie: {}",)])
def test_the_cookie_is_not_among_the_shared_fields(lines: tuple[str, ...]) -> None:
    cache = FieldsCache()
    found = [cache.read(block(*(line.format(value) for line in lines))) for value in ("a=1", "  a=2\t", "")]
    assert [cookie for _, cookie in found] == ["a=1", "a=2", ""]
    assert len({id(fields) for fields, _ in found}) == 1
    assert "Cookie" not in found[0][0].headers
    assert found[0][0] is cache.read(block(*(line for line in lines if line[0] == "A")))[0]


@pytest.mark.parametrize(
    "lines",
    [("cookie: a=1",), ("Cookie:a=1",), ("Cookie: a=1", "Cookie: b=2"), ("Cookie: a=1", "COOKIE: b=2")],
)
def test_unusual_cookies_stay_among_the_fields(lines: tuple[str, ...]) -> None:
    fields, cookie = FieldsCache().read(block(*lines))
    assert cookie is None
    assert fields.headers.get_list("Cookie") == [line.partition(":")[2].strip() for line in lines]


@pytest.mark.parametrize("value", ["a\0b", "a\rb", "a\nb", "a\x7fb", "a\x01", "a\r\n b", "a\r\n\tb"])
def test_S2_a_cookie_that_llhttp_refuses_is_refused(value: str) -> None:
    for lines in ((f"Cookie: {value}",), ("A: b", f"Cookie: {value}"), (f"Cookie: {value}", "A: b")):
        with pytest.raises(RequestError):
            FieldsCache().read(block(*lines))


def test_the_cookie_counts_as_a_field() -> None:
    cache, lines = FieldsCache(), [f"A{number}: b" for number in range(MAX_HEADER_FIELDS - 1)]
    cache.read(block(*lines))
    with pytest.raises(RequestError, match="too many"):
        cache.read(block(*lines, "Cookie: a=1"))
    assert cache.read(block(*lines[1:], "Cookie: a=1"))[1] == "a=1"


def test_shared_fields_cannot_be_changed_but_copied() -> None:
    headers = fields_of(FieldsCache(), "Accept: a").headers
    with pytest.raises(TypeError, match="copy them"):
        headers["Accept"] = "b"
    with pytest.raises(TypeError, match="copy them"):
        headers.add("Accept", "b")
    with pytest.raises(TypeError, match="copy them"):
        del headers["Accept"]
    copied = headers.copy()
    copied["Accept"] = "b"
    assert headers["Accept"] == "a"


def test_what_is_derived_belongs_to_the_site() -> None:
    headers = fields_of(FieldsCache(), "Origin: https://portal.example", "X-Portal-CSRF: 1").headers
    known = call_headers(headers, SITE)
    assert known.write_refusal is None
    assert call_headers(headers, SITE) is known
    assert call_headers(headers, Site("https://other.example")).write_refusal is not None


@pytest.mark.parametrize("line", ["Host: y", "Content-Length: 99999999999999999999", "no colon"])
def test_refused_fields_are_not_kept(line: str) -> None:
    cache = FieldsCache()
    for _ in range(2):
        with pytest.raises(RequestError):
            cache.read(block(line))
    assert cache.size == 0


def test_fields_with_a_body_and_large_ones_are_not_kept() -> None:
    cache = FieldsCache()
    cache.read(block("Content-Length: 5"))
    cache.read(block("Referer: " + "x" * 5000))
    cache.read(block("Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg=="))
    for name in ("X-Original-URI", "X-Forwarded-Uri"):
        cache.read(block(f"{name}: /desk/?page=7"))
    assert cache.size == 0
    cache.read(block("Content-Length: 0"))
    assert cache.size > 0


@pytest.mark.parametrize("shape", ["browser", "many fields", "long value"])
def test_D5_cached_fields_take_no_more_memory_than_is_counted(shape: str) -> None:
    cache, limit = FieldsCache(1_500_000), 1_500_000
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(500):
            lines = {
                "browser": [
                    f"Referer: https://portal.example/{number:022}/{'s' * 43}",
                    "Accept: */*",
                    "User-Agent: " + "m" * 90,
                ],
                "many fields": [f"A{number}-{other}: {other}" for other in range(250)],
                "long value": [f"A: {number}" + "x" * 4_000],
            }[shape]
            headers = fields_of(cache, *lines).headers
            call_headers(headers, SITE).encoded(headers)
        gc.collect()
        assert cache.size <= limit
        assert tracemalloc.get_traced_memory()[0] < cache.size + 400_000  # and the cached names
    finally:
        tracemalloc.stop()


def test_D5_what_is_no_longer_cached_is_freed_without_a_garbage_collection() -> None:
    cache, gone = FieldsCache(50_000), []
    gc.disable()
    try:
        for number in range(100):
            headers = fields_of(cache, f"Referer: https://portal.example/{number:022}").headers
            call_headers(headers, SITE).encoded(headers)
            assert _has_valid_host(headers)
            gone.append(weakref.ref(headers))
        del headers
        assert sum(one() is not None for one in gone) < 30
    finally:
        gc.enable()
