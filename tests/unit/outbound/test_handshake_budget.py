"""The share of CPU time that TLS handshakes of a tenant may use (THREATS D1)."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from portal.errors import OutboundFailed
from portal.outbound import handshake_budget
from portal.outbound.handshake_budget import SHARE, USUAL, HandshakeBudget
from portal.outbound.tls import Tls
from tests.unit.outbound.certificates import issue
from tests.unit.outbound.wire import calling, conversing, http_response


def test_usual_handshakes_are_not_charged() -> None:
    budget = HandshakeBudget()
    for _ in range(10_000):
        budget.spend(USUAL, now=1_000.0)
    assert budget.pause(1_000.0) == 0.0


def test_slow_handshakes_use_no_more_than_the_share() -> None:
    budget, now, spent = HandshakeBudget(), 1_000.0, 0.0
    while now < 1_100.0:
        now += budget.pause(now) + 0.001
        budget.spend(0.5, now)
        spent += 0.5
    assert spent <= 100.0 * SHARE + 2 * 0.5


@pytest.mark.gen_test
async def test_D1_a_tenant_with_slow_handshakes_must_wait_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server with its tenant's own authority can present a chain that takes arbitrarily long to verify."""
    authority = issue("Authority", authority=True)
    server = issue("localhost", authority)
    pem = tmp_path / "server.pem"
    pem.write_text(server.private_key() + server.chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http_response(200, "x", [("Connection", "close")]))

    async with conversing(respond, context) as port, calling() as client:
        url, tls = f"https://localhost:{port}/", Tls(authority.chain)
        assert (await client.fetch("GET", url, tenant="acme", tls=tls)).body == b"x"
        with monkeypatch.context() as slow:
            slow.setattr(handshake_budget, "USUAL", -10.0)  # as if each step had taken ten seconds
            await client.fetch("GET", url, tenant="acme", tls=tls)
        for other in (tls, Tls(authority.chain + "\n")):
            with pytest.raises(OutboundFailed, match="TLS handshakes took too long"):
                await client.fetch("GET", url, tenant="acme", tls=other)
        assert (await client.fetch("GET", url, tenant="globex", tls=tls)).body == b"x"
