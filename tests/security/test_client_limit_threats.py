"""THREATS L9 and S15: what one client may do without a session, and how many sign-ins a user has."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from portal.config.limit_settings import LimitSettings
from portal.sessions.ended import EndReason
from portal.stores.tenant_records import Event
from portal.web.client_limits import BURST_SECONDS
from tests.kit.browser import Response
from tests.kit.raw import PATIENCE, RawConnection, signed_in, stored, until
from tests.kit.world import World
from tests.kit.world import world as made_world

FLOOD, OTHER = "203.0.113.7", "203.0.113.8"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
LIMITS = LimitSettings(
    sign_ins_per_client=1,
    attempts_per_client=1_000,
    callbacks_per_client=1,
    logouts_per_client=1,
    finds_per_client=1,
    setup_links_per_client=1,
    unauthenticated_per_client=1,
)


@contextlib.asynccontextmanager
async def behind_a_proxy(folder: Path, limits: LimitSettings = LIMITS) -> AsyncIterator[World]:
    """A portal whose clients are told apart by a proxy; for its limits, no time passes."""
    trusted = (ip_network("127.0.0.1"),)
    async with made_world(folder, trusted_proxies=trusted, limits=limits) as world:
        stop_time(world)
        yield world


def stop_time(world: World) -> None:
    limits = world.running.portal.client_limits
    tables = (*limits._buckets.values(), *limits._buckets_of_background.values(), limits._logouts_of_tenants)
    for buckets in tables:
        buckets._monotonic = lambda: 0.0


async def send(
    world: World,
    client: str,
    path: str,
    method: str = "GET",
    body: str | None = None,
    **headers: str,
) -> Response:
    """Send a request of a client without cookies."""
    fields = {"X-Forwarded-For": client, **{name.replace("_", "-"): text for name, text in headers.items()}}
    return await world.browser().fetch(
        world.at(path), method, headers=fields if body is None else fields | FORM, body=body
    )


def kept(world: World) -> list[object]:
    """What the database has of browsers."""
    tables = stored(world)
    return [tables[name] for name in ("attempts", "sessions", "logins")]


def hits(world: World, limit: str) -> float:
    text = world.running.portal.metrics.render().decode()
    [line] = [line for line in text.splitlines() if f'portal_limit_hits_total{{limit="{limit}"}}' in line]
    return float(line.split()[-1])


FLOODS: list[tuple[str, str, str | None, str]] = [
    ("sign_ins_per_client", "GET", None, "/t/acme/login"),
    ("sign_ins_per_client", "GET", None, "/t/acme/initiate-login?iss=x"),
    ("sign_ins_per_client", "GET", None, "/t/nobody/login"),
    ("callbacks_per_client", "GET", None, "/t/acme/callback?state=x&code=y"),
    ("callbacks_per_client", "POST", "state=x&code=y", "/t/acme/callback"),
    ("callbacks_per_client", "GET", None, "/t/acme/finish-login?reference=x"),
    ("logouts_per_client", "POST", "logout_token=x.y.z", "/t/acme/backchannel-logout"),
    ("logouts_per_client", "GET", None, "/t/acme/frontchannel-logout?sid=x"),
    ("logouts_per_client", "POST", "{}", "/t/acme/global-token-revocation"),
    ("finds_per_client", "POST", "q=somebody", "/find"),
    ("setup_links_per_client", "GET", None, "/setup/abc"),
]


@pytest.mark.parametrize(("limit", "method", "body", "path"), FLOODS)
@pytest.mark.gen_test(timeout=60)
async def test_S15_a_client_that_asks_too_often_gets_429_and_others_do_not(
    tmp_path: Path, log_lines: io.StringIO, limit: str, method: str, body: str | None, path: str
) -> None:
    async with behind_a_proxy(tmp_path) as world:
        share = 2 if limit == "logouts_per_client" else 1  # of one tenant
        for _ in range(BURST_SECONDS // share):
            assert (await send(world, FLOOD, path, method, body)).status != 429
        before = kept(world)
        for _ in range(5):
            refused = await send(world, FLOOD, path, method, body)
            assert (refused.status, refused.headers["Retry-After"]) == (429, str(share))
            problem = json.loads(refused.text)
            assert problem["code"] == "too_many_requests"
            assert problem["request_id"] == refused.headers["X-Request-Id"]
            assert refused.headers["Content-Type"] == "application/problem+json"
        assert kept(world) == before
        assert (await send(world, OTHER, path, method, body)).status != 429
        assert (await send(world, FLOOD, "/healthz")).status == 200
        assert hits(world, limit) == 5
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    assert [one["limit"] for one in lines if one["event"] == "client_limit_reached"] == [limit]


@pytest.mark.parametrize(
    ("method", "body", "path"), [one[1:] for one in FLOODS if one[0] != "logouts_per_client"]
)
@pytest.mark.gen_test(timeout=60)
async def test_S15_a_page_cannot_use_up_what_the_network_of_its_visitors_may_send(
    tmp_path: Path, method: str, body: str | None, path: str
) -> None:
    """A page can make a browser send images, frames and forms without end, from the network of an office."""
    async with behind_a_proxy(tmp_path) as world:

        async def status(site: str, destination: str) -> int:
            metadata = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": destination, "X-Forwarded-For": FLOOD}
            fields = metadata if body is None else metadata | FORM
            response = await world.browser().fetch(
                world.at(path), method, headers=fields, body=body, site=None, csrf=False
            )
            return response.status

        kinds = [("cross-site", "image"), ("same-site", "iframe"), ("same-origin", "empty")]
        statuses = [await status(*kind) for kind in kinds * 10]
        assert statuses[-1] == 429, "it is limited all the same"
        for site in ("none", "same-origin", "cross-site"):
            assert await status(site, "document") != 429, site
        for _ in range(BURST_SECONDS):
            last = await status("none", "document")
        assert last == 429


@pytest.mark.parametrize("path", ["backchannel-logout", "global-token-revocation"])
@pytest.mark.gen_test(timeout=60)
async def test_S15_the_logouts_of_one_tenant_leave_half_for_the_others(tmp_path: Path, path: str) -> None:
    """Its provider ends all sign-ins of a company; the providers of other tenants have the same address."""
    async with behind_a_proxy(tmp_path) as world:

        async def sent(tenant: str) -> list[int]:
            asked = f"/t/{tenant}/{path}"
            return [(await send(world, FLOOD, asked, "POST", "x=y")).status for _ in range(BURST_SECONDS)]

        half = BURST_SECONDS // 2
        for tenant in ("acme", "globex"):
            statuses = await sent(tenant)
            assert 429 not in statuses[:half], tenant
            assert statuses[half:] == [429] * half, tenant
        assert await sent("initech") == [429] * BURST_SECONDS, "the client has no more"


@pytest.mark.gen_test
async def test_S15_the_header_of_a_client_that_is_no_proxy_does_not_help(tmp_path: Path) -> None:
    async with made_world(tmp_path, limits=LIMITS) as world:
        stop_time(world)
        statuses = [
            (await send(world, f"203.0.113.{number}", "/setup/abc")).status
            for number in range(BURST_SECONDS + 1)
        ]
        assert statuses[-1] == 429
        assert 429 not in statuses[:-1]


@pytest.mark.gen_test
async def test_S15_a_browser_gets_a_page_in_its_language(tmp_path: Path) -> None:
    async with behind_a_proxy(tmp_path) as world:
        for _ in range(BURST_SECONDS):
            await send(world, FLOOD, "/setup/abc")
        for language, text in (("en", "Too many requests"), ("de", "Zu viele Anfragen")):
            page = await send(world, FLOOD, "/setup/abc", Accept="text/html", Accept_Language=language)
            assert page.status == 429
            assert page.headers["Content-Type"] == "text/html; charset=utf-8"
            assert f"<h1>{text}</h1>" in page.text
            assert page.headers["X-Request-Id"] in page.text
            assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        head = await send(world, FLOOD, "/setup/abc", "HEAD", Accept="text/html")
        assert (head.status, head.text) == (429, "")
        assert int(head.headers["Content-Length"]) > 100


@pytest.mark.parametrize("path", ["/t/acme/login", "/t/acme/callback?state=x&code=y", "/find", "/setup/abc"])
@pytest.mark.gen_test
async def test_S15_a_page_of_another_site_keeps_nobody_from_signing_in(tmp_path: Path, path: str) -> None:
    """It makes the browser of a visitor load addresses of the portal as images or frames, very often."""
    async with behind_a_proxy(tmp_path, replace(LIMITS, sign_ins_per_tenant=1)) as world:
        fields = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "iframe"}
        of_pages = [(await send(world, FLOOD, path, **fields)).status for _ in range(BURST_SECONDS + 1)]
        assert of_pages[-1] == 429
        assert 429 not in of_pages[:-1]
        of_people = [(await send(world, FLOOD, path, Sec_Fetch_Dest="document")).status for _ in range(5)]
        assert not {429, 503} & set(of_people)


@pytest.mark.gen_test
async def test_S15_a_refused_request_is_not_read_and_the_connection_ends(tmp_path: Path) -> None:
    async with behind_a_proxy(tmp_path) as world:
        for _ in range(BURST_SECONDS):
            await send(world, FLOOD, "/t/acme/backchannel-logout", "POST", "x")
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(world.url).port)
        connection = RawConnection(reader, writer)
        await connection.send(
            b"POST /t/acme/backchannel-logout HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n"
            b"X-Forwarded-For: " + FLOOD.encode() + b"\r\n\r\nlogout_token="
        )
        response = await connection.read_response()
        assert response is not None
        assert (response.status, response.header("Connection")) == (429, "close")
        await connection.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200" not in await connection.ended()
        connection.close()


@pytest.mark.gen_test
async def test_S15_a_client_without_a_request_body_keeps_its_connection(tmp_path: Path) -> None:
    """Connecting again would cost more than the refusal."""
    async with behind_a_proxy(tmp_path) as world:
        for _ in range(BURST_SECONDS):
            await send(world, FLOOD, "/setup/abc")
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(world.url).port)
        connection = RawConnection(reader, writer)
        head = b"GET /setup/abc HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: %b\r\n\r\n" % FLOOD.encode()
        for _ in range(3):
            await connection.send(head)
            response = await connection.read_response()
            assert response is not None
            assert response.status == 429
        connection.close()


@pytest.mark.gen_test
async def test_S15_calls_without_a_cookie_get_429_and_signed_in_users_of_the_network_do_not(
    tmp_path: Path,
) -> None:
    async with behind_a_proxy(tmp_path) as world:
        user = await signed_in(world)
        fields = {"Sec-Fetch-Site": "same-origin", "X-Portal-CSRF": "1"}
        call = {"X-Forwarded-For": FLOOD, **fields}
        url = world.at("/t/acme/api/orders")
        for _ in range(BURST_SECONDS):
            assert (await world.browser().fetch(url, headers=call)).status == 401
        refused = await world.browser().fetch(url, headers=call)
        assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
        assert json.loads(refused.text)["code"] == "too_many_requests"
        assert (await user.fetch(url, headers=call)).status == 200
        other = await world.browser().fetch(url, headers={"X-Forwarded-For": OTHER, **fields})
        assert other.status == 401
        assert hits(world, "unauthenticated_per_client") == 1


# --- L9: attempts


@pytest.mark.gen_test(timeout=60)
async def test_L9_a_client_that_finishes_no_login_has_a_bounded_number_of_attempts(tmp_path: Path) -> None:
    limits = LimitSettings(sign_ins_per_client=1_000, attempts_per_client=40)
    async with behind_a_proxy(tmp_path, limits) as world:
        statuses = [(await send(world, FLOOD, "/t/acme/login")).status for _ in range(60)]
        assert statuses == [303] * 20 + [429] * 40
        assert attempts(world) == 20
        [buckets] = [
            one
            for limit, one in world.running.portal.client_limits._buckets.items()
            if limit == "attempts_per_client"
        ]
        buckets._monotonic = lambda: 599.0  # all that were stored are still live
        statuses = [(await send(world, FLOOD, "/t/acme/login")).status for _ in range(60)]
        assert statuses.count(303) == 19
        assert attempts(world) < 40
        refused = await send(world, FLOOD, "/t/acme/login")
        assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
        assert "Too many requests" in refused.text
        assert (await send(world, OTHER, "/t/acme/login")).status == 303
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        assert hits(world, "attempts_per_client") == 40 + 41 + 1


def attempts(world: World) -> int:
    return len(stored(world)["attempts"])


# --- sign-ins of a user


@pytest.mark.gen_test(timeout=60)
async def test_L9_the_oldest_sign_in_of_a_user_with_too_many_ends(tmp_path: Path) -> None:
    async with made_world(tmp_path, limits=LimitSettings(sessions_per_user=2)) as world:
        browsers = [world.browser() for _ in range(4)]
        for number, browser in enumerate(browsers):
            await world.quick_sign_in(browser, "acme")
            if number == 1:
                await world.quick_sign_in(browser, "globex")
            world.clock.advance(10.0)
        live = [await world.login_of(browser, "acme") is not None for browser in browsers]
        assert live == [False, False, True, True]
        assert await world.login_of(browsers[1], "globex") is not None, "a login of another tenant ended"
        assert hits(world, "sessions_per_user") == 2
        now = await world.login_of(browsers[3], "acme")
        assert now is not None
        events = world.running.portal.user_events

        async def ended() -> list[Event]:
            return [
                one
                for one in await events.recent([now], most=50)
                if one.reason == EndReason.TOO_MANY_SESSIONS
            ]

        async with asyncio.timeout(PATIENCE):
            while len(await ended()) < 2:
                await asyncio.sleep(0.01)


@pytest.mark.gen_test(timeout=60)
async def test_L9_the_oldest_end_also_when_many_more_are_live_than_may_be(tmp_path: Path) -> None:
    """Other processes have counted too, or the limit was lowered."""
    async with made_world(tmp_path, limits=LimitSettings(sessions_per_user=100)) as world:
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        login = await world.login_of(browser, "acme")
        assert login is not None
        store = world.running.portal.store
        sessions, _ = await store.read({login.session}, (), now=0.0)
        for age in range(1, 61):
            older = replace(sessions[login.session], id=f"{age:022d}", secret_hash=f"{age:064d}")
            at = login.signed_in_at - age
            await store.add_session(older, login=replace(login, session=older.id, signed_in_at=at))
        logins = world.running.portal.user_logins
        logins._is_due = lambda *_: True  # type: ignore[method-assign]
        ended = [await logins.end_oldest(login, keep=20) for _ in range(4)]
        ages = [sorted(round(login.signed_in_at - one.signed_in_at) for one in some) for some in ended]
        assert ages == [[*range(41, 61)], [*range(21, 41)], [20], []]


@pytest.mark.gen_test(timeout=60)
async def test_L9_of_sign_ins_at_the_same_time_the_newest_stay(tmp_path: Path) -> None:
    """An older one that looks at the logins later must not end a newer one in place of itself."""
    async with made_world(tmp_path, limits=LimitSettings(sessions_per_user=100)) as world:
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        older = await world.login_of(browser, "acme")
        assert older is not None
        store = world.running.portal.store
        sessions, _ = await store.read({older.session}, (), now=0.0)
        for number in range(1, 4):
            newer = replace(sessions[older.session], id=f"{number:022d}", secret_hash=f"{number:064d}")
            at = older.signed_in_at + number
            await store.add_session(newer, login=replace(older, session=newer.id, signed_in_at=at))
        logins = world.running.portal.user_logins
        logins._is_due = lambda *_: True  # type: ignore[method-assign]
        ended = await logins.end_oldest(older, keep=3)
        assert [one.session for one in ended] == [older.session]


@pytest.mark.gen_test(timeout=60)
async def test_L9_the_sign_ins_of_a_user_are_counted_at_every_tenth(tmp_path: Path) -> None:
    async with made_world(tmp_path, limits=LimitSettings(sessions_per_user=100)) as world:
        logins = world.running.portal.user_logins
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        login = await world.login_of(browser, "acme")
        assert login is not None
        read: list[int] = []

        async def recorded(*_: object, most: int, **__: object) -> list[Any]:
            read.append(most)
            return [[]]

        logins._logins.of_users = recorded  # type: ignore[method-assign]
        for _ in range(29):  # the thirtieth, with that of the browser
            await logins.end_oldest(login, keep=100)
        assert read == [200] * 3
        for number in range(12_000):
            logins._is_due(replace(login, subject=f"user-{number}"), 100)
        assert len(logins._sign_ins) == 10_000


# --- connections


@pytest.mark.gen_test(timeout=60)
async def test_S15_slow_connections_of_one_client_leave_places_for_others(tmp_path: Path) -> None:
    async with made_world(tmp_path, limits=LimitSettings(connections=40)) as world:
        port = urlsplit(world.url).port
        assert port is not None
        async with contextlib.AsyncExitStack() as stack:
            slow: list[asyncio.StreamWriter] = []
            for _ in range(60):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                stack.callback(writer.transport.abort)
                slow.append(writer)
                with contextlib.suppress(ConnectionError):
                    writer.write(b"GET / HTTP/1.1\r\n")
            await until(lambda: hits(world, "connections_per_client") >= 30, "none was refused")
            assert gauge(world, "portal_connections") <= 30
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
            stack.callback(writer.transport.abort)
            connection = RawConnection(reader, writer)
            await connection.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            response = await connection.read_response()
            assert response is not None
            assert response.status == 200


GETS = b"GET /static/portal.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1_500
POST = (
    b"POST /find HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: 16000\r\n\r\n"
)


@pytest.mark.parametrize(
    ("first", "more"), [(GETS, b""), (POST, b"x" * 60)], ids=["do not read", "send a form in small parts"]
)
@pytest.mark.gen_test(timeout=60)
async def test_S15_clients_without_progress_leave_places_when_all_are_taken(
    tmp_path: Path, first: bytes, more: bytes
) -> None:
    """Many requests at once, whose responses fill the socket; a body that is never complete."""
    async with made_world(tmp_path, limits=LimitSettings(connections=8)) as world:
        port = urlsplit(world.url).port
        loop = asyncio.get_running_loop()

        async def flood(address: str) -> None:
            while True:
                with socket.socket() as one:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                    one.setblocking(False)
                    one.bind((address, 0))
                    with contextlib.suppress(ConnectionError):
                        await loop.sock_connect(one, ("127.0.0.1", port))
                        await loop.sock_sendall(one, first)
                        while True:
                            await asyncio.sleep(0.25)
                            await loop.sock_sendall(one, more)
                await asyncio.sleep(0.05)

        async with asyncio.TaskGroup() as floods:
            tasks = [floods.create_task(flood(f"127.0.0.{2 + number // 4}")) for number in range(12)]
            await until(lambda: hits(world, "connections") > 0, "not all places were taken")
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.9", 0))
            connection = RawConnection(reader, writer)
            await connection.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 4 * PATIENCE)
            assert head.startswith(b"HTTP/1.1 200")
            connection.close()
            for task in tasks:
                task.cancel()


def gauge(world: World, name: str) -> float:
    lines: list[Any] = world.running.portal.metrics.render().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))
