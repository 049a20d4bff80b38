"""TLS contexts of providers: made off the event loop, once, and forgotten when there are too many."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from portal.errors import OutboundFailed, OutboundRefused
from portal.outbound.client import OutboundClient
from portal.outbound.tls import PLAIN, ClientCertificate, Tls
from portal.outbound.tls_context import tls_context
from portal.outbound.tls_contexts import TlsContexts
from portal.secret import Secret
from tests.unit.outbound.certificates import issue
from tests.unit.outbound.wire import conversing

A, B, C = (Tls(certificate=issue(name).of_client) for name in "abc")
BROKEN = Tls(certificate=ClientCertificate(issue("e").chain, Secret(issue("f").private_key())))


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads in which certificates were read, as they are."""
    threads: list[int] = []

    def reading(tls: Tls, system: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        threads.append(threading.get_ident())
        return tls_context(tls, system)

    monkeypatch.setattr("portal.outbound.tls_contexts.tls_context", reading)
    return threads


@pytest.mark.gen_test
async def test_first_calls_at_once_share_a_context_that_was_made_in_a_thread(readings: list[int]) -> None:
    contexts = TlsContexts()
    made = await asyncio.gather(*(contexts.get(A) for _ in range(10)))
    assert len(readings) == 1
    assert readings[0] != threading.get_ident(), "reading certificates stops every tenant for a while"
    assert {id(client.context) for client in made} == {id((await contexts.get(A)).context)}
    assert {id(client.sessions) for client in made} == {id((await contexts.get(A)).sessions)}
    assert (await contexts.get(B)).context is not made[0].context
    assert len(readings) == 2


@pytest.mark.gen_test
async def test_calls_without_settings_of_their_own_read_nothing(readings: list[int]) -> None:
    contexts = TlsContexts()
    assert (await contexts.get(PLAIN)).context is (await contexts.get(Tls())).context
    assert readings == []


@pytest.mark.gen_test
async def test_the_context_not_used_for_longest_is_forgotten(readings: list[int]) -> None:
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
async def test_a_first_call_that_is_given_up_does_not_take_the_others_along(readings: list[int]) -> None:
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
