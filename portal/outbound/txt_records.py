"""Whether a name has a certain TXT record: the proof that somebody controls the name.

Every search asks twice, two name servers if there are two, and counts only what both responses have
(THREATS A5). Responses are read in a thread: a name server may send as much as fits into a message.
"""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import cycle, islice
from typing import TYPE_CHECKING

import structlog

from portal.sentences import message, sentence

if TYPE_CHECKING:
    from dns.message import Message

_log = structlog.get_logger("portal.outbound")

NameServer = tuple[str, int]
"""IP address and port."""

LIFETIME = 5.0
"""Seconds for a search."""
MOST_BYTES = 16 * 1024
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
_AUTHORITATIVE, _RECURSION_AVAILABLE = 0x0400, 0x0080
_RECORD = struct.Struct("!HHIH")
"""Type, class, time to live and length of the data (RFC 1035 4.1.3)."""
_CNAME, _TXT, _DNAME, _OPT, _RRSIG = 5, 16, 39, 41, 46
_EXPECTED = frozenset({_CNAME, _TXT, _DNAME, _RRSIG})
"""Types of records that may follow from a query of TXT records."""
_POINTER_TO_QUESTION = b"\xc0\x0c"
_MOST_OTHERS = 10
"""Records of the answer section that are not TXT records of the name, such as those of a chain of aliases."""
_MOST_LABELS = 1_500
"""Of the names of all records together: reading a label takes about 15 microseconds."""


class Outcome(StrEnum):
    """The result of a search."""

    FOUND = "found"
    NOT_FOUND = "not_found"
    UNKNOWN = "unknown"
    """The name servers gave no usable response; nothing follows from that."""


class Finding(StrEnum):
    """What exactly a search found."""

    FOUND = "found"
    NO_RECORD = "no_record"
    OTHER_RECORDS = "other_records"
    ONE_OF_TWO = "one_of_two"
    TWO_ALIASES = "two_aliases"
    BUSY = "busy"
    NO_RESPONSE = "no_response"
    ERROR = "error"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    TOO_LONG = "too_long"
    NO_NAME_SERVERS = "no_name_servers"

    def sentence(self, name: str, *, is_alias: bool = False) -> str:
        """What was found, for people. Parameters: name, that was searched; is_alias, whether it is one."""
        at = f"{BESIDE_ALIAS}{name}" if is_alias else name
        found = sentence(_SENTENCES[self], name=name, at=at, beside=f"{BESIDE_ALIAS}{name}")
        return sentence(_ALIAS, name=name, at=at, found=found) if is_alias else found


_ALIAS = message("%(name)s is an alias (CNAME), so the record belongs at %(at)s. %(found)s")
_SENTENCES = {
    Finding.FOUND: message("%(at)s has the record."),
    Finding.NO_RECORD: message("%(at)s has no TXT record."),
    Finding.OTHER_RECORDS: message("%(at)s has TXT records, but not this one."),
    Finding.ONE_OF_TWO: message("Only one of two responses has it. Wait until all name servers have it."),
    Finding.TWO_ALIASES: message(
        "Both %(name)s and %(beside)s are aliases (CNAME); %(beside)s must not be one."
    ),
    Finding.BUSY: message("Too many checks are running. Try again in some seconds."),
    Finding.NO_RESPONSE: message("No name server responded in time. Try again later."),
    Finding.ERROR: message("The name servers respond with an error for this name."),
    Finding.UNREADABLE: message("A name server sent what cannot be read."),
    Finding.TOO_LARGE: message("The response is too large. Remove TXT records that nobody needs."),
    Finding.TOO_LONG: message("The name of the record would be too long. Ask the operator of this portal."),
    Finding.NO_NAME_SERVERS: message(
        "This portal has no name servers. Its operator can set domains.nameservers."
    ),
}
_MISSING = frozenset({Finding.NO_RECORD, Finding.OTHER_RECORDS, Finding.ONE_OF_TWO, Finding.TWO_ALIASES})


@dataclass(frozen=True, slots=True)
class TxtSearch:
    """What a search found. `value` is the text, `is_alias` whether it was searched beside the name."""

    finding: Finding
    value: str = ""
    is_alias: bool = False

    @property
    def outcome(self) -> Outcome:
        """What follows from it."""
        if self.finding is Finding.FOUND:
            return Outcome.FOUND
        return Outcome.NOT_FOUND if self.finding in _MISSING else Outcome.UNKNOWN


@dataclass(frozen=True, slots=True)
class TxtResponse:
    """The TXT records at exactly one name, and whether the name is an alias."""

    texts: frozenset[str] = frozenset()
    is_alias: bool = False


class LookupFailed(Exception):
    """A name server gave no usable response. The message is for the log."""

    def __init__(self, finding: Finding, message: str = "") -> None:
        super().__init__(message or finding)
        self.finding = finding


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
            return TxtSearch(Finding.BUSY)
        self._searching[tenant] += 1
        try:
            async with asyncio.timeout(LIFETIME):
                return await self._find(name, wanted)
        except TimeoutError:
            return TxtSearch(Finding.NO_RESPONSE)
        except LookupFailed as error:
            _log.info("txt_record_not_read", name=name, tenant=tenant, reason=str(error))
            return TxtSearch(error.finding)
        finally:
            self._searching[tenant] -= 1
            if not self._searching[tenant]:
                del self._searching[tenant]

    async def _find(self, name: str, wanted: Collection[str]) -> TxtSearch:
        servers = self._nameservers or await asyncio.to_thread(_system_nameservers)
        responses = await _ask_twice(name, servers)
        if not any(response.is_alias for response in responses):
            return _result(wanted, responses)
        responses = await _ask_twice(BESIDE_ALIAS + name, servers)
        if any(response.is_alias for response in responses):
            return TxtSearch(Finding.TWO_ALIASES)
        return replace(_result(wanted, responses), is_alias=True)


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
    failure = LookupFailed(Finding.NO_NAME_SERVERS)
    for server in islice(cycle(servers), _TRIES):
        query, wire = await asyncio.to_thread(_new_query, name)
        try:
            received = await _receive(server, wire)
            return await asyncio.to_thread(read_response, received, query)
        except LookupFailed as error:
            failure = error
        except TimeoutError:
            failure = LookupFailed(Finding.NO_RESPONSE)
        except (OSError, EOFError):
            failure = LookupFailed(Finding.NO_RESPONSE, "a name server cannot be reached")
    raise failure


def _result(wanted: Collection[str], responses: Sequence[TxtResponse]) -> TxtSearch:
    first, second = ({text for text in wanted if text in response.texts} for response in responses)
    if found := first & second:
        return TxtSearch(Finding.FOUND, min(found))
    if first or second:
        return TxtSearch(Finding.ONE_OF_TWO)
    others = any(response.texts for response in responses)
    return TxtSearch(Finding.OTHER_RECORDS if others else Finding.NO_RECORD)


# --- messages


def _new_query(name: str) -> tuple[Message, bytes]:
    from dns.exception import DNSException
    from dns.message import make_query

    try:
        query = make_query(name, "TXT", use_edns=0, payload=_UDP_BYTES)  # with a random identifier
    except DNSException:
        raise LookupFailed(Finding.TOO_LONG) from None
    return query, query.to_wire()


def read_response(wire: bytes, query: Message) -> TxtResponse:
    """Read the response to a query of TXT records. Call it in a thread: it takes up to 70 ms.

    The authority and additional sections are skipped: nothing in them counts. Raises LookupFailed for a
    failure, and for what is not a response to this query or too large.
    """
    from dns.exception import DNSException
    from dns.message import from_wire
    from dns.rcode import Rcode

    require_bounded(wire)
    end, extended_rcode = _answer_section(wire, query)
    try:
        response = from_wire(wire[:8] + bytes(4) + wire[_HEADER.size : end])
    except (DNSException, ValueError):
        raise LookupFailed(Finding.UNREADABLE, "not a DNS message") from None
    if not query.is_response(response):
        raise LookupFailed(Finding.UNREADABLE, "a response to another query")
    if response.flags & _TRUNCATED:
        raise LookupFailed(Finding.UNREADABLE, "a truncated response")
    rcode = extended_rcode << 4 | response.rcode()
    if rcode not in {Rcode.NOERROR, Rcode.NXDOMAIN}:
        raise LookupFailed(Finding.ERROR, f"error {int(rcode)}")
    found = _records(response, query)
    if found == TxtResponse() and not response.flags & (_AUTHORITATIVE | _RECURSION_AVAILABLE):
        # a referral to other name servers (RFC 1034 4.3.1): nobody has looked
        raise LookupFailed(Finding.ERROR, "neither recursive nor authoritative")
    return found


def _answer_section(wire: bytes, query: Message) -> tuple[int, int]:
    """Where the answer section ends, and the upper bits of the response code (RFC 6891 6.1.3).

    Reads no names, which takes long. Raises LookupFailed, also for an answer section whose names would.
    """
    _, _, questions, answers, *more = _HEADER.unpack_from(wire)
    own_name, labels = query.question[0].name.to_wire() or b"", len(query.question[0].name)
    at = _HEADER.size
    if questions > 1 or (questions and not wire[at:].lower().startswith(own_name.lower())):
        raise LookupFailed(Finding.UNREADABLE, "a response to another query")
    others = extended_rcode = 0
    try:
        for _ in range(questions):
            at = _after_name(wire, at) + 4
        end = at
        for place in range(answers + sum(more)):
            name, at = at, _after_name(wire, at)
            kind, _, ttl, size = _RECORD.unpack_from(wire, at)
            if place < answers:
                others += kind != _TXT or wire[name:at] not in (_POINTER_TO_QUESTION, own_name)
                if kind not in _EXPECTED:
                    raise LookupFailed(Finding.UNREADABLE, "records that nobody asked for")
            elif kind == _OPT:
                extended_rcode = ttl >> 24
            at += _RECORD.size + size
            end = at if place < answers else end
    except (IndexError, struct.error):
        raise LookupFailed(Finding.UNREADABLE, "not a DNS message") from None
    if at != len(wire):
        raise LookupFailed(Finding.UNREADABLE, "not a DNS message")
    if others > _MOST_OTHERS or (answers - others) * labels > _MOST_LABELS:
        raise LookupFailed(Finding.TOO_LARGE)
    return end, extended_rcode


def _after_name(wire: bytes, at: int) -> int:
    """Where a name ends: at its root, or at a pointer to another name (RFC 1035 4.1.4). Raises IndexError."""
    while size := wire[at]:
        if size >= 0xC0:
            return at + 2
        at += size + 1
    return at + 1


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
        raise LookupFailed(Finding.UNREADABLE, "not a DNS message")
    if len(wire) > MOST_BYTES or sum(_HEADER.unpack_from(wire)[2:]) > MOST_RECORDS:
        raise LookupFailed(Finding.TOO_LARGE)


def _system_nameservers() -> tuple[NameServer, ...]:
    from dns.exception import DNSException
    from dns.resolver import Resolver

    try:
        found = Resolver().nameservers
    except DNSException:
        raise LookupFailed(Finding.NO_NAME_SERVERS) from None
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
