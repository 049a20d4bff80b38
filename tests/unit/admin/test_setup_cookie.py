"""The cookie that recognizes the browser of a setup link."""

from __future__ import annotations

import pytest

from portal.admin.setup_cookie import MOST_LINKS, BrowserLink, SetupCookie, digest

HASHES = [digest(f"token {number}") for number in range(6)]


def link(number: int, expires_at: float = 1_800_000_000.0) -> BrowserLink:
    return BrowserLink.new(HASHES[number], expires_at)


def test_a_cookie_is_read_as_it_was_written() -> None:
    cookie = SetupCookie((link(0), link(1)))
    read = SetupCookie.parse(cookie.value().reveal())
    assert read == cookie
    assert read.current == cookie.links[0]
    assert read.find(HASHES[1]) == cookie.links[1]
    assert read.find(HASHES[2]) is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "~",
        "x" * 100_000,
        f"{HASHES[0]}.short.1800000000",
        f"{HASHES[0].upper()}.{'a' * 43}.1800000000",
        f"{HASHES[0]}.{'a' * 43}.1e10",
        f"{HASHES[0]}.{'a' * 43}.1800000000\n",
        f"{HASHES[0]}.{'a' * 43}.１８００００００００",
    ],
    ids=["none", "empty", "separator", "long", "short", "upper case", "exponent", "line", "digits"],
)
def test_a_malformed_cookie_has_no_links(value: str | None) -> None:
    assert SetupCookie.parse(value).links == ()


def test_the_secret_of_a_link_is_not_in_its_hash_or_text() -> None:
    one = link(0)
    assert one.is_bound(digest(one.secret.reveal()))
    assert not one.is_bound("")
    assert not one.is_bound(link(0).browser_hash)
    assert one.secret.reveal() not in repr(SetupCookie((one,)))


def test_the_page_of_a_link_changes_neither_the_link_that_is_used_nor_its_own_secret() -> None:
    used, shown = link(0), link(1)
    cookie = SetupCookie((used,)).with_shown(shown)
    assert cookie.links == (used, shown)
    assert cookie.with_shown(link(1)) == cookie, "the page that is shown twice keeps its secret"


def test_an_opened_link_is_the_one_that_is_used() -> None:
    first, second = link(0), link(1)
    cookie = SetupCookie((first, second)).with_used(second)
    assert cookie.links == (second, first)
    assert cookie.with_used(first).links == (first, second)


def test_a_browser_remembers_a_few_links_and_never_forgets_the_used_one_for_a_shown_one() -> None:
    cookie = SetupCookie()
    for number in range(6):
        cookie = cookie.with_shown(link(number))
    assert len(cookie.links) == MOST_LINKS
    assert [one.token_hash for one in cookie.links] == [HASHES[0], HASHES[1], HASHES[2], HASHES[5]]
    assert len(SetupCookie((*cookie.links, link(4))).with_used(link(3)).links) == MOST_LINKS


def test_the_cookie_lives_as_long_as_its_links() -> None:
    cookie = SetupCookie((link(0, 1_000.0), link(1, 2_000.0)))
    assert cookie.max_age(900.0) == 1_100
    assert cookie.live(1_000.0).links == cookie.links[1:]
    assert SetupCookie().max_age(900.0) == 0
