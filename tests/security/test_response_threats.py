"""THREATS T4 and S4 on real sockets: every response of an API is treated as data."""

from __future__ import annotations

import asyncio
import io
import json
from urllib.parse import urlencode

import pytest

from tests.kit.faulty.hostile_responses import HOSTILE
from tests.kit.raw import (
    api_head,
    ask,
    change_tenant,
    connected,
    raw_api,
    signed_in,
)
from tests.kit.world import World

MEGABYTE = 1024 * 1024

# --- T4 and S4: responses of the API are data


STRIPPED = {
    "Set-Cookie", "Clear-Site-Data", "Service-Worker-Allowed", "Refresh", "Access-Control-Allow-Origin",
    "Access-Control-Allow-Credentials", "Access-Control-Allow-Headers", "Strict-Transport-Security", "NEL",
    "Content-Security-Policy-Report-Only", "Reporting-Endpoints", "Alt-Svc", "Public-Key-Pins", "SourceMap",
    "Cross-Origin-Opener-Policy", "Permissions-Policy", "X-Secret-Hop", "Proxy-Authenticate", "Upgrade",
    "WWW-Authenticate", "X-Portal-Tenant", "X-Portal-Problem", "X_portal_problem", "X-Portal_problem",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.gen_test
async def test_T4_every_response_of_an_api_is_data_without_effect_on_the_portal(
    world: World, name: str
) -> None:
    browser = await signed_in(world)
    jar = {host: dict(kept) for host, kept in browser.cookies.items()}
    response = await browser.fetch(world.at(f"/t/acme/api/hostile/{name}"))
    assert world.acme_api.calls["hostile"] >= 1
    assert response.status == HOSTILE[name].status
    for header, value in {
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "DENY",
        "Cache-Control": "no-store",
    }.items():
        assert response.headers.get_list(header) == [value], header
    assert not {header for header in response.headers if header in STRIPPED}
    assert "Location" not in response.headers
    assert "script" not in response.headers["X-Request-Id"]
    assert browser.cookies == jar
    assert world.acme_api.calls["outside"] == 0


CONTROL_HEADERS = [
    "X-Accel-Redirect: /t/globex/api/projects", "X-Accel-Buffering: yes", "X-Accel-Expires: 3600",
    "X-Sendfile: /etc/passwd", "X-Lighttpd-Send-File: /etc/passwd", "CDN-Cache-Control: public, max-age=9999",
    "Surrogate-Control: max-age=9999", "Cloudflare-CDN-Cache-Control: max-age=9999",
    "Sec-Session-Registration: (ES256);path=\"/x\"", "Secure-Session-Registration: (ES256);path=\"/x\"",
    "Secure-Session-Challenge: \"x\"", "Observe-Browsing-Topics: ?1", "Activate-Storage-Access: load",
    "Shared-Storage-Write: clear", "Content-Location: https://evil.example/", "Report-To: {}",
]  # fmt: skip


@pytest.mark.parametrize("line", CONTROL_HEADERS)
@pytest.mark.gen_test
async def test_S4_a_response_does_not_control_intermediaries_or_browsers(world: World, line: str) -> None:
    """Reverse proxies obey X-Accel-Redirect, caches CDN-Cache-Control, browsers session registrations."""
    browser = await signed_in(world)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n{line}\r\n\r\n{{}}"
    async with raw_api(head.encode()) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        response = await browser.fetch(world.at("/t/acme/api/x"))
    assert response.status == 200
    assert line.partition(":")[0] not in response.headers


@pytest.mark.gen_test
async def test_S4_a_response_without_a_body_announces_none(world: World) -> None:
    """A proxy that waited for the body of a 204 would take it from the next response, of another user."""
    browser = await signed_in(world)
    async with raw_api(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n") as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        response = await browser.fetch(world.at("/t/acme/api/x"))
    assert (response.status, response.headers.get("Content-Length")) == (204, None)


@pytest.mark.parametrize("status", [600, 999])
@pytest.mark.gen_test
async def test_S4_a_status_that_no_browser_knows_is_not_forwarded(world: World, status: int) -> None:
    browser = await signed_in(world)
    async with raw_api(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n{}" % status) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        response = await browser.fetch(world.at("/t/acme/api/x"))
    assert (response.status, json.loads(response.body)["code"]) == (502, "upstream_unavailable")


BROKEN_RESPONSES = {
    "nothing": b"",
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "HTTP/0.9": b"<h1>hello</h1>",
    "no status": b"HTTP/1.1\r\n\r\n",
    "status 99": b"HTTP/1.1 099 No\r\nContent-Length: 0\r\n\r\n",
    "status 1000": b"HTTP/1.1 1000 No\r\nContent-Length: 0\r\n\r\n",
    "switching": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nfree",
    "early hints": b"HTTP/1.1 103 Early Hints\r\nLink: <x>; rel=preload\r\n\r\n" * 3
    + b"HTTP/1.1 200 OK\r\n\r\n{}",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 200\r\n\r\n{}",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\n{}\r\n0\r\n\r\n",
    "length not a number": b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n{}",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
    "too short": b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n{}",
    "too long": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsplit",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    "folded": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
    "bare CR": b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: portal=x\r\nContent-Length: 2\r\n\r\n{}",
    "NUL": b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\n{}",
    "odd name": b"HTTP/1.1 200 OK\r\nX Y: a\r\nContent-Length: 2\r\n\r\n{}",
    "latin-1": b"HTTP/1.1 200 D\xe9j\xe0\r\nX-Name: M\xfcller\r\nContent-Length: 2\r\n\r\n{}",
    "control in reason": b"HTTP/1.1 200 \x1b[31mOK\x07\r\nContent-Length: 2\r\n\r\n{}",
    "markup in reason": b"HTTP/1.1 500 <script>\r\nContent-Length: 2\r\n\r\n{}",
    "no content with body": b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}",
    "not modified with body": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n{}",
    "long head": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\nContent-Length: 2\r\n\r\n{}",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 2_000 + b"Content-Length: 2\r\n\r\n{}",
    "tab and delete": b"HTTP/1.1 200 OK\r\nX: a\tb\x7f\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("case", BROKEN_RESPONSES)
@pytest.mark.gen_test
async def test_S4_a_malformed_response_does_no_harm(world: World, case: str) -> None:
    browser = await signed_in(world)
    async with raw_api(BROKEN_RESPONSES[case]) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        async with connected(world) as connection:
            await connection.send(api_head(world, browser, "/t/acme/api/x"))
            response = await connection.read_response()
            assert response is None or response.status in {200, 204, 304, 500, 502}, response
            if response is not None and response.status == 500:
                assert json.loads(response.body) == {}, "an error of the portal itself"
            if response is not None:
                assert not {"set-cookie", "x y"} & {name.lower() for name, _ in response.headers}
                assert len(response.all("Content-Length")) <= 1
                await connection.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                rest = await connection.ended()
                assert rest == b"" or rest.startswith(b"HTTP/1.1 200 OK\r\n"), "the response was split"
                assert b"split" not in rest
        for method in ("GET", "HEAD"):
            page = await browser.step(
                world.at("/t/acme/developer"),
                "POST",
                urlencode({"method": "GET", "path": "/x"}),
                site="same-origin",
            )
            assert page.status == 200, method
    assert (await browser.fetch(world.at("/t/acme/api/x"))).status == 502


BROKEN_LOCATIONS = [
    b"http://[::1", b"//[x", b"http://a]b/", b"http://[", b"http://[v1.x]/", b"http://\xe2\x84\x80/",
    b"//[::1%25x]y/",
]  # fmt: skip


@pytest.mark.parametrize("location", BROKEN_LOCATIONS)
@pytest.mark.gen_test
async def test_S4_a_malformed_location_is_dropped_from_the_response(
    world: World, log_lines: io.StringIO, location: bytes
) -> None:
    browser = await signed_in(world)
    template = b"HTTP/1.1 302 Found\r\nX-Kept: kept\r\nLocation: %s\r\nContent-Length: 4\r\n\r\nhere"
    async with raw_api(template % location) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        response = await ask(world, api_head(world, browser, "/t/acme/api/x"))
        assert response is not None
        assert (response.status, response.body) == (302, b"here")
        assert response.header("X-Kept") == "kept"
        assert response.header("Location") is None
        page = await browser.step(
            world.at("/t/acme/developer"),
            "POST",
            urlencode({"method": "GET", "path": "/x"}),
            site="same-origin",
        )
    assert page.status == 200
    assert "302" in page.text
    assert "here" in page.text
    assert "Location" not in page.text
    assert "unexpected_error" not in log_lines.getvalue()


@pytest.mark.gen_test
async def test_S4_a_malformed_response_to_head_does_no_harm(world: World) -> None:
    browser = await signed_in(world)
    async with raw_api(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\nsurprise") as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        async with connected(world) as connection:
            await connection.send(api_head(world, browser, "/t/acme/api/x", method="HEAD"))
            response = await connection.read_response(to_head=True)
            assert response is not None
            assert response.status in {200, 502}
            await connection.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b"surprise" not in await connection.ended()


@pytest.mark.gen_test
async def test_T4_json_that_grows_with_indentation_does_not_fill_the_page(world: World) -> None:
    """A quarter of a megabyte, nested deeply: indentation would make hundreds of megabytes."""
    browser = await signed_in(world)
    bomb = b"[" * 300 + b"0," * 120_000 + b"0" + b"]" * 300
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    async with raw_api(head + bomb) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        begun = asyncio.get_running_loop().time()
        response = await browser.step(
            world.at("/t/acme/developer"),
            "POST",
            urlencode({"method": "GET", "path": "/x"}),
            site="same-origin",
        )
        took = asyncio.get_running_loop().time() - begun
    assert response.status == 200
    assert len(response.body) < 2 * MEGABYTE
    assert took < 5
