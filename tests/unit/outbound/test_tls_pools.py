"""Pools of connections for certificates: made off the event loop, once, and never closed under a call."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from portal.errors import OutboundFailed, OutboundRefused
from portal.outbound.client import OutboundClient
from portal.outbound.tls import ClientCertificate, Tls
from portal.outbound.tls_context import tls_context
from portal.outbound.tls_pools import TlsPools
from portal.secret import Secret
from tests.unit.outbound.certificates import issue
from tests.unit.outbound.wire import conversing, until

A, B, C, D = (Tls(certificate=issue(name).of_client) for name in "abcd")
BROKEN = Tls(certificate=ClientCertificate(issue("e").chain, Secret(issue("f").private_key())))


class SlowPool:
    """A pool that takes as long to close as a test wants, as one with kept-alive TLS connections does."""

    def __init__(self, gate: asyncio.Event) -> None:
        self.gate = gate
        self.closings = 0
        self.closed = False

    async def close(self) -> None:
        self.closings += 1
        await self.gate.wait()
        self.closed = True


class Pools:
    """Pools that close when `gate` is set, and every one that was made."""

    def __init__(self, kept: int) -> None:
        self.gate = asyncio.Event()
        self.made: list[SlowPool] = []
        self.pools = TlsPools(self._make, kept=kept)  # type: ignore[arg-type]

    def _make(self, _: ssl.SSLContext) -> SlowPool:
        self.made.append(SlowPool(self.gate))
        return self.made[-1]

    async def use(self, tls: Tls, end: asyncio.Event | None = None) -> SlowPool:
        """Hold the pool until `end`, and see that nobody closes it meanwhile."""
        async with self.pools.pool(tls) as pool:
            assert isinstance(pool, SlowPool)
            if end is not None:
                await end.wait()
            assert not pool.closings, "closed while in use"
        return pool

    def closing(self) -> int:
        return sum(pool.closings for pool in self.made)


@pytest.mark.gen_test
async def test_two_calls_that_end_while_pools_are_being_closed_close_each_once() -> None:
    held = Pools(kept=2)
    await held.use(A)
    await held.use(B)
    ends = [asyncio.Event(), asyncio.Event()]
    calls = [asyncio.create_task(held.use(tls, end)) for tls, end in zip((C, D), ends, strict=True)]
    await until(lambda: len(held.made) == 4)
    ends[0].set()
    await until(lambda: held.closing() > 0)
    ends[1].set()
    await asyncio.sleep(0)
    held.gate.set()
    await asyncio.gather(*calls)
    assert [pool.closings for pool in held.made] == [1, 1, 0, 0]


@pytest.mark.gen_test
async def test_a_pool_taken_up_again_while_others_are_being_closed_is_not_closed_under_the_call() -> None:
    held = Pools(kept=2)
    await held.use(A)
    await held.use(B)
    ends = [asyncio.Event() for _ in range(3)]
    calls = [asyncio.create_task(held.use(tls, end)) for tls, end in zip((C, D), ends, strict=False)]
    await until(lambda: len(held.made) == 4)
    ends[0].set()
    await until(lambda: held.closing() > 0)
    calls.append(asyncio.create_task(held.use(B, ends[2])))
    await until(lambda: len(held.made) == 5)
    held.gate.set()
    await until(lambda: held.made[0].closed)
    ends[1].set()
    ends[2].set()
    pools = await asyncio.gather(*calls)
    assert pools[2] is held.made[4]


@pytest.mark.gen_test
async def test_many_calls_with_few_pools_find_theirs_open() -> None:
    held = Pools(kept=2)
    held.gate.set()
    for turn in range(10):
        await asyncio.gather(*(held.use((A, B, C, D)[(number + turn) % 4]) for number in range(20)))
    await held.pools.close()
    assert {pool.closings for pool in held.made} == {1}


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads in which certificates were read, as they are."""
    threads: list[int] = []

    def reading(tls: Tls, system: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        threads.append(threading.get_ident())
        return tls_context(tls, system)

    monkeypatch.setattr("portal.outbound.tls_pools.tls_context", reading)
    return threads


@pytest.mark.gen_test
async def test_first_calls_at_once_share_a_context_that_was_made_in_a_thread(readings: list[int]) -> None:
    held = Pools(kept=2)
    pools = await asyncio.gather(*(held.use(A) for _ in range(10)))
    assert len(readings) == 1
    assert readings[0] != threading.get_ident(), "reading certificates stops every tenant for a while"
    assert {id(pool) for pool in pools} == {id(held.made[0])}
    await held.use(A)
    await held.use(B)
    assert (len(readings), len(held.made)) == (2, 2)


@pytest.mark.gen_test
async def test_a_first_call_that_is_given_up_does_not_take_the_others_along(readings: list[int]) -> None:
    held = Pools(kept=2)
    first, second = (asyncio.create_task(held.use(A)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    assert first.cancelled()
    assert await second is held.made[0]
    assert len(readings) == 1


@pytest.mark.gen_test
async def test_a_certificate_that_cannot_be_used_is_refused_each_time_and_leaves_nothing(
    readings: list[int],
) -> None:
    held = Pools(kept=2)
    for attempt in (1, 2):
        outcomes = await asyncio.gather(*(held.use(BROKEN) for _ in range(3)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [OutboundRefused] * 3
        assert len(readings) == attempt
    assert held.made == []


@pytest.mark.gen_test
@pytest.mark.parametrize("known", [True, False])
async def test_a_call_after_closing_finds_its_pool_closed(known: bool) -> None:
    held = Pools(kept=2)
    held.gate.set()
    if known:
        await held.use(A)
    await held.pools.close()
    async with held.pools.pool(A):
        assert [pool.closed for pool in held.made] == [True]


@pytest.mark.gen_test
async def test_no_byte_is_sent_by_a_client_that_is_closed() -> None:
    connections = 0

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1

    client = OutboundClient(allow_private_networks=True)
    async with conversing(converse) as port:
        await client.close()
        for tls in (A, A, B):
            with pytest.raises(OutboundFailed):
                await client.fetch("GET", f"http://127.0.0.1:{port}/", tls=tls)
    assert connections == 0
