"""The dispatcher: which requests go to the API proxy, and which to the application."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest
from tornado import httputil
from tornado.httputil import HTTPHeaders, RequestStartLine

from portal.routes import dispatcher
from portal.web.api_proxy.handler import ApiServer
from portal.web.context import Portal
from portal.web.server.dispatch import Dispatcher
from tests.kit.raw import api_head, ask, signed_in
from tests.kit.world import World


class Delegate(httputil.HTTPServerConnectionDelegate, httputil.HTTPMessageDelegate):
    """Stands in for the application, and records its calls."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def start_request(self, server_conn: object, request_conn: object) -> Delegate:
        self.calls.append("start")
        return self

    def on_close(self, server_conn: object) -> None:
        self.calls.append("closed")

    def headers_received(
        self, start_line: RequestStartLine | httputil.ResponseStartLine, headers: HTTPHeaders
    ) -> None:
        self.calls.append(start_line)

    def data_received(self, chunk: bytes) -> None:
        self.calls.append(chunk)

    def finish(self) -> None:
        self.calls.append("finish")

    def on_connection_close(self) -> None:
        self.calls.append("disconnected")


def new_dispatcher() -> tuple[Dispatcher, Delegate]:
    application = Delegate()
    return dispatcher(cast(Portal, None), cast("object", application)), application  # type: ignore[arg-type]


def goes_to_the_api(target: str, hosts: Sequence[str] = ("portal.example",)) -> bool:
    tested, application = new_dispatcher()
    headers = HTTPHeaders()
    for host in hosts:
        headers.add("Host", host)
    delegate = tested.delegate_for(target, headers)
    assert isinstance(delegate, ApiServer) or delegate is application
    return isinstance(delegate, ApiServer)


@pytest.mark.parametrize(
    "target",
    [
        "/t/acme/api", "/t/acme/api/", "/t/acme/api?x", "/t/acme/api?", "/t/acme/api/?x",
        "/t/acme/api/orders", "/t/acme/api/orders?a=b&c", "/t/acme/api/a\nb", "/t/acme/api//x",
        "/t/acme/api/..", "/t/0/api/x", f"/t/{'a' * 63}/api/x",
    ],
)  # fmt: skip
def test_S3_a_target_below_api_goes_to_the_api_proxy(target: str) -> None:
    assert goes_to_the_api(target)


@pytest.mark.parametrize(
    "target",
    [
        "/t/acme/apix", "/t/acme/api;x", "/t/acme/api%2f", "/t/acme/ap", "/t/acme/", "/t/acme",
        "/t/ACME/api/x", "/t/-a/api/x", f"/t/{'a' * 64}/api/x", "//t/acme/api/x", "/t//api/x",
        "/t/acme/x/api/x", "/api/x", "*", "http://localhost/t/acme/api/x", "/x/t/acme/api/x", "",
        "/t/acme\n/api/x", "/t/acme/api\n",
    ],
)  # fmt: skip
def test_S3_any_other_target_goes_to_the_application(target: str) -> None:
    assert not goes_to_the_api(target)


@pytest.mark.parametrize(
    "host",
    [
        "portal.example",
        "PORTAL.example:8443",
        "localhost:8080",
        "127.0.0.1",
        "[::1]",
        "[::1]:8080",
        "a-b.example",
    ],
)
def test_S4_a_request_with_one_valid_host_goes_to_the_api_proxy(host: str) -> None:
    assert goes_to_the_api("/t/acme/api/x", [host])


BAD_HOSTS = [
    [], ["a", "a"], ["a", "b"], [""], ["a b"], ["a,b"], ["a/b"], ["a@b"], ["user:pass@a"], ["a:"], ["a:b"],
    ["a:1:2"], ["a\\b"], ["a?b"], ["a#b"], ["[::1"], ["::1"], ["[::1]x"], ["a\tb"], ["é.example"], ["a_b%20"],
    ["a:\xb2"],
]  # fmt: skip


@pytest.mark.parametrize("hosts", BAD_HOSTS)
def test_S4_without_one_valid_host_the_application_responds(hosts: list[str]) -> None:
    assert not goes_to_the_api("/t/acme/api/x", hosts)


def test_S4_the_selected_delegate_receives_the_whole_request() -> None:
    tested, application = new_dispatcher()
    line = RequestStartLine("POST", "/login", "HTTP/1.1")
    pending = tested.start_request(None, cast(httputil.HTTPConnection, None))
    pending.on_connection_close()
    assert application.calls == []
    pending.headers_received(line, HTTPHeaders({"Host": "a"}))
    pending.data_received(b"body")
    pending.finish()
    pending.on_connection_close()
    tested.on_close(None)
    assert application.calls == ["start", line, b"body", "finish", "disconnected", "closed"]


# --- on real sockets


@pytest.mark.parametrize(
    "hosts", [["localhost", "localhost"], ["localhost", "evil.example"], ["a b"], ["a/b"], ["x@y"], []]
)
@pytest.mark.gen_test
async def test_S4_an_api_call_without_one_valid_host_is_refused_and_not_made(
    world: World, hosts: list[str]
) -> None:
    browser = await signed_in(world)
    lines = api_head(world, browser, "/t/acme/api/orders").split(b"\r\n")
    good = [line for line in lines if not line.startswith(b"Host:")]
    data = b"\r\n".join([good[0], *(f"Host: {host}".encode() for host in hosts), *good[1:]])
    response = await ask(world, data)
    assert response is not None
    assert response.status == 400
    assert world.acme_api.calls.total() == 0


@pytest.mark.gen_test
async def test_S3_the_api_begins_with_a_slash_or_a_question_mark(world: World) -> None:
    browser = await signed_in(world)
    for target, called in (("/t/acme/api?x", True), ("/t/acme/api/", True), ("/t/acme/apix", False)):
        before = len(world.acme_api.received)
        response = await ask(world, api_head(world, browser, target))
        assert response is not None
        assert (len(world.acme_api.received) > before) is called, (target, response.status)
        assert (response.header("Content-Security-Policy") or "").endswith("; sandbox") is called
        if not called:
            assert response.status == 404
