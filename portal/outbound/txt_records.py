"""Whether a name has a certain TXT record: the proof that somebody controls the name.

Every search asks twice, two name servers if there are two, and counts only what both responses have
(THREATS A5). Responses are read in a thread: a name server may send as much as fits into a message.
"""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dns.message import Message

NameServer = tuple[str, int]
"""IP address and port."""

LIFETIME = 5.0
"""Seconds for a search."""
MOST_BYTES = 32 * 1024
"""Of a response. Large organisations have about 6 KB of TXT records at their domain."""
MOST_RECORDS = 200
"""Of a response, in all its sections."""
SEARCHES_PER_TENANT = 4
_SEARCHES = 64
"""In a process at a time."""
BESIDE_ALIAS = "_portal-verification."
"""Before a name that is an alias (CNAME): no other record can be at that name (RFC 1034 3.6.2), and those of
its target belong to somebody else."""

_UDP_SECONDS = 1.2
_TRIES = 4
_UDP_BYTES = 1232
"""What name servers may send in a datagram: it is never fragmented (RFC 9715)."""
_PORT = 53
_HEADER = struct.Struct("!6H")
"""Identifier, flags, and the number of records of four sections (RFC 1035 4.1.1)."""
_TRUNCATED = 0x0200


class Outcome(StrEnum):
    """The result of a search."""

    FOUND = "found"
    NOT_FOUND = "not_found"
    UNKNOWN = "unknown"
    """The name servers gave no usable response; nothing follows from that."""


@dataclass(frozen=True, slots=True)
class TxtSearch:
    """What a search found. `detail` is a sentence without a full stop; `value` the text that was found."""

    outcome: Outcome
    detail: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class TxtResponse:
    """The TXT records at exactly one name, and whether the name is an alias."""

    texts: frozenset[str] = frozenset()
    is_alias: bool = False


class LookupFailed(Exception):
    """A name server gave no usable response. The message is for people."""


class TxtRecords:
    """Searches TXT records.

    Parameters: nameservers, to ask; none: those of the system.
    """

    def __init__(self, nameservers: Sequence[NameServer] = ()) -> None:
        self._nameservers = tuple(nameservers)
        self._searching: Counter[str] = Counter()

    async def find(self, name: str, wanted: Collection[str], *, tenant: str) -> TxtSearch:
        """Search TXT records with one of the wanted texts at a name, or beside it when it is an alias.

        Parameters: name, ASCII; tenant, which can have SEARCHES_PER_TENANT searches at a time. Takes at most
        LIFETIME seconds.
        """
        if self._searching[tenant] >= SEARCHES_PER_TENANT or self._searching.total() >= _SEARCHES:
            return TxtSearch(Outcome.UNKNOWN, "too many checks are running; try again in some seconds")
        self._searching[tenant] += 1
        try:
            async with asyncio.timeout(LIFETIME):
                return await self._find(name, wanted)
        except TimeoutError:
            return TxtSearch(Outcome.UNKNOWN, f"no name server responded within {LIFETIME:.0f} seconds")
        except LookupFailed as error:
            return TxtSearch(Outcome.UNKNOWN, str(error))
        finally:
            self._searching[tenant] -= 1
            if not self._searching[tenant]:
                del self._searching[tenant]

    async def _find(self, name: str, wanted: Collection[str]) -> TxtSearch:
        servers = self._nameservers or await asyncio.to_thread(_system_nameservers)
        responses = await _ask_twice(name, servers)
        if not any(response.is_alias for response in responses):
            return _result(name, wanted, responses)
        beside = BESIDE_ALIAS + name
        responses = await _ask_twice(beside, servers)
        if any(response.is_alias for response in responses):
            return TxtSearch(Outcome.NOT_FOUND, f"{name} and {beside} are both aliases (CNAME)")
        return _result(beside, wanted, responses, because=f"{name} is an alias (CNAME), and ")


async def _ask_twice(name: str, servers: Sequence[NameServer]) -> list[TxtResponse]:
    """The responses of two name servers if there are two. Raises LookupFailed if one of them is missing."""
    asked = [_ask(name, [*servers[place:], *servers[:place]]) for place in (0, min(1, len(servers) - 1))]
    responses = []
    for response in await asyncio.gather(*asked, return_exceptions=True):
        if isinstance(response, BaseException):
            raise response
        responses.append(response)
    return responses


async def _ask(name: str, servers: Iterable[NameServer]) -> TxtResponse:
    """The response of the first name server that gives one. Raises LookupFailed."""
    failure = LookupFailed("no name server is known")
    for server in islice(cycle(servers), _TRIES):
        query, wire = await asyncio.to_thread(_new_query, name)
        try:
            received = await _receive(server, wire)
            return await asyncio.to_thread(read_response, received, query)
        except LookupFailed as error:
            failure = error
        except TimeoutError:
            failure = LookupFailed("a name server did not respond")
        except (OSError, EOFError):
            failure = LookupFailed("a name server cannot be reached")
    raise failure


def _result(
    name: str, wanted: Collection[str], responses: Sequence[TxtResponse], *, because: str = ""
) -> TxtSearch:
    first, second = ({text for text in wanted if text in response.texts} for response in responses)
    if found := first & second:
        return TxtSearch(Outcome.FOUND, f"{because}{name} has the record", min(found))
    if first or second:
        detail = "has the record in one of two responses; wait until all name servers have it"
    elif any(response.texts for response in responses):
        detail = "has other TXT records, but not this one"
    else:
        detail = "has no TXT record"
    return TxtSearch(Outcome.NOT_FOUND, f"{because}{name} {detail}")


# --- messages


def _new_query(name: str) -> tuple[Message, bytes]:
    from dns.exception import DNSException
    from dns.message import make_query

    try:
        query = make_query(name, "TXT", use_edns=0, payload=_UDP_BYTES)  # with a random identifier
    except DNSException:
        raise LookupFailed(f"{name} is too long for a DNS record") from None
    return query, query.to_wire()


def read_response(wire: bytes, query: Message) -> TxtResponse:
    """Read the response to a query of TXT records. Call it in a thread: it takes up to 20 ms.

    Raises LookupFailed for a failure, and for what is not a response to this query or too large.
    """
    from dns.exception import DNSException
    from dns.message import from_wire
    from dns.rcode import Rcode

    require_bounded(wire)
    try:
        response = from_wire(wire)
    except (DNSException, ValueError):
        raise LookupFailed("a name server sent what is not a DNS message") from None
    if not query.is_response(response):
        raise LookupFailed("a name server sent a response to another query")
    if response.rcode() not in {Rcode.NOERROR, Rcode.NXDOMAIN}:
        raise LookupFailed(f"a name server responded with the error {Rcode(response.rcode()).name}")
    return _records(response, query)


def _records(response: Message, query: Message) -> TxtResponse:
    """The records at exactly the name of the query; those of aliases, parents and others do not count."""
    from dns.rdataclass import RdataClass
    from dns.rdatatype import RdataType

    name = query.question[0].name
    if response.get_rrset(response.answer, name, RdataClass.IN, RdataType.CNAME) is not None:
        return TxtResponse(is_alias=True)
    records = response.get_rrset(response.answer, name, RdataClass.IN, RdataType.TXT)
    strings = (b"".join(record.strings) for record in records or ())
    # some consoles store the quotation marks that people copy
    return TxtResponse(frozenset(text.decode("ascii", "replace").strip(' \t"') for text in strings))


def require_bounded(wire: bytes) -> None:
    """Refuse what takes long to read. Raises LookupFailed."""
    if len(wire) < _HEADER.size:
        raise LookupFailed("a name server sent what is not a DNS message")
    if len(wire) > MOST_BYTES or sum(_HEADER.unpack_from(wire)[2:]) > MOST_RECORDS:
        raise LookupFailed(
            f"the response has more than {MOST_RECORDS} records or {MOST_BYTES // 1024} KB: "
            "remove TXT records that nobody needs"
        )


def _system_nameservers() -> tuple[NameServer, ...]:
    from dns.exception import DNSException
    from dns.resolver import Resolver

    try:
        found = Resolver().nameservers
    except DNSException:
        raise LookupFailed("this host has no name servers: set domains.nameservers") from None
    return tuple((str(address), _PORT) for address in found)


# --- exchanges


class _Datagrams(asyncio.DatagramProtocol):
    """Waits for a datagram with the identifier of the query."""

    def __init__(self, identifier: bytes, received: asyncio.Future[bytes]) -> None:
        self._identifier = identifier
        self._received = received

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self._received.done() and data[:2] == self._identifier and len(data) >= _HEADER.size:
            self._received.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._received.done():
            self._received.set_exception(exc)


async def _receive(server: NameServer, query: bytes) -> bytes:
    """Send a query; return the response. Raises TimeoutError, OSError, EOFError, LookupFailed."""
    loop = asyncio.get_running_loop()
    received: asyncio.Future[bytes] = loop.create_future()
    protocol: Callable[[], _Datagrams] = lambda: _Datagrams(query[:2], received)  # noqa: E731
    async with asyncio.timeout(_UDP_SECONDS):
        # connected: datagrams of other addresses are not received; its port is a random one
        transport, _ = await loop.create_datagram_endpoint(protocol, remote_addr=server)
        try:
            transport.sendto(query)
            response = await received
        finally:
            transport.close()
    if _HEADER.unpack_from(response)[1] & _TRUNCATED:
        return await _receive_by_tcp(server, query)
    return response


async def _receive_by_tcp(server: NameServer, query: bytes) -> bytes:
    """As _receive, for responses that do not fit into a datagram (RFC 7766)."""
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(len(query).to_bytes(2, "big") + query)
        size = int.from_bytes(await reader.readexactly(2), "big")
        response = await reader.readexactly(min(size, MOST_BYTES + 1))
    finally:
        writer.close()
    require_bounded(response)
    return response
