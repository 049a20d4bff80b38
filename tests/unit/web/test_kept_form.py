"""Which posted forms a page may repeat."""

from __future__ import annotations

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from portal.web.kept_form import KeptForm, kept_form

ORIGIN = "https://portal.example"
FORM = "application/x-www-form-urlencoded"


def posted(
    path: str = "/admin/new", body: str = "a=1&a=2&b=&_xsrf=t", *, method: str = "POST", **headers: str
) -> KeptForm | None:
    sent = {"Host": "portal.example", "Content-Type": FORM, "Sec-Fetch-Site": "same-origin"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    request = HTTPServerRequest(
        start_line=RequestStartLine(method, path, "HTTP/1.1"),
        headers=HTTPHeaders({name: value for name, value in sent.items() if value}),
        body=body.encode(),
    )
    request._parse_body()
    return kept_form(request, origin=ORIGIN)


def test_the_fields_are_kept_in_order_without_the_token() -> None:
    assert posted() == KeptForm("/admin/new", (("a", "1"), ("a", "2"), ("b", "")))


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "none"},
        {"Sec_Fetch_Site": ""},
        {"Sec_Fetch_Site": "", "Origin": "null"},
        {"Sec_Fetch_Site": "", "Origin": "https://portal.example.evil.example"},
    ],
)
def test_S1_only_what_the_portals_own_pages_sent_is_kept(headers: dict[str, str]) -> None:
    assert posted(**headers) is None
    assert posted(Sec_Fetch_Site="", Origin=ORIGIN) is not None


@pytest.mark.parametrize(
    "path", ["/logout", "/account/end", "//evil.example/admin/", "/session", "https://evil.example/admin/"]
)
def test_only_forms_of_the_console_and_of_tenants_are_kept(path: str) -> None:
    assert posted(path) is None


def test_only_forms_of_a_bounded_size_that_were_posted_are_kept() -> None:
    assert posted(body="a=" + "x" * 131_071) is not None
    assert posted(body="a=" + "x" * 131_072) is None
    assert posted(body="_xsrf=t") is None
    assert posted(method="PUT") is None
    assert posted(Content_Type="text/plain") is None
    assert posted(body="a=%ff") is None
