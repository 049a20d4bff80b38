"""TLS contexts of providers: made once, in a thread, and removed when there are too many."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from portal.errors import OutboundFailed, OutboundRefused
from portal.outbound.client import OutboundClient
from portal.outbound.tls import DEFAULT_TLS, ClientCertificate, Tls, tls_context
from portal.outbound.tls_contexts import TlsContexts
from portal.secret import Secret
from tests.unit.outbound.certificates import issue
from tests.unit.outbound.wire import conversing

A, B, C = (Tls(certificate=issue(name).of_client) for name in "abc")
BROKEN = Tls(certificate=ClientCertificate(issue("e").chain, Secret(issue("f").private_key())))


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ids of the threads that loaded certificates."""
    threads: list[int] = []

    def reading(tls: Tls, system: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        threads.append(threading.get_ident())
        return tls_context(tls, system)

    monkeypatch.setattr("portal.outbound.tls_contexts.tls_context", reading)
    return threads


@pytest.mark.gen_test
async def test_concurrent_first_calls_share_a_context_made_in_a_thread(readings: list[int]) -> None:
    contexts = TlsContexts()
    made = await asyncio.gather(*(contexts.get(A) for _ in range(10)))
    assert len(readings) == 1
    assert readings[0] != threading.get_ident(), "loading certificates blocks the event loop"
    assert {id(client.context) for client in made} == {id((await contexts.get(A)).context)}
    assert {id(client.sessions) for client in made} == {id((await contexts.get(A)).sessions)}
    assert (await contexts.get(B)).context is not made[0].context
    assert len(readings) == 2


@pytest.mark.gen_test
async def test_calls_without_tls_settings_load_no_certificate(readings: list[int]) -> None:
    contexts = TlsContexts()
    assert (await contexts.get(DEFAULT_TLS)).context is (await contexts.get(Tls())).context
    assert readings == []


@pytest.mark.gen_test
async def test_the_least_recently_used_context_is_removed(readings: list[int]) -> None:
    contexts = TlsContexts(kept=2)
    first = await contexts.get(A)
    await contexts.get(B)
    await contexts.get(A)
    await contexts.get(C)
    assert len(readings) == 3
    assert (await contexts.get(A)).context is first.context
    await contexts.get(B)
    assert len(readings) == 4


@pytest.mark.gen_test
async def test_a_cancelled_first_call_does_not_cancel_the_others(readings: list[int]) -> None:
    contexts = TlsContexts()
    first, second = (asyncio.create_task(contexts.get(A)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    assert first.cancelled()
    assert (await second).context is (await contexts.get(A)).context
    assert len(readings) == 1


@pytest.mark.gen_test
async def test_a_certificate_that_cannot_be_used_is_refused_each_time(readings: list[int]) -> None:
    contexts = TlsContexts()
    for attempt in (1, 2):
        outcomes = await asyncio.gather(*(contexts.get(BROKEN) for _ in range(3)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [OutboundRefused] * 3
        assert len(readings) == attempt


@pytest.mark.gen_test
async def test_a_closed_client_sends_nothing() -> None:
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
