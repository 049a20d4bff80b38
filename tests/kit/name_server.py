"""A DNS server on loopback, over UDP and TCP, whose records a test changes while it runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from portal.outbound.txt_records import NameServer

UDP_BYTES = 1232
Respond = Callable[[dns.message.Message, int], bytes]
"""Makes a response to a query; the number counts the queries from 0."""


@dataclass
class NameServerForTests:
    """Responds with `records`: texts by name and type, such as `("acme.example", "TXT")`."""

    address: NameServer = ("127.0.0.1", 0)
    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    rcode: dns.rcode.Rcode | None = None
    respond: Respond | None = None
    """Replaces the records."""
    delay: float = 0.0
    """Seconds before each response."""
    asked: list[str] = field(default_factory=list)
    """The names and types that were asked for."""
    identifiers: list[int] = field(default_factory=list)
    by_tcp: int = 0

    def set_txt(self, name: str, *texts: str) -> None:
        """Replace the TXT records of a name."""
        self.records[name, "TXT"] = list(texts)

    async def response(self, wire: bytes, *, most: int) -> bytes:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        number = len(self.asked)
        self.asked.append(f"{name} {dns.rdatatype.to_text(question.rdtype)}")
        self.identifiers.append(query.id)
        await asyncio.sleep(self.delay)
        made = self.respond(query, number) if self.respond else self._from_records(query, name)
        if len(made) <= most:
            return made
        truncated = dns.message.make_response(query)
        truncated.flags |= dns.flags.TC
        return truncated.to_wire()

    def _from_records(self, query: dns.message.Message, name: str) -> bytes:
        response = dns.message.make_response(query, recursion_available=True)
        if self.rcode is not None:
            response.set_rcode(self.rcode)
            return response.to_wire()
        alias = self.records.get((name, "CNAME"))
        while alias:
            [target] = alias
            response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", f"{target}."))
            name, alias = target, self.records.get((target, "CNAME"))
        add_texts(response, name, self.records.get((name, "TXT"), []))
        if not any(known == name for known, _ in self.records):
            response.set_rcode(dns.rcode.Rcode.NXDOMAIN)
        return response.to_wire(max_size=65535)


def add_texts(response: dns.message.Message, name: str, texts: list[str]) -> None:
    """Add TXT records; texts of more than 255 bytes become several strings of one record."""
    for text in texts:
        pieces = [text[place : place + 255] for place in range(0, len(text), 255)] or [""]
        record = " ".join('"' + piece.replace("\\", "\\\\").replace('"', '\\"') + '"' for piece in pieces)
        response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "TXT", record))


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: NameServerForTests) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        task = asyncio.ensure_future(self._respond(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _respond(self, data: bytes, addr: Any) -> None:
        response = await self._server.response(data, most=UDP_BYTES)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(response, addr)

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._transport is not None:
            self._transport.close()


@contextlib.asynccontextmanager
async def name_server(
    records: dict[tuple[str, str], list[str]] | None = None,
) -> AsyncIterator[NameServerForTests]:
    """Serve DNS on a free port of loopback while the block runs."""
    server = NameServerForTests(records=records or {})

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.by_tcp += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            size = int.from_bytes(await reader.readexactly(2), "big")
            response = await server.response(await reader.readexactly(size), most=65535)
            writer.write(len(response).to_bytes(2, "big") + response)
            await writer.drain()
        writer.close()

    tcp, udp = None, None
    loop = asyncio.get_running_loop()
    while tcp is None or udp is None:
        tcp = await asyncio.start_server(connected, "127.0.0.1", 0)
        port = tcp.sockets[0].getsockname()[1]
        try:
            _, udp = await loop.create_datagram_endpoint(lambda: _Udp(server), local_addr=("127.0.0.1", port))
        except OSError:  # another process has the port for UDP
            tcp.close()
    server.address = ("127.0.0.1", port)
    try:
        yield server
    finally:
        udp.stop()
        tcp.close()
        await tcp.wait_closed()
