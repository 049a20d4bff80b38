"""THREATS S3 and S4 on real sockets: requests that a browser or the explorer makes the portal send to an API.

The pure rules are in test_proxy_rule_threats.py, the responses in test_response_threats.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import urlencode

import pytest

from tests.kit.raw import (
    api_head,
    ask,
    connected,
    cookies,
    signed_in,
    until,
)
from tests.kit.world import World

MEGABYTE = 1024 * 1024

# --- S3: no target leaves base_url


TARGETS = [
    "/t/acme/api/..", "/t/acme/api/../outside", "/t/acme/api/orders/../../outside",
    "/t/acme/api/%2e%2e/outside",
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
    browser = await signed_in(world)
    for target in TARGETS:
        response = await ask(world, api_head(world, browser, target))
        assert response is not None, target
        assert response.status == 400, target
        assert response.header("Content-Type") == "application/problem+json"
        assert json.loads(response.body)["code"] == "request_refused"
    assert world.acme_api.calls.total() == world.globex_api.calls.total() == 0


@pytest.mark.gen_test
async def test_S3_a_target_outside_the_route_reaches_no_api(world: World) -> None:
    browser = await signed_in(world)
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
        response = await ask(world, api_head(world, browser, target))
        assert response is not None, target
        assert response.status in {400, 403, 404}, target
        assert response.body, f"{target}: an error without a body"
    assert world.acme_api.calls.total() == 0


@pytest.mark.gen_test
async def test_S3_a_malformed_request_line_or_header_is_refused(world: World) -> None:
    browser = await signed_in(world)
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
        response = await ask(world, text.encode("latin-1") + b"\r\n\r\n")
        assert response is None or response.status in {400, 431}, text
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
    browser = await signed_in(world)
    for case, (extra, body) in _framings(cookies(browser).encode()).items():
        async with connected(world) as connection:
            head = api_head(world, browser, "/t/acme/api/echo", method="POST", extra=extra)
            await connection.send(head + body)
            response = await connection.read_response()
            assert response is None or response.status in {400, 413, 501}, case
            assert not await connection.ended(), case
        assert await world.login_of(browser, "acme") is not None, f"{case}: the smuggled request was handled"
    assert world.acme_api.calls.total() == 0


@pytest.mark.parametrize("size", [0, 100_000, 2_000_000])
@pytest.mark.parametrize("refused_with", [401, 403, 404, 400])
@pytest.mark.gen_test
async def test_S4_the_body_of_a_refused_call_is_not_the_next_request(
    world: World, refused_with: int, size: int
) -> None:
    browser = await signed_in(world)
    body = SMUGGLED % cookies(browser).encode() + b"x" * size
    target = {400: "/t/acme/api/..", 404: "/t/nobody/api/x"}.get(refused_with, "/t/globex/api/x")
    head = api_head(world, browser, target, method="POST", extra=[f"Content-Length: {len(body)}"])
    if refused_with == 403:
        head = head.replace(b"X-Portal-CSRF: 1", b"X-Portal-CSRF: 0")
    async with connected(world) as connection:
        await connection.send(head + body)
        response = await connection.read_response()
        if size < MEGABYTE:
            assert response is not None
        assert response is None or response.status == refused_with
        await connection.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        rest = await connection.ended()
        assert rest == b"" or rest.startswith(b"HTTP/1.1 200 OK\r\n")
    assert await world.login_of(browser, "acme") is not None
    assert world.acme_api.calls.total() == world.globex_api.calls.total() == 0


@pytest.mark.gen_test
async def test_S4_a_refused_call_with_an_incomplete_body_does_not_stay_in_flight(world: World) -> None:
    for length in (1_000, 100_000_000):
        async with connected(world) as connection:
            head = api_head(
                world, world.browser(), "/t/acme/api/x", method="POST", extra=[f"Content-Length: {length}"]
            )
            await connection.send(head + b"x" * 500)
            if length > 1_000_000:
                response = await connection.read_response()
                assert response is not None
                assert response.status == 401
            else:
                await until(lambda: world.running.portal.in_flight.count, "the request did not arrive")
            connection.reset()
        await until(lambda: not world.running.portal.in_flight.count, "it stays in flight", seconds=3)


@pytest.mark.gen_test
async def test_S4_pipelined_requests_get_their_own_responses_in_order(world: World) -> None:
    alice, bob, signed_out = world.browser(), world.browser(), world.browser()
    await world.sign_in(alice, "acme", "alice")
    await world.sign_in(bob, "acme", "bob")
    async with connected(world) as connection:
        await connection.send(
            api_head(world, alice, "/t/acme/api/echo", method="POST", extra=["Content-Length: 3"])
            + b"one"
            + api_head(world, bob, "/t/acme/api/echo?n=2")
            + api_head(world, signed_out, "/t/acme/api/echo?n=3")
            + api_head(world, alice, "/t/acme/api/echo?n=4")
        )
        responses = [await connection.read_response() for _ in range(4)]
    assert [response and response.status for response in responses] == [200, 200, 401, 200]
    bodies = [json.loads(response.body) for response in responses if response]
    assert bodies[0]["body"] == "one"
    subjects = [bodies[number]["authorization"]["subject"] for number in (0, 1, 3)]
    assert subjects == ["acme-001", "acme-002", "acme-001"]
    assert bodies[3]["query"] == "n=4"
    assert not [call for call in world.acme_api.received if call.uri.endswith("n=3")]


@pytest.mark.gen_test
async def test_S4_a_request_of_http_1_0_gets_a_complete_response(world: World) -> None:
    browser = await signed_in(world)
    for target in ("/t/acme/api/orders", "/t/acme/api/stream?count=3&interval=0.01"):
        async with connected(world) as connection:
            await connection.send(api_head(world, browser, target, version="HTTP/1.0"))
            response = await connection.ended()
        assert response.split(b"\r\n")[0].endswith(b"200 OK")
        assert b"transfer-encoding" not in response.lower()


# --- S4: headers on the way to the API


NOT_TO_API = [
    "Authorization: Bearer stolen", "Cookie2: x", "Proxy-Authorization: x", "TE: trailers", "Trailer: X-A",
    "Upgrade: websocket", "Keep-Alive: 5", "Proxy-Connection: x", "X-Forwarded-For: 6.6.6.6",
    "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "X-Forwarded-User: admin",
    "X-Real-IP: 6.6.6.6",
    "Forwarded: for=6.6.6.6", "Via: 1.1 evil", "X-Original-URL: /admin", "X-Rewrite-URL: /admin", "Origin: x",
    "Referer: http://localhost/t/acme/callback?code=x", "X-Request-Id: forged", "DPoP: x", "Early-Data: 1",
    "True-Client-IP: 6.6.6.6", "CF-Connecting-IP: 6.6.6.6", "Sec-Fetch-Mode: cors",
    "X_Forwarded_For: 6.6.6.6",
    "X_Real_IP: 6.6.6.6", "X-Forwarded_For: 6.6.6.6", "Content_Length: 7", "Transfer_Encoding: chunked",
    "Authorization_: x",
    "X-Auth-Tenant: globex", "X-Auth-Issuer: https://evil.example", "X-Auth-Subject: admin",
    "X-Auth-Claims: e30", "X_Auth_Subject: admin", "X-Auth_Claims: e30",
    "X-Client-IP: 6.6.6.6", "Client-IP: 6.6.6.6", "X-Cluster-Client-IP: 6.6.6.6", "X_Client_IP: 6.6.6.6",
]  # fmt: skip


@pytest.mark.gen_test
async def test_S4_headers_that_a_browser_must_not_send_to_an_api_are_stripped(world: World) -> None:
    browser = await signed_in(world)
    for line in NOT_TO_API:
        response = await ask(
            world, api_head(world, browser, "/t/acme/api/echo", extra=[line, "X-Kept: kept"])
        )
        assert response is not None
        echoed = json.loads(response.body)
        received = {name.lower(): value for name, value in echoed["headers"]}
        name, _, value = line.partition(": ")
        assert received.get(name.lower()) != value, line
        assert received["x-kept"] == "kept"
        assert echoed["authorization"]["subject"] == "acme-001"
        assert {"cookie", "x-portal-csrf", "sec-fetch-site"}.isdisjoint(received)
    assert len({call.bearer for call in world.acme_api.received}) == 1


@pytest.mark.gen_test
async def test_S4_headers_listed_by_connection_are_stripped_but_not_those_of_the_portal(
    world: World,
) -> None:
    browser = await signed_in(world)
    extra = [
        "Connection: keep-alive, X-Hop, Authorization, X-Request-Id, Host",
        "connection: x-other-hop",
        "X-Hop: 1",
        "X-Other-Hop: 1",
    ]
    response = await ask(world, api_head(world, browser, "/t/acme/api/echo", extra=extra))
    assert response is not None
    assert response.status == 200
    received = {name.lower(): value for name, value in json.loads(response.body)["headers"]}
    assert {"x-hop", "x-other-hop", "connection"}.isdisjoint(received)
    assert received["x-request-id"] == response.header("X-Request-Id")
    assert received["host"] == f"127.0.0.1:{world.parts.ports.acme_api}"


# --- the explorer: the same rules for its form


@pytest.mark.gen_test
async def test_S3_the_explorer_calls_only_the_api(world: World) -> None:
    browser = await signed_in(world)
    port = world.parts.ports.globex_api
    for path in (
        f"http://127.0.0.1:{port}/v1/projects", f"//127.0.0.1:{port}/", f"@127.0.0.1:{port}/", "/../outside",
        "/%2e%2e/outside", "/\\evil", "/a\r\nHost: evil", "/orders?a=\r\nX: y", "/a b", "/a#b",
        "/" + "a" * 9000,
        ".evil.example/", ":80/", "/a%0d%0aX:y", "\0/../outside",
    ):  # fmt: skip
        body = urlencode({"method": "GET", "path": path})
        response = await browser.step(world.at("/t/acme/developer"), "POST", body, site="same-origin")
        assert response.status == 200, path
    assert world.globex_api.calls.total() == 0
    assert world.acme_api.calls["outside"] == 0
    assert not [call for call in world.acme_api.received if not call.uri.startswith("/v1/")]
    for method in ("CONNECT", "TRACE", "get", "GET /x HTTP/1.1\r\nX: y", ""):
        body = urlencode({"method": method, "path": "/orders"})
        response = await browser.step(world.at("/t/acme/developer"), "POST", body, site="same-origin")
        assert response.status == 400, method
    assert not [call for call in world.acme_api.received if call.method not in {"GET"}]
