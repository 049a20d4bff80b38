"""THREATS S3, S4 and T4 as pure functions; test_proxy_threats.py has the tests on real sockets."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders

from portal.errors import RequestRefused
from portal.web.api_proxy.rules import (
    RESPONSE_HEADERS,
    browser_headers,
    own_headers,
    passed_headers,
    target_url,
)

BASE = "https://api.acme.example/v1"

TRICKS = [
    "/..",
    "/../admin",
    "/a/../../admin",
    "/a/..",
    "/.",
    "/./a",
    "/%2e%2e/admin",
    "/%2E%2e/admin",
    "/.%2e/admin",
    "/%2e./admin",
    "//evil.example/",
    "/a//b",
    "/a%2fb",
    "/a%2F..%2Fb",
    "/a%5cb",
    "/a;b",
    "/..;/admin",
    "/a\\b",
    "/\\evil",
    "/@evil.example",
    "/a@b",
    "/a%00b",
    "/a%0d%0aX: y",
    "/a\r\nX: y",
    "/a b",
    "/a%",
    "/a%zz",
    "/a%252e%252e/b",
    "/a%252fb",
    "/%255c",
    "/a#b",
    "/é",
    "a",
    "@evil.example/",
    ":8443/",
    ".evil.example/",
    "/" + "a" * 9000,
    "/a%7f",
]


@pytest.mark.parametrize("path", TRICKS)
def test_S3_a_path_trick_is_refused(path: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        target_url(BASE, path, "")
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("path", "query", "explanation"),
    [
        ("/" + "a" * 8000, "", "The address is too long."),
        ("/a b", "", "The path has a character or an escape that the portal does not forward."),
        ("/a%5cb", "", "The path has an escape that the portal does not forward."),
        ("/a/..", "", "The path has a dot segment."),
        ("/a", "b c", "The query has a character that the portal does not forward."),
    ],
)
def test_a_refused_address_is_explained(path: str, query: str, explanation: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        target_url(BASE, path, query)
    assert refused.value.explanation == explanation


@pytest.mark.parametrize("query", ["a=%0d%0aX:y", "a=%00", "a b", "a\r\nb", "é", "#x", "x" * 9000, "a=%0A"])
def test_S3_a_query_trick_is_refused(query: str) -> None:
    with pytest.raises(RequestRefused):
        target_url(BASE, "/orders", query)


@pytest.mark.parametrize(
    ("path", "query", "url"),
    [
        ("", "", f"{BASE}"),
        ("/", "", f"{BASE}/"),
        ("/orders", "", f"{BASE}/orders"),
        ("/orders/", "a=1&b=%20c", f"{BASE}/orders/?a=1&b=%20c"),
        ("/a%20b/c%3Bd/%40me/...", "", f"{BASE}/a%20b/c%3Bd/%40me/..."),
        ("/files/a.b..c", "q=a;b@c", f"{BASE}/files/a.b..c?q=a;b@c"),
        ("/x:y", "", f"{BASE}/x:y"),
    ],
)
def test_a_plain_path_and_query_are_forwarded_unchanged(path: str, query: str, url: str) -> None:
    assert target_url(BASE, path, query) == url


@given(st.text(max_size=40), st.text(max_size=40))
def test_S3_no_target_leaves_the_base_url(path: str, query: str) -> None:
    try:
        parts = urlsplit(target_url(BASE, path, query))
    except RequestRefused:
        return
    assert (parts.scheme, parts.netloc) == ("https", "api.acme.example")
    assert parts.path == "/v1" or parts.path.startswith("/v1/")
    assert not parts.fragment


def _to_api(**given: str) -> dict[str, str]:
    headers = HTTPHeaders()
    for name, value in given.items():
        headers.add(name.replace("_", "-"), value)
    return {
        name.lower(): value
        for name, value in [
            *browser_headers(headers),
            *own_headers(access_token="granted", request_id="r1"),
        ]
    }


@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "Keep-Alive",
        "Proxy-Authorization",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "Cookie",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "Forwarded",
        "X-Real-IP",
        "Host",
        "Origin",
        "Referer",
        "Content-Length",
        "X-Portal-CSRF",
        "Sec-Fetch-Site",
        "X-Original-URL",
        "X-Rewrite-URL",
        "Expect",
    ],
)
def test_S4_a_header_that_a_browser_must_not_send_to_an_api_is_stripped(name: str) -> None:
    assert name.lower() not in _to_api(**{name: "x", "Accept": "text/plain"})


def test_S4_the_authorization_header_is_the_portals() -> None:
    assert _to_api(Authorization="Bearer stolen")["authorization"] == "Bearer granted"


def test_S4_a_token_that_is_bound_to_a_key_is_sent_with_its_proof() -> None:
    headers = HTTPHeaders({"DPoP": "forged", "Authorization": "DPoP stolen"})
    sent = own_headers(access_token="granted", request_id="r1", dpop_proof="proof")
    assert browser_headers(headers) == []
    assert sent == [("Authorization", "DPoP granted"), ("DPoP", "proof"), ("X-Request-Id", "r1")]


def test_S4_a_header_listed_by_connection_is_stripped() -> None:
    sent = _to_api(Connection="close, X-Inner", X_Inner="1", X_Outer="2")
    assert "x-inner" not in sent
    assert sent["x-outer"] == "2"


def _to_browser(*given: tuple[str, str]) -> list[tuple[str, str]]:
    passed = passed_headers(given, target=f"{BASE}/orders", base_url=BASE, public_base="/t/acme/api")
    return [*passed, *RESPONSE_HEADERS]


@pytest.mark.parametrize(
    "name",
    [
        "Set-Cookie",
        "Clear-Site-Data",
        "Access-Control-Allow-Origin",
        "Access-Control-Allow-Credentials",
        "Service-Worker-Allowed",
        "Strict-Transport-Security",
        "Alt-Svc",
        "NEL",
        "Report-To",
        "Refresh",
        "Transfer-Encoding",
        "WWW-Authenticate",
        "Cross-Origin-Embedder-Policy",
        "Origin-Agent-Cluster",
        "Server",
    ],
)
def test_S4_a_header_that_would_act_on_the_portals_origin_is_stripped(name: str) -> None:
    assert name.lower() not in {given.lower() for given, _ in _to_browser((name, "x"))}


def test_S4_a_header_that_the_api_lists_by_connection_is_stripped() -> None:
    passed = _to_browser(("connection", "close,X_Inner"), ("X-Inner", "1"), ("X-Outer", "2"))
    assert passed == [("X-Outer", "2"), *RESPONSE_HEADERS]


@pytest.mark.parametrize(
    "name",
    [
        "X-Portal-Problem",
        "x-portal-problem",
        "X_Portal_Problem",
        "X-Portal_Problem",
        "x_PORTAL-problem",
        "-X-Portal-Problem",
        "X-Portal-Problem_",
        "X-Portal-Anything",
        "Set_Cookie",
    ],
)
def test_T4_a_header_of_the_portal_is_stripped_from_responses_in_every_spelling(name: str) -> None:
    assert _to_browser((name, "1")) == list(RESPONSE_HEADERS)


def test_S4_an_api_receives_no_header_of_the_portal() -> None:
    assert _to_api(X_Portal_Problem="1", X_Portal_Anything="1").keys() == {"authorization", "x-request-id"}


def test_T4_a_response_is_data_regardless_of_the_headers_of_the_api() -> None:
    response = dict(
        _to_browser(
            ("Content-Type", "text/html"),
            ("Content-Security-Policy", "default-src *"),
            ("X-Content-Type-Options", "sniff"),
            ("Cache-Control", "public, max-age=9999"),
        )
    )
    assert response["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Cache-Control"] == "no-store"
    assert response["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize(
    ("location", "becomes"),
    [
        (f"{BASE}/orders/5", "/t/acme/api/orders/5"),
        (f"{BASE}/orders?x=1", "/t/acme/api/orders?x=1"),
        ("/v1/orders/7", "/t/acme/api/orders/7"),
        ("orders/8", "/t/acme/api/orders/8"),
        ("https://evil.example/", None),
        ("//evil.example/v1/", None),
        ("/other", None),
        (f"{BASE}.evil.example/", None),
        ("https://api.acme.example/v1@evil.example/", None),
        (f"{BASE}/../admin", None),
        ("javascript:alert(1)", None),
    ],
)
def test_S4_a_location_stays_below_the_api_path_or_is_dropped(location: str, becomes: str | None) -> None:
    assert dict(_to_browser(("Location", location))).get("Location") == becomes


def test_several_headers_of_one_name_are_all_passed_on() -> None:
    links = [value for name, value in _to_browser(("Link", "<a>"), ("Link", "<b>")) if name == "Link"]
    assert links == ["<a>", "<b>"]


def test_S4_a_response_with_several_locations_has_none() -> None:
    one = ("Location", f"{BASE}/orders/1")
    assert ("Location", "/t/acme/api/orders/1") in _to_browser(one)
    assert "Location" not in dict(_to_browser(one, one))
