"""THREATS P1, P2, P3, P4, P5, P6 and P7: deploy/forward-auth in a real nginx and a real Caddy."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.kit.browser import Browser
from tests.kit.forward_auth import NAVIGATION, SECRET, claims_of, proxied_world
from tests.kit.raw import change_tenant, cookies, signed_in
from tests.kit.reverse_proxies import CADDY, NGINX, Proxied, caddy, echoed, nginx

Start = Callable[..., AbstractAsyncContextManager[Proxied]]
PROXIES = [
    pytest.param(nginx, id="nginx", marks=pytest.mark.skipif(NGINX is None, reason="nginx is not installed")),
    pytest.param(caddy, id="caddy", marks=pytest.mark.skipif(CADDY is None, reason="Caddy is not installed")),
]
both = pytest.mark.parametrize("start", PROXIES)

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "forward-auth.md"
FORGED = [
    *("X-Auth-Tenant: globex", "X-Auth-Subject: admin", "X-Auth-Claims: eyJhIjoxfQ", "X-Auth-Issuer: evil"),
    *("X_Auth_Subject: admin", "X-Auth_Subject: admin", "X_Auth-Subject: admin", "x-auth-subject: admin"),
    *("X_AUTH_CLAIMS: e30", "Authorization: Bearer forged"),
]
"""Fields that an application might take for the proxy's."""


@asynccontextmanager
async def _proxied(
    start: Start, folder: Path, *, secret: str | None = None
) -> AsyncIterator[tuple[Proxied, Browser]]:
    (folder / "proxy").mkdir()
    async with proxied_world(folder, secret=secret) as world:
        change_tenant(world, "acme", forward_auth={"claims": ["email"], "token": secret is not None})
        async with start(world, folder / "proxy", secret=secret or "") as proxied:
            yield proxied, await signed_in(world)


def _cookie(browser: Browser) -> str:
    return f"Cookie: {cookies(browser)}"


@both
@pytest.mark.gen_test(timeout=60)
async def test_an_application_learns_who_the_user_is_and_nothing_that_the_client_says(
    start: Start, tmp_path: Path
) -> None:
    async with _proxied(start, tmp_path) as (proxied, browser):
        for target in ("/desk/", "/desk/a/b?c=d&e", "/desk/%C3%BC"):
            response = await proxied.ask(target, [_cookie(browser), *FORGED])
            assert response.status == 200
            assert json.loads(response.body)["uri"] == target
            fields = echoed(response)
            assert fields["x-auth-tenant"] == ["acme"]
            assert fields["x-auth-subject"] == ["acme-001"]
            assert fields["x-auth-issuer"] == [proxied.world.acme.issuer]
            assert claims_of({"X-Auth-Claims": fields["x-auth-claims"][0]}).keys() == {"email"}
            assert len(fields["x-auth-claims"]) == 1
            assert "authorization" not in fields


@both
@pytest.mark.gen_test(timeout=60)
async def test_P2_no_other_field_of_an_identity_reaches_the_application(start: Start, tmp_path: Path) -> None:
    async with _proxied(start, tmp_path) as (proxied, browser):
        response = await proxied.ask("/desk/", [_cookie(browser), "X-Auth-Groups: admins", *FORGED])
        assert response.status in {200, 403}, "Caddy removes it, nginx cannot"
        assert not [fields for fields in proxied.received if "X-Auth-Groups" in fields]


@both
@pytest.mark.gen_test(timeout=60)
async def test_P6_the_application_gets_its_own_cookies_and_none_of_the_portals(
    start: Start, tmp_path: Path
) -> None:
    async with _proxied(start, tmp_path) as (proxied, browser):
        session = cookies(browser)
        for before, after in (
            ("", "; desk_session=7"),
            ("desk_session=7; ", ""),
            ("desk_session=7;", "; portal-xsrf=2"),
        ):
            response = await proxied.ask("/desk/", [f"Cookie: {before}{session}{after}"])
            assert response.status == 200
            (found,) = echoed(response)["cookie"]
            assert found.strip("; ") == "desk_session=7"
            assert SimpleCookie(found).keys() == {"desk_session"}, "strict parsers read it too"


@both
@pytest.mark.gen_test(timeout=60)
async def test_who_is_not_signed_in_comes_to_the_login_and_nothing_reaches_the_application(
    start: Start, tmp_path: Path
) -> None:
    async with _proxied(start, tmp_path) as (proxied, _):
        page = await proxied.ask("/desk/a?b=c", [*NAVIGATION, *FORGED])
        assert page.status == 302
        login_url = f"/t/acme/login?{urlencode({'return_to': '/desk/a?b=c'})}"
        assert page.all("Location") == [f"{proxied.world.url}{login_url}"]
        assert page.all("Cache-Control") == ["no-store"]
        script = await proxied.ask("/desk/a", ["Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"])
        assert script.status == 401
        assert script.header("Content-Type") == "application/problem+json"
        assert json.loads(script.body)["login_url"].startswith("/t/acme/login")
        for lines in (["Content-Length: 3"], ["Transfer-Encoding: chunked"]):
            body = b"abc" if "Length" in lines[0] else b"3\r\nabc\r\n0\r\n\r\n"
            own = "Sec-Fetch-Site: same-origin"
            form = await proxied.ask("/desk/a", [own, *lines], method="POST", body=body)
            assert form.status == 401
            assert form.all("Location") == []
        assert proxied.received == []


@both
@pytest.mark.gen_test(timeout=60)
async def test_P4_a_form_reaches_the_application_from_its_own_origin_only(
    start: Start, tmp_path: Path
) -> None:
    async with _proxied(start, tmp_path) as (proxied, browser):
        for site, length in (("cross-site", True), ("same-site", False)):
            lines = [_cookie(browser), f"Sec-Fetch-Site: {site}"]
            body = b"abc" if length else b"3\r\nabc\r\n0\r\n\r\n"
            lines.append("Content-Length: 3" if length else "Transfer-Encoding: chunked")
            assert (await proxied.ask("/desk/a", lines, method="POST", body=body)).status == 403
        assert proxied.received == []
        for framing, body in (
            ("Content-Length: 3", b"abc"),
            ("Transfer-Encoding: chunked", b"3\r\nabc\r\n0\r\n\r\n"),
        ):
            lines = [_cookie(browser), "Sec-Fetch-Site: same-origin", framing]
            response = await proxied.ask("/desk/a", lines, method="POST", body=body)
            assert response.status == 200
            assert json.loads(response.body)["body"] == 3


@both
@pytest.mark.parametrize(
    "target",
    [
        "/desk/../admin",
        "/desk/%2e%2e/admin",
        "/desk/..;/admin",
        "/desk/a%2f..%2fb",
        "/desk/%5c",
        "/desk/a//b",
    ],
)
@pytest.mark.gen_test(timeout=60)
async def test_P1_no_odd_spelling_of_a_path_reaches_the_application(
    start: Start, tmp_path: Path, target: str
) -> None:
    async with _proxied(start, tmp_path) as (proxied, browser):
        response = await proxied.ask(target, [_cookie(browser)])
        assert response.status in {403, 404, 308}
        assert proxied.received == []


@both
@pytest.mark.gen_test(timeout=60)
async def test_P1_what_a_client_says_of_the_original_request_does_not_count(
    start: Start, tmp_path: Path
) -> None:
    async with _proxied(start, tmp_path) as (proxied, browser):
        rule = {"claim": "email", "equals": "nobody@acme.example"}
        change_tenant(proxied.world, "acme", access={"paths": [{"path": "/desk/admin/", "require": [rule]}]})
        host = proxied.world.url.partition("://")[2]
        said = [
            *("X-Original-URI: /desk/", "X-Original-Method: GET", f"X-Original-Host: {host}"),
            *("X-Forwarded-Uri: /desk/", "X-Forwarded-Method: GET", "X-Forwarded-Host: evil.example"),
            *("X-Forwarded-For: 203.0.113.9", "X_Original_URI: /desk/"),
        ]
        assert (await proxied.ask("/desk/admin/", [_cookie(browser), *said])).status == 403
        posted = [_cookie(browser), *said, "Content-Length: 0"]
        assert (await proxied.ask("/desk/", posted, method="POST")).status == 403
        assert proxied.received == []
        assert (await proxied.ask("/desk/", [_cookie(browser), *said])).status == 200


@both
@pytest.mark.gen_test(timeout=60)
async def test_P3_no_browser_reaches_the_address_that_the_proxy_asks(start: Start, tmp_path: Path) -> None:
    async with _proxied(start, tmp_path, secret=SECRET) as (proxied, browser):
        host = proxied.world.url.partition("://")[2]
        said = ["X-Original-URI: /desk/", "X-Original-Method: GET", f"X-Original-Host: {host}"]
        for target in (
            *("/t/acme/authz", "/t/acme/authz/", "/t/acme/authz/desk/", "/t/acme/authz?x", "/t/acme/%61uthz"),
            *("//t/acme/authz", "/x/../t/acme/authz", "/t/acme/./authz", "/_authz"),
        ):
            for lines in ([], said, [*said, f"X-Portal-Forward-Auth: {SECRET[:-1]}"]):
                response = await proxied.ask(target, [_cookie(browser), *lines])
                assert response.status == 404, target
                assert [name for name, _ in response.headers if name.lower().startswith("x-auth")] == []
                assert response.all("Authorization") == []


@both
@pytest.mark.gen_test(timeout=60)
async def test_P3_with_the_secret_the_application_gets_the_access_token_and_the_browser_does_not(
    start: Start, tmp_path: Path
) -> None:
    async with _proxied(start, tmp_path, secret=SECRET) as (proxied, browser):
        response = await proxied.ask("/desk/", [_cookie(browser), *FORGED])
        login = await proxied.world.login_of(browser, "acme")
        assert login is not None
        token = proxied.world.running.tokens.open(login).access_token.reveal()
        fields = echoed(response)
        assert fields["authorization"] == [f"Bearer {token}"]
        assert "x-portal-forward-auth" not in fields
        sent = [value for name, value in response.headers]
        assert not [value for value in sent if token in value or SECRET in value]


@both
@pytest.mark.gen_test(timeout=60)
async def test_P5_after_a_logout_the_next_request_does_not_reach_the_application(
    start: Start, tmp_path: Path
) -> None:
    async with _proxied(start, tmp_path) as (proxied, browser):
        cookie = _cookie(browser)
        assert (await proxied.ask("/desk/", [cookie])).status == 200
        await browser.fetch(proxied.world.at("/t/acme/logout"), "POST")
        assert (await proxied.ask("/desk/", [cookie])).status == 401
        assert len(proxied.received) == 1


@both
@pytest.mark.gen_test(timeout=60)
async def test_P4_a_websocket_passes_from_the_own_origin_only(start: Start, tmp_path: Path) -> None:
    async with _proxied(start, tmp_path) as (proxied, browser):
        handshake = [
            *(
                "Upgrade: websocket",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            ),
            _cookie(browser),
        ]

        async def status(origin: str) -> int:
            head = ["GET /desk/socket HTTP/1.1", f"Host: {proxied.world.url.partition('://')[2]}"]
            lines = [*head, "Connection: Upgrade", *handshake, f"Origin: {origin}", "", ""]
            async with proxied.connected() as connection:
                await connection.send("\r\n".join(lines).encode())
                first = (await connection.reader.readuntil(b"\r\n")).split(b" ")
            return int(first[1])

        assert await status("https://evil.example") == 403
        assert proxied.received == []
        assert await status(proxied.world.url) == 101
        (received,) = proxied.received
        assert received["X-Auth-Subject"] == "acme-001"


@both
@pytest.mark.gen_test(timeout=60)
async def test_P7_a_client_cannot_change_to_a_protocol_without_questions(
    start: Start, tmp_path: Path
) -> None:
    """An application that accepts HTTP/2 in this way would get further requests past the proxy."""
    async with _proxied(start, tmp_path) as (proxied, browser):
        for settings in (["HTTP2-Settings: AAMAAABkAAQAAP__"], []):
            named = "Connection: Upgrade, HTTP2-Settings" if settings else "Connection: Upgrade"
            lines = [_cookie(browser), named, "Upgrade: h2c", *settings]
            assert (await proxied.ask("/desk/", lines)).status == 200, "as a request in HTTP/1.1"
        assert len(proxied.received) == 2
        for fields in proxied.received:
            assert "Upgrade" not in fields
            assert "Http2-Settings" not in fields


@both
@pytest.mark.gen_test(timeout=60)
async def test_P7_a_client_cannot_have_the_proxys_fields_left_out(start: Start, tmp_path: Path) -> None:
    """A proxy does not pass on the fields that Connection names (RFC 9110 7.6.1)."""
    names = ("X-Auth-Tenant", "X-Auth-Issuer", "X-Auth-Subject", "X-Auth-Claims")
    async with _proxied(start, tmp_path) as (proxied, browser):
        named = f"Connection: {', '.join(names)}, X-Forwarded-Uri, X-Forwarded-Method"
        assert (await proxied.ask("/desk/", [_cookie(browser), named])).status == 200
        (fields,) = proxied.received
        assert [name for name in names if name not in fields] == []


@both
@pytest.mark.gen_test(timeout=60)
async def test_the_address_without_the_last_slash_leads_to_the_application(
    start: Start, tmp_path: Path
) -> None:
    async with _proxied(start, tmp_path) as (proxied, browser):
        response = await proxied.ask("/desk", [_cookie(browser)])
        assert response.status in {301, 302}
        assert response.all("Location") == ["/desk/"], "with the host and port that the browser used"


@both
@pytest.mark.gen_test(timeout=60)
async def test_the_portal_itself_is_reached_through_the_proxy(start: Start, tmp_path: Path) -> None:
    async with _proxied(start, tmp_path) as (proxied, browser):
        home = await proxied.ask("/t/acme/", [_cookie(browser), *NAVIGATION])
        assert home.status == 200
        call = await proxied.ask(
            "/t/acme/api/orders", [_cookie(browser), "Sec-Fetch-Site: same-origin", "X-Portal-CSRF: 1"]
        )
        assert call.status == 200
        orders: Any = json.loads(call.body)
        assert orders


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
@pytest.mark.gen_test(timeout=60)
async def test_the_tenant_may_be_part_of_the_path_as_the_guide_shows(tmp_path: Path) -> None:
    (snippet,) = re.findall(r"```nginx\n(.*?)    # the rest", GUIDE.read_text(), re.DOTALL)
    edits = [("        location /desk/ {\n            set $tenant acme;\n", snippet)]
    async with proxied_world(tmp_path) as world, nginx(world, tmp_path, edits=edits) as proxied:
        cookie = _cookie(await signed_in(world))
        response = await proxied.ask("/desk/acme/a", [cookie])
        assert echoed(response)["x-auth-tenant"] == ["acme"]
        page = await proxied.ask("/desk/globex/a", [cookie, *NAVIGATION])
        assert str(page.header("Location")).startswith(f"{world.url}/t/globex/login?")
        assert (await proxied.ask("/desk/nobody/", [cookie])).status == 500, "the portal knows no such tenant"
        assert len(proxied.received) == 1
