"""A front end that a development server makes: requests, responses and hot reload."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tornado.netutil import bind_sockets

from portal.config.front_ends import FrontEnd
from tests.kit.browser import Browser
from tests.kit.development_server import DevelopmentServer, development_server
from tests.kit.raw import PATIENCE, RawResponse, api_head, ask, connected, signed_in, until
from tests.kit.websockets import TEXT, BrowserSocket, handshake, needs_own_server, opened
from tests.kit.world import World, world


@dataclass
class Developed:
    world: World
    server: DevelopmentServer
    browser: Browser


@contextlib.asynccontextmanager
async def developed(tmp_path: Path) -> AsyncIterator[Developed]:
    """A portal whose front end is made by a development server, and a browser that is signed in."""
    with development_server() as server:
        desk = {"desk": FrontEnd(path="/desk", url=server.url)}
        async with world(tmp_path, front_ends=desk) as made:
            yield Developed(made, server, await signed_in(made))


@pytest.mark.gen_test
async def test_requests_reach_the_server_without_cookies_and_tokens(tmp_path: Path) -> None:
    async with developed(tmp_path) as made:
        for method, body in (("GET", None), ("POST", "a=b"), ("PUT", "c")):
            response = await made.browser.fetch(
                made.world.at("/desk/@vite/client?v=1&t=%2F"),
                method,
                body=body,
                headers={"Authorization": "Bearer x", "Origin": made.world.url, "Accept": "text/x"},
            )
            assert response.text == f"{method} /desk/@vite/client?v=1&t=%2F {body or ''}"
            (request,) = made.server.requests
            made.server.requests.clear()
            assert request.host == made.server.url[7:]
            assert request.headers["Accept"] == "text/x"
            assert not {"Cookie", "Authorization", "Origin", "X-Portal-Csrf", "Sec-Fetch-Site"} & set(
                request.headers
            )


@pytest.mark.gen_test
async def test_responses_have_the_policy_of_the_portal_and_set_no_cookies(tmp_path: Path) -> None:
    async with developed(tmp_path) as made:
        response = await made.browser.fetch(made.world.at("/desk/main.js"))
        assert response.headers["Content-Type"] == "text/javascript"
        assert response.headers["Cache-Control"] == "max-age=31536000, immutable"
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval';")
        assert not {"Set-Cookie", "Access-Control-Allow-Origin", "Service-Worker-Allowed"} & set(
            response.headers
        )
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        head = await made.browser.fetch(made.world.at("/desk/main.js"), "HEAD")
        assert (head.status, head.body) == (200, b"")
        assert (await made.browser.fetch(made.world.at("/desk/stream"))).text == "0;1;2;"
        assert (await made.browser.fetch(made.world.at("/desk/bare"))).status == 304
        assert (await made.browser.step(made.world.at("/desk"))).headers["Location"] == "/desk/"


@pytest.mark.gen_test
async def test_redirects_stay_within_the_front_end(tmp_path: Path) -> None:
    async with developed(tmp_path) as made:
        for to, location in (
            ("/desk/other", "/desk/other"),
            ("other?a=b", "/desk/other?a=b"),
            (f"{made.server.url}/desk/", "/desk/"),
        ):
            response = await made.browser.fetch(made.world.at(f"/desk/redirect?to={to.replace('?', '%3F')}"))
            assert (response.status, response.headers["Location"]) == (302, location)
        for to in ("https://evil.example/", "//evil.example/", "/t/acme/logout", "/desktop", "/"):
            response = await made.browser.fetch(made.world.at(f"/desk/redirect?to={to}"))
            assert response.status == 502, to
            assert "Location" not in response.headers


@pytest.mark.gen_test
async def test_F5_other_sites_and_other_names_of_this_machine_are_refused(tmp_path: Path) -> None:
    async with developed(tmp_path) as made:
        port = made.world.url.rpartition(":")[2]
        for host in (f"evil.example:{port}", f"127.0.0.1:{port}", "localhost"):
            response = await made.browser.fetch(made.world.at("/desk/main.js"), headers={"Host": host})
            assert response.status == 404, host
        posted = await made.browser.fetch(made.world.at("/desk/x"), "POST", body="", site="cross-site")
        assert posted.status == 403
        for target in ("/desk/../t/acme/", "/desk/%2e%2e/x", "/desk/a%5c..%5cb"):
            request = f"GET {target} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"
            refused = await ask(made.world, request.encode())
            assert refused is not None
            assert refused.status in {400, 404}, target
        assert not made.server.requests


@pytest.mark.gen_test
async def test_a_server_that_does_not_run_is_named(tmp_path: Path) -> None:
    with bind_sockets(0, address="127.0.0.1")[0] as unused:
        url = f"http://localhost:{unused.getsockname()[1]}"
    async with world(tmp_path, front_ends={"desk": FrontEnd(path="/desk", url=url)}) as made:
        response = await made.browser().open(made.at("/desk/"))
        assert response.status == 502
        assert "The development server does not respond" in response.text
        assert f"Nothing responds at {url}" in response.text


@needs_own_server
@pytest.mark.gen_test
async def test_hot_reload_works_over_a_websocket(tmp_path: Path) -> None:
    async with developed(tmp_path) as made:
        offer: dict[str, str | None] = {"Sec-WebSocket-Protocol": "vite-hmr"}
        async with opened(made.world, made.browser, "/desk/hmr?token=x", changes=offer) as socket:
            assert socket.response.header("Sec-WebSocket-Protocol") == "vite-hmr"
            greeting = await socket.receive()
            assert greeting is not None
            assert greeting.payload == b"connected"
            await socket.send(TEXT, b"hello")
            reply = await socket.receive()
            assert reply is not None
            assert reply.payload == b"you said 'hello'"
            (request,) = made.server.requests
            assert request.uri == "/desk/hmr?token=x"
            assert not {"Cookie", "Authorization", "Origin"} & set(request.headers)
            assert made.world.running.portal.in_flight.count == 1
        await until(lambda: made.world.running.portal.in_flight.count == 0, "the socket stays open")


@needs_own_server
@pytest.mark.gen_test
async def test_F5_no_other_site_opens_a_hot_reload_socket(tmp_path: Path) -> None:
    async with developed(tmp_path) as made:
        for changes, status in (
            ({"Origin": "https://evil.example"}, 403),
            ({"Origin": None}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Host": "evil.example"}, 404),
            ({"Sec-WebSocket-Key": "short"}, 400),
        ):
            async with handshake(made.world, made.browser, "/desk/hmr", changes=changes) as (_, response):
                assert response is not None
                assert response.status == status, changes
        assert not made.server.requests
        async with handshake(made.world, made.browser, "/desk/main.js") as (_, response):
            assert response is not None
            assert response.status == 502


# --- uploads


MEGABYTE = 1024 * 1024
MULTIPART = "multipart/form-data; boundary=limit"


def form(size: int) -> bytes:
    """A form with one file of this size, as a browser sends it."""
    head = b'--limit\r\nContent-Disposition: form-data; name="f"; filename="a.bin"\r\n\r\n'
    return head + secrets.token_bytes(size) + b"\r\n--limit--\r\n"


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def upload_head(made: Developed, framing: str, query: str = "") -> bytes:
    lines = [framing, f"Content-Type: {MULTIPART}"]
    return api_head(made.world, made.browser, f"/desk/upload{query}", method="POST", extra=lines)


async def uploaded(made: Developed, head: bytes, body: bytes) -> RawResponse:
    async with connected(made.world) as connection:
        sending = asyncio.ensure_future(connection.send(head + body))
        response = await connection.read_response()
        sending.cancel()
    assert response is not None
    return response


@pytest.mark.parametrize("coding", ["length", "chunked"])
@pytest.mark.parametrize("size", [100, 100_000, 20 * MEGABYTE], ids=["100", "100k", "20M"])
@pytest.mark.gen_test(timeout=60)
async def test_a_multipart_upload_reaches_the_server_as_it_was_sent(
    tmp_path: Path, coding: str, size: int
) -> None:
    async with developed(tmp_path) as made:
        body = form(size)
        if coding == "length":
            response = await uploaded(made, upload_head(made, f"Content-Length: {len(body)}"), body)
        else:
            head = upload_head(made, "Transfer-Encoding: chunked")
            response = await uploaded(made, head, chunked(body, 50_000))
        assert response.status == 200, response
        got = json.loads(response.body)
        assert (got["size"], got["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
        assert got["type"] == MULTIPART
        assert got["length"] == (str(len(body)) if coding == "length" else None)
        assert got["coding"] == (None if coding == "length" else "chunked")
        assert not {"Cookie", "Authorization"} & set(made.server.requests[0].headers)


@needs_own_server
@pytest.mark.gen_test(timeout=60)
async def test_hot_reload_goes_on_during_an_upload_that_the_server_reads_slowly(tmp_path: Path) -> None:
    async with developed(tmp_path) as made:
        made.server.may_read.clear()
        body = form(20 * MEGABYTE)
        async with opened(made.world, made.browser, "/desk/hmr") as socket, connected(made.world) as upload:
            await received(socket, b"connected")
            sending = asyncio.ensure_future(
                upload.send(upload_head(made, f"Content-Length: {len(body)}") + body)
            )
            await asyncio.wait_for(made.server.began_reading.wait(), PATIENCE)
            await socket.send(TEXT, b"still there?")
            await received(socket, b"you said 'still there?'")
            assert not sending.done(), "the portal has read what the server has not"
            made.server.may_read.set()
            response = await upload.read_response()
            assert response is not None
            assert json.loads(response.body)["sha256"] == hashlib.sha256(body).hexdigest()


async def received(socket: BrowserSocket, payload: bytes) -> None:
    frame = await socket.receive()
    assert frame is not None
    assert frame.payload == payload


@pytest.mark.gen_test
async def test_an_upload_that_the_server_refuses_gets_its_response(tmp_path: Path) -> None:
    async with developed(tmp_path) as made:
        body = form(MEGABYTE)
        head = upload_head(made, f"Content-Length: {len(body)}", "?refuse")
        response = await uploaded(made, head, body)
        assert (response.status, response.body) == (413, b"too large")


@pytest.mark.gen_test
async def test_an_upload_ends_at_the_server_when_the_browser_disconnects(tmp_path: Path) -> None:
    async with developed(tmp_path) as made:
        async with connected(made.world) as connection:
            await connection.send(upload_head(made, "Content-Length: 1000000") + bytes(500_000))
            await until(lambda: made.server.read_bytes, "nothing arrives")
            assert made.world.running.portal.in_flight.count == 1
        await until(lambda: not made.world.running.portal.in_flight.count, "the upload is still in flight")
        pool = made.world.running.portal.front_ends.development_client._transport._pool
        await until(lambda: not pool._total, "the connection to the server is still open")


@pytest.mark.gen_test
async def test_F5_an_upload_of_another_site_is_refused_before_its_body(tmp_path: Path) -> None:
    async with developed(tmp_path) as made:
        head = upload_head(made, "Content-Length: 20000000")
        for changed in (
            head.replace(b"same-origin", b"cross-site"),
            head.replace(b"Host: localhost", b"Host: evil.example"),
        ):
            assert (await uploaded(made, changed, b"")).status in {403, 404}
        assert not made.server.requests
