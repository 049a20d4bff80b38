"""THREATS P1 to P5 and P7: what clients, other sites and other programs try with forward authentication."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tornado.ioloop import IOLoop

from portal.stores.model import Login
from tests.kit.forward_auth import (
    NAVIGATION,
    SECRET,
    ask_portal,
    claims_of,
    code_of,
    described,
    host_of,
    proxied_world,
)
from tests.kit.raw import change_tenant, connected, cookies, signed_in, until
from tests.kit.world import World


@pytest.fixture
def proxied(io_loop: IOLoop, tmp_path: Path, log_lines: io.StringIO) -> Iterator[World]:
    """A portal that trusts proxies on this machine."""
    manager = proxied_world(tmp_path)
    made = io_loop.run_sync(manager.__aenter__, timeout=30)
    try:
        yield made
    finally:
        io_loop.run_sync(lambda: manager.__aexit__(None, None, None), timeout=60)


# --- P1: who describes the original request


@pytest.mark.gen_test
async def test_P1_only_trusted_proxies_may_ask(world: World) -> None:
    """This portal trusts no proxy."""
    response = await ask_portal(world, described(world), browser=await signed_in(world))
    assert (response.status, code_of(response)) == (403, "proxy_not_trusted")
    assert response.all("X-Auth-Subject") == []
    assert "trusted_proxies" in json.loads(response.body)["detail"]


@pytest.mark.parametrize("part", ["method", "uri", "host"])
@pytest.mark.gen_test
async def test_P1_what_is_missing_or_repeated_is_not_guessed(proxied: World, part: str) -> None:
    browser = await signed_in(proxied)
    lines = described(proxied)
    at = ["method", "uri", "host"].index(part)
    forwarded = described(proxied, style="Forwarded")
    other = described(proxied, "/other", "HEAD", style="Forwarded")[at].replace("localhost", "127.0.0.1")
    for sent in (
        [*lines[:at], *lines[at + 1 :]],
        [*lines, lines[at]],
        [*lines, lines[at].partition(":")[0] + ": "],
        [*lines, other],
        [*lines, forwarded[at], forwarded[at]],
    ):
        response = await ask_portal(proxied, sent, browser=browser)
        assert (response.status, code_of(response)) == (400, "original_request_malformed"), sent
    assert (await ask_portal(proxied, [*lines, forwarded[at]], browser=browser)).status == 200


@pytest.mark.parametrize(
    "uri",
    [
        "/desk/../admin",
        "/desk/..",
        "/desk/.",
        "/desk/%2e%2e/admin",
        "/desk/%252e%252e/admin",
        "/desk%2fadmin",
        "/desk/%5cadmin",
        "/desk/\\admin",
        "//evil.example/",
        "/desk//admin",
        "/desk/;/admin",
        "/desk/..;/admin",
        "/desk/%3b/..%3b/admin",
        "/desk/%00",
        "/desk/%0d%0aX-A:%201",
        "/desk/%ff",
        "/desk/%u002e",
        "/desk/a b",
        "/desk/#x",
        "/desk/?a=%0d%0ab",
        "https://evil.example/",
        "desk",
        "*",
        "/t/acme/api/orders",
        "/t",
        "/T/acme/authz",
        "/" + "a" * 8001,
        "/desk/\xfc",
    ],
)
@pytest.mark.gen_test
async def test_P1_an_address_that_servers_read_differently_is_refused(proxied: World, uri: str) -> None:
    browser = await signed_in(proxied)
    for style in ("Original", "Forwarded"):
        response = await ask_portal(proxied, described(proxied, uri, style=style), browser=browser)
        assert (response.status, code_of(response)) == (403, "original_request_refused")
        assert response.all("Location") == []


@pytest.mark.parametrize("method", ["get", "G ET", "GET, POST", "", "A" * 33, "GET\t", "G3T", "-"])
@pytest.mark.gen_test
async def test_P1_a_method_that_is_none_is_refused(proxied: World, method: str) -> None:
    response = await ask_portal(proxied, described(proxied, method=method), browser=await signed_in(proxied))
    assert (response.status == 200) == (method.strip() == "GET")
    if response.status != 200:
        assert code_of(response) == "original_request_malformed"


@pytest.mark.gen_test
async def test_P1_an_application_on_another_host_is_refused(proxied: World) -> None:
    browser = await signed_in(proxied)
    method, uri, _ = described(proxied)
    port = urlsplit(proxied.url).port
    for host in (
        "evil.example",
        "localhost",
        f"localhost.evil.example:{port}",
        f"127.0.0.1:{port}",
        "localhost:1",
    ):
        response = await ask_portal(proxied, [method, uri, f"X-Original-Host: {host}"], browser=browser)
        assert (response.status, code_of(response)) == (403, "original_request_refused"), host
    for host in ("a b", "user@" + host_of(proxied), host_of(proxied) + "/", "", "a," + host_of(proxied)):
        response = await ask_portal(proxied, [method, uri, f"X-Original-Host: {host}"], browser=browser)
        assert (response.status, code_of(response)) == (400, "original_request_malformed"), host
    upper = f"X-Original-Host: {host_of(proxied).upper()}"
    assert (await ask_portal(proxied, [method, uri, upper], browser=browser)).status == 200


@pytest.mark.gen_test
async def test_P1_a_host_of_one_tenant_decides_for_that_tenant_only(proxied: World) -> None:
    change_tenant(proxied, "globex", hosts=["globex.localhost"])
    browser = await signed_in(proxied)
    own = f"X-Original-Host: globex.localhost:{urlsplit(proxied.url).port}"
    lines = [*described(proxied)[:2], own]
    assert (await ask_portal(proxied, lines, browser=browser)).status == 404
    assert (await ask_portal(proxied, lines, browser=browser, tenant="globex")).status == 401


@pytest.mark.gen_test
async def test_P1_the_appended_path_of_envoy_must_be_the_described_one(proxied: World) -> None:
    browser = await signed_in(proxied)
    lines = [*described(proxied, "/desk/a?b=c", "POST", style="Forwarded"), "Sec-Fetch-Site: same-origin"]

    async def status(appended: str, method: str = "POST") -> int:
        asked = await ask_portal(proxied, lines, browser=browser, method=method, appended=appended)
        return asked.status

    assert await status("/desk/a?b=c") == 200
    for other in ("/desk/a", "/desk/a?b=d", "/desk/b?b=c", "/", "/desk/../desk/a?b=c"):
        assert await status(other) == 400, other
    assert await status("/desk/a?b=c", "PUT") == 400
    assert await status("", "POST") == 405
    assert await status("", "HEAD") == 405
    assert await status("?b=c", "GET") == 200, "Caddy keeps the query"


@pytest.mark.gen_test
async def test_P1_the_login_leads_back_to_a_page_of_the_portals_host_only(proxied: World) -> None:
    for uri in ("/desk/a?b=c&d=/e", "/desk/@x", "/desk/?next=https://evil.example/"):
        response = await ask_portal(proxied, [*described(proxied, uri), *NAVIGATION])
        if response.status == 403:
            continue
        location = response.header("Location")
        assert location is not None
        assert location.startswith(f"{proxied.url}/t/acme/login?")
        assert parse_qs(urlsplit(location).query) == {"return_to": [uri]}
    browser = proxied.browser()
    response = await ask_portal(proxied, [*described(proxied, "/desk/a?b=c"), *NAVIGATION])
    assert location is not None
    proxied.acme.automatic_user = "alice"
    page = await browser.open(str(response.header("Location")))
    assert page.url == f"{proxied.url}/desk/a?b=c"


# --- P2: identity


@pytest.mark.gen_test
async def test_P2_every_field_about_the_user_is_sent_so_that_none_of_the_clients_remains(
    proxied: World,
) -> None:
    forged = [
        "X-Auth-Subject: admin",
        "X-Auth-Tenant: globex",
        "X-Auth-Claims: e30",
        "Authorization: Bearer x",
    ]
    response = await ask_portal(proxied, [*described(proxied), *forged], browser=await signed_in(proxied))
    assert response.status == 200
    assert response.all("X-Auth-Tenant") == ["acme"]
    assert response.all("X-Auth-Subject") == ["acme-001"]
    assert response.all("X-Auth-Issuer") == [proxied.acme.issuer]
    assert response.all("X-Auth-Claims") == ["e30"]
    assert response.all("Authorization") == []
    assert response.all("Set-Cookie") == []


@pytest.mark.parametrize(
    "name",
    [
        *("X-Auth-Groups", "X_Auth_Subject", "X-Auth_Subject", "x_auth-claims", "X-AUTH-A"),
        *("X.Auth.Subject", "X~Auth-Subject", "_X-Auth-Subject"),
    ],
)
@pytest.mark.gen_test
async def test_P2_a_field_that_an_application_may_take_for_the_portals_is_refused(
    proxied: World, name: str
) -> None:
    lines = [*described(proxied), f"{name}: admin"]
    response = await ask_portal(proxied, lines, browser=await signed_in(proxied))
    assert (response.status, code_of(response)) == (403, "original_request_refused")


@pytest.mark.gen_test
async def test_P2_values_of_the_provider_cannot_write_header_fields(
    proxied: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_tenant(proxied, "acme", forward_auth={"claims": ["name", "team"]})
    browser = await signed_in(proxied)
    original = proxied.running.portal.sessions.open_session
    subject = "a\r\nX-Auth-Tenant: globex\x00 %41\u00fc\ud800"
    claims = {"name": "x\r\nSet-Cookie: a=b", "team": ["\u2028", {"deep": "\ud800"}], "email": "not chosen"}

    async def with_odd_login(*arguments: Any, **named: Any) -> Any:
        found = await original(*arguments, **named)
        assert found is not None
        assert isinstance(found.login, Login)
        return replace(found, login=replace(found.login, subject=subject, claims=claims))

    monkeypatch.setattr(proxied.running.portal.sessions, "open_session", with_odd_login)
    response = await ask_portal(proxied, described(proxied), browser=browser)
    assert response.status == 200
    assert response.all("X-Auth-Subject") == ["a%0D%0AX-Auth-Tenant:%20globex%00%20%2541%C3%BC%ED%A0%80"]
    assert response.all("X-Auth-Tenant") == ["acme"]
    assert response.all("Set-Cookie") == []
    assert claims_of(response) == {"name": claims["name"], "team": claims["team"]}


@pytest.mark.gen_test
async def test_P2_claims_that_do_not_fit_are_an_error_and_never_left_out(
    proxied: World, log_lines: io.StringIO
) -> None:
    change_tenant(proxied, "acme", forward_auth={"claims": ["groups"]})
    browser = await signed_in(proxied)
    login = await proxied.login_of(browser, "acme")
    assert login is not None
    for groups, status in ((["g" * 100] * 50, 200), (["g" * 100] * 60, 500), ([float("inf")], 500)):
        login = replace(login, claims={**login.claims, "groups": groups}, version=login.version + 1)
        assert await proxied.running.portal.store.swap_login(login, expected_version=login.version - 1)
        response = await ask_portal(proxied, described(proxied), browser=browser)
        assert response.status == status, status
        if status == 200:
            assert claims_of(response) == {"groups": groups}
        else:
            assert code_of(response) == "identity_too_long"
    assert "gggg" not in log_lines.getvalue()


# --- P3: a browser asks


@pytest.mark.gen_test
async def test_P3_without_the_proxys_secret_nobody_gets_an_answer_or_a_token(tmp_path: Path) -> None:
    async with proxied_world(tmp_path, secret=SECRET) as world:
        change_tenant(world, "acme", forward_auth={"token": True})
        browser = await signed_in(world)
        header = "X-Portal-Forward-Auth"
        for lines in (
            [],
            [f"{header}: {SECRET}x"],
            [f"{header}: "],
            [f"{header}: {SECRET}"] * 2,
            [f"{header}: \xfc"],
        ):
            response = await ask_portal(world, [*described(world), *lines], browser=browser)
            assert (response.status, code_of(response)) == (403, "proxy_not_trusted"), lines
            assert response.all("Authorization") == []
        response = await ask_portal(world, [*described(world), f"{header}: {SECRET}"], browser=browser)
        assert response.status == 200
        assert len(response.all("Authorization")) == 1


@pytest.mark.gen_test
async def test_P3_a_tenant_gives_no_token_to_a_portal_without_secret(
    proxied: World, log_lines: io.StringIO
) -> None:
    change_tenant(proxied, "acme", forward_auth={"token": True})
    response = await ask_portal(proxied, described(proxied), browser=await signed_in(proxied))
    assert (response.status, code_of(response)) == (403, "proxy_not_trusted")
    assert response.all("Authorization") == []
    assert "needs the setting forward_auth.secret" in log_lines.getvalue()


@pytest.mark.gen_test
async def test_P3_no_token_cookie_or_secret_is_logged(tmp_path: Path, log_lines: io.StringIO) -> None:
    async with proxied_world(tmp_path, secret=SECRET) as world:
        change_tenant(world, "acme", forward_auth={"token": True})
        browser = await signed_in(world)
        lines = [*described(world, "/desk/?key=t0psecret"), f"X-Portal-Forward-Auth: {SECRET}"]
        response = await ask_portal(world, lines, browser=browser)
        bad = await ask_portal(world, [*lines, "X-Forwarded-Uri: /x?key=t0psecret"], browser=browser)
        assert bad.status == 400
        token = str(response.header("Authorization")).removeprefix("Bearer ")
        cookie = cookies(browser).partition("=")[2]
        await until(lambda: "/t/acme/authz" in log_lines.getvalue(), "no access log")
    for hidden in (SECRET, token, cookie, "t0psecret", "alice"):
        assert hidden not in log_lines.getvalue()


# --- P4: other sites

OTHER_SITES = {
    "form of another site": ["Sec-Fetch-Site: cross-site", "Origin: https://evil.example"],
    "sibling": ["Sec-Fetch-Site: same-site"],
    "typed": ["Sec-Fetch-Site: none"],
    "old browser": ["Origin: https://evil.example"],
    "sandbox": ["Origin: null"],
    "no header": [],
    "twice": ["Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"],
}


@pytest.mark.parametrize("case", OTHER_SITES)
@pytest.mark.gen_test
async def test_P4_another_site_cannot_change_anything(proxied: World, case: str) -> None:
    browser = await signed_in(proxied)
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"):
        lines = [*described(proxied, method=method), *OTHER_SITES[case]]
        response = await ask_portal(proxied, lines, browser=browser)
        assert (response.status, code_of(response)) == (403, "cross_site_request"), method
    for method in ("GET", "HEAD"):
        lines = [*described(proxied, method=method), *OTHER_SITES[case]]
        assert (await ask_portal(proxied, lines, browser=browser)).status == 200


@pytest.mark.gen_test
async def test_P4_a_page_of_the_own_origin_can(proxied: World) -> None:
    browser = await signed_in(proxied)
    for own in (["Sec-Fetch-Site: same-origin"], [f"Origin: {proxied.url}"]):
        lines = [*described(proxied, method="POST"), *own]
        assert (await ask_portal(proxied, lines, browser=browser)).status == 200
        assert (await ask_portal(proxied, lines)).status == 401


@pytest.mark.gen_test
async def test_P4_a_websocket_needs_the_own_origin(proxied: World) -> None:
    """Proxies leave out Upgrade; a browser cannot leave out Sec-WebSocket-Key."""
    browser = await signed_in(proxied)
    own = f"Origin: {proxied.url}"
    for asked in (["Sec-WebSocket-Key: x"], ["Sec-WebSocket-Version: 13"], ["Upgrade: WebSocket"]):
        for lines, status in (
            ([own], 200),
            ([own, "Sec-Fetch-Site: same-origin"], 200),
            ([own, "Sec-Fetch-Site: same-site"], 403),
            (["Origin: https://evil.example"], 403),
            ([own, own], 403),
            ([], 403),
        ):
            response = await ask_portal(proxied, [*described(proxied), *asked, *lines], browser=browser)
            assert response.status == status, (asked, lines)


# --- P7: other protocols


@pytest.mark.parametrize(
    "lines",
    [
        ["Upgrade: h2c"],
        ["Upgrade: websocket, h2c"],
        ["Upgrade: websocket", "Upgrade: h2c"],
        ["HTTP2-Settings: AAMAAABkAAQAAP__"],
    ],
)
@pytest.mark.gen_test
async def test_P7_a_request_for_another_protocol_than_websocket_is_refused(
    proxied: World, lines: list[str]
) -> None:
    browser = await signed_in(proxied)
    own = [*described(proxied), "Connection: keep-alive", f"Origin: {proxied.url}", *lines]
    response = await ask_portal(proxied, own, browser=browser)
    assert (response.status, code_of(response)) == (403, "original_request_refused")


# --- P5: decisions are not kept


@pytest.mark.gen_test
async def test_P5_the_next_request_after_the_end_of_a_login_is_401(proxied: World) -> None:
    for end in ("logout", "expiry", "tenant"):
        browser = await signed_in(proxied)
        response = await ask_portal(proxied, described(proxied), browser=browser)
        assert response.status == 200
        assert response.all("Cache-Control") == ["no-store"]
        assert response.all("ETag") == []
        if end == "logout":
            await browser.fetch(proxied.at("/t/acme/logout"), "POST")
        elif end == "expiry":
            proxied.clock.advance(24 * 3600)
        else:
            (proxied.parts.tenants_folder / "acme.yaml").unlink()
            proxied.running.portal.registry.load()
        after = await ask_portal(proxied, described(proxied), browser=browser)
        assert after.status == (404 if end == "tenant" else 401), end
        assert after.all("Cache-Control") == ["no-store"]


@pytest.mark.gen_test
async def test_P5_an_unknown_tenant_has_the_response_of_any_other(proxied: World) -> None:
    browser = await signed_in(proxied)
    bodies = set()
    for tenant in ("unknown", "nobody"):
        response = await ask_portal(proxied, described(proxied), browser=browser, tenant=tenant)
        assert response.status == 404
        problem = json.loads(response.body)
        assert problem.pop("request_id")
        bodies.add(json.dumps(problem))
    assert len(bodies) == 1


@pytest.mark.gen_test
async def test_P5_who_no_longer_meets_the_access_rules_is_refused(proxied: World) -> None:
    browser = await signed_in(proxied)
    rule = {"claim": "email", "equals": "nobody@acme.example"}
    change_tenant(proxied, "acme", access={"paths": [{"path": "/desk/admin/", "require": [rule]}]})
    assert (await ask_portal(proxied, described(proxied), browser=browser)).status == 200
    for uri in ("/desk/admin", "/desk/admin/x?y", "/desk/ADMIN/", "/desk/%61dmin/x", "/desk/admin.json"):
        response = await ask_portal(proxied, described(proxied, uri), browser=browser)
        assert (response.status, code_of(response)) == (403, "access_denied"), uri
    change_tenant(proxied, "acme", access={"require": [rule]})
    assert (await ask_portal(proxied, described(proxied), browser=browser)).status == 401


@pytest.mark.gen_test
async def test_P5_a_thousand_questions_of_one_session_are_all_answered(proxied: World) -> None:
    browser = await signed_in(proxied)
    lines = ["GET /t/acme/authz HTTP/1.1", "Host: x", f"Cookie: {cookies(browser)}", *described(proxied)]
    request = "\r\n".join([*lines, "", ""]).encode()

    async def hundred() -> list[int]:
        found = []
        async with connected(proxied) as connection:
            for _ in range(100):
                await connection.send(request)
                response = await connection.read_response()
                assert response is not None
                found.append(response.status)
        return found

    statuses = await asyncio.gather(*(hundred() for _ in range(10)))
    assert [status for one in statuses for status in one] == [200] * 1000
    assert proxied.running.portal.in_flight.count == 0
