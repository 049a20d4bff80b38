"""THREATS L5: where a login may redirect the browser to."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.web.return_to import safe_return_to

HOSTILE = [
    "/t/acme/api%3F",
    "/t/acme/api%3fx=1",
    "/t/acme/apis%23",
    "/t/acme/logout%3B",
    "https://evil.example/",
    "http://evil.example",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/%2f/evil.example",
    "/%2Fevil.example",
    "/%5cevil.example",
    "/%5C%5Cevil.example",
    "/\tevil",
    "/\r\nSet-Cookie: a=b",
    "/a\nb",
    "/%0d%0aSet-Cookie:a",
    "javascript:alert(1)",
    "/javascript:alert(1)//",
    "data:text/html,x",
    "https://portal.example@evil.example/",
    "//portal.example@evil.example/",
    "/．．/evil",
    "/。/evil",
    "/t/acme/../globex/",
    "/t/acme/%2e%2e/globex/",
    "/t/acme/.%2e/globex/",
    "/" + "a" * 5000,
    "/logout",
    "/t/globex/",
    "/t/globex/logout",
    "/t/globex/api/orders",
    "/t/%67lobex/logout",
    "/t/acme/api",
    "/t/acme/api/orders",
    "/t/acme/api?x",
    "/t/acme/%61pi/orders",
    "/t/acme/apis/billing/invoices",
    "/t/acme/logout",
    "/t/acme/login",
    "/t/acme/callback?code=x",
    "/t/acme/%6cogout",
    "/%74/globex/logout",
    "/t",
    "/find",
    "/forget",
    "/session/events",
    "/t/acme/cookie-check",
    "/t/globex/#/t/acme/",
    "//evil.example/#/t/acme/",
    "/\\evil.example#/orders",
    "/t/acme/logout#/orders",
    "/t/acme/#//evil.example",
    "/t/acme/#/a//evil.example",
    "/t/acme/#\\evil.example",
    "/t/acme/#/%5Cevil.example",
    "/t/acme/#javascript:alert(1)",
    "/t/acme/#JavaScript:alert(1)",
    "/t/acme/#data:text/html,x",
    "/t/acme/#%0d%0aSet-Cookie:a",
    "/t/acme/#%00",
    "/t/acme/#%7F",
    "/t/acme/#%zz",
    "/t/acme/#/orders#/orders",
    "/t/acme/#/orders\n",
    "/t/acme/#\r\nSet-Cookie: a=b",
    "/t/acme/#/ö",
    "/t/acme/#<script>",
    "/t/acme/#a b",
    "/t/acme/#" + "a" * 5000,
    "#/orders",
    "?tab=1#/orders",
    " /t/acme/",
    "",
    "orders",
]


@pytest.mark.parametrize("return_to", HOSTILE)
def test_L5_a_hostile_return_to_falls_back_to_the_tenant_home(return_to: str) -> None:
    assert safe_return_to(return_to, "acme") == "/t/acme/"


@pytest.mark.parametrize(
    "return_to",
    [
        "/",
        "/account",
        "/t/acme/",
        "/t/acme/?tab=claims",
        "/app/orders/5?sort=-date&page=2",
        "/@me",
        "/t/acme/#/orders",
        "/desk/acme/?open=1#/orders/A%2D1001?tab=items&of=3",
        "/desk/acme/#",
        "/desk/acme/#!orders:17;line=2",
        "/desk/acme/#/files/a%2Fb%20c",
    ],
)
def test_L5_a_page_of_the_portal_is_accepted(return_to: str) -> None:
    assert safe_return_to(return_to, "acme") == return_to


@given(st.text(max_size=60).map(lambda text: "/" + text) | st.text(max_size=60))
def test_L5_every_return_to_stays_on_the_portal(return_to: str) -> None:
    target = urljoin("https://portal.example/t/acme/callback", safe_return_to(return_to, "acme"))
    assert urlsplit(target)[:2] == ("https", "portal.example")


def test_L5_a_missing_return_to_falls_back_to_the_tenant_home() -> None:
    assert safe_return_to(None, "acme") == "/t/acme/"
