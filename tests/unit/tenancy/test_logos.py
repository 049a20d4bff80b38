"""Logos of tenants: fetched in the background, kept for a day, bounded."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from portal.outbound.client import OutboundClient
from portal.tenancy.logos import (
    CACHE_BYTES,
    FRESH_SECONDS,
    MOST_FETCHES,
    MOST_WAITING,
    RETRY_SECONDS,
    TenantLogos,
)
from portal.tenancy.model import Branding, Tenant
from tests.kit.logos import SVG, png
from tests.kit.samples import ManualClock, sample_tenant
from tests.unit.outbound.wire import Received, Response, calling, http_response, serving, until

PICTURE = png(40, 20)


def branded(url: str | None, slug: str = "acme") -> Tenant:
    return sample_tenant(slug, branding=Branding(None, url))


@asynccontextmanager
async def logos(client: OutboundClient, clock: Callable[[], float]) -> AsyncIterator[TenantLogos]:
    made = TenantLogos(client, monotonic=clock)
    try:
        yield made
    finally:
        await made.close()


@pytest.mark.gen_test
async def test_a_page_never_waits_and_the_next_one_has_the_logo() -> None:
    clock = ManualClock()
    async with serving(lambda _: http_response(200, PICTURE)) as wire, calling() as client:
        async with logos(client, clock) as made:
            tenant = branded(wire.url("/logo.png"))
            assert made.now(tenant) is None
            assert wire.received == []
            await until(lambda: made.now(tenant) is not None)
            found = made.now(tenant)
    assert found is not None
    assert (found.logo.content, found.logo.kind, len(found.version)) == (PICTURE, "png", 16)
    [request] = wire.received
    assert (request.method, request.target) == ("GET", "/logo.png")
    assert not {"cookie", "authorization", "referer"} & {name.lower() for name, _ in request.headers}


@pytest.mark.gen_test
async def test_a_tenant_without_an_address_has_no_logo() -> None:
    async with calling() as client, logos(client, ManualClock()) as made:
        assert made.now(branded(None)) is None
        assert await made.get(branded(None)) is None


@pytest.mark.gen_test
async def test_a_logo_is_fetched_once_a_day_and_the_old_one_is_shown_meanwhile() -> None:
    clock, pictures = ManualClock(), [PICTURE, SVG.encode()]
    async with serving(lambda _: http_response(200, pictures[0])) as wire, calling() as client:
        async with logos(client, clock) as made:
            tenant = branded(wire.url("/logo"))
            first = await made.get(tenant)
            clock.advance(FRESH_SECONDS - 1)
            assert await made.get(tenant) is first
            del pictures[0]
            clock.advance(1)
            assert made.now(tenant) is first
            await until(lambda: made.now(tenant) is not first)
            renewed = made.now(tenant)
    assert first is not None
    assert renewed is not None
    assert (renewed.logo.kind, renewed.version == first.version, len(wire.received)) == ("svg", False, 2)


@pytest.mark.gen_test
async def test_a_failure_is_kept_for_a_quarter_of_an_hour_and_said_once(log_lines: io.StringIO) -> None:
    clock, responses = ManualClock(), [http_response(404), http_response(200, PICTURE)]
    async with serving(lambda _: responses[0]) as wire, calling() as client:
        async with logos(client, clock) as made:
            tenant = branded(wire.url("/logo"))
            for _ in range(3):
                assert await made.get(tenant) is None
            assert len(wire.received) == 1
            assert made.problem(tenant) == "the server of the logo responded with 404; expected 200"
            del responses[0]
            clock.advance(RETRY_SECONDS - 1)
            assert await made.get(tenant) is None
            clock.advance(1)
            assert await made.get(tenant) is not None
            assert made.problem(tenant) == ""
    assert log_lines.getvalue().count("tenant_logo_not_shown") == 1
    assert "responded with 404; expected 200" in log_lines.getvalue()


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("response", "stays"),
    [(http_response(503), True), (http_response(200, b"<html>"), False)],
)
async def test_a_logo_stays_while_its_server_is_away_but_not_when_it_was_replaced(
    response: bytes, stays: bool
) -> None:
    clock, responses = ManualClock(), [http_response(200, PICTURE), response]
    async with serving(lambda _: responses[0]) as wire, calling() as client:
        async with logos(client, clock) as made:
            tenant = branded(wire.url("/logo"))
            assert await made.get(tenant) is not None
            del responses[0]
            clock.advance(FRESH_SECONDS)
            made.now(tenant)
            await until(lambda: len(wire.received) == 2)
            await until(lambda: len(made._in_progress) == 0)
            assert (made.now(tenant) is not None) is stays


@pytest.mark.gen_test
async def test_another_address_is_another_logo() -> None:
    async with serving(lambda request: http_response(200, png(20, int(request.target[1:])))) as wire:
        async with calling() as client, logos(client, ManualClock()) as made:
            one = await made.get(branded(wire.url("/20")))
            other = await made.get(branded(wire.url("/10")))
    assert one is not None
    assert other is not None
    assert (one.logo.ratio, other.logo.ratio) == (1.0, 2.0)


class Gate:
    """A server that responds when it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    def respond(self, request: Received) -> Response:
        async def when_open(writer: asyncio.StreamWriter) -> None:
            await self.opened.wait()
            writer.write(http_response(200, PICTURE))
            await writer.drain()

        return when_open


@pytest.mark.gen_test
async def test_each_tenant_has_one_request_and_all_have_a_few() -> None:
    gate = Gate()
    async with serving(gate.respond) as wire, calling() as client:
        async with logos(client, ManualClock()) as made:
            tenants = [branded(wire.url(f"/{number}"), f"t{number}") for number in range(MOST_WAITING + 50)]
            for tenant in (*tenants, *tenants):
                made.now(tenant)
            assert len(made._in_progress) == MOST_WAITING
            await until(lambda: len(wire.received) == MOST_FETCHES)
            await asyncio.sleep(0.05)
            assert len(wire.received) == MOST_FETCHES
            gate.opened.set()
            await until(lambda: len(made._in_progress) == 0, 30)
            assert len(wire.received) == MOST_WAITING == len(set(wire.targets()))


def test_the_memory_of_all_logos_is_bounded() -> None:
    made = TenantLogos(OutboundClient())
    assert made._fetched._max_bytes == CACHE_BYTES <= 16_000_000
