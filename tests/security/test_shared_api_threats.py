"""THREATS S7a and D5: an API host shared by tenants, and a tenant that exhausts its connections."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from portal.config.limit_settings import LimitSettings
from tests.kit.raw import RawConnection, api_head, change_tenant, connected, raw_api, signed_in, until
from tests.kit.websockets import handshake, opened, socket_api
from tests.kit.world import World
from tests.kit.world import world as made_world


async def call(connection: RawConnection, world: World, browser: object, tenant: str) -> str:
    await connection.send(api_head(world, browser, f"/t/{tenant}/api/mine"))  # type: ignore[arg-type]
    response = await connection.read_response()
    assert response is not None
    return response.text


@pytest.mark.gen_test
async def test_S7a_a_gateway_that_responds_twice_reveals_no_data_of_another_tenant(
    world: World,
) -> None:
    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Respond with the caller's token, and again a little later on the same connection."""
        head = api.heads[-1]
        while True:
            token = next(line for line in head.decode().split("\r\n") if line.startswith("Authorization"))
            body = token.encode()
            response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            writer.write(response)
            await writer.drain()
            await asyncio.sleep(0.005)
            writer.write(response)
            head = await reader.readuntil(b"\r\n\r\n")

    browser = await signed_in(world, "acme")
    await world.quick_sign_in(browser, "globex")
    async with raw_api(twice) as api, connected(world) as connection:
        for tenant in ("acme", "globex"):
            change_tenant(world, tenant, api={"base_url": api.url})
        seen: dict[str, set[str]] = {"acme": set(), "globex": set()}
        for turn in range(10):
            for tenant in ("acme", "globex"):
                seen[tenant].add(await call(connection, world, browser, tenant))
            await asyncio.sleep(0.01 * (turn % 2))
    for texts in seen.values():
        assert len(texts) == 1
    assert seen["acme"] != seen["globex"]


@pytest.mark.gen_test
async def test_D5_a_tenant_whose_api_hangs_gets_503_and_other_tenants_are_not_affected(world: World) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    pool = world.running.portal.http._transport._pool
    pool._limits = replace(pool._limits, per_destination=2, waiting_per_destination=0)
    browser = await signed_in(world, "acme")
    await world.quick_sign_in(browser, "globex")
    async with raw_api(silent) as api:
        change_tenant(world, "acme", api={"base_url": api.url})
        async with connected(world) as one, connected(world) as two, connected(world) as three:
            for connection in (one, two):
                await connection.send(api_head(world, browser, "/t/acme/api/hang"))
            await until(lambda: len(api.heads) == 2, "the API was not called")
            await three.send(api_head(world, browser, "/t/acme/api/orders"))
            response = await three.read_response()
            assert response is not None
            assert (response.status, response.header("Retry-After")) == (503, "5")
            assert '"code": "tenant_busy"' in response.text or '"code":"tenant_busy"' in response.text
            assert (await browser.fetch(world.at("/t/globex/api/projects"))).status == 200


@pytest.mark.gen_test
async def test_D5_calls_without_a_login_leave_connections_for_those_with_one(world: World) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"/slow" not in api.heads[-1]:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await writer.drain()
        await reader.read()

    pool = world.running.portal.http._transport._pool
    pool._limits = replace(pool._limits, per_destination=4, waiting_per_destination=2)
    calls = world.running.portal.live_calls
    calls.without_login.most_of_tenant = calls.without_login.most_of_client = 2
    browser, stranger = await signed_in(world), world.browser()
    async with raw_api(slow) as api:
        news = {"base_url": api.url, "access": "anonymous"}
        change_tenant(world, "acme", api={"base_url": api.url}, apis={"news": news})
        url = world.at("/t/acme/apis/news/slow")
        hanging = [asyncio.ensure_future(stranger.fetch(url)) for _ in range(2)]
        await until(lambda: len(api.heads) == 2, "the API was not called")
        refused = await stranger.fetch(url)
        assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
        assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200
        for call in hanging:
            call.cancel()
    await until(lambda: not len(calls), "calls are still counted")
    assert not len(calls.without_login)


async def hang(connection: RawConnection, world: World, client: str, target: str) -> None:
    await connection.send(api_head(world, world.browser(), target, extra=[f"X-Forwarded-For: {client}"]))


SAME_CLIENT = [
    ("203.0.113.7", "203.0.113.7"),
    ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"),
    ("203.0.113.7", "::ffff:203.0.113.7"),
]
OTHER_CLIENT = ["203.0.113.8", "2001:db8:1:3::1"]


@pytest.mark.parametrize(("first", "again"), SAME_CLIENT)
@pytest.mark.gen_test
async def test_D5_one_stranger_does_not_take_the_calls_of_all_strangers(
    tmp_path: Path, first: str, again: str
) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"/slow" not in api.heads[-1]:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            await writer.drain()
            return
        await reader.read()

    trusted = (ip_network("127.0.0.1"),)
    async with (
        made_world(tmp_path, trusted_proxies=trusted) as world,
        raw_api(slow) as api,
        contextlib.AsyncExitStack() as stack,
    ):
        counted = world.running.portal.live_calls.without_login
        counted.most_of_tenant, counted.most_of_client = 6, 2
        change_tenant(world, "acme", apis={"news": {"base_url": api.url, "access": "anonymous"}})
        held = [await stack.enter_async_context(connected(world)) for _ in range(2)]
        for connection in held:
            await hang(connection, world, first, "/t/acme/apis/news/slow")
        await until(lambda: len(api.heads) == 2, "the API was not called")
        for client, status in ((again, 503), *((other, 200) for other in OTHER_CLIENT)):
            connection = await stack.enter_async_context(connected(world))
            await hang(connection, world, client, "/t/acme/apis/news/quick")
            response = await connection.read_response()
            assert response is not None
            assert response.status == status, client
            assert response.header("Retry-After") == ("5" if status == 503 else None)
        for connection in held:
            connection.close()
        await until(lambda: not len(counted), "calls are still counted")
        assert not counted._of_client
        connection = await stack.enter_async_context(connected(world))
        await hang(connection, world, first, "/t/acme/apis/news/quick")
        response = await connection.read_response()
        assert response is not None
        assert response.status == 200


@pytest.mark.gen_test
async def test_D5_two_clients_without_a_proxy_are_told_apart_by_their_addresses(world: World) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    counted = world.running.portal.live_calls.without_login
    counted.most_of_client = 1
    port = urlsplit(world.url).port
    async with raw_api(slow) as api, connected(world) as held, connected(world) as again:
        change_tenant(world, "acme", apis={"news": {"base_url": api.url, "access": "anonymous"}})
        await hang(held, world, "198.51.100.1", "/t/acme/apis/news/slow")
        await until(lambda: len(api.heads) == 1, "the API was not called")
        await hang(again, world, "198.51.100.2", "/t/acme/apis/news/slow")
        refused = await again.read_response()
        assert refused is not None
        assert refused.status == 503, "the header of a client that is no trusted proxy counts"
        scrape = world.running.portal.metrics.render().decode()
        assert 'portal_limit_hits_total{limit="calls_without_login"} 1.0' in scrape
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
        await hang(RawConnection(reader, writer), world, "198.51.100.1", "/t/acme/apis/news/slow")
        await until(lambda: len(api.heads) == 2, "another client is refused")
        writer.transport.abort()


@pytest.mark.gen_test(timeout=60)
async def test_S15_sockets_without_a_login_leave_those_of_users(tmp_path: Path) -> None:
    limits = LimitSettings(sockets_per_tenant=6, sockets_per_user=20)
    async with made_world(tmp_path, limits=limits) as world, socket_api() as api:
        user, stranger = await signed_in(world), world.browser()
        news = {"base_url": api.api.url, "access": "anonymous"}
        change_tenant(world, "acme", api={"base_url": api.api.url}, apis={"news": news})
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(opened(world, stranger, "/t/acme/apis/news/x"))
            async with handshake(world, stranger, "/t/acme/apis/news/x") as (_, refused):
                assert refused is not None
                assert refused.status == 503
            async with opened(world, user, "/t/acme/api/live"):
                pass


@pytest.mark.gen_test(timeout=60)
async def test_S15_the_network_of_a_client_has_the_sockets_of_one_user(tmp_path: Path) -> None:
    limits = LimitSettings(sockets_per_tenant=30, sockets_per_user=2)
    async with made_world(tmp_path, limits=limits) as world, socket_api() as api:
        news = {"base_url": api.api.url, "access": "anonymous"}
        change_tenant(world, "acme", apis={"news": news})
        stranger, url = world.browser(), "/t/acme/apis/news/x"
        async with opened(world, stranger, url), opened(world, stranger, url):
            async with handshake(world, stranger, url) as (_, refused):
                assert refused is not None
                assert refused.status == 503
