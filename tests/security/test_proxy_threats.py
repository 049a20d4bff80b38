"""THREATS S3, S4, S11 and T4 on real sockets: what passes between a browser and a tenant's API.

The pure rules are in test_proxy_rule_threats.py.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

import pytest

from portal.demo.api_hostile import HOSTILE
from portal.demo.endpoint_faults import EndpointFault
from tests.kit.browser import Browser
from tests.kit.processes import PortalProcess, resident_bytes, world_outside
from tests.kit.raw import (
    PATIENCE,
    RawAnswer,
    api_head,
    ask,
    change_tenant,
    connected,
    cookies,
    raw_api,
    until,
)
from tests.kit.world import World

MEGABYTE = 1024 * 1024


async def _signed_in(world: World, tenant: str = "acme") -> Browser:
    browser = world.browser()
    await world.quick_sign_in(browser, tenant)
    return browser


# --- S3: nothing leaves base_url


TARGETS = [
    "/t/acme/api/..", "/t/acme/api/../outside", "/t/acme/api/orders/../../outside", "/t/acme/api/%2e%2e/outside",
    "/t/acme/api/.%2E/outside", "/t/acme/api/./orders", "/t/acme/api//orders", "/t/acme/api//evil.example/",
    "/t/acme/api/a%2fb", "/t/acme/api/a%2F..%2F..%2Foutside", "/t/acme/api/a;b", "/t/acme/api/..;/outside",
    "/t/acme/api/a\\b", "/t/acme/api/..\\outside", "/t/acme/api/a%5c..", "/t/acme/api/@evil.example/",
    "/t/acme/api/%00", "/t/acme/api/a%0d%0aX-Injected:%20y", "/t/acme/api/a%0a", "/t/acme/api/%252e%252e/x",
    "/t/acme/api/%", "/t/acme/api/%zz", "/t/acme/api/\xe9", "/t/acme/api/orders?a=%0d%0aX:y",
    "/t/acme/api/orders?a=%00", "/t/acme/api/orders#x", "/t/acme/api/orders?#x", "/t/acme/api/" + "a" * 9000,
    "/t/acme/api/orders?" + "a" * 9000, "/t/acme/api/%u002e%u002e/",
]  # fmt: skip


@pytest.mark.gen_test
async def test_S3_a_target_that_could_leave_the_api_is_refused_and_nothing_is_sent(world: World) -> None:
    browser = await _signed_in(world)
    for target in TARGETS:
        answer = await ask(world, api_head(world, browser, target))
        assert answer is not None, target
        assert answer.status == 400, target
        assert answer.header("Content-Type") == "application/problem+json"
        assert json.loads(answer.body)["code"] == "request_refused"
    assert world.acme_api.calls.total() == world.globex_api.calls.total() == 0


@pytest.mark.gen_test
async def test_S3_a_target_outside_the_route_reaches_no_api(world: World) -> None:
    browser = await _signed_in(world)
    port = world.parts.ports.acme_api
    for target in (
        f"http://127.0.0.1:{port}/v1/orders",
        f"http://localhost:{port}/t/acme/api/orders",
        f"{world.url}/t/acme/api/orders",
        "//t/acme/api/orders",
        f"//127.0.0.1:{port}/t/acme/api/orders",
        "t/acme/api/orders",
        "*",
        "/t/acme/./api/orders",
        "/t/acme%2fapi/orders",
        "/t/globex/../acme/api/orders",
        "/t/%61cme/api/orders",
        "/t/acme/ap%69/orders",
        "/t/ACME/api/orders",
        "/t/acme/apiorders",
        "/static/../t/acme/api/orders",
    ):
        answer = await ask(world, api_head(world, browser, target))
        assert answer is not None, target
        assert answer.status in {400, 403, 404}, target
        assert answer.body, f"{target}: an error without a word"
    assert world.acme_api.calls.total() == 0


@pytest.mark.gen_test
async def test_S3_a_request_line_or_header_that_breaks_http_is_refused(world: World) -> None:
    browser = await _signed_in(world)
    good = api_head(world, browser, "/t/acme/api/orders").decode("latin-1").removesuffix("\r\n\r\n")
    broken = [
        good.replace("/orders ", "/or ders "),
        good.replace("/orders ", "/orders\rX: y "),
        good.replace("/orders ", "/orders\nX: y "),
        good.replace("/orders ", "/orders\0 "),
        good.replace("/orders ", "/orders\t"),
        good + "\r\n folded: x",
        good + "\r\nX y: z",
        good + "\r\nX\t: z",
        good + "\r\nX: a\0b",
        good + "\r\nX: a\rb",
        good + "\r\nno colon",
        good + "\r\nX: " + "y" * 40_000,
        good + "\r\nHost: other",
        good.replace("Host: ", "Host: a b"),
        good.replace("HTTP/1.1", "HTTP/2.0"),
        good.replace("HTTP/1.1", "HTTP/1.1 x"),
        good.replace("GET ", "GE T "),
        good.replace("\r\n", "\r", 1),
    ]
    for text in broken:
        answer = await ask(world, text.encode("latin-1") + b"\r\n\r\n")
        assert answer is None or answer.status == 400, text
    assert world.acme_api.calls.total() == 0


SMUGGLED = b"POST /t/acme/logout HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: same-origin\r\nCookie: %s\r\n\r\n"


def _framings(cookie: bytes) -> dict[str, tuple[Sequence[str], bytes]]:
    inner = SMUGGLED % cookie
    chunked = b"0\r\n\r\n" + inner
    return {
        "both": (["Content-Length: 5", "Transfer-Encoding: chunked"], chunked),
        "both, other order": (["Transfer-Encoding: chunked", "Content-Length: 5"], chunked),
        "two lengths": (["Content-Length: 0", f"Content-Length: {len(inner)}"], inner),
        "two lengths in one": ([f"Content-Length: 0, {len(inner)}"], inner),
        "negative": (["Content-Length: -1"], inner),
        "plus": (["Content-Length: +0"], inner),
        "unicode digits": ([b"Content-Length: ".decode() + "０".encode().decode("latin-1")], inner),
        "superscript": (["Content-Length: \xb2"], inner),
        "hexadecimal": (["Content-Length: 0x0"], inner),
        "underscore": (["Content-Length: 1_0"], inner),
        "huge": (["Content-Length: " + "9" * 30], inner),
        "gzip, chunked": (["Transfer-Encoding: gzip, chunked"], chunked),
        "chunked twice": (["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], chunked),
        "chunked, identity": (["Transfer-Encoding: chunked, identity"], chunked),
        "unknown": (["Transfer-Encoding: xchunked"], chunked),
        "vertical tab": (["Transfer-Encoding: \x0bchunked"], chunked),
        "bad size": (["Transfer-Encoding: chunked"], b"0x0\r\n\r\n" + inner),
        "negative size": (["Transfer-Encoding: chunked"], b"-1\r\n\r\n" + inner),
        "unicode size": (["Transfer-Encoding: chunked"], "０\r\n\r\n".encode() + inner),
        "size with extension": (["Transfer-Encoding: chunked"], b"0;\n\r\n\r\n" + inner),
        "bad end": (["Transfer-Encoding: chunked"], b"1\r\nab\r\n0\r\n\r\n" + inner),
    }


@pytest.mark.gen_test
async def test_S4_a_body_of_two_lengths_is_refused_and_nothing_after_it_is_a_request(world: World) -> None:
    browser = await _signed_in(world)
    for case, (extra, body) in _framings(cookies(browser).encode()).items():
        async with connected(world) as connection:
            head = api_head(world, browser, "/t/acme/api/echo", method="POST", extra=extra)
            await connection.send(head + body)
            answer = await connection.answer()
            assert answer is None or answer.status in {400, 501}, case
            assert not await connection.ended(), case
        assert await world.login_of(browser, "acme") is not None, f"{case}: the smuggled request was heard"
    assert world.acme_api.calls.total() == 0


@pytest.mark.parametrize("size", [0, 100_000, 2_000_000])
@pytest.mark.parametrize("refused_with", [401, 403, 404, 400])
@pytest.mark.gen_test
async def test_S4_the_body_of_a_refused_call_is_not_the_next_request(
    world: World, refused_with: int, size: int
) -> None:
    browser = await _signed_in(world)
    body = SMUGGLED % cookies(browser).encode() + b"x" * size
    target = {400: "/t/acme/api/..", 404: "/t/nobody/api/x"}.get(refused_with, "/t/globex/api/x")
    head = api_head(world, browser, target, method="POST", extra=[f"Content-Length: {len(body)}"])
    if refused_with == 403:
        head = head.replace(b"X-Portal-CSRF: 1", b"X-Portal-CSRF: 0")
    async with connected(world) as connection:
        await connection.send(head + body)
        answer = await connection.answer()
        if size < MEGABYTE:
            assert answer is not None
        assert answer is None or answer.status == refused_with
        await connection.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        rest = await connection.ended()
        assert rest == b"" or rest.startswith(b"HTTP/1.1 200 OK\r\n")
    assert await world.login_of(browser, "acme") is not None
    assert world.acme_api.calls.total() == world.globex_api.calls.total() == 0


@pytest.mark.gen_test
async def test_S4_a_refused_call_whose_body_never_comes_whole_is_forgotten(world: World) -> None:
    for length in (1_000, 100_000_000):
        async with connected(world) as connection:
            head = api_head(
                world, world.browser(), "/t/acme/api/x", method="POST", extra=[f"Content-Length: {length}"]
            )
            await connection.send(head + b"x" * 500)
            if length > 1_000_000:
                answer = await connection.answer()
                assert answer is not None
                assert answer.status == 401
            else:
                await until(lambda: world.running.portal.activity.count, "the request did not arrive")
            connection.reset()
        await until(lambda: not world.running.portal.activity.count, "it counts for ever", seconds=3)


@pytest.mark.gen_test
async def test_S4_requests_sent_in_one_go_are_answered_in_order_and_apart(world: World) -> None:
    alice, bob, nobody = world.browser(), world.browser(), world.browser()
    await world.sign_in(alice, "acme", "alice")
    await world.sign_in(bob, "acme", "bob")
    async with connected(world) as connection:
        await connection.send(
            api_head(world, alice, "/t/acme/api/echo", method="POST", extra=["Content-Length: 3"])
            + b"one"
            + api_head(world, bob, "/t/acme/api/echo?n=2")
            + api_head(world, nobody, "/t/acme/api/echo?n=3")
            + api_head(world, alice, "/t/acme/api/echo?n=4")
        )
        answers = [await connection.answer() for _ in range(4)]
    assert [answer and answer.status for answer in answers] == [200, 200, 401, 200]
    bodies = [json.loads(answer.body) for answer in answers if answer]
    assert bodies[0]["body"] == "one"
    subjects = [bodies[number]["authorization"]["subject"] for number in (0, 1, 3)]
    assert subjects == ["acme-001", "acme-002", "acme-001"]
    assert bodies[3]["query"] == "n=4"
    assert not [call for call in world.acme_api.received if call.uri.endswith("n=3")]


@pytest.mark.gen_test
async def test_S4_a_request_of_http_1_0_is_answered_whole(world: World) -> None:
    browser = await _signed_in(world)
    for target in ("/t/acme/api/orders", "/t/acme/api/stream?count=3&interval=0.01"):
        async with connected(world) as connection:
            await connection.send(api_head(world, browser, target, version="HTTP/1.0"))
            answer = await connection.ended()
        assert answer.split(b"\r\n")[0].endswith(b"200 OK")
        assert b"transfer-encoding" not in answer.lower()


# --- S4: headers on the way to the API


NOT_TO_API = [
    "Authorization: Bearer stolen", "Cookie2: x", "Proxy-Authorization: x", "TE: trailers", "Trailer: X-A",
    "Upgrade: websocket", "Keep-Alive: 5", "Proxy-Connection: x", "X-Forwarded-For: 6.6.6.6",
    "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "X-Forwarded-User: admin", "X-Real-IP: 6.6.6.6",
    "Forwarded: for=6.6.6.6", "Via: 1.1 evil", "X-Original-URL: /admin", "X-Rewrite-URL: /admin", "Origin: x",
    "Referer: http://localhost/t/acme/callback?code=x", "X-Request-Id: forged", "DPoP: x", "Early-Data: 1",
    "True-Client-IP: 6.6.6.6", "CF-Connecting-IP: 6.6.6.6", "Sec-Fetch-Mode: cors", "X_Forwarded_For: 6.6.6.6",
    "X_Real_IP: 6.6.6.6", "X-Forwarded_For: 6.6.6.6", "Content_Length: 7", "Transfer_Encoding: chunked",
    "Authorization_: x",
]  # fmt: skip


@pytest.mark.gen_test
async def test_S4_what_a_browser_may_not_say_to_an_api_is_stripped(world: World) -> None:
    browser = await _signed_in(world)
    for line in NOT_TO_API:
        answer = await ask(world, api_head(world, browser, "/t/acme/api/echo", extra=[line, "X-Kept: kept"]))
        assert answer is not None
        echoed = json.loads(answer.body)
        came = {name.lower(): value for name, value in echoed["headers"]}
        name, _, value = line.partition(": ")
        assert came.get(name.lower()) != value, line
        assert came["x-kept"] == "kept"
        assert echoed["authorization"]["subject"] == "acme-001"
        assert {"cookie", "x-portal-csrf", "sec-fetch-site"}.isdisjoint(came)
    assert len({call.bearer for call in world.acme_api.received}) == 1


@pytest.mark.gen_test
async def test_S4_what_the_connection_header_lists_is_stripped_but_never_what_the_portal_adds(
    world: World,
) -> None:
    browser = await _signed_in(world)
    extra = [
        "Connection: keep-alive, X-Hop, Authorization, X-Request-Id, Host",
        "connection: x-other-hop",
        "X-Hop: 1",
        "X-Other-Hop: 1",
    ]
    answer = await ask(world, api_head(world, browser, "/t/acme/api/echo", extra=extra))
    assert answer is not None
    assert answer.status == 200
    came = {name.lower(): value for name, value in json.loads(answer.body)["headers"]}
    assert {"x-hop", "x-other-hop", "connection"}.isdisjoint(came)
    assert came["x-request-id"] == answer.header("X-Request-Id")
    assert came["host"] == f"127.0.0.1:{world.parts.ports.acme_api}"


# --- T4 and S4: answers of the API are data


TAKEN_AWAY = {
    "Set-Cookie", "Clear-Site-Data", "Service-Worker-Allowed", "Refresh", "Access-Control-Allow-Origin",
    "Access-Control-Allow-Credentials", "Access-Control-Allow-Headers", "Strict-Transport-Security", "NEL",
    "Content-Security-Policy-Report-Only", "Reporting-Endpoints", "Alt-Svc", "Public-Key-Pins", "SourceMap",
    "Cross-Origin-Opener-Policy", "Permissions-Policy", "X-Secret-Hop", "Proxy-Authenticate", "Upgrade",
    "WWW-Authenticate",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.gen_test
async def test_T4_whatever_an_api_answers_is_data_without_power_over_the_portal(
    world: World, name: str
) -> None:
    browser = await _signed_in(world)
    jar = {host: dict(kept) for host, kept in browser.cookies.items()}
    answer = await browser.fetch(world.at(f"/t/acme/api/hostile/{name}"))
    assert world.acme_api.calls["hostile"] >= 1
    assert answer.status == HOSTILE[name].status
    for header, value in {
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "DENY",
        "Cache-Control": "no-store",
    }.items():
        assert answer.headers.get_list(header) == [value], header
    assert not {header for header in answer.headers if header in TAKEN_AWAY}
    assert "Location" not in answer.headers
    assert "script" not in answer.headers["X-Request-Id"]
    assert browser.cookies == jar
    assert world.acme_api.calls["outside"] == 0


ON_THE_WAY = [
    "X-Accel-Redirect: /t/globex/api/projects", "X-Accel-Buffering: yes", "X-Accel-Expires: 3600",
    "X-Sendfile: /etc/passwd", "X-Lighttpd-Send-File: /etc/passwd", "CDN-Cache-Control: public, max-age=9999",
    "Surrogate-Control: max-age=9999", "Cloudflare-CDN-Cache-Control: max-age=9999",
    "Sec-Session-Registration: (ES256);path=\"/x\"", "Secure-Session-Registration: (ES256);path=\"/x\"",
    "Secure-Session-Challenge: \"x\"", "Observe-Browsing-Topics: ?1", "Activate-Storage-Access: load",
    "Shared-Storage-Write: clear", "Content-Location: https://evil.example/", "Report-To: {}",
]  # fmt: skip


@pytest.mark.parametrize("line", ON_THE_WAY)
@pytest.mark.gen_test
async def test_S4_an_answer_does_not_steer_the_servers_and_browsers_on_its_way(
    world: World, line: str
) -> None:
    """A reverse proxy obeys X-Accel-Redirect, a cache CDN-Cache-Control, a browser session registrations."""
    browser = await _signed_in(world)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n{line}\r\n\r\n{{}}"
    async with raw_api(head.encode()) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        answer = await browser.fetch(world.at("/t/acme/api/x"))
    assert answer.status == 200
    assert line.partition(":")[0] not in answer.headers


BROKEN_ANSWERS = {
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
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "length not a number": b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n{}",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
    "too short": b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n{}",
    "too long": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsplit",
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


@pytest.mark.parametrize("case", BROKEN_ANSWERS)
@pytest.mark.gen_test
async def test_S4_an_answer_that_breaks_http_harms_nobody(world: World, case: str) -> None:
    browser = await _signed_in(world)
    async with raw_api(BROKEN_ANSWERS[case]) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        async with connected(world) as connection:
            await connection.send(api_head(world, browser, "/t/acme/api/x"))
            answer = await connection.answer()
            assert answer is None or answer.status in {200, 204, 304, 500, 502}, answer
            if answer is not None and answer.status == 500:
                assert json.loads(answer.body) == {}, "an error of the portal itself"
            if answer is not None:
                assert not {"set-cookie", "x y"} & {name.lower() for name, _ in answer.headers}
                assert len(answer.all("Content-Length")) <= 1
                await connection.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                rest = await connection.ended()
                assert rest == b"" or rest.startswith(b"HTTP/1.1 200 OK\r\n"), "the answer was split"
                assert b"split" not in rest
        for method in ("GET", "HEAD"):
            page = await browser.step(
                world.at("/t/acme/"), "POST", urlencode({"method": "GET", "path": "/x"}), site="same-origin"
            )
            assert page.status == 200, method
    assert (await browser.fetch(world.at("/t/acme/api/x"))).status == 502


@pytest.mark.gen_test
async def test_S4_a_broken_answer_to_head_harms_nobody(world: World) -> None:
    browser = await _signed_in(world)
    async with raw_api(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\nsurprise") as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        async with connected(world) as connection:
            await connection.send(api_head(world, browser, "/t/acme/api/x", method="HEAD"))
            answer = await connection.answer(to_head=True)
            assert answer is not None
            assert answer.status in {200, 502}
            await connection.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b"surprise" not in await connection.ended()


# --- the explorer: the same rules, from a form


@pytest.mark.gen_test
async def test_S3_the_explorer_calls_nothing_but_the_api(world: World) -> None:
    browser = await _signed_in(world)
    port = world.parts.ports.globex_api
    for path in (
        f"http://127.0.0.1:{port}/v1/projects", f"//127.0.0.1:{port}/", f"@127.0.0.1:{port}/", "/../outside",
        "/%2e%2e/outside", "/\\evil", "/a\r\nHost: evil", "/orders?a=\r\nX: y", "/a b", "/a#b", "/" + "a" * 9000,
        ".evil.example/", ":80/", "/a%0d%0aX:y", "\0/../outside",
    ):  # fmt: skip
        body = urlencode({"method": "GET", "path": path})
        answer = await browser.step(world.at("/t/acme/"), "POST", body, site="same-origin")
        assert answer.status == 200, path
    assert world.globex_api.calls.total() == 0
    assert world.acme_api.calls["outside"] == 0
    assert not [call for call in world.acme_api.received if not call.uri.startswith("/v1/")]
    for method in ("CONNECT", "TRACE", "get", "GET /x HTTP/1.1\r\nX: y", ""):
        body = urlencode({"method": method, "path": "/orders"})
        answer = await browser.step(world.at("/t/acme/"), "POST", body, site="same-origin")
        assert answer.status == 400, method
    assert not [call for call in world.acme_api.received if call.method not in {"GET"}]


@pytest.mark.gen_test
async def test_T4_json_that_grows_when_it_is_laid_out_does_not_fill_the_page(world: World) -> None:
    """A quarter of a megabyte, nested deeply: two spaces a level and line make hundreds of megabytes."""
    browser = await _signed_in(world)
    bomb = b"[" * 300 + b"0," * 120_000 + b"0" + b"]" * 300
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    async with raw_api(head + bomb) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        begun = asyncio.get_running_loop().time()
        answer = await browser.step(
            world.at("/t/acme/"), "POST", urlencode({"method": "GET", "path": "/x"}), site="same-origin"
        )
        took = asyncio.get_running_loop().time() - begun
    assert answer.status == 200
    assert len(answer.body) < 2 * MEGABYTE
    assert took < 5


# --- S11: bodies without end, browsers that leave


@pytest.mark.gen_test
async def test_S11_an_explorer_call_is_given_up_when_the_browser_leaves(world: World) -> None:
    browser = await _signed_in(world)
    body = urlencode({"method": "GET", "path": "/stream?interval=0.5"})
    head = (
        f"POST /t/acme/ HTTP/1.1\r\nHost: x\r\nCookie: {cookies(browser)}\r\nSec-Fetch-Site: same-origin\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
    async with connected(world) as connection:
        await connection.send(head.encode())
        await until(lambda: world.acme_api.open_streams, "the explorer called nothing")
        connection.reset()
    await until(lambda: not world.acme_api.open_streams, "the explorer goes on reading", seconds=3)
    await until(lambda: not world.running.portal.activity.count, "the request was not given up", seconds=3)


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.gen_test
async def test_S11_an_upload_that_breaks_off_is_given_up_everywhere(world: World, how: str) -> None:
    browser = await _signed_in(world)
    async with connected(world) as connection:
        head = api_head(
            world, browser, "/t/acme/api/upload", method="POST", extra=["Content-Length: 10000000"]
        )
        await connection.send(head + b"x" * 300_000)
        await until(lambda: world.acme_api.calls["upload"], "the upload did not begin")
        getattr(connection, how)()
    await until(lambda: not world.running.portal.activity.count, "a broken upload counts for ever", seconds=3)
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.gen_test
async def test_S11_an_upload_that_breaks_off_before_it_is_passed_on_is_given_up(world: World) -> None:
    browser = await _signed_in(world)
    async with connected(world) as connection:
        extra = ["Content-Length: 10000"]
        await connection.send(api_head(world, browser, "/t/acme/api/upload", method="POST", extra=extra))
        await until(lambda: world.running.portal.activity.count, "the request did not arrive")
        connection.reset()
    await until(lambda: not world.running.portal.activity.count, "a broken upload counts for ever", seconds=3)
    assert world.acme_api.calls["upload"] == 0


@pytest.mark.gen_test
async def test_S11_an_early_answer_to_an_upload_is_let_go_when_the_browser_leaves(world: World) -> None:
    """The API answers before it has read; the browser leaves before it has seen that."""
    browser = await _signed_in(world)
    talking, over = asyncio.Event(), asyncio.Event()

    async def answer_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9999999\r\n\r\n{")
        await writer.drain()
        talking.set()
        try:
            while await reader.read(65_536):
                pass
        except ConnectionError:
            return
        finally:
            over.set()

    async with raw_api(answer_early) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        async with connected(world) as connection:
            extra = ["Content-Length: 50000000"]
            await connection.send(api_head(world, browser, "/t/acme/api/x", method="POST", extra=extra))
            await connection.send(b"x" * 200_000)
            await asyncio.wait_for(talking.wait(), PATIENCE)
            connection.reset()
        await asyncio.wait_for(over.wait(), PATIENCE)


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.gen_test
async def test_S11_an_endless_stream_ends_at_the_api_when_the_browser_leaves(world: World, how: str) -> None:
    browser = await _signed_in(world)
    async with connected(world) as connection:
        await connection.send(api_head(world, browser, "/t/acme/api/stream?interval=0.01"))
        await asyncio.wait_for(connection.reader.readuntil(b'"tick": 3'), PATIENCE)
        getattr(connection, how)()
    await until(lambda: not world.acme_api.open_streams, "the API goes on streaming", seconds=3)
    await until(lambda: not world.running.portal.activity.count, "the request was not given up", seconds=3)


@pytest.mark.gen_test
async def test_S11_a_silent_api_is_let_go_when_the_browser_leaves(world: World) -> None:
    browser = await _signed_in(world)
    world.acme_api.faults["echo"] = EndpointFault(never_answers=True)
    async with connected(world) as connection:
        await connection.send(api_head(world, browser, "/t/acme/api/echo"))
        await until(lambda: world.acme_api.calls["echo"], "the API was not called")
        connection.reset()
    await until(lambda: not world.running.portal.activity.count, "the request was not given up", seconds=3)


LARGE = 200 * MEGABYTE
MOST_GROWTH = 40 * MEGABYTE


class _Peak:
    """Watches the resident memory of a portal while a block runs."""

    def __init__(self, served: PortalProcess) -> None:
        (self._pid,) = served.workers
        self._before = resident_bytes(self._pid)
        self.growth = 0
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            self.growth = max(self.growth, resident_bytes(self._pid) - self._before)
            await asyncio.sleep(0.02)

    async def end(self) -> int:
        self.growth = max(self.growth, resident_bytes(self._pid) - self._before)
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)
        return self.growth


async def _upload(world: World, browser: Browser, size: int) -> RawAnswer:
    piece = b"u" * MEGABYTE
    async with connected(world) as connection:
        extra = [f"Content-Length: {size}"]
        await connection.send(api_head(world, browser, "/t/acme/api/upload", method="POST", extra=extra))
        for _ in range(size // MEGABYTE):
            await connection.send(piece)
        answer = await asyncio.wait_for(connection.answer(), 60)
    assert answer is not None
    return answer


async def _download(world: World, browser: Browser, size: int) -> int:
    came = 0
    async with connected(world) as connection:
        await connection.send(api_head(world, browser, f"/t/acme/api/download?mb={size // MEGABYTE}"))
        await connection.reader.readuntil(b"\r\n\r\n")
        while came < size and (chunk := await connection.reader.read(MEGABYTE)):
            came += len(chunk)
    return came


@pytest.mark.gen_test(timeout=90)
async def test_S11_memory_stays_flat_while_large_bodies_pass(tmp_path: Path) -> None:
    async with world_outside(tmp_path) as (world, served):
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        await _upload(world, browser, 4 * MEGABYTE)
        peak = _Peak(served)
        answer = await _upload(world, browser, LARGE)
        assert json.loads(answer.body)["received_bytes"] == LARGE
        uploading = await peak.end()
        peak = _Peak(served)
        assert await _download(world, browser, LARGE) == LARGE
        downloading = await peak.end()
        assert uploading < MOST_GROWTH
        assert downloading < MOST_GROWTH


async def _deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads no more than the stream's buffer takes by itself."""
    await writer.wait_closed()


@pytest.mark.gen_test(timeout=60)
async def test_S11_a_side_that_does_not_read_holds_the_other_back(tmp_path: Path) -> None:
    async with world_outside(tmp_path) as (world, served), raw_api(_deaf) as api:
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        await world.quick_sign_in(browser, "globex")
        await _upload(world, browser, 4 * MEGABYTE)
        change_tenant(world, "globex", api={"base_url": api.url})
        await _reaches(world, browser, api.heads)
        peak = _Peak(served)
        async with connected(world) as sleeper, connected(world) as sender:
            await sleeper.send(api_head(world, browser, "/t/acme/api/download?mb=1000"))
            await until(lambda: world.acme_api.open_streams, "the download did not begin")
            extra = [f"Content-Length: {LARGE}"]
            await sender.send(api_head(world, browser, "/t/globex/api/x", method="POST", extra=extra))
            assert await _send_until_it_blocks(sender.writer, LARGE) < 50 * MEGABYTE
            assert await peak.end() < MOST_GROWTH
            assert world.acme_api.open_streams == 1


async def _reaches(world: World, browser: Browser, heads: list[bytes]) -> None:
    """Wait until the portal's own process has read the changed file and calls the API of that."""
    end = asyncio.get_running_loop().time() + PATIENCE
    while not heads:
        assert asyncio.get_running_loop().time() < end, "the portal did not read the changed file"
        async with connected(world) as connection:
            await connection.send(api_head(world, browser, "/t/globex/api/nothing"))
            await asyncio.wait({asyncio.ensure_future(connection.reader.read(1))}, timeout=0.3)


async def _send_until_it_blocks(writer: asyncio.StreamWriter, size: int) -> int:
    sent = 0
    while sent < size:
        writer.write(b"x" * MEGABYTE)
        try:
            await asyncio.wait_for(writer.drain(), 1)
        except TimeoutError:
            return sent
        sent += MEGABYTE
    return sent
