"""THREATS S9 and S16: traces hold no secret, and nobody but a trusted proxy chooses a request's trace."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from portal.config.trace_settings import TraceSettings
from portal.tenancy import api_headers
from tests.kit.console import console_world
from tests.kit.forward_auth import PROXIES, ask_portal, described
from tests.kit.raw import api_head, ask, signed_in
from tests.kit.span_receiver import TracedWorld, span_receiver, traced_world
from tests.kit.world import World
from tests.security.test_secrets_in_sinks import secrets_of, watched

CHOSEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STATE = "tracestate: attacker=1"


@pytest.fixture
def traced(io_loop: IOLoop, tmp_path: Path, log_lines: io.StringIO) -> Iterator[TracedWorld]:
    """A portal with traces that trusts no proxy."""
    manager = traced_world(tmp_path, hostile=True)
    made = io_loop.run_sync(manager.__aenter__, timeout=30)
    try:
        yield made
    finally:
        io_loop.run_sync(lambda: manager.__aexit__(None, None, None), timeout=60)


def headers_of_traces(world: World) -> dict[str, list[str]]:
    """`traceparent` and `tracestate` of the last call that reached the API."""
    sent = world.acme_api.received[-1].headers
    return {
        name: [value for key, value in sent if key.lower() == name] for name in ("traceparent", "tracestate")
    }


# --- S16: whose trace it is


@pytest.mark.gen_test
async def test_S16_a_client_cannot_choose_its_trace(traced: TracedWorld) -> None:
    world = traced.world
    browser = await signed_in(world)
    await traced.afresh()
    extra = [f"traceparent: {CHOSEN}", STATE, "X-Forwarded-For: 127.0.0.1"]
    await ask(world, api_head(world, browser, "/t/acme/api/orders", extra=extra))
    await browser.fetch(world.at("/session"), headers={"traceparent": CHOSEN})
    received = await traced.flush()
    assert {span.parent for span in received.spans if span.kind == "server"} == {""}
    chosen = CHOSEN.split("-")[1]
    assert chosen not in {span.trace for span in received.spans}
    sent = headers_of_traces(world)
    assert sent["tracestate"] == []
    [own] = sent["traceparent"]
    assert own.split("-")[1] == received.one("GET /t/{tenant}/api/{path}").trace


@pytest.mark.gen_test
async def test_S16_a_malformed_header_of_a_trusted_proxy_is_ignored(
    tmp_path: Path, log_lines: io.StringIO
) -> None:
    async with traced_world(tmp_path, trusted_proxies=PROXIES, continue_proxy_traces=True) as traced:
        world = traced.world
        browser = await signed_in(world)
        await traced.afresh()
        extra = [f"traceparent: {CHOSEN.replace('b7ad6b7169203331', '0' * 16)}"]
        response = await ask(world, api_head(world, browser, "/t/acme/api/orders", extra=extra))
        assert response is not None
        assert response.status == 200
        received = await traced.flush()
        assert received.one("GET /t/{tenant}/api/{path}").parent == ""


@pytest.mark.parametrize(
    "sent",
    [
        ["traceparent: {chosen}", "traceparent: {chosen}"],
        ["TRACEPARENT: {chosen}", "Tracestate: attacker=1"],
        ["traceparent: {chosen}", "Connection: traceparent"],
        ["traceparent: {chosen}, {chosen}"],
        ["traceparent: {later}"],
        ["traceparent_: {chosen}"],
    ],
)
@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.gen_test
async def test_S16_a_proxy_that_passes_on_what_clients_send_is_not_believed(
    tmp_path: Path, log_lines: io.StringIO, sent: list[str], trusted: bool
) -> None:
    """Most proxies pass on the header: without `continue_proxy_traces`, trusted_proxies is not enough."""
    options: dict[str, Any] = {"trusted_proxies": PROXIES} if trusted else {"continue_proxy_traces": True}
    async with traced_world(tmp_path, sample=0.0, **options) as traced:
        world = traced.world
        browser = await signed_in(world)
        later = CHOSEN.replace("00-", "cc-", 1) + "-more"
        extra = [line.format(chosen=CHOSEN, later=later) for line in sent]
        response = await ask(world, api_head(world, browser, "/t/acme/api/orders", extra=extra))
        assert response is not None
        assert response.status == 200
        await browser.fetch(world.at("/session"), headers={"traceparent": CHOSEN})
        await ask_portal(world, [*described(world), *extra], browser=browser)
        assert (await traced.flush()).spans == [], "a client had its request recorded"
        reached = headers_of_traces(world)
        assert reached["tracestate"] == []
        [own] = reached["traceparent"]
        assert own.split("-")[1] != CHOSEN.split("-")[1]


@pytest.mark.parametrize("name", ["traceparent", "Traceparent", "tracestate", "trace_parent"])
def test_S16_no_tenant_file_lets_the_header_of_a_page_pass(name: str) -> None:
    """With `request_headers`, there would be two of them."""
    refused = not api_headers.may_go_to_api(api_headers.normalized_name(name))
    assert refused


@pytest.mark.gen_test
async def test_S16_without_traces_the_header_is_one_of_the_page(world: World) -> None:
    browser = await signed_in(world)
    extra = [f"traceparent: {CHOSEN}", STATE]
    await ask(world, api_head(world, browser, "/t/acme/api/orders", extra=extra))
    assert headers_of_traces(world) == {"traceparent": [CHOSEN], "tracestate": ["attacker=1"]}
    assert {one.traceparent for one in world.acme.received} == {""}


# --- S9: what a span says


@pytest.mark.gen_test
async def test_S9_no_secret_reaches_the_collector(traced: TracedWorld) -> None:
    world = traced.world
    browser = watched(world)
    await world.sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")
    await world.expire_access_token(browser, "acme")
    await browser.fetch(world.at("/t/acme/api/orders?token=of-the-page"))
    await browser.open(world.at("/setup/a-token-of-a-setup-link-0123456789012345678"))
    await browser.open(world.at("/t/acme/callback?code=a-code-that-nobody-sent&state=of-nobody"))
    await browser.open(world.at("/t/no-such-organisation/"))
    await browser.open(world.at("/t/acme/logout"))
    await browser.fetch(world.at("/t/globex/api/records/record-of-a-person"), "PURGE-of-a-page")
    await browser.fetch(world.at("/t/globex/api/records/record-of-a-person?of=alice"))
    await ask_portal(
        world, described(world, uri="/desk/orders?token=of-the-page"), browser=browser, tenant="globex"
    )
    for path in ("/", "/account", "/session", "/t/globex/developer", "/logout"):
        await browser.open(world.at(path))
    received = await traced.flush()
    names = {span.name for span in received.spans}
    assert {"GET /setup/{token}", "GET /t/{tenant}/callback", "GET /t/{tenant}/", "refresh"} <= names
    sent = b"".join(received.bodies)
    assert sent
    found = {what for value, what in secrets_of(world).items() if value.encode() in sent}
    assert found == set()
    for private in (
        *("of-the-page", "setup-link", "a-code-that", "of-nobody", "no-such-organisation", "orders"),
        *("record-of-a-person", "PURGE", "acme-001", "alice", "127.0.0.1", "localhost"),
    ):
        assert private.encode() not in sent, private


@pytest.mark.gen_test
async def test_S9_attributes_are_the_documented_ones(traced: TracedWorld) -> None:
    world = traced.world
    browser = await signed_in(world)
    await world.expire_access_token(browser, "acme")
    await browser.fetch(world.at("/t/acme/api/orders"))
    await browser.fetch(world.at("/nowhere"))
    received = await traced.flush()
    assert {name for span in received.spans for name in span.attributes} == {
        *("http.request.method", "http.response.status_code", "http.route"),
        *("portal.request_id", "portal.tenant", "portal.api", "portal.endpoint", "db.operation.name"),
    }


@pytest.mark.gen_test(timeout=60)
async def test_S9_no_secret_of_the_console_reaches_the_collector(
    tmp_path: Path, log_lines: io.StringIO
) -> None:
    async with span_receiver() as receiver:
        traces = TraceSettings(receiver.endpoint)
        async with console_world(tmp_path, traces=traces) as console:
            traced = TracedWorld(console.world, receiver)
            for browser in (console.operator, console.admin, console.user, console.stranger):
                for path in (
                    "",
                    "t/globex/",
                    "t/globex/sessions?account=gina@globex.example",
                    "t/globex/links",
                    "sessions",
                ):
                    await console.get(browser, f"/admin/{path}")
            await console.post(console.operator, "/admin/t/globex/links", name="a-person@globex.example")
            received = await traced.flush()
            cookies = [value for one in console.world.browsers for value in one.cookies["localhost"].values()]
            secrets = [*secrets_of(console.world), *(part for value in cookies for part in value.split("."))]
            private = ["gina", "alice", "@", "a-person", "?", "localhost", "127.0.0.1", "/t/globex"]
            values = [span.name for span in received.spans]
            values += [str(value) for span in received.spans for value in span.attributes.values()]
            assert len(values) > 100
            assert [value for value in values for one in (*secrets, *private) if one and one in value] == []
