"""Parts of the console's pages: networks of clients, changes, the navigation."""

from __future__ import annotations

import pytest

from portal.admin.actors import Actor, ActorType
from portal.admin.content import text_difference
from portal.admin.viewers import BoundSetupLink, Viewer
from portal.web.admin.diff import DiffLine, diff_lines
from portal.web.admin.navigation import pages_of
from portal.web.admin.revisions import revision_number
from portal.web.browser_name import browser_name
from portal.web.client_address import client_network

OPERATOR = Viewer(Actor(ActorType.OPERATOR))


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1::/48"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("::1", "::/48"),
        ("", ""),
        ("unix:", ""),
        ("192.0.2.77, 10.0.0.1", ""),
        ("0.0.0.0", ""),
    ],
)
def test_records_have_the_network_of_a_client_and_not_its_address(address: str, network: str) -> None:
    assert client_network(address) == network


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox on Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/128.0.0.0 Safari/537.36",
            "Chrome on Windows",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/128.0.0.0 Safari/537.36 Edg/128",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "Version/17.5 Mo…",
            "Safari on iPhone",
        ),
        ("Firefox/1", "Firefox"),
        ("curl/8.0", ""),
        ("", ""),
    ],
)
def test_the_name_of_a_browser(device: str, name: str) -> None:
    assert browser_name(device) == name


def test_a_diff_is_shown_line_by_line_without_its_header() -> None:
    diff = "--- live\n+++ new\n@@ -3,2 +4,2 @@\n name: x\n-  a: 1\n+  a: \u202e2\n+"
    assert diff_lines(diff) == (
        DiffLine("place", "Line 4"),
        DiffLine("same", "name: x"),
        DiffLine("removed", "  a: 1"),
        DiffLine("added", "  a: <U+202E>2"),
        DiffLine("added", ""),
    )
    assert diff_lines("") == ()


def test_a_diff_has_lines_that_look_like_its_header() -> None:
    lines = diff_lines(text_difference("a: 1\n-- b\n", "a: 1\n++ c\n"))
    assert lines[-2:] == (DiffLine("removed", "-- b"), DiffLine("added", "++ c"))


def test_the_lines_of_a_diff_are_complete() -> None:
    """White space counts in YAML, and a letter that nobody sees makes another text."""
    before = "a: " + "x" * 60_000 + "\n" + " " * 70 + "b:  1\nc: e\n"
    after = "a: " + "x" * 59_999 + "y\n" + " " * 71 + "b: 1\nc: \u200be\n"
    removed, added = [
        "\n".join(line.text for line in diff_lines(text_difference(before, after)) if line.kind == kind)
        for kind in ("removed", "added")
    ]
    assert removed + "\n" == before
    assert added + "\n" == after.replace("\u200b", "<U+200B>")


def test_the_lines_after_many_of_a_diff_are_one_text() -> None:
    lines = diff_lines("\n".join(["--- live", "+++ new", *["+x"] * 2_003, "-y", "+++ z"]))
    assert len(lines) == 2_002
    assert lines[-2:] == (
        DiffLine("place", "5 more lines, without colors"),
        DiffLine("rest", "+x\n+x\n+x\n-y\n+++ z"),
    )


def test_the_navigation_has_what_the_viewer_may_open() -> None:
    pages = pages_of("acme", OPERATOR, path="/admin/t/acme/revisions/3", in_file=False)
    assert [page.label for page in pages if page.current] == ["Revisions"]
    assert {"Overview", "Logins", "Events", "Status"} <= {page.label for page in pages}
    in_file = pages_of("acme", OPERATOR, path="/admin/t/acme/", in_file=True)
    assert [page.label for page in in_file] == ["Overview", "Logins", "Events"]
    admin = Viewer(admin_accounts={"acme": Actor(ActorType.ADMIN)})
    assert "Status" not in {page.label for page in pages_of("acme", admin, path="/", in_file=False)}
    link = Viewer(link=BoundSetupLink("acme", "Ann"))
    labels = {page.label for page in pages_of("acme", link, path="/", in_file=False)}
    assert not labels & {"Overview", "Logins", "Revisions", "Events", "Status"}


@pytest.mark.parametrize("text", ["", "0", "-1", "1.0", "٣", "9" * 17, "99999999999999999", "x"])
def test_what_is_no_number_of_a_revision(text: str) -> None:
    assert revision_number(text) is None
