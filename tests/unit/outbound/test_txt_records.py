"""TXT records that prove a domain, from a real DNS server on loopback (THREATS A5)."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from portal.outbound import txt_records
from portal.outbound.txt_records import (
    MOST_BYTES,
    MOST_RECORDS,
    SEARCHES_PER_TENANT,
    Finding,
    LookupFailed,
    Outcome,
    TxtRecords,
    TxtSearch,
    read_response,
)
from tests.kit.name_server import NameServerForTests, add_texts, name_server

NAME = "acme.example"
RECORD = "portal-verification=abc"
OTHER = "portal-verification=other"


async def search(*servers: NameServerForTests, name: str = NAME) -> TxtSearch:
    records = TxtRecords([server.address for server in servers])
    return await records.find(name, [RECORD, "portal-verification=before"], tenant="acme")


async def outcome(*servers: NameServerForTests, name: str = NAME) -> Outcome:
    return (await search(*servers, name=name)).outcome


@pytest.mark.gen_test
async def test_a_record_is_found_among_others() -> None:
    async with name_server() as server:
        server.set_txt(NAME, "v=spf1 -all", RECORD, "x" * 600)
        assert await search(server) == TxtSearch(Finding.FOUND, RECORD)
        assert server.asked == [f"{NAME} TXT"] * 2
        assert server.identifiers[0] != server.identifiers[1]


@pytest.mark.gen_test
async def test_a_long_response_comes_over_tcp() -> None:
    async with name_server() as server:
        server.set_txt(NAME, *(f"{'x' * 200}{number}" for number in range(30)), RECORD)
        assert await outcome(server) == Outcome.FOUND
        assert server.by_tcp == 2


@pytest.mark.parametrize("text", ['"portal-verification=abc"', " portal-verification=abc\t"])
@pytest.mark.gen_test
async def test_quotation_marks_and_spaces_around_a_record_do_not_matter(text: str) -> None:
    async with name_server() as server:
        server.set_txt(NAME, text)
        assert await outcome(server) == Outcome.FOUND


@pytest.mark.parametrize(
    "text", [OTHER, RECORD + "d", "x" + RECORD, RECORD.upper(), "portal-verification = abc", "abc", "é"]
)
@pytest.mark.gen_test
async def test_another_text_is_not_the_record(text: str) -> None:
    async with name_server() as server:
        server.set_txt(NAME, text)
        found = await search(server)
        assert (found, found.outcome) == (TxtSearch(Finding.OTHER_RECORDS), Outcome.NOT_FOUND)


@pytest.mark.parametrize(
    "at", ["example", "other.example", "www.acme.example", "*.acme.example", "acme.example.net"]
)
@pytest.mark.gen_test
async def test_A5_a_record_of_another_name_does_not_count(at: str) -> None:
    async with name_server() as server:
        server.set_txt(at, RECORD)
        assert await search(server) == TxtSearch(Finding.NO_RECORD)


@pytest.mark.gen_test
async def test_A5_a_record_of_another_name_in_the_response_does_not_count() -> None:
    def respond(query: dns.message.Message, number: int) -> bytes:
        response = dns.message.make_response(query, recursion_available=True)
        for name in ("example", "other.example", "www.acme.example"):
            add_texts(response, name, [RECORD])
        response.additional.append(dns.rrset.from_text(f"{NAME}.", 60, "IN", "TXT", f'"{RECORD}"'))
        return response.to_wire()

    async with name_server() as server:
        server.respond = respond
        assert await outcome(server) == Outcome.NOT_FOUND


@pytest.mark.gen_test
async def test_A5_the_record_of_an_aliass_target_does_not_count() -> None:
    async with name_server() as server:
        server.records = {(NAME, "CNAME"): ["shared.example"], ("shared.example", "TXT"): [RECORD]}
        found = await search(server)
        assert (found, found.outcome) == (TxtSearch(Finding.NO_RECORD, is_alias=True), Outcome.NOT_FOUND)
        assert found.finding.sentence(NAME, is_alias=True) == (
            "acme.example is an alias (CNAME), so the record belongs at _portal-verification.acme.example. "
            "_portal-verification.acme.example has no TXT record."
        )
        server.set_txt(f"_portal-verification.{NAME}", RECORD)
        assert await outcome(server) == Outcome.FOUND
        del server.records[NAME, "CNAME"]
        assert await outcome(server) == Outcome.NOT_FOUND, "only beside an alias"


@pytest.mark.gen_test
async def test_A5_an_alias_beside_an_alias_does_not_count() -> None:
    async with name_server() as server:
        server.records = {
            (NAME, "CNAME"): ["shared.example"],
            (f"_portal-verification.{NAME}", "CNAME"): ["shared.example"],
            ("shared.example", "TXT"): [RECORD],
        }
        assert await outcome(server) == Outcome.NOT_FOUND


@pytest.mark.gen_test
async def test_A5_a_record_in_one_of_two_responses_does_not_count() -> None:
    async with name_server() as server:

        def respond(query: dns.message.Message, number: int) -> bytes:
            response = dns.message.make_response(query)
            add_texts(response, NAME, [RECORD if number % 2 else OTHER])
            return response.to_wire()

        server.respond = respond
        found = await search(server)
        assert (found.finding, found.outcome) == (Finding.ONE_OF_TWO, Outcome.NOT_FOUND)


@pytest.mark.gen_test
async def test_A5_both_of_two_name_servers_must_have_the_record() -> None:
    async with name_server() as first, name_server() as second:
        first.set_txt(NAME, RECORD)
        assert await outcome(first, second) == Outcome.NOT_FOUND
        second.set_txt(NAME, RECORD)
        assert await outcome(first, second) == Outcome.FOUND
        assert (len(first.asked), len(second.asked)) == (2, 2)


@pytest.mark.gen_test
async def test_a_name_server_that_is_down_is_replaced_by_another() -> None:
    async with name_server() as down:
        pass
    async with name_server() as server:
        server.set_txt(NAME, RECORD)
        assert await outcome(down, server) == Outcome.FOUND
        assert len(server.asked) == 2


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.FORMERR])
@pytest.mark.gen_test
async def test_a_failure_is_not_a_missing_record(rcode: dns.rcode.Rcode) -> None:
    async with name_server() as server:
        server.rcode = rcode
        found = await search(server)
        assert (found.finding, found.outcome) == (Finding.ERROR, Outcome.UNKNOWN)


@pytest.mark.gen_test
async def test_a_name_that_does_not_exist_has_no_record() -> None:
    async with name_server() as server:
        assert await outcome(server) == Outcome.NOT_FOUND


@pytest.mark.gen_test
async def test_D3_a_slow_name_server_holds_a_search_for_seconds_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(txt_records, "LIFETIME", 0.4)
    async with name_server() as server:
        server.set_txt(NAME, RECORD)
        server.delay = 30
        begun = time.monotonic()
        found = await search(server)
        assert (found.finding, found.outcome) == (Finding.NO_RESPONSE, Outcome.UNKNOWN)
        assert time.monotonic() - begun < 3


@pytest.mark.gen_test
async def test_a_datagram_that_is_lost_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(txt_records, "_UDP_SECONDS", 0.1)
    async with name_server() as server:
        server.set_txt(NAME, RECORD)
        server.delay = 30
        searching = asyncio.ensure_future(search(server))
        while len(server.asked) < 2:
            await asyncio.sleep(0.01)
        server.delay = 0
        assert (await searching).outcome == Outcome.FOUND


@pytest.mark.gen_test
async def test_D3_a_tenant_has_a_share_of_searches() -> None:
    async with name_server() as server:
        server.set_txt(NAME, RECORD)
        server.delay = 0.5
        records = TxtRecords([server.address])
        many = [
            asyncio.ensure_future(records.find(NAME, [RECORD], tenant="acme"))
            for _ in range(SEARCHES_PER_TENANT + 1)
        ]
        found = [(await one).outcome for one in many]
        assert found == [Outcome.FOUND] * SEARCHES_PER_TENANT + [Outcome.UNKNOWN]
        server.delay = 0
        assert (await records.find(NAME, [RECORD], tenant="acme")).outcome == Outcome.FOUND


# --- hostile responses


def response_with(count: int, size: int) -> bytes:
    response = dns.message.make_response(QUERY)
    add_texts(response, NAME, [f"{number:05}{'x' * size}" for number in range(count - 1)])
    add_texts(response, NAME, [RECORD])
    return response.to_wire(max_size=65535)


QUERY = dns.message.make_query(NAME, "TXT")


@pytest.mark.parametrize(("count", "size"), [(MOST_RECORDS - 1, 10), (30, 500)])
def test_many_and_long_records_are_read(count: int, size: int) -> None:
    wire = response_with(count, size)
    assert len(wire) < MOST_BYTES
    assert RECORD in read_response(wire, QUERY).texts


@pytest.mark.parametrize(("count", "size"), [(1_000, 10), (2, 64_000), (MOST_RECORDS + 1, 1)])
@pytest.mark.gen_test
async def test_D1_more_records_or_bytes_are_refused_before_they_are_read(
    monkeypatch: pytest.MonkeyPatch, count: int, size: int
) -> None:
    wire = response_with(count, size)  # takes longer than a search may

    def respond(query: dns.message.Message, number: int) -> bytes:
        return query.id.to_bytes(2, "big") + wire[2:]

    async with name_server() as server:
        server.respond = respond
        found = await search(server)
        assert (found.finding, found.outcome) == (Finding.TOO_LARGE, Outcome.UNKNOWN)


@pytest.mark.parametrize(
    ("wire", "problem"),
    [
        (b"", "not a DNS message"),
        (b"\0" * 11, "not a DNS message"),
        (response_with(3, 10)[:-5], "not a DNS message"),
        (response_with(3, 10) + b"more", "not a DNS message"),
        (
            dns.message.make_response(dns.message.make_query(NAME, "TXT", id=QUERY.id ^ 1)).to_wire(),
            "another query",
        ),
        (
            dns.message.make_response(dns.message.make_query("b.example", "TXT", id=QUERY.id)).to_wire(),
            "another query",
        ),
        (
            dns.message.make_response(dns.message.make_query(NAME, "A", id=QUERY.id)).to_wire(),
            "another query",
        ),
        (QUERY.to_wire(), "another query"),
    ],
    ids=["empty", "short", "cut", "longer", "identifier", "name", "type", "query"],
)
def test_what_is_not_the_response_is_refused(wire: bytes, problem: str) -> None:
    with pytest.raises(LookupFailed) as caught:
        read_response(wire, QUERY)
    assert problem in str(caught.value)


LONG = b"".join(b"\x01a" for _ in range(120)) + b"\0"
QUESTION = (QUERY.question[0].name.to_wire() or b"") + b"\0\x10\0\x01"


def record(kind: int, data: bytes, name: bytes = b"\xc0\x0c", *, ttl: int = 60) -> bytes:
    return name + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


def message(
    *sections: list[bytes], flags: int = 0x8180, question: bytes = QUESTION, questions: int = 1
) -> bytes:
    counts = [len(section) for section in (*sections, [], [], [])][:3]
    header = struct.pack("!6H", QUERY.id, flags, questions, *counts)
    return header + question + b"".join(one for section in sections for one in section)


def named(kind: int) -> list[bytes]:
    """Many records whose data is a name of 120 labels."""
    first = 12 + len(QUESTION) + 12
    pointer = struct.pack("!H", 0xC000 + first)
    return [record(kind, LONG), *(record(kind, b"\x03%03d" % number + pointer) for number in range(190))]


OWN = record(16, bytes([len(RECORD)]) + RECORD.encode())


@pytest.mark.parametrize(
    "wire",
    [
        message(named(2)),
        message([], named(2)),
        message([], [], named(15)),
        message(named(5)),
        message(named(46)),
        message([record(16, b"\x01a", LONG), *[record(16, b"\x01b", b"\xc0\x2b")] * 190]),
        message([record(16, b"\x01a")] * 190, question=LONG + b"\0\x10\0\x01"),
        message(question=LONG + b"\0\x10\0\x01" + b"\xc0\x0c\0\x10\0\x01" * 190, questions=191),
        message([record(42, b"\0\x01\0\0" * 3900)]),
    ],
    ids=["NS", "authority", "additional", "CNAME", "RRSIG", "owners", "question", "questions", "APL"],
)
def test_D1_names_of_many_labels_do_not_take_long(wire: bytes) -> None:
    assert len(wire) <= MOST_BYTES
    taken = []
    for _ in range(3):
        begun = time.thread_time()
        with contextlib.suppress(LookupFailed):
            assert read_response(wire, QUERY).texts == frozenset()
        taken.append(time.thread_time() - begun)
    assert min(taken) < 0.05


def test_D1_a_long_name_may_have_fewer_records() -> None:
    query = dns.message.make_query(f"{'a.' * 100}example", "TXT")
    response = dns.message.make_response(query, recursion_available=True)
    name = query.question[0].name.to_text()[:-1]
    add_texts(response, name, [RECORD])
    assert read_response(response.to_wire(), query).texts == {RECORD}
    add_texts(response, name, [f"{number}" for number in range(100)])
    with pytest.raises(LookupFailed) as caught:
        read_response(response.to_wire(), query)
    assert caught.value.finding == Finding.TOO_LARGE


def test_a_record_counts_whatever_the_other_sections_have() -> None:
    wire = message([OWN], [record(2, LONG)], [record(6, b"no data of an SOA record")])
    assert read_response(wire, QUERY).texts == {RECORD}
    assert read_response(message([], [OWN], [OWN]), QUERY).texts == frozenset()
    for cut in (wire[:-1], wire + b"\0"):
        with pytest.raises(LookupFailed, match="not a DNS message"):
            read_response(cut, QUERY)


@pytest.mark.parametrize(
    ("wire", "finding"),
    [
        (message(flags=0x8100), Finding.ERROR),
        (message([], [record(2, LONG)], flags=0x8100), Finding.ERROR),
        (message(flags=0x8103), Finding.ERROR),
        (message(flags=0x8380), Finding.UNREADABLE),
        (message([OWN], flags=0x8380), Finding.UNREADABLE),
        (message([], [], [record(41, b"", b"\0", ttl=1 << 24)]), Finding.ERROR),
    ],
    ids=["no recursion", "referral", "NXDOMAIN of nobody", "truncated", "truncated with a record", "BADVERS"],
)
def test_A5_what_tells_nothing_of_the_records_is_not_a_missing_record(wire: bytes, finding: Finding) -> None:
    with pytest.raises(LookupFailed) as caught:
        read_response(wire, QUERY)
    assert caught.value.finding == finding
    assert TxtSearch(finding).outcome == Outcome.UNKNOWN


def test_an_authoritative_name_server_tells_that_there_is_no_record() -> None:
    for flags in (0x8400, 0x8403, 0x8180, 0x8183):
        assert read_response(message(flags=flags), QUERY).texts == frozenset()
    assert read_response(message([OWN], flags=0x8100), QUERY).texts == {RECORD}, "it has looked"


@pytest.mark.gen_test
async def test_A5_a_truncated_response_over_tcp_is_not_a_missing_record() -> None:
    def respond(query: dns.message.Message, number: int) -> bytes:
        response = dns.message.make_response(query, recursion_available=True)
        response.flags |= dns.flags.TC
        return response.to_wire()

    async with name_server() as server:
        server.respond = respond
        assert await outcome(server) == Outcome.UNKNOWN
        assert server.by_tcp > 0


@pytest.mark.gen_test
async def test_a_host_without_name_servers_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import dns.resolver

    def unconfigured() -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver, "Resolver", unconfigured)
    found = await TxtRecords().find(NAME, [RECORD], tenant="acme")
    assert found == TxtSearch(Finding.NO_NAME_SERVERS)


@pytest.mark.gen_test
async def test_a_name_that_is_too_long_for_a_record_is_not_asked_for() -> None:
    name = ".".join(["a" * 63] * 3 + ["b" * 50])
    async with name_server() as server:
        server.records = {(name, "CNAME"): ["shared.example"]}
        found = await search(server, name=name)
        assert (found.finding, found.outcome) == (Finding.TOO_LONG, Outcome.UNKNOWN)


@pytest.mark.parametrize("finding", Finding)
def test_each_finding_has_a_sentence(finding: Finding) -> None:
    assert finding.sentence("acme.example").endswith(".")
