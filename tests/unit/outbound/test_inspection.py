"""Certificates of servers, looked at without a request."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from portal.errors import OutboundFailed, OutboundRefused
from portal.outbound.abandoned_lookup import lookup_in_daemon_thread
from portal.outbound.client import OutboundClient
from portal.outbound.inspection import CertificateProblem
from portal.outbound.tls import DEFAULT_TLS, Tls
from tests.unit.outbound.certificates import Issued, issue
from tests.unit.outbound.wire import calling, conversing

AUTHORITY = issue("Private Authority", authority=True)
TRUSTED = Tls(AUTHORITY.chain)


@asynccontextmanager
async def presenting(folder: Path, certificate: Issued) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Serve with this certificate; yield the port, and what was received after each handshake."""
    pem = folder / "server.pem"
    pem.write_text(certificate.private_key() + certificate.chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    received: list[bytes] = []

    async def read(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        received.append(await reader.read())

    async with conversing(read, context) as port:
        yield port, received


@pytest.mark.parametrize(
    ("certificate", "host", "tls", "problem"),
    [
        (issue("localhost", AUTHORITY), "localhost", TRUSTED, None),
        (issue("localhost", AUTHORITY, days=-1), "localhost", TRUSTED, CertificateProblem.EXPIRED),
        (issue("localhost", AUTHORITY), "127.0.0.1", TRUSTED, CertificateProblem.WRONG_NAME),
        (issue("localhost", AUTHORITY), "localhost", DEFAULT_TLS, CertificateProblem.UNKNOWN_AUTHORITY),
        (issue("localhost"), "localhost", DEFAULT_TLS, CertificateProblem.UNKNOWN_AUTHORITY),
    ],
)
@pytest.mark.gen_test
async def test_a_certificate_is_read_whether_or_not_it_is_accepted(
    tmp_path: Path, certificate: Issued, host: str, tls: Tls, problem: CertificateProblem | None
) -> None:
    async with presenting(tmp_path, certificate) as (port, received), calling() as client:
        inspection = await client.inspect(f"https://{host}:{port}/path", tenant="acme", tls=tls)
    assert inspection.problem == problem
    assert inspection.certificate is not None
    assert inspection.certificate.names == ("localhost",)
    assert inspection.certificate.not_after == certificate.certificate.not_valid_after_utc.timestamp()
    assert b"".join(received) == b"", "nothing is sent after the handshake"


@pytest.mark.gen_test
async def test_a_server_without_tls_has_no_certificate() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with conversing(plain) as port, calling() as client:
        assert (await client.inspect(f"http://localhost:{port}/")).certificate is None
        with pytest.raises(OutboundFailed, match="no TLS connection"):
            await client.inspect(f"https://localhost:{port}/")


@pytest.mark.parametrize("address", ["10.0.0.5", "169.254.169.254", "127.0.0.1", "::1"])
@pytest.mark.gen_test
async def test_an_address_that_is_not_allowed_is_never_connected_to(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lookup(_: str) -> list[str]:
        return ["1.1.1.1", address]

    def connect(*_: Any, **__: Any) -> None:
        pytest.fail("it connected")

    monkeypatch.setattr("aiohappyeyeballs.start_connection", connect)
    async with calling(OutboundClient(lookup=lookup)) as client:
        for request in (client.addresses, client.inspect):
            with pytest.raises(OutboundRefused, match=address):
                await request("https://login.acme.example/", tenant="acme")
            with pytest.raises(OutboundRefused, match="scheme"):
                await request("http://login.acme.example/", tenant="acme")


# --- name lookups that may be abandoned


@pytest.mark.gen_test
async def test_a_lookup_returns_addresses_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "127.0.0.1" in await lookup_in_daemon_thread("127.0.0.1")
    monkeypatch.setattr("socket.getaddrinfo", _unknown)
    with pytest.raises(OSError, match="no such name"):
        await lookup_in_daemon_thread("login.acme.example")


def test_a_lookup_that_hangs_holds_neither_the_loop_nor_the_end_of_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        released.wait(20)
        return []

    monkeypatch.setattr("socket.getaddrinfo", hang)

    async def abandon() -> threading.Thread:
        task = asyncio.ensure_future(lookup_in_daemon_thread("login.acme.example"))
        await asyncio.sleep(0)
        thread = next(one for one in threading.enumerate() if one.name == "lookup")
        task.cancel()
        return thread

    thread = asyncio.run(abandon())  # the loop is closed while the lookup runs
    assert thread.daemon
    released.set()
    thread.join(5)
    assert not thread.is_alive()


def _unknown(*_: object, **__: object) -> None:
    raise OSError("no such name")
