"""Which tenant's handshake is next when many take long (THREATS D5)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from portal.errors import OutboundFailed
from portal.outbound.handshake_budget import HandshakeBudget, HandshakeTurn
from portal.outbound.handshake_threads import LONG, HandshakeThreads
from portal.outbound.tls import Tls
from tests.unit.outbound.certificates import issue
from tests.unit.outbound.test_tls_connection import get, responding, slow_chain
from tests.unit.outbound.tls_wire import server_context, tls_conversing
from tests.unit.outbound.wire import calling, http_response, until

TENANTS = 200


@asynccontextmanager
async def occupied(count: int) -> AsyncIterator[tuple[HandshakeThreads, list[str], threading.Event]]:
    """Threads at which a long step of each of many tenants has arrived; what began, and what ends it."""
    threads, began, go_on = HandshakeThreads(count), [], threading.Event()

    def slow(name: str) -> Callable[[], None]:
        def work() -> None:
            began.append(name)
            go_on.wait(10)

        return work

    turns = [HandshakeTurn(threads) for _ in range(TENANTS)]
    waiting = [
        asyncio.ensure_future(turn.run(slow(str(number)), step=1, received=60_000))
        for number, turn in enumerate(turns)
    ]
    try:
        await until(lambda: bool(began))
        yield threads, began, go_on
    finally:
        go_on.set()
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)
        await threads.close()


@pytest.mark.gen_test
async def test_D5_tenants_whose_servers_are_slow_keep_no_other_tenant_waiting() -> None:
    async with occupied(2) as (threads, began, _):
        for _ in range(3):
            assert await HandshakeTurn(threads).run(lambda: "done", step=1, received=4_000) == "done"
        assert began == ["0"]


@pytest.mark.gen_test
async def test_D5_who_has_taken_least_lately_is_next() -> None:
    threads, go_on = HandshakeThreads(1), threading.Event()
    order: list[str] = []
    held = asyncio.ensure_future(HandshakeTurn(threads).run(lambda: go_on.wait(10), step=1))
    await until(lambda: threads._free == 0)
    running = []
    for name, taken in (("much", 0.02), ("little", 0.001), ("nothing", 0.0)):
        turn = HandshakeTurn(threads)
        turn.budget._taken, turn.budget._taken_at = taken, asyncio.get_running_loop().time()
        running.append(asyncio.ensure_future(turn.run(partial(order.append, name), step=1)))
        await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(held, *running)
    assert order == ["nothing", "little", "much"]
    await threads.close()


@pytest.mark.gen_test
async def test_a_step_that_was_given_up_while_it_waited_is_not_run_and_its_turn_is_free() -> None:
    async with occupied(2) as (threads, began, go_on):
        turn = HandshakeTurn(threads)
        for _ in range(1_000):
            step = asyncio.ensure_future(turn.run(lambda: began.append("given up"), step=1, received=90_000))
            await asyncio.sleep(0)
            step.cancel()
            await asyncio.wait([step])
        assert len(threads._waiting) < 2 * TENANTS
        assert await turn.run(lambda: "done", step=1) == "done"
        go_on.set()
        await until(lambda: len(began) == TENANTS)


@pytest.mark.gen_test
async def test_a_step_that_is_given_up_when_its_thread_was_free_gives_the_thread_back() -> None:
    threads = HandshakeThreads(1)
    given_up = asyncio.ensure_future(HandshakeTurn(threads).run(lambda: "", step=1))
    asyncio.get_running_loop().call_soon(given_up.cancel)
    await asyncio.wait([given_up])
    await until(lambda: threads._free == 1)
    assert await HandshakeTurn(threads).run(lambda: "done", step=1, received=90_000) == "done"
    await threads.close()


@pytest.mark.gen_test
async def test_steps_that_wait_fail_when_the_client_is_closed() -> None:
    threads, go_on = HandshakeThreads(1), threading.Event()
    running, waits = (
        asyncio.ensure_future(HandshakeTurn(threads).run(lambda: go_on.wait(10), step=1)) for _ in range(2)
    )
    await until(lambda: len(threads._waiting) == 1)
    closing = asyncio.ensure_future(threads.close())
    with pytest.raises(OutboundFailed, match="the client is closed"):
        await waits
    go_on.set()
    await closing
    assert await running
    with pytest.raises(OutboundFailed, match="the client is closed"):
        await HandshakeTurn(threads).run(lambda: "", step=1)


@pytest.mark.gen_test
async def test_D5_a_long_chain_is_expected_to_take_long_and_a_usual_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its tenant has taken anything."""
    expected: list[float] = []
    start = HandshakeThreads.start

    async def noting(threads: HandshakeThreads, work: Callable[[], Any], seconds: float) -> Any:
        expected.append(seconds)
        return await start(threads, work, seconds)

    monkeypatch.setattr(HandshakeThreads, "start", noting)
    authority, server, chain = slow_chain()
    usual = issue("Authority", authority=True)
    for context, ca, is_long in (
        (server_context(tmp_path, server, chain), authority, True),
        (server_context(tmp_path, issue("localhost", usual)), usual, False),
    ):
        expected.clear()
        async with tls_conversing(context, responding(http_response(200, "x"))) as url, calling() as client:
            assert await get(client, url, tls=Tls(ca.chain)) == b"x"
        assert (max(expected) > LONG) is is_long


def test_D5_what_was_taken_is_forgotten_slowly() -> None:
    budget = HandshakeBudget()
    assert budget.taken_lately(1_000.0) == 0.0
    for _ in range(10):
        budget.spend(0.009, 1_000.0)  # less than is charged
    assert budget.taken_lately(1_000.0) == pytest.approx(0.09)
    assert 0.04 < budget.taken_lately(1_300.0) < 0.05
