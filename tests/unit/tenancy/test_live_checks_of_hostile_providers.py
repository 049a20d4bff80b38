"""Live checks of providers that respond with anything: each check ends with a result (THREATS D1, T7)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.outbound.client import OutboundResponse
from portal.tenancy.checks.live.page_text import form_fields, visible_text
from portal.tenancy.checks.live.server_time import stated_time
from tests.unit.outbound.wire import http_response
from tests.unit.tenancy.scripted_provider import CLIENT_SECRET, check, redirect, scripted

WRONG_URLS = [
    "http://[",
    "//",
    "https://",
    "javascript:alert(1)",
    "http://a@b:99999/",
    "\x7f",
    "https://x.example:0",
]
WRONG_VALUES: list[Any] = [
    None,
    1,
    1e300,
    True,
    [],
    ["x" * 300],
    {},
    {"a": {"b": []}},
    "",
    "\x00",
    *WRONG_URLS,
]
MEMBERS = (
    *("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"),
    *("response_types_supported", "id_token_signing_alg_values_supported", "scopes_supported"),
    *("code_challenge_methods_supported", "require_pushed_authorization_requests"),
    *("token_endpoint_auth_methods_supported", "response_modes_supported"),
    "pushed_authorization_request_endpoint",
)
METADATA = "/.well-known/openid-configuration"


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.gen_test
async def test_any_value_in_the_metadata_has_a_result(member: str) -> None:
    async with scripted() as provider:
        for value in WRONG_VALUES:
            provider.metadata = {member: {"missing": True} if value is None else value}
            checked = await check(provider, par=member.startswith("pushed"))
            _assert_readable(checked.results)


@pytest.mark.parametrize("url", WRONG_URLS)
@pytest.mark.gen_test
async def test_any_redirect_has_a_result(url: str) -> None:
    async with scripted() as provider:
        for path in ("/authorize", "/token", "/jwks", METADATA):
            provider.responses = {path: redirect(url)}
            _assert_readable((await check(provider)).results)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[" * 50_000,
        b'{"error": {"a": 1}, "error_description": [2]}',
        b'{"error": 7}',
        b'{"keys": [1, null, {"kty": []}, {"kty": "RSA", "n": 5, "e": {}}]}',
        b'{"keys": {}}',
        b"<form action='http://['><input name=error value='http://['>",
        json.dumps({"error": "x" * 5000, "error_description": "\u202e\x00" * 500}).encode(),
    ],
)
@pytest.mark.gen_test
async def test_any_body_has_a_result(body: bytes) -> None:
    async with scripted() as provider:
        for path in ("/authorize", "/token", "/jwks", METADATA):
            for status in (200, 400):
                provider.responses = {path: http_response(status, body)}
                _assert_readable((await check(provider)).results)


@pytest.mark.gen_test
async def test_the_parameters_of_a_response_are_only_data() -> None:
    async with scripted() as provider:
        for query in (
            "error=",
            "error=%00&iss=%5B",
            "code=stolen",
            "response=a.b.c",
            "&" * 200,
            "response=...",
        ):
            target = f"https://portal.example/t/acme/callback?{query}"
            provider.responses["/authorize"] = redirect(target)
            results = (await check(provider)).results
            _assert_readable(results)
            assert "stolen" not in str(results)


@given(st.text(max_size=60), st.text(max_size=8))
def test_any_date_is_read_or_left_out(date: str, age: str) -> None:
    found = stated_time(OutboundResponse(200, (("Date", date), ("Age", age)), b""))
    assert found is None or isinstance(found, float)


@given(st.binary(max_size=400))
def test_any_page_is_read(body: bytes) -> None:
    assert isinstance(visible_text(body), str)
    assert all(isinstance(value, str) for value in form_fields(body).values())


def _assert_readable(results: list[Any]) -> None:
    assert len(results) >= 17
    for result in results:
        for text in (result.seen, result.advice, result.where):
            assert text.isprintable(), result
            assert len(text) <= 600
        assert CLIENT_SECRET not in str(result)
