"""`portal serve`: restarts, graceful stops and several processes."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import structlog

from portal.ops.logging import configure_logging
from tests.integration.busy_client import BusyClient
from tests.integration.certified import (
    ACCESS_TOKEN_SECONDS,
    ACME,
    AUDIENCE,
    GLOBEX,
    CertifiedProvider,
    Client,
    certified_provider,
    registrations,
    shows_sign_in_form,
)
from tests.integration.child import eventually
from tests.integration.local_portal import orders_api
from tests.integration.served import ServedPortal, served_portal
from tests.kit.browser import Browser, Response
from tests.kit.faulty.api import FaultyApi
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.world import OffsetClock


@dataclass(frozen=True, slots=True)
class ServedWorld:
    """A portal that serves two tenants at `oidc-provider`.

    The API's clock is behind: it accepts access tokens that have expired for the portal.
    """

    portal: ServedPortal
    provider: CertifiedProvider
    api: FaultyApi

    async def sign_in(self, browser: Browser, client: Client) -> Response:
        page = await self.provider.complete_sign_in(browser, await self.portal.begin(browser, client.tenant))
        assert page.url == self.portal.at(f"/t/{client.tenant}/"), page.text[:3000]
        return page


@contextlib.asynccontextmanager
async def _world(
    folder: Path, *, processes: int = 1, access_token_seconds: int = ACCESS_TOKEN_SECONDS
) -> AsyncIterator[ServedWorld]:
    api_clock = OffsetClock()
    api_clock.advance(-60)
    async with contextlib.AsyncExitStack() as stack:
        portal = await stack.enter_async_context(served_portal(folder, processes=processes))
        provider = await stack.enter_async_context(
            certified_provider(folder, registrations(portal.url), access_token_seconds=access_token_seconds)
        )
        api, api_url = await stack.enter_async_context(
            orders_api(issuer=provider.issuer, jwks_uri=provider.jwks_uri, audience=AUDIENCE, clock=api_clock)
        )
        tenants, secrets = {}, {}
        for client in (ACME, GLOBEX):
            name = f"{client.tenant.upper()}_CLIENT_SECRET"
            tenants[client.tenant] = replace(client, secret=f"${{{name}}}").tenant_file(
                provider.issuer, api_url
            )
            secrets[name] = client.secret or ""
        portal.configure(tenants, secrets)
        await portal.start()
        yield ServedWorld(portal, provider, api)


@pytest.mark.gen_test
async def test_sessions_and_login_attempts_survive_a_restart(tmp_path: Path) -> None:
    async with _world(tmp_path) as world:
        browser, portal = world.portal.browser(), world.portal
        await world.sign_in(browser, ACME)
        cookie = browser.cookie("localhost", "portal")
        sign_in_page = await portal.begin(browser, "globex")
        (first,) = portal.workers
        assert await portal.stop() == 0
        assert not portal.accepts_connections()

        await portal.start()
        assert portal.workers != [first]
        assert await portal.signed_in_at(browser) == ["acme"]
        assert browser.cookie("localhost", "portal") == cookie
        world.api.refuse_next = 1
        assert (await portal.call(browser, "acme")).status == 200
        assert await world.provider.count("grant.success", grant="refresh_token") == 1

        await browser.open(sign_in_page.url)
        assert browser.page is not None
        home = await world.provider.complete_sign_in(browser, browser.page)
        assert home.url == portal.at("/t/globex/")
        assert await portal.signed_in_at(browser) == ["acme", "globex"]


@pytest.mark.gen_test
async def test_a_complete_session_leaves_no_secret_in_the_log(tmp_path: Path) -> None:
    async with _world(tmp_path) as world:
        browser, portal = world.portal.browser(), world.portal
        home = await world.sign_in(browser, ACME)
        world.api.refuse_next = 1
        assert (await portal.call(browser, "acme")).status == 200
        cookie = browser.cookie("localhost", "portal")
        provider_page = await portal.sign_out(browser, "acme")
        back = await world.provider.confirm_sign_out(browser, provider_page)
        assert back.url == portal.at("/t/acme/signed-out")
        assert (await portal.call(browser, "acme")).status == 401
        assert shows_sign_in_form(await portal.begin(browser, "acme"))

        (response,) = [step for step in home.trail if "/callback?" in step]
        sent = {**parse_qs(urlsplit(response).query), **parse_qs(urlsplit(provider_page.url).query)}
        hidden = [ACME.secret, GLOBEX.secret, cookie, *sent["code"], *sent["id_token_hint"], *sent["state"]]
        assert portal.logged("login_succeeded")
        assert portal.logged("refreshed")
        assert portal.logged("logged_out")
        for text in hidden:
            assert text
            assert text not in portal.child.errors + portal.child.output


@pytest.mark.gen_test
async def test_a_call_in_flight_is_completed_before_the_portal_stops(tmp_path: Path) -> None:
    async with _world(tmp_path) as world:
        browser, portal = world.portal.browser(), world.portal
        await world.sign_in(browser, ACME)
        released = asyncio.Event()
        world.api.faults["collection"] = EndpointFault(hold=released)
        call = asyncio.ensure_future(portal.call(browser, "acme"))
        await eventually(lambda: world.api.calls["collection"] == 1, "the call at the API")

        with portal.idle_connection() as kept_alive:
            assert "Connection: close" not in _request(kept_alive, "/healthz")
            portal.child.signal(signal.SIGTERM)
            await eventually(lambda: portal.logged("stopping"), "the stop")
            assert "Connection: close" in _request(kept_alive, "/healthz")
        await portal.wait_until_closed()
        with pytest.raises(ConnectionError):
            await portal.browser().open(portal.at("/healthz"))
        assert not call.done()
        assert portal.child.exit_code is None

        released.set()
        response = await call
        assert response.status == 200
        assert len(json.loads(response.body)["orders"]) == 3
        assert await portal.child.ended() == 0
        (stopping,) = portal.logged("stopping")
        assert stopping["in_flight"] == 1
        assert portal.logged("stopped")
        assert portal.logged("requests_cut_off") == []


@pytest.mark.gen_test
async def test_two_processes_share_sessions_and_never_use_a_refresh_token_twice(tmp_path: Path) -> None:
    async with _world(tmp_path, processes=2, access_token_seconds=1) as world:
        browser, portal = world.portal.browser(), world.portal
        first, second = portal.workers
        assert len({first, second, portal.child.pid}) == 3
        await world.sign_in(browser, ACME)
        for paused in (first, second):
            await _until_tokens_expire()
            with _paused(paused):
                assert (await portal.call(browser, "acme")).status == 200
        assert await world.provider.count("grant.success", grant="refresh_token") == 2

        await _until_tokens_expire()
        responses = await asyncio.gather(*(portal.call(browser, "acme") for _ in range(30)))
        assert [response.status for response in responses] == [200] * 30
        assert await world.provider.count("grant.success", grant="refresh_token") > 2
        # The provider ends a login whose refresh token is used twice.
        assert await world.provider.events("grant.error") == []
        assert await portal.signed_in_at(browser) == ["acme"]


@pytest.mark.gen_test(timeout=90)
async def test_a_process_that_dies_is_replaced_and_all_processes_stop_together(tmp_path: Path) -> None:
    async with _world(tmp_path, processes=2) as world:
        browser, portal = world.portal.browser(), world.portal
        await world.sign_in(browser, ACME)
        dead, left = portal.workers
        os.kill(dead, signal.SIGKILL)
        await eventually(lambda: len(portal.workers) == 3, "a new process")
        assert portal.logged("process_died")[0]["pid"] == dead
        os.kill(portal.workers[-1], signal.SIGTERM)
        await eventually(lambda: len(portal.workers) == 4, "a replacement for the worker that was stopped")
        assert portal.accepts_connections()
        new = portal.workers[-1]
        with _paused(left):
            assert (await portal.call(browser, "acme")).status == 200

        assert await portal.stop() == 0
        assert not portal.accepts_connections()
        assert len(portal.logged("stopped")) == 3
        for pid in (left, new):
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


@pytest.mark.gen_test(timeout=90)
async def test_a_stop_under_load_responds_to_every_accepted_connection(tmp_path: Path) -> None:
    async with served_portal(tmp_path, processes=2) as portal:
        portal.configure({}, {})
        await portal.start()
        clients = [BusyClient(portal.port, keep_alive=number % 2 == 0) for number in range(40)]
        running = [asyncio.create_task(client.run()) for client in clients]
        await eventually(lambda: all(client.responses for client in clients), "a response to each")
        assert await portal.stop() == 0
        assert await asyncio.gather(*running) == ["refused"] * 40


@pytest.mark.gen_test(timeout=90)
async def test_a_worker_that_cannot_restart_does_not_affect_the_others(tmp_path: Path) -> None:
    async with served_portal(tmp_path, processes=2) as portal:
        portal.configure({}, {})
        await portal.start()
        ring = tmp_path / "data" / "keys.json"
        kept = ring.read_bytes()
        ring.write_bytes(kept[:100])
        os.kill(portal.workers[0], signal.SIGKILL)

        def died() -> list[object]:
            return [line["exit_code"] for line in portal.logged("process_died")]

        await eventually(lambda: died() == [-signal.SIGKILL, 2], "a worker that cannot start")
        (tmp_path / "tenants").rename(tmp_path / "away")
        ring.write_bytes(kept)
        assert (await portal.browser().open(portal.at("/healthz"))).status == 200
        await eventually(lambda: died() == [-signal.SIGKILL, 2, 2], "another worker that cannot start")
        (tmp_path / "away").rename(tmp_path / "tenants")
        await eventually(lambda: len(portal.workers) == 3, "a new process")
        assert portal.child.exit_code is None
        assert await portal.stop() == 0


@pytest.mark.gen_test
async def test_a_first_start_that_fails_ends_the_portal_with_its_exit_code(tmp_path: Path) -> None:
    async with served_portal(tmp_path, processes=2) as portal:
        portal.configure({}, {})
        (tmp_path / "data" / "portal.db").mkdir(parents=True)
        with pytest.raises(AssertionError, match="ended with 3"):
            await portal.start()


@pytest.mark.gen_test
async def test_a_hangup_makes_every_process_check_its_files_and_ends_none(tmp_path: Path) -> None:
    async with served_portal(tmp_path, processes=2) as portal:
        portal.configure({}, {})
        await portal.start()
        serving = portal.workers
        portal.child.signal(signal.SIGHUP)
        await eventually(
            lambda: len(portal.logged("reloading_tenant_files")) == 2, "both processes check their files"
        )
        assert (await portal.browser().open(portal.at("/healthz"))).status == 200
        assert portal.workers == serving
        assert await portal.stop() == 0


def test_a_log_line_is_written_at_once_so_that_processes_cannot_interleave() -> None:
    stream = _Pieces()
    configure_logging(style="json", level="info", stream=stream)
    structlog.get_logger("portal").info("serving", url="http://localhost:8080")
    (line,) = stream.pieces
    assert line.endswith("}\n")
    assert json.loads(line)["event"] == "serving"


class _Pieces(io.StringIO):
    """Records each write."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def write(self, text: str) -> int:
        self.pieces.append(text)
        return super().write(text)


async def _until_tokens_expire() -> None:
    """Wait for access tokens with a lifetime of one second, on the clock of another process."""
    await asyncio.sleep(1.1)


@contextlib.contextmanager
def _paused(pid: int) -> Iterator[None]:
    """Pause a process, so that the other one serves all requests."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _request(connection: socket.socket, path: str) -> str:
    """Send a request on a persistent connection; return the head of the response."""
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(4096)
        assert piece, "the connection was closed without a response"
        received += piece
    return received.decode()
