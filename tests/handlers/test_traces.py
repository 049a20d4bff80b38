"""Traces: what a collector receives of a sign-in, a call, a refresh and a reverse proxy's question."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from tests.kit.forward_auth import PROXIES, ask_portal, described
from tests.kit.raw import api_head, ask, signed_in
from tests.kit.span_receiver import TracedWorld, traced_world

ABOVE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
CONTINUED = {"trusted_proxies": PROXIES, "continue_proxy_traces": True}


@pytest.fixture
def options() -> dict[str, object]:
    """Settings of the portal."""
    return {}


@pytest.fixture
def traced(
    io_loop: IOLoop, tmp_path: Path, log_lines: io.StringIO, options: dict[str, object]
) -> Iterator[TracedWorld]:
    """A portal with traces, and its collector."""
    manager = traced_world(tmp_path, **options)  # type: ignore[arg-type]
    made = io_loop.run_sync(manager.__aenter__, timeout=30)
    try:
        yield made
    finally:
        io_loop.run_sync(lambda: manager.__aexit__(None, None, None), timeout=60)


def traceparent_of_call(traced: TracedWorld) -> str:
    """The `traceparent` of the last call that reached the API."""
    [found] = [v for k, v in traced.world.acme_api.received[-1].headers if k.lower() == "traceparent"]
    return found


@pytest.mark.gen_test
async def test_a_sign_in_has_a_trace_for_each_of_its_requests(traced: TracedWorld) -> None:
    world = traced.world
    await world.quick_sign_in(world.browser(), "acme")
    received = await traced.flush()
    begun, finished = received.one("GET /t/{tenant}/login"), received.one("GET /t/{tenant}/callback")
    for span, status in ((begun, 303), (finished, 303)):
        assert (span.kind, span.parent, span.failed) == ("server", "", False)
        assert span.attributes["http.response.status_code"] == status
        assert span.attributes["portal.tenant"] == "acme"
    assert begun.trace != finished.trace
    exchange = received.one("provider token")
    assert (exchange.kind, exchange.trace, exchange.parent) == ("client", finished.trace, finished.id)
    assert exchange.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "portal.tenant": "acme",
        "portal.endpoint": "token",
    }
    [request] = [one for one in world.acme.received if one.endpoint == "token"]
    assert request.traceparent == f"00-{exchange.trace}-{exchange.id}-01"
    assert any(name.startswith("store ") for name in received.below(finished))
    assert {(one["service.name"], one["process.pid"]) for one in received.resources} == {
        ("portal-of-tests", os.getpid())
    }


@pytest.mark.gen_test
async def test_a_call_and_its_refresh_are_one_trace_that_goes_on_at_the_api(traced: TracedWorld) -> None:
    world = traced.world
    browser = await signed_in(world)
    await world.expire_access_token(browser, "acme")
    await traced.afresh()
    response = await ask(world, api_head(world, browser, "/t/acme/api/orders?secret=1"))
    assert response is not None
    assert response.status == 200
    received = await traced.flush()
    call = received.one("GET /t/{tenant}/api/{path}")
    assert sorted(received.below(call)) == ["call API", "refresh", "store read"]
    assert call.attributes["portal.request_id"] == response.header("X-Request-Id")
    refresh, upstream = received.one("refresh"), received.one("call API")
    assert {span.trace for span in received.spans} == {call.trace}
    assert "provider token" in received.below(refresh)
    assert any(name.startswith("store ") for name in received.below(refresh))
    assert upstream.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "portal.tenant": "acme",
        "portal.api": "default",
    }
    assert traceparent_of_call(traced) == f"00-{call.trace}-{upstream.id}-01"
    assert 0 < upstream.seconds <= call.seconds


@pytest.mark.gen_test
async def test_a_body_that_is_streamed_is_part_of_the_trace(traced: TracedWorld) -> None:
    world = traced.world
    browser = await signed_in(world)
    await traced.afresh()
    body = b"x" * 200_000
    head = api_head(world, browser, "/t/acme/api/echo", method="POST", extra=[f"Content-Length: {len(body)}"])
    response = await ask(world, head + body)
    assert response is not None
    received = await traced.flush()
    call = received.one("POST /t/{tenant}/api/{path}")
    assert "call API" in received.below(call)


@pytest.mark.gen_test
async def test_a_call_without_a_response_is_an_error(traced: TracedWorld) -> None:
    world = traced.world
    browser = await signed_in(world)
    await traced.afresh()
    world.acme_api.refuse_next = 2
    response = await ask(world, api_head(world, browser, "/t/acme/api/orders"))
    assert response is not None
    assert response.status == 401
    received = await traced.flush()
    assert [span.failed for span in received.named("call API")] == [True, True]
    assert not received.one("GET /t/{tenant}/api/{path}").failed
    assert {span.attributes["error.type"] for span in received.named("call API")} == {"401"}


@pytest.mark.parametrize("options", [CONTINUED])
@pytest.mark.gen_test
async def test_the_trace_of_a_trusted_proxy_goes_on(traced: TracedWorld) -> None:
    world = traced.world
    browser = await signed_in(world)
    await traced.afresh()
    await ask_portal(world, [*described(world), f"traceparent: {ABOVE}"], browser=browser)
    await ask(world, api_head(world, browser, "/t/acme/api/orders", extra=[f"Traceparent: {ABOVE}"]))
    await browser.fetch(world.at("/session"), headers={"traceparent": ABOVE})
    received = await traced.flush()
    requests = [span for span in received.spans if span.kind == "server"]
    assert sorted(span.name for span in requests) == [
        "GET /session",
        "GET /t/{tenant}/api/{path}",
        "GET /t/{tenant}/authz",
    ]
    _, trace, parent, _ = ABOVE.split("-")
    assert {(span.trace, span.parent) for span in requests} == {(trace, parent)}
    assert traceparent_of_call(traced).startswith(f"00-{trace}-")


@pytest.mark.parametrize("options", [CONTINUED])
@pytest.mark.gen_test
async def test_a_trusted_proxy_decides_whether_its_trace_is_recorded(traced: TracedWorld) -> None:
    world = traced.world
    browser = await signed_in(world)
    await traced.afresh()
    await ask(world, api_head(world, browser, "/t/acme/api/orders", extra=[f"traceparent: {UNSAMPLED}"]))
    assert (await traced.flush()).spans == []
    assert traceparent_of_call(traced)[:36] == UNSAMPLED[:36]
    assert traceparent_of_call(traced).endswith("-00")
    two = [f"traceparent: {UNSAMPLED}", f"traceparent: {UNSAMPLED}"]
    await ask(world, api_head(world, browser, "/t/acme/api/orders", extra=two))
    assert (await traced.flush()).one("GET /t/{tenant}/api/{path}").parent == ""


@pytest.mark.parametrize("options", [{"sample": 0.0}])
@pytest.mark.gen_test
async def test_what_is_not_sampled_is_not_sent_and_the_api_is_told(traced: TracedWorld) -> None:
    world = traced.world
    browser = await signed_in(world)
    await ask(world, api_head(world, browser, "/t/acme/api/orders"))
    received = await traced.flush()
    assert (received.spans, received.bodies) == ([], [])
    assert traceparent_of_call(traced).endswith("-00")


@pytest.mark.gen_test
async def test_a_collector_that_fails_changes_no_response(
    traced: TracedWorld, log_lines: io.StringIO
) -> None:
    traced.receiver.status = 400
    browser = await signed_in(traced.world)
    response = await ask(traced.world, api_head(traced.world, browser, "/t/acme/api/orders"))
    assert response is not None
    assert response.status == 200
    received = await traced.flush()
    assert received.bodies
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    [lost] = [line for line in lines if line["event"] == "spans_not_sent"]
    assert (lost["level"], lost["reason"]) == ("warning", "status 400")
    assert lost["spans"] > 5
    assert not [line for line in lines if "export" in line["event"]]
    traced.receiver.status = 200
    await browser.fetch(traced.world.at("/session"))
    await traced.flush()
    assert "spans_sent_again" in log_lines.getvalue()


@pytest.mark.gen_test
async def test_a_graceful_stop_sends_the_last_spans(tmp_path: Path, log_lines: io.StringIO) -> None:
    async with traced_world(tmp_path) as traced:
        browser = traced.world.browser()
        await browser.fetch(traced.world.at("/session"))
        await traced.world.running.tracing.close()
        assert traced.receiver.named("GET /session")
