"""CPU time of each step and check of a proxied API call, measured alone.

    python -m bench.checks [--repeat 20000]

Each step runs in a loop within one process, on the objects of a real portal with a signed-in session. In a
call, processor caches are colder, and system calls come on top: sending, receiving, waiting.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from tornado.httputil import HTTPHeaders

from bench.signed_in import SignedIn, make_portal
from portal.app import RunningPortal, build, close, open_database
from portal.config.settings import load_settings
from portal.errors import PortalError
from portal.ops.logging import configure_logging
from portal.outbound.request import Origin, OutboundRequest
from portal.outbound.response_parser import ResponseParser
from portal.sessions.directory import accepting_registration
from portal.stores.model import Login
from portal.web.api_proxy.call_headers import CallHeaders, call_headers, session_cookie
from portal.web.api_proxy.path_access import check_path_access
from portal.web.api_proxy.response import ResponseHeaders
from portal.web.api_proxy.rules import own_headers, passed_headers, target_url
from portal.web.server.http_exchange import HttpExchange, RequestLimits, ResponseStream
from portal.web.server.request_fields import FieldsCache
from portal.web.server.request_parser import RequestParser

RESPONSE = (
    b"HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 06:00:00 GMT\r\nServer: nginx\r\n"
    b"Content-Type: application/json\r\nContent-Length: 200\r\nVary: Accept-Encoding\r\n\r\n" + b"x" * 200
)
TOKEN = "t" * 900
Step = Callable[[], object]


def steps(portal: RunningPortal, signed_in: SignedIn, login: Login) -> list[tuple[str, Step]]:
    """The steps of a call in their order, and what runs each once."""
    app, fields = portal.portal, FieldsCache()
    directory = app.sessions._directory
    head = _head(signed_in)
    parser = RequestParser(fields)
    parser.receive(head)
    first = parser.read_head()
    tenant = app.registry.get("bench")
    assert first is not None
    assert tenant is not None
    assert tenant.api is not None
    api, headers = tenant.api, first.headers
    site = app.sites.find(headers["Host"])
    known = call_headers(headers, site)
    exchange = HttpExchange(cast(ResponseStream, SimpleNamespace(context=None)), first, RequestLimits())
    cookie = session_cookie(exchange, headers, site)
    assert cookie is not None
    origin = Origin("http", "127.0.0.1", 80)
    received = ResponseParser("GET")
    received.feed(RESPONSE)
    assert received.head is not None
    names = received.head.headers

    def read_head(fields: FieldsCache) -> object:
        one = RequestParser(fields)
        one.receive(head)
        return one.read_head()

    def request_head() -> bytes:
        sent = own_headers(access_token=TOKEN, request_id="0123456789abcdef")
        return OutboundRequest(
            "GET", origin, "/orders", sent, None, "bench", encoded=known.encoded(headers)
        ).head()

    def response_headers() -> object:
        return ResponseHeaders(
            passed_headers(names, target="", base_url=api.base_url, public_base="/t/bench/api")
        )

    def live() -> None:
        call = app.live_calls.add(login, api, "/orders", _ignore, tenant="bench")
        app.live_calls.remove(call)

    return [
        ("request: parse and check the head, fields seen before", lambda: read_head(fields)),
        ("request: the same, new fields", lambda: read_head(FieldsCache())),
        ("host: find the site", lambda: app.sites.find(headers["Host"])),
        ("origin, CSRF header: fields seen before", lambda: call_headers(headers, site)),
        ("origin, CSRF header: new fields", lambda: CallHeaders(headers, site)),
        ("cookie: find and parse it", lambda: session_cookie(exchange, headers, site)),
        ("tenant: find it", lambda: app.registry.get("bench")),
        ("path: every server must see the same", lambda: target_url(api.base_url, "/v1/orders", "a=1")),
        ("session and login: read, alone", lambda: app.sessions.open_session(cookie, "bench")),
        ("session: compare the hash of the secret", lambda: cookie.matches(cookie.secret_hash)),
        ("login: its registration is live", lambda: accepting_registration(directory, login)),
        (
            "login: access rules of the tenant",
            lambda: check_path_access(tenant, login, "/v1/orders", api=api),
        ),
        ("token: valid, not refused", lambda: app.sessions.tokens(login)),
        ("call: watch it until its login ends", live),
        ("request to the API: build and check the head", request_head),
        ("response: parse and check the head", lambda: ResponseParser("GET").feed(RESPONSE)),
        ("response: headers that a browser may see", response_headers),
        ("log: one line", lambda: _log(portal)),
    ]


def _head(signed_in: SignedIn) -> bytes:
    headers = HTTPHeaders({"Host": signed_in.public_url.partition("//")[2], **signed_in.headers})
    lines = [f"{name}: {value}" for name, value in headers.get_all()]
    return "\r\n".join(["GET /t/bench/api/v1/orders?a=1 HTTP/1.1", *lines, "", ""]).encode("latin-1")


def _ignore(error: PortalError) -> None:
    """What a watched call would do at its end."""


def _log(portal: RunningPortal) -> None:
    portal.portal.access_log.write(
        method="GET",
        path="/t/bench/api/v1/orders",
        status=200,
        milliseconds=1.5,
        client="127.0.0.1",
        request_id="0123456789abcdef",
    )


async def microseconds(step: Step, repeat: int) -> float:
    """CPU time of a step, the shortest of five series; awaitable results are awaited."""
    is_awaited = inspect.isawaitable(first := step())
    if is_awaited:
        await cast(Awaitable[object], first)
    series = []
    for _ in range(5):
        began = time.process_time()
        if is_awaited:
            for _ in range(repeat):
                await cast(Awaitable[object], step())
        else:
            for _ in range(repeat):
                step()
        series.append((time.process_time() - began) / repeat * 1e6)
        await asyncio.sleep(0)
    return min(series)


async def measure(portal: RunningPortal, signed_in: SignedIn, repeat: int) -> None:
    await open_database(portal)
    try:
        cookie = signed_in.cookies[0].partition("=")[2]
        session = await portal.portal.sessions.open_session(cookie, "bench")
        assert session is not None
        assert session.login is not None
        print("| step | CPU time, µs |\n|---|---:|")
        for name, step in steps(portal, signed_in, session.login):
            print(f"| {name} | {await microseconds(step, repeat):.2f} |", flush=True)
    finally:
        await close(portal)


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time of each step of a proxied API call.")
    parser.add_argument("--repeat", type=int, default=20_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = make_portal(
            Path(folder), port=8080, database=f"sqlite:///{folder}/portal.db", api="http://127.0.0.1:9"
        )
        with Path(os.devnull).open("w") as nowhere:
            configure_logging(style="json", level="info", stream=nowhere)
            asyncio.run(measure(build(load_settings(made.config, {})), made, given.repeat))


if __name__ == "__main__":
    main()
