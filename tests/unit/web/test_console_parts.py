"""Parts of the console's pages: networks of clients, changes, the navigation."""

from __future__ import annotations

import pytest

from portal.admin.actors import Actor, ActorType
from portal.admin.viewers import BoundSetupLink, Viewer
from portal.web.admin.browser_name import browser_name
from portal.web.admin.diff import DiffLine, diff_lines
from portal.web.admin.navigation import pages_of
from portal.web.admin.revisions import revision_number
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
    diff = "--- live\n+++ new\n@@ -3,2 +4,2 @@\n name: x\n-  a: 1\n+  a: \u202e2\n"
    assert diff_lines(diff) == (
        DiffLine("place", "Line 4"),
        DiffLine("same", "name: x"),
        DiffLine("removed", "  a: 1"),
        DiffLine("added", "  a: 2"),
    )
    assert diff_lines("") == ()


def test_a_diff_of_many_lines_ends_with_their_number() -> None:
    lines = diff_lines("\n".join(["+x"] * 2_005))
    assert (len(lines), lines[-1]) == (2_001, DiffLine("place", "5 more lines"))


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
