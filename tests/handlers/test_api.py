"""`/t/{tenant}/api/`: the behaviour that front-end developers rely on."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from urllib.parse import urlsplit

import pytest
from tornado.httputil import HTTPHeaders

from tests.kit.browser import Response
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.faulty.endpoints import Response as ServerError
from tests.kit.world import World


def _problem(response: Response) -> dict[str, object]:
    assert response.headers["Content-Type"] == "application/problem+json"
    return dict(json.loads(response.body))


async def _raw(
    world: World, head: str, body: bytes = b""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(world.url)
    reader, writer = await asyncio.open_connection("127.0.0.1", parts.port)
    writer.write(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
    await writer.drain()
    return reader, writer


def _cookie(world: World, browser: object) -> str:
    return "; ".join(f"{k}={v}" for k, v in browser.cookies["localhost"].items())  # type: ignore[attr-defined]


@pytest.mark.gen_test
async def test_a_call_has_the_access_token_and_no_headers_of_the_browser_session(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    response = await browser.fetch(
        world.at("/t/acme/api/echo?a=%20b&c=%C3%A9"),
        headers={"Accept": "application/json", "X-Custom": "kept", "Authorization": "Bearer forged"},
    )
    echoed = json.loads(response.body)
    sent = HTTPHeaders()
    for name, value in echoed["headers"]:
        sent.add(name, value)
    assert response.status == 200
    assert echoed["path"] == "/echo"
    assert echoed["query"] == "a=%20b&c=%C3%A9"
    assert echoed["authorization"]["subject"] == "acme-001"
    assert sent["X-Custom"] == "kept"
    assert sent["X-Request-Id"] == response.headers["X-Request-Id"]
    assert not {"cookie", "x-portal-csrf", "sec-fetch-site", "origin", "referer"} & {n.lower() for n in sent}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.gen_test
async def test_every_method_is_forwarded(world: World, method: str) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    body = None if method in {"GET", "OPTIONS"} else '{"n": 1}'
    response = await browser.fetch(
        world.at("/t/acme/api/echo"), method, body=body, headers={"Content-Type": "application/json"}
    )
    echoed = json.loads(response.body)
    assert echoed["method"] == method
    assert echoed["body"] == (body or "")


@pytest.mark.gen_test
async def test_head_responds_with_headers_only(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    response = await browser.fetch(world.at("/t/acme/api/echo"), "HEAD")
    assert response.status == 200
    assert response.body == b""
    assert response.headers["Content-Type"] == "application/json"
    refused = await world.browser().fetch(world.at("/t/acme/api/echo"), "HEAD")
    assert (refused.status, refused.body) == (401, b"")


@pytest.mark.gen_test
async def test_without_a_login_the_response_is_401_with_a_login_url(world: World) -> None:
    response = await world.browser().fetch(world.at("/t/acme/api/orders"))
    problem = _problem(response)
    assert response.status == 401
    assert problem["code"] == "login_required"
    assert problem["login_url"] == "/t/acme/login?return_to=%2Ft%2Facme%2F"
    assert world.acme_api.calls.total() == 0


@pytest.mark.gen_test
async def test_an_unknown_tenant_is_not_found(world: World) -> None:
    response = await world.browser().fetch(world.at("/t/nobody/api/orders"))
    assert response.status == 404
    assert _problem(response)["code"] == "not_found"


@pytest.mark.gen_test
async def test_a_401_of_the_api_causes_one_refresh_and_one_retry(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    world.acme_api.refuse_next = 1
    response = await browser.fetch(world.at("/t/acme/api/echo"), "POST", body=b"x" * 60_000)
    assert response.status == 200
    assert json.loads(response.body)["body_bytes"] == 60_000
    assert world.acme.requests["refresh"] == 1
    assert world.acme_api.calls["echo"] == 2


@pytest.mark.gen_test
async def test_a_repeated_401_is_forwarded_after_one_retry(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    world.acme_api.refuse_next = 5
    response = await browser.fetch(world.at("/t/acme/api/echo"))
    assert response.status == 401
    assert "WWW-Authenticate" not in response.headers
    assert world.acme_api.calls["echo"] == 2
    assert world.acme.requests["refresh"] == 1


@pytest.mark.gen_test
async def test_a_body_too_large_to_keep_is_not_sent_twice(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    world.acme_api.refuse_next = 1
    response = await browser.fetch(world.at("/t/acme/api/echo"), "POST", body=b"x" * 70_000)
    assert response.status == 401
    assert world.acme_api.calls["echo"] == 1


@pytest.mark.gen_test(timeout=60)
async def test_a_large_upload_arrives_whole(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    body = bytes(range(256)) * 4096 * 20
    response = await browser.fetch(world.at("/t/acme/api/upload"), "POST", body=body)
    assert json.loads(response.body) == {
        "received_bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    assert ("Content-Length", str(len(body))) in world.acme_api.received[-1].headers


@pytest.mark.gen_test(timeout=60)
async def test_a_chunked_upload_arrives_whole(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    piece = b"z" * 50_000
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for _ in range(10)) + b"0\r\n\r\n"
    head = (
        f"POST /t/acme/api/upload HTTP/1.1\nHost: localhost\nCookie: {_cookie(world, browser)}\n"
        "Sec-Fetch-Site: same-origin\nX-Portal-CSRF: 1\nTransfer-Encoding: chunked\nConnection: close"
    )
    reader, writer = await _raw(world, head, chunked)
    response = await reader.read()
    writer.close()
    assert b"200 OK" in response.split(b"\r\n")[0]
    assert b'"received_bytes": 500000' in response


@pytest.mark.gen_test
async def test_a_call_is_logged_with_its_duration_in_milliseconds(
    world: World, log_lines: io.StringIO
) -> None:
    await world.browser().fetch(world.at("/t/acme/api/orders"))
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    (milliseconds,) = [line["ms"] for line in lines if line["event"] == "request"]
    assert isinstance(milliseconds, float)
    assert 0 < milliseconds < 10_000


@pytest.mark.parametrize("size", [0, 70_000])
@pytest.mark.gen_test
async def test_log_lines_of_a_call_have_its_request_id(
    world: World, log_lines: io.StringIO, size: int
) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.expire_access_token(browser, "acme")
    world.acme.faults.endpoints["refresh"] = EndpointFault(response=ServerError())
    before = len(log_lines.getvalue())
    response = await browser.fetch(world.at("/t/acme/api/echo"), "POST", body=b"x" * size)
    lines = [json.loads(line) for line in log_lines.getvalue()[before:].splitlines()]
    assert {"refresh_failed", "request_failed"} <= {line["event"] for line in lines}
    assert {line["request_id"] for line in lines} == {response.headers["X-Request-Id"]}


@pytest.mark.gen_test(timeout=60)
async def test_a_large_download_arrives_whole(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    response = await browser.fetch(world.at("/t/acme/api/download?mb=20"))
    assert len(response.body) == 20 * 1024 * 1024
    assert response.headers["Content-Length"] == str(20 * 1024 * 1024)


@pytest.mark.gen_test
async def test_a_stream_arrives_in_chunks_and_ends_when_the_browser_disconnects(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    head = (
        "GET /t/acme/api/stream?interval=0.01 HTTP/1.1\nHost: localhost\n"
        f"Cookie: {_cookie(world, browser)}\nSec-Fetch-Site: same-origin\nX-Portal-CSRF: 1"
    )
    reader, writer = await _raw(world, head)
    await asyncio.wait_for(reader.readuntil(b'"tick": 3'), 5)
    assert world.acme_api.open_streams == 1
    writer.close()
    end = asyncio.get_running_loop().time() + 5
    while world.acme_api.open_streams:
        assert asyncio.get_running_loop().time() < end, "the API's stream was not cancelled"
        await asyncio.sleep(0.01)
    end = asyncio.get_running_loop().time() + 5
    while world.running.portal.in_flight.count:
        assert asyncio.get_running_loop().time() < end, "the request was not given up"
        await asyncio.sleep(0.01)


@pytest.mark.gen_test
async def test_a_call_without_response_is_cancelled_when_the_browser_disconnects(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    world.acme_api.faults["echo"] = EndpointFault(delay=30)
    head = (
        f"GET /t/acme/api/echo HTTP/1.1\nHost: localhost\nCookie: {_cookie(world, browser)}\n"
        "Sec-Fetch-Site: same-origin\nX-Portal-CSRF: 1"
    )
    _, writer = await _raw(world, head)
    while not world.acme_api.calls["echo"]:
        await asyncio.sleep(0.01)
    writer.close()
    end = asyncio.get_running_loop().time() + 5
    while world.running.portal.in_flight.count:
        assert asyncio.get_running_loop().time() < end, "the request was not given up"
        await asyncio.sleep(0.01)


@pytest.mark.gen_test
async def test_an_api_that_is_down_gives_502_and_the_login_stays(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    for server in world.parts.servers:
        server.stop()
    await world.parts.disconnect()
    response = await browser.fetch(world.at("/t/acme/api/orders"))
    assert response.status == 502
    assert _problem(response)["code"] == "upstream_unavailable"
    assert await world.login_of(browser, "acme") is not None


@pytest.mark.gen_test
async def test_a_response_that_breaks_off_does_not_look_complete(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    head = (
        f"GET /t/acme/api/download?mb=50 HTTP/1.1\nHost: localhost\nCookie: {_cookie(world, browser)}\n"
        "Sec-Fetch-Site: same-origin\nX-Portal-CSRF: 1"
    )
    reader, writer = await _raw(world, head)
    await reader.readuntil(b"\r\n\r\n")
    await world.parts.disconnect()
    rest = await reader.read()
    writer.close()
    assert len(rest) < 50 * 1024 * 1024


@pytest.mark.gen_test
async def test_the_expired_token_of_a_call_is_refreshed_before_it_is_sent(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.expire_access_token(browser, "acme")
    response = await browser.fetch(world.at("/t/acme/api/orders"))
    assert response.status == 200
    assert world.acme.requests["refresh"] == 1


@pytest.mark.gen_test
async def test_an_expired_token_and_a_provider_that_is_down_give_503_with_retry_after(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.expire_access_token(browser, "acme")
    world.acme.faults.endpoints["refresh"] = EndpointFault(response=ServerError())
    response = await browser.fetch(world.at("/t/acme/api/orders"))
    assert response.status == 503
    assert int(response.headers["Retry-After"]) > 0
    assert _problem(response)["code"] == "provider_unavailable"
    world.acme.faults.clear()
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


@pytest.mark.parametrize("body", [b"", b"x" * 500_000])
@pytest.mark.gen_test
async def test_a_refused_call_leaves_the_connection_usable(world: World, body: bytes) -> None:
    head = (
        "POST /t/acme/api/orders HTTP/1.1\nHost: localhost\nSec-Fetch-Site: same-origin\n"
        f"X-Portal-CSRF: 1\nContent-Length: {len(body)}"
    )
    reader, writer = await _raw(world, head, body)
    for _ in range(2):
        response = await reader.readuntil(b"\r\n\r\n")
        assert b" 401 " in response.split(b"\r\n")[0]
        length = next(line for line in response.split(b"\r\n") if line.lower().startswith(b"content-length"))
        await reader.readexactly(int(length.split(b":")[1]))
        writer.write(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        await writer.drain()
    writer.close()


@pytest.mark.gen_test
async def test_a_long_upload_without_a_login_is_refused_before_it_is_sent(world: World) -> None:
    head = (
        "POST /t/acme/api/upload HTTP/1.1\nHost: localhost\nSec-Fetch-Site: same-origin\n"
        "X-Portal-CSRF: 1\nContent-Length: 900000000"
    )
    reader, writer = await _raw(world, head)
    response = await reader.read()
    writer.close()
    assert b" 401 " in response.split(b"\r\n")[0]
    assert b"connection: close" in response.lower()


@pytest.mark.gen_test
async def test_the_base_address_of_the_api_can_be_called(world: World) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await browser.fetch(world.at("/t/acme/api/"))
    assert world.acme_api.received[-1].uri.startswith("/v1/")
    assert world.acme_api.calls["outside"] == 0
