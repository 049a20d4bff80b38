"""THREATS L5: where a login may redirect the browser to."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.web.return_to import safe_return_to

HOSTILE = [
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
    "/t/acme/logout",
    "/t/acme/login",
    "/t/acme/callback?code=x",
    "/t/acme/%6cogout",
    "/%74/globex/logout",
    "/t",
    " /t/acme/",
    "",
    "orders",
]


@pytest.mark.parametrize("return_to", HOSTILE)
def test_L5_a_hostile_return_to_falls_back_to_the_tenant_home(return_to: str) -> None:
    assert safe_return_to(return_to, "acme") == "/t/acme/"


@pytest.mark.parametrize(
    "return_to",
    ["/", "/account", "/t/acme/", "/t/acme/?tab=claims", "/app/orders/5?sort=-date&page=2", "/@me"],
)
def test_L5_a_page_of_the_portal_is_accepted(return_to: str) -> None:
    assert safe_return_to(return_to, "acme") == return_to


@given(st.text(max_size=60).map(lambda text: "/" + text) | st.text(max_size=60))
def test_L5_every_return_to_stays_on_the_portal(return_to: str) -> None:
    target = urljoin("https://portal.example/t/acme/callback", safe_return_to(return_to, "acme"))
    assert urlsplit(target)[:2] == ("https", "portal.example")


def test_L5_a_missing_return_to_falls_back_to_the_tenant_home() -> None:
    assert safe_return_to(None, "acme") == "/t/acme/"
