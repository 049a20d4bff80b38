"""Limits of connections: which requests wait, in which order, and which idle ones are closed (THREATS D5)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import NoReturn

import pytest

from portal.errors import OutboundBusy, OutboundFailed
from portal.outbound.client import OutboundClient
from portal.outbound.connection import Connection
from portal.outbound.pool import Limits, _Place, default_limits
from portal.outbound.tls import Tls
from tests.unit.outbound.certificates import issue
from tests.unit.outbound.wire import Received, Response, Wire, calling, http_response, serving, until


def limits_of(**changes: int) -> Limits:
    return replace(Limits(total=100, per_tenant=100, per_destination=100), **changes)


class Gate:
    """An API that responds to a call of /wait when the test sets its event; events in order of arrival."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, asyncio.Event]] = []

    def script(self, request: Received) -> Response:
        if not request.target.startswith("/wait"):
            return http_response(200, "x")
        event = asyncio.Event()
        self.calls.append((request.target, event))

        async def respond(writer: asyncio.StreamWriter) -> None:
            await event.wait()
            writer.write(http_response(200, request.target))

        return respond

    def targets(self) -> list[str]:
        return [target for target, _ in self.calls]


@asynccontextmanager
async def gated(limits: Limits) -> AsyncIterator[tuple[Gate, Wire, OutboundClient]]:
    gate = Gate()
    client = OutboundClient(allow_private_networks=True, limits=limits)
    async with serving(gate.script) as wire, calling(client):
        yield gate, wire, client


async def get(client: OutboundClient, url: str, tenant: str = "acme", wait: float = 5.0) -> bytes:
    stream = await client.open_stream("GET", url, tenant=tenant, connect_timeout=wait)
    try:
        return await stream.read()
    finally:
        await stream.aclose()


@pytest.mark.gen_test
async def test_calls_beyond_the_limit_wait_in_order_for_a_free_connection() -> None:
    async with gated(limits_of(per_destination=2)) as (gate, wire, client):
        calls = []
        for number in range(6):
            calls.append(asyncio.ensure_future(get(client, wire.url(f"/wait/{number}"))))
            await until(lambda number=number: len(gate.calls) == min(number + 1, 2))  # type: ignore[misc]
            await asyncio.sleep(0)
        for number in range(6):
            await until(lambda number=number: len(gate.calls) > number)  # type: ignore[misc]
            gate.calls[number][1].set()
            await calls[number]
        assert gate.targets() == [f"/wait/{number}" for number in range(6)]
    assert wire.connections == 2


@pytest.mark.gen_test
async def test_a_tenant_at_its_limit_delays_no_other_and_fails_in_time() -> None:
    limits = limits_of(per_destination=2, waiting_per_destination=3)
    async with gated(limits) as (gate, wire, client):
        busy = [asyncio.ensure_future(get(client, wire.url("/wait"))) for _ in range(2)]
        await until(lambda: len(gate.calls) == 2)
        waiting = [asyncio.ensure_future(get(client, wire.url("/wait"), wait=0.2)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(OutboundBusy, match="too many requests wait"):
            await get(client, wire.url())
        assert await get(client, wire.url(), tenant="globex") == b"x"
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, OutboundBusy)
        for _, event in gate.calls:
            event.set()
        assert await asyncio.gather(*busy) == [b"/wait", b"/wait"]
        assert await get(client, wire.url()) == b"x"


@pytest.mark.gen_test
async def test_a_tenant_with_many_destinations_has_one_limit() -> None:
    limits = limits_of(per_destination=2, per_tenant=3)
    async with gated(limits) as (gate, wire, client), serving(gate.script) as other:
        busy = [asyncio.ensure_future(get(client, wire.url("/wait"))) for _ in range(2)]
        busy.append(asyncio.ensure_future(get(client, other.url("/wait"))))
        await until(lambda: len(gate.calls) == 3)
        with pytest.raises(OutboundBusy):
            await get(client, other.url(), wait=0.1)
        assert await get(client, other.url(), tenant="globex") == b"x"
        for _, event in gate.calls:
            event.set()
        await asyncio.gather(*busy)
        for url in (wire.url(), other.url(), wire.url(), other.url()):
            assert await get(client, url) == b"x"


@pytest.mark.gen_test
async def test_idle_connections_are_closed_when_the_limit_is_reached() -> None:
    async with gated(limits_of(total=2)) as (_, wire, client):
        for tenant in ("a", "b", "c", "d", "c"):
            assert await get(client, wire.url(), tenant=tenant) == b"x"
        await until(lambda: wire.open_connections == 2)
    assert wire.connections == 4


@pytest.mark.gen_test
async def test_tenants_that_wait_for_the_last_connection_take_turns() -> None:
    async with gated(limits_of(total=1)) as (gate, wire, client):
        calls = [asyncio.ensure_future(get(client, wire.url(f"/wait/a{n}"), tenant="a")) for n in range(3)]
        await until(lambda: len(gate.calls) == 1)
        calls += [asyncio.ensure_future(get(client, wire.url(f"/wait/b{n}"), tenant="b")) for n in range(2)]
        for number in range(5):
            await until(lambda number=number: len(gate.calls) > number)  # type: ignore[misc]
            gate.calls[number][1].set()
        await asyncio.gather(*calls)
    assert gate.targets()[:4] in (
        ["/wait/a0", "/wait/a1", "/wait/b0", "/wait/a2"],
        ["/wait/a0", "/wait/b0", "/wait/a1", "/wait/b1"],
    )


@pytest.mark.gen_test
async def test_calls_cancelled_while_they_wait_leave_no_trace() -> None:
    async with gated(limits_of(per_destination=1)) as (gate, wire, client):
        busy = asyncio.ensure_future(get(client, wire.url("/wait")))
        await until(lambda: len(gate.calls) == 1)
        waiting = [asyncio.ensure_future(get(client, wire.url())) for _ in range(5)]
        await asyncio.sleep(0)
        for call in waiting[:4]:
            call.cancel()
        gate.calls[0][1].set()
        assert await busy == b"/wait"
        assert await waiting[4] == b"x"
        # a call that is cancelled when its turn comes
        for _ in range(20):
            call = asyncio.ensure_future(get(client, wire.url()))
            last = asyncio.ensure_future(get(client, wire.url()))
            await asyncio.sleep(0)
            call.cancel()
            assert await last == b"x"


@pytest.mark.gen_test
async def test_a_failed_connection_releases_its_place() -> None:
    async with serving(lambda _: http_response()) as wire:
        closed = wire.url()
    async with gated(limits_of(per_destination=1, per_tenant=1, total=1)) as (_, wire, client):
        for _ in range(3):
            with pytest.raises(OutboundFailed, match="Connect"):
                await get(client, closed)
        assert await get(client, wire.url()) == b"x"


@pytest.mark.gen_test
async def test_calls_that_wait_fail_when_the_client_is_closed() -> None:
    async with gated(limits_of(per_destination=1)) as (gate, wire, client):
        calls = [asyncio.ensure_future(get(client, wire.url("/wait"))) for _ in range(3)]
        await until(lambda: len(gate.calls) == 1)
        await client.close()
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(outcome, OutboundFailed)
        gate.calls[0][1].set()
        await until(lambda: wire.open_connections == 0)
    assert wire.connections == 1


@pytest.mark.parametrize(
    ("files", "total", "tenant", "destination"),
    [(1_024, 512, 128, 96), (65_536, 8_192, 2_048, 1_536), (-1, 8_192, 2_048, 1_536), (20, 64, 16, 12)],
)
def test_the_default_limits_are_a_share_of_the_limit_of_open_files(
    files: int, total: int, tenant: int, destination: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (files, files))
    assert default_limits() == Limits(total, tenant, destination)


@pytest.mark.gen_test
async def test_a_waiter_at_its_own_limit_delays_no_other() -> None:
    """The process is at its limit; the first waiter is also at the limit of its slow destination."""
    async with gated(limits_of(total=2, per_destination=1)) as (gate, wire, client):
        calls = []
        for number, tenant in enumerate(("slow", "acme", "slow", "acme")):
            calls.append(asyncio.ensure_future(get(client, wire.url(f"/wait/{number}"), tenant)))
            await until(lambda number=number: len(gate.calls) == min(number + 1, 2))  # type: ignore[misc]
            await asyncio.sleep(0)
        gate.calls[1][1].set()
        assert await calls[1] == b"/wait/1"
        await until(lambda: gate.targets()[2:] == ["/wait/3"], 0.5)
        for _, event in gate.calls:
            event.set()
        assert await calls[3] == b"/wait/3"
        await until(lambda: len(gate.calls) == 4)
        gate.calls[3][1].set()
        assert set(await asyncio.gather(calls[0], calls[2])) == {b"/wait/0", b"/wait/2"}


@pytest.mark.gen_test
async def test_D5_streams_of_an_api_leave_connections_for_sign_ins_at_the_same_host() -> None:
    limits = limits_of(per_tenant=4, per_destination=3)
    async with gated(limits) as (gate, wire, client):
        streams = [asyncio.ensure_future(get(client, wire.url("/wait"))) for _ in range(3)]
        await until(lambda: len(gate.calls) == 3)
        with pytest.raises(OutboundBusy):
            await get(client, wire.url(), wait=0.2)
        assert (await client.fetch("POST", wire.url("/token"), tenant="acme")).status == 200
        for _, event in gate.calls:
            event.set()
        await asyncio.gather(*streams)


@pytest.mark.gen_test
async def test_D5_calls_with_the_certificates_of_several_providers_leave_connections_for_sign_ins() -> None:
    """With `api.mtls` an API has as many destinations as its tenant has certificates."""
    limits = limits_of(per_tenant=4, per_destination=3)
    async with gated(limits) as (gate, wire, client):
        settings = [Tls(None, issue(name).of_client) for name in ("a", "b")]
        calls = [
            asyncio.ensure_future(
                client.open_stream("GET", wire.url("/wait"), tenant="acme", tls=settings[n % 2])
            )
            for n in range(8)
        ]
        await until(lambda: len(gate.calls) == 3)
        response = await client.fetch("POST", wire.url("/token"), tenant="acme", timeout=2)
        assert response.body == b"x"
        for number in range(8):
            await until(lambda number=number: len(gate.calls) > number)  # type: ignore[misc]
            gate.calls[number][1].set()
        for call in calls:
            stream = await call
            assert await stream.read() == b"/wait"
            await stream.aclose()


@pytest.mark.gen_test
async def test_calls_with_the_certificate_of_one_provider_do_not_delay_those_of_another() -> None:
    limits = limits_of(per_tenant=4, per_destination=2)
    settings = {name: Tls(None, issue(name).of_client) for name in ("a", "b")}
    async with gated(limits) as (gate, wire, client):

        async def call(name: str) -> bytes:
            url = wire.url(f"/wait/{name}")
            stream = await client.open_stream("GET", url, tenant="acme", tls=settings[name])
            try:
                return await stream.read()
            finally:
                await stream.aclose()

        calls = [asyncio.ensure_future(call("b"))]
        await until(lambda: len(gate.calls) == 1)
        calls += [asyncio.ensure_future(call("a")) for _ in range(6)]
        await until(lambda: len(gate.calls) == 2)
        calls.append(asyncio.ensure_future(call("b")))
        await asyncio.sleep(0)
        for number in range(8):
            await until(lambda number=number: len(gate.calls) > number)  # type: ignore[misc]
            gate.calls[number][1].set()
        await asyncio.gather(*calls)
        assert gate.targets().count("/wait/b") == 2
        assert "/wait/b" in gate.targets()[1:6]


@pytest.mark.gen_test
async def test_D5_at_a_limit_of_one_tenant_only_its_own_idle_connections_are_searched() -> None:
    """A busy portal has thousands of them, and the waiting requests are checked after every response."""

    class NotIterable(OrderedDict[Connection, _Place]):
        def items(self) -> NoReturn:
            raise AssertionError("all idle connections were searched")

    async with gated(limits_of(per_tenant=2)) as (gate, wire, client):
        for tenant in ("globex", "initech"):
            assert await get(client, wire.url("/"), tenant) == b"x"
        pool = client._transport._pool
        pool._idle = NotIterable(pool._idle)
        calls = [asyncio.create_task(get(client, wire.url(f"/wait/{number}"))) for number in range(3)]
        await until(lambda: len(gate.calls) == 2)
        gate.calls[0][1].set()
        await until(lambda: len(gate.calls) == 3)
        for _, event in gate.calls:
            event.set()
        await asyncio.gather(*calls)
        assert len(pool._idle) == sum(map(len, pool._idle_of.values())) == 4
        pool._idle = OrderedDict(pool._idle)
