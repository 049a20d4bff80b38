"""Traces of every kind of request: sockets, streams, refreshes, errors, files, the console."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest

from portal.config.front_ends import FrontEnd
from portal.config.limit_settings import LimitSettings
from portal.config.trace_settings import TraceSettings
from tests.kit.console import console_world
from tests.kit.development_server import development_server
from tests.kit.event_stream import events_request
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.forward_auth import PROXIES, ask_portal, described
from tests.kit.front_ends import desk, front_end_folder
from tests.kit.raw import api_head, ask, change_tenant, connected, signed_in, until
from tests.kit.span_receiver import SpanReceiver, TracedWorld, span_receiver, traced_world
from tests.kit.sqlite_lock import write_lock
from tests.kit.websockets import TEXT, needs_own_server, opened, socket_api

CALL = "GET /t/{tenant}/api/{path}"


async def nothing_in_flight(traced: TracedWorld) -> None:
    in_flight = traced.world.running.portal.in_flight
    await until(lambda: not in_flight.count, "a request is in flight")


# --- long requests


@needs_own_server
@pytest.mark.gen_test
async def test_the_span_of_a_socket_is_that_of_its_handshake(tmp_path: Path, log_lines: io.StringIO) -> None:
    async with traced_world(tmp_path) as traced, socket_api() as api:
        browser = await signed_in(traced.world)
        change_tenant(traced.world, "acme", api={"base_url": api.api.url})
        await traced.afresh()
        async with opened(traced.world, browser, "/t/acme/api/socket") as socket:
            other = await api.next()
            received = await traced.flush()
            call, upstream = received.one(CALL), received.one("call API")
            assert (call.attributes["http.response.status_code"], call.failed) == (101, False)
            assert (upstream.parent, upstream.attributes["http.response.status_code"]) == (call.id, 101)
            assert other.header("traceparent") == [f"00-{call.trace}-{upstream.id}-01"]
            await socket.send(TEXT, b"hello")
            assert await other.receive() is not None
        await nothing_in_flight(traced)
        assert (await traced.flush()).one(CALL) == call


@pytest.mark.gen_test
async def test_a_stream_of_an_api_has_one_span_until_its_end(tmp_path: Path, log_lines: io.StringIO) -> None:
    async with traced_world(tmp_path) as traced:
        browser = await signed_in(traced.world)
        await traced.afresh()
        async with connected(traced.world) as connection:
            await connection.send(api_head(traced.world, browser, "/t/acme/api/events"))
            head = await connection.read_response(to_head=True)
            assert head is not None
            assert head.status == 200
            received = await traced.flush()
            assert received.named(CALL) == []
            upstream = received.one("call API")
        await nothing_in_flight(traced)
        call = (await traced.flush()).one(CALL)
        assert (call.id, call.attributes["http.response.status_code"]) == (upstream.parent, 200)
        assert call.seconds > upstream.seconds


@pytest.mark.gen_test
async def test_a_page_that_listens_for_the_end_of_its_session(tmp_path: Path, log_lines: io.StringIO) -> None:
    async with traced_world(tmp_path) as traced:
        browser = await signed_in(traced.world)
        await traced.afresh()
        async with connected(traced.world) as connection:
            await connection.send(events_request(traced.world, browser))
            head = await connection.read_response(to_head=True)
            assert head is not None
            assert head.status == 200
            assert (await traced.flush()).named("GET /session/events") == []
        await nothing_in_flight(traced)
        assert (await traced.flush()).one("GET /session/events").attributes["http.route"] == "/session/events"


# --- refreshes


@pytest.mark.gen_test
async def test_a_refresh_that_outlives_its_call_is_recorded_to_its_end(
    tmp_path: Path, log_lines: io.StringIO
) -> None:
    async with traced_world(tmp_path) as traced:
        world = traced.world
        browser = await signed_in(world)
        await traced.afresh()
        world.clock.advance(290)  # of 300 seconds: the call does not wait for the refresh
        hold = asyncio.Event()
        world.acme.faults.endpoints["refresh"] = EndpointFault(hold=hold)
        response = await ask(world, api_head(world, browser, "/t/acme/api/orders"))
        assert response is not None
        assert response.status == 200
        await until(lambda: world.acme.requests["refresh"], "no refresh")
        await nothing_in_flight(traced)
        received = await traced.flush()
        call = received.one(CALL)
        assert received.named("refresh") == []
        hold.set()
        await until(lambda: not world.running.tokens._in_progress.tasks, "the refresh does not end")
        received = await traced.flush()
        refresh = received.one("refresh")
        assert (refresh.trace, refresh.parent, refresh.failed) == (call.trace, call.id, False)
        assert "provider token" in received.below(refresh)
        assert "store swap_login" in received.below(refresh)


@pytest.mark.gen_test
async def test_calls_that_wait_for_one_refresh_share_its_span(tmp_path: Path, log_lines: io.StringIO) -> None:
    async with traced_world(tmp_path) as traced:
        world = traced.world
        browser = await signed_in(world)
        await world.expire_access_token(browser, "acme")
        await traced.afresh()
        responses = await asyncio.gather(
            *(ask(world, api_head(world, browser, "/t/acme/api/orders")) for _ in range(5))
        )
        assert [response.status for response in responses if response is not None] == [200] * 5
        received = await traced.flush()
        calls = received.named(CALL)
        assert len({call.trace for call in calls}) == 5
        assert received.one("refresh").parent in {call.id for call in calls}


# --- errors


@pytest.mark.gen_test
async def test_paths_without_a_route_or_tenant_are_not_named(tmp_path: Path, log_lines: io.StringIO) -> None:
    async with traced_world(tmp_path) as traced:
        browser = await signed_in(traced.world)
        await traced.afresh()
        for path in ("/nowhere", "/t/acme/nowhere", "/t/acme/api-of-nobody", "/admin/nowhere/at-all"):
            assert (await browser.fetch(traced.world.at(path))).status == 404, path
        received = await traced.flush()
        spans = [span for span in received.spans if span.kind == "server"]
        assert sorted(span.name for span in spans) == ["GET", "GET", "GET", "GET /admin/.*"]
        for span in spans:
            assert (span.attributes["http.response.status_code"], span.failed) == (404, False)
            assert "portal.tenant" not in span.attributes
        received.spans.clear()
        for path in ("/t/nobody/login", "/t/nobody/api/x", "/t/nobody/authz"):
            await browser.fetch(traced.world.at(path))
        received = await traced.flush()
        assert len([span for span in received.spans if span.kind == "server"]) == 3
        assert not [span for span in received.spans if "portal.tenant" in span.attributes]


@pytest.mark.gen_test(timeout=60)
async def test_a_database_that_does_not_respond_is_an_error_of_its_operation(
    tmp_path: Path, log_lines: io.StringIO
) -> None:
    async with traced_world(tmp_path) as traced:
        with write_lock(tmp_path / "portal.db"):
            response = await traced.world.browser().fetch(traced.world.at("/t/acme/login"))
        assert response.status == 503
        received = await traced.flush()
        request = received.one("GET /t/{tenant}/login")
        assert (request.failed, request.attributes["error.type"]) == (True, "503")
        [operation] = [span for span in received.spans if span.failed and span.parent == request.id]
        assert operation.name.startswith("store ")
        assert operation.attributes["error.type"] == "store_unavailable"


@pytest.mark.gen_test
async def test_what_a_limit_refuses_has_no_span_unless_a_handler_refuses_it(
    tmp_path: Path, log_lines: io.StringIO
) -> None:
    """A flood that costs the portal nothing costs the collector nothing either."""
    limits = LimitSettings(sign_ins_per_client=1, unauthenticated_per_client=1)
    async with traced_world(tmp_path, limits=limits) as traced:
        world, browser = traced.world, traced.world.browser()
        statuses = [(await browser.fetch(world.at("/t/acme/login"))).status for _ in range(150)]
        assert 429 in statuses
        received = await traced.flush()
        assert len(received.named("GET /t/{tenant}/login")) == len(statuses) - statuses.count(429)


@pytest.mark.gen_test
async def test_an_api_that_cannot_be_reached_is_an_error_of_its_call(
    tmp_path: Path, log_lines: io.StringIO
) -> None:
    async with traced_world(tmp_path) as traced:
        browser = await signed_in(traced.world)
        change_tenant(traced.world, "acme", api={"base_url": "http://127.0.0.1:9/v1"})
        await traced.afresh()
        response = await ask(traced.world, api_head(traced.world, browser, "/t/acme/api/orders"))
        assert response is not None
        assert response.status == 502
        received = await traced.flush()
        upstream, call = received.one("call API"), received.one(CALL)
        assert (upstream.failed, upstream.attributes["error.type"]) == (True, "no_response")
        assert "http.response.status_code" not in upstream.attributes
        assert (call.failed, call.attributes["error.type"]) == (True, "502")


# --- other requests


@pytest.mark.parametrize("server", ["tornado", "httptools"])
@pytest.mark.gen_test
async def test_both_servers_make_the_same_spans(tmp_path: Path, log_lines: io.StringIO, server: str) -> None:
    async with traced_world(tmp_path, server=server, trusted_proxies=PROXIES) as traced:
        world = traced.world
        browser = await signed_in(world)
        await traced.afresh()
        for body in (b"", b"x" * 10, b"x" * 200_000):
            head = api_head(
                world, browser, "/t/acme/api/echo", method="POST", extra=[f"Content-Length: {len(body)}"]
            )
            assert await ask(world, head + body) is not None
        async with connected(world) as connection:  # one connection, several traces
            for _ in range(2):
                await connection.send(api_head(world, browser, "/t/acme/api/orders"))
                assert await connection.read_response() is not None
        await ask_portal(world, described(world), browser=browser)
        await nothing_in_flight(traced)
        received = await traced.flush()
        calls = [span for span in received.spans if span.kind == "server"]
        assert sorted(span.name for span in calls) == [
            *[CALL] * 2,
            "GET /t/{tenant}/authz",
            *["POST /t/{tenant}/api/{path}"] * 3,
        ]
        assert len({span.trace for span in calls}) == 6
        for call in calls:
            below = received.below(call)
            assert "store read" in below
            assert below.count("call API") == (0 if "authz" in call.name else 1)
        assert {span.attributes["portal.tenant"] for span in calls} == {"acme"}


@pytest.mark.gen_test
async def test_files_of_a_front_end_have_no_route(tmp_path: Path, log_lines: io.StringIO) -> None:
    front_ends = desk(front_end_folder(tmp_path / "dist"))
    async with traced_world(tmp_path, front_ends=front_ends) as traced:
        browser = traced.world.browser()
        for path in ("/desk/", "/desk/plain.js", "/desk/orders/of-a-person"):
            await browser.fetch(traced.world.at(path))
        received = await traced.flush()
        assert {span.name for span in received.spans} == {"GET"}
        assert len(received.spans) == 3
        assert not [span for span in received.spans if "http.route" in span.attributes]


@pytest.mark.parametrize("traces", [True, False])
@pytest.mark.gen_test
async def test_a_development_server_gets_the_header_of_a_page_only_without_traces(
    tmp_path: Path, log_lines: io.StringIO, traces: bool
) -> None:
    with development_server() as server:
        front_ends = {"desk": FrontEnd(path="/desk", url=server.url)}
        options: dict[str, Any] = {} if traces else {"traces": None}
        async with traced_world(tmp_path, front_ends=front_ends, **options) as traced:
            chosen = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            headers = {"traceparent": chosen, "tracestate": "page=1"}
            await traced.world.browser().fetch(traced.world.at("/desk/x.js"), headers=headers)
            [request] = server.requests
            assert request.headers.get_list("traceparent") == ([] if traces else [chosen])
            assert request.headers.get_list("tracestate") == ([] if traces else ["page=1"])


@pytest.mark.gen_test(timeout=60)
async def test_pages_of_the_console_are_named_by_their_pattern(
    tmp_path: Path, log_lines: io.StringIO
) -> None:
    async with span_receiver() as receiver:
        settings = TraceSettings(receiver.endpoint)
        async with console_world(tmp_path, traces=settings) as console:
            traced = TracedWorld(console.world, receiver)
            await traced.afresh()
            for path in (
                "/admin/",
                "/admin/t/globex/",
                "/admin/t/globex/revisions/1",
                "/admin/t/globex/events",
            ):
                await console.get(console.operator, path)
            await console.post(console.operator, "/admin/t/globex/status", status="suspended", reason="x")
            received = await traced.flush()
            names = {span.name for span in received.spans if span.kind == "server"}
            assert {
                "GET /admin/",
                "GET /admin/t/{tenant}/revisions/{number}",
                "POST /admin/t/{tenant}/status",
            } <= names
            assert_no_path(received, "globex")
            assert any(span.name.startswith("store tenants.") for span in received.spans)


def assert_no_path(received: SpanReceiver, private: str) -> None:
    """`private` is in no name and in no attribute but that of the tenant."""
    for span in received.spans:
        others = {name: value for name, value in span.attributes.items() if name != "portal.tenant"}
        assert private not in f"{span.name} {others}", span
