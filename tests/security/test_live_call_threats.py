"""THREATS S7 and T9: running calls end with their login, on both sides, in every process."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from portal.errors import StoreUnavailable
from portal.web.api_proxy import live_calls
from tests.kit.browser import Browser
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.processes import world_outside
from tests.kit.provider_logout import Provider, sid_of
from tests.kit.raw import PATIENCE, RawConnection, api_head, change_tenant, connected, signed_in, until
from tests.kit.world import World

MEGABYTE = 1024 * 1024
CUT_SECONDS = 5.0

End = Callable[[World, Browser], Awaitable[None]]


@pytest.fixture(autouse=True)
def _checks_only_by_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests check calls of any age themselves; the timer of the process is off."""
    monkeypatch.setattr(live_calls, "_LEAST_AGE", 0.0)
    monkeypatch.setattr(live_calls, "CHECK_SECONDS", 3600.0)


# --- events that end a login


async def _logout(world: World, browser: Browser) -> None:
    response = await browser.step(world.at("/t/acme/logout"), "POST", "", site="same-origin")
    assert response.status == 303


async def _logout_everywhere(world: World, browser: Browser) -> None:
    response = await browser.step(world.at("/logout"), "POST", "", site="same-origin")
    assert response.status == 303


async def _back_channel(world: World, browser: Browser) -> None:
    provider = Provider(world)
    response = await provider.tell(provider.token(sid=await sid_of(world, browser)))
    assert response.status == 200


async def _idle(world: World, browser: Browser) -> None:
    world.clock.advance(3601)


async def _refresh_refused(world: World, browser: Browser) -> None:
    await world.running.portal.store.delete_login(world.session_id(browser), "acme")


async def _another_user(world: World, browser: Browser) -> None:
    world.acme.automatic_user = "bob"
    await browser.open(world.at("/t/acme/login?prompt=login"))
    world.acme.automatic_user = None
    login = await world.login_of(browser, "acme")
    assert login is not None
    assert login.subject != "acme-001"


async def _same_user_again(world: World, browser: Browser) -> None:
    world.clock.advance(1)
    await world.quick_sign_in(browser, "acme")


async def _tenant_removed(world: World, browser: Browser) -> None:
    (world.parts.tenants_folder / "acme.yaml").unlink()
    world.running.portal.registry.load()


async def _client_changed(world: World, browser: Browser) -> None:
    path = world.parts.tenants_folder / "acme.yaml"
    old = world.acme.settings.clients[0].client_id
    path.write_text(path.read_text().replace(old, "another-client"))
    world.running.portal.registry.load()
    assert not world.running.portal.registry.problems


async def _api_moved(world: World, browser: Browser) -> None:
    change_tenant(world, "acme", api={"base_url": "http://127.0.0.1:9/v1"})


ENDS: list[End] = [
    _logout,
    _logout_everywhere,
    _back_channel,
    _idle,
    _refresh_refused,
    _another_user,
    _same_user_again,
    _tenant_removed,
    _client_changed,
    _api_moved,
]
REFUSED: dict[End, int] = {_tenant_removed: 404}


def _named(end: object) -> str:
    return getattr(end, "__name__", "").strip("_")


async def _streaming(world: World, browser: Browser, connection: RawConnection) -> None:
    before = world.acme_api.open_streams
    await connection.send(api_head(world, browser, "/t/acme/api/stream?interval=0.05"))
    await asyncio.wait_for(connection.reader.readuntil(b'"tick": 1'), PATIENCE)
    assert world.acme_api.open_streams == before + 1


async def _all_ended(world: World) -> None:
    await until(lambda: not world.running.portal.in_flight.count, "a call is still in flight in the portal")
    await until(lambda: not world.acme_api.open_streams, "a stream is still open at the API")
    assert len(world.running.portal.live_calls) == 0


# --- each end, each kind of call


@pytest.mark.parametrize("end", ENDS, ids=_named)
@pytest.mark.gen_test
async def test_S7_a_stream_ends_with_its_login(world: World, log_lines: io.StringIO, end: End) -> None:
    browser = await signed_in(world)
    async with connected(world) as connection:
        await _streaming(world, browser, connection)
        await end(world, browser)
        await world.running.portal.live_calls.check()
        await connection.ended()
        await _all_ended(world)
    assert log_lines.getvalue().count('"event": "call_cut"') == 1


@pytest.mark.parametrize("end", [_logout, _tenant_removed, _client_changed], ids=_named)
@pytest.mark.gen_test
async def test_S7_an_upload_ends_with_its_login(world: World, end: End) -> None:
    browser = await signed_in(world)
    async with connected(world) as connection:
        extra = ["Content-Length: 1000000000"]
        await connection.send(api_head(world, browser, "/t/acme/api/upload", method="POST", extra=extra))
        await connection.send(b"x" * MEGABYTE)
        await until(lambda: world.acme_api.calls["upload"], "the upload did not begin")
        await end(world, browser)
        await world.running.portal.live_calls.check()
        response = await connection.read_response()
        assert response is not None
        assert response.status == REFUSED.get(end, 401)
        assert ("login_url" in json.loads(response.body)) == (response.status == 401)
        assert response.header("Connection") == "close"
        connection.close()
        await _all_ended(world)


@pytest.mark.parametrize("end", [_logout, _tenant_removed, _client_changed], ids=_named)
@pytest.mark.gen_test
async def test_S7_a_call_that_waits_for_the_api_ends_with_its_login(world: World, end: End) -> None:
    browser = await signed_in(world)
    world.acme_api.faults["echo"] = EndpointFault(never_responds=True)
    async with connected(world) as connection:
        await connection.send(api_head(world, browser, "/t/acme/api/echo"))
        await until(lambda: world.acme_api.calls["echo"], "the API was not called")
        await end(world, browser)
        await world.running.portal.live_calls.check()
        response = await connection.read_response()
        assert response is not None
        assert response.status == REFUSED.get(end, 401)
        assert response.header("Connection") is None
        await connection.send(api_head(world, browser, "/t/globex/api/projects"))
        assert await connection.read_response() is not None, "the connection was closed"
    await _all_ended(world)


@pytest.mark.gen_test
async def test_S7_a_call_of_the_explorer_ends_with_its_login(world: World) -> None:
    browser = await signed_in(world)
    world.acme_api.faults["echo"] = EndpointFault(never_responds=True)
    home = await browser.open(world.at("/t/acme/developer"))
    form = next(form for form in home.forms if "body" in dict(form.fields))
    calling = asyncio.ensure_future(browser.submit(form, {"method": "GET", "path": "/echo"}))
    await until(lambda: world.acme_api.calls["echo"], "the API was not called")
    await _refresh_refused(world, browser)
    await world.running.portal.live_calls.check()
    page = await asyncio.wait_for(calling, PATIENCE)
    assert page.status == 401
    assert "has ended" in page.text
    await _all_ended(world)


# --- events that do not end a call


async def _another_tenant(world: World, browser: Browser) -> None:
    await browser.step(world.at("/t/globex/logout"), "POST", "", site="same-origin")


async def _another_browser(world: World, browser: Browser) -> None:
    other = await signed_in(world)
    await _logout_everywhere(world, other)


async def _refresh(world: World, browser: Browser) -> None:
    await world.expire_access_token(browser, "acme")
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200


async def _new_examples(world: World, browser: Browser) -> None:
    change_tenant(world, "acme", api={"example_paths": ["/echo"]})


async def _new_limits(world: World, browser: Browser) -> None:
    change_tenant(world, "acme", api={"timeout": "10s", "idle_timeout": "10s"})


@pytest.mark.parametrize(
    "event", [_another_tenant, _another_browser, _refresh, _new_examples, _new_limits], ids=_named
)
@pytest.mark.gen_test
async def test_S7_unrelated_events_cut_no_stream(world: World, event: End) -> None:
    browser = await signed_in(world)
    await world.quick_sign_in(browser, "globex")
    async with connected(world) as connection:
        await _streaming(world, browser, connection)
        await event(world, browser)
        await world.running.portal.live_calls.check()
        await asyncio.wait_for(connection.reader.readuntil(b'"tick"'), PATIENCE)
        assert world.acme_api.open_streams == 1


@pytest.mark.gen_test
async def test_S10_a_database_outage_cuts_no_call(
    world: World, log_lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = await signed_in(world)
    portal = world.running.portal

    async def unavailable(*_: object, **__: object) -> object:
        raise StoreUnavailable("down")

    monkeypatch.setattr(live_calls, "CHECK_SECONDS", 0.01)
    async with connected(world) as connection:
        await _streaming(world, browser, connection)
        monkeypatch.setattr(portal.store, "read", unavailable)
        stop = asyncio.Event()
        watching = asyncio.ensure_future(portal.live_calls.watch(stop))
        await until(lambda: "live_calls_not_checked" in log_lines.getvalue(), "the calls were not checked")
        await asyncio.wait_for(connection.reader.readuntil(b'"tick"'), PATIENCE)
        assert world.acme_api.open_streams == 1
        monkeypatch.undo()
        await _logout(world, browser)
        await portal.live_calls.check()
        await connection.ended()
        stop.set()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


@pytest.mark.gen_test
async def test_S7_all_calls_are_checked_with_one_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve streams of two browsers cost one read; calls younger than a second cost none."""
    browsers = [await signed_in(world), await signed_in(world)]
    portal = world.running.portal
    reads: list[tuple[int, int]] = []
    read = portal.store.read

    async def counted(sessions: set[str], logins: set[str], *, now: float) -> object:
        reads.append((len(sessions), len(logins)))
        return await read(sessions, logins, now=now)

    connections = [connected(world) for _ in range(12)]
    opened = [await manager.__aenter__() for manager in connections]
    for number, connection in enumerate(opened):
        await _streaming(world, browsers[number % 2], connection)
    monkeypatch.setattr(portal.store, "read", counted)
    await portal.live_calls.check()
    assert reads == [(2, 2)]
    monkeypatch.setattr(live_calls, "_LEAST_AGE", 3600.0)
    await portal.live_calls.check()
    assert reads == [(2, 2)]
    for manager in connections:
        await manager.__aexit__(None, None, None)


# --- every process


@pytest.mark.gen_test(timeout=90)
async def test_S7_streams_are_cut_in_every_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with world_outside(tmp_path, processes=2) as (world, served):
        browser = world.browser()
        await world.quick_sign_in(browser, "acme")
        connections = [connected(world) for _ in range(12)]
        opened = [await manager.__aenter__() for manager in connections]
        for connection in opened:
            await _streaming(world, browser, connection)
        await _logout(world, browser)
        begun = asyncio.get_running_loop().time()
        await asyncio.gather(*(connection.ended() for connection in opened))
        await until(lambda: not world.acme_api.open_streams, "a stream is still open at the API")
        took = asyncio.get_running_loop().time() - begun
        for manager in connections:
            await manager.__aexit__(None, None, None)
        cut = [json.loads(line) for line in served.log.splitlines() if '"call_cut"' in line]
        assert len(cut) == 12
        assert took < 2 * CUT_SECONDS  # half of that on an idle machine
    with capsys.disabled():
        print(f"\n12 streams in 2 processes were cut {took:.1f} s after the logout")
