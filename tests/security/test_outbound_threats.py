"""THREATS T6 and T7: forbidden addresses in tenant files, and endless responses."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from portal.errors import OutboundFailed, OutboundRefused, OutboundTimeout
from portal.oidc.discovery import MetadataSource, parse_document
from portal.oidc.errors import KeysRejected, MetadataRejected, ProviderUnavailable, TokenResponseMalformed
from portal.oidc.keys import KeySource, parse_key_set
from portal.oidc.provider import Endpoints
from portal.oidc.provider_call import get_document, post_form
from portal.oidc.relying_party import RelyingParty
from portal.oidc.token_response import read_token_set
from portal.outbound.client import OutboundClient, OutboundResponse
from portal.outbound.pool import default_limits
from portal.outbound.resolver import SUCCESS_SECONDS
from tests.kit.samples import ManualClock
from tests.unit.oidc.signing import registration
from tests.unit.outbound.wire import Wire, calling, conversing, http_response, self_signed, serving, until

TOO_MUCH = 100_000_000


class Names:
    """A fake resolver that returns the given address lists in turn, then the last one again and again."""

    def __init__(self, *responses: Sequence[str]) -> None:
        self.responses = list(responses)
        self.lookups: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.lookups.append(host)
        return self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]


# --- T6

FORBIDDEN = [
    ("https://127.0.0.1/", "loopback"),
    ("https://127.0.0.1:27017/", "loopback"),
    ("https://localhost:27017/", "loopback"),
    ("https://[::1]/", "loopback"),
    ("https://[::ffff:127.0.0.1]/", "loopback"),
    ("https://[::ffff:7f00:1]/", "loopback"),
    ("https://[64:ff9b::127.0.0.1]/", "loopback"),
    ("https://169.254.169.254/latest/meta-data/", "link-local"),
    ("https://[fe80::1]/", "link-local"),
    ("https://10.0.0.1/", "private"),
    ("https://172.16.0.1/", "private"),
    ("https://192.168.0.1/", "private"),
    ("https://100.64.0.1/", "private"),
    ("https://[fd12::1]/", "private"),
    ("https://0.0.0.0/", "unspecified"),
    ("https://[::]/", "unspecified"),
    ("https://224.0.0.1/", "multicast"),
    ("https://2130706433/", "address-form"),
    ("https://0x7f000001/", "address-form"),
    ("https://017700000001/", "address-form"),
    ("https://127.1/", "address-form"),
    ("file:///etc/passwd", "scheme"),
    ("http://login.acme.example/", "scheme"),
    ("gopher://login.acme.example/", "scheme"),
    ("https://login.acme.example@127.0.0.1/", "userinfo"),
]


@pytest.mark.gen_test
@pytest.mark.parametrize(("url", "rule"), FORBIDDEN)
async def test_T6_a_forbidden_address_is_refused_with_the_name_of_its_rule(url: str, rule: str) -> None:
    names = Names(["93.184.215.14"])
    async with calling(OutboundClient(lookup=names)) as client:
        for call in (client.fetch("GET", url), client.open_stream("GET", url)):
            with pytest.raises(OutboundRefused) as refusal:
                await call
            assert refusal.value.detail.startswith(f"{rule}: ")
        with pytest.raises(OutboundRefused):
            client.check_url(url)
    assert names.lookups == []


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("addresses", "rule"),
    [
        (["127.0.0.1"], "loopback"),
        (["::1"], "loopback"),
        (["10.1.2.3"], "private"),
        (["169.254.169.254"], "link-local"),
        (["::ffff:127.0.0.1"], "loopback"),
        (["93.184.215.14", "127.0.0.1"], "loopback"),
        (["127.0.0.1", "93.184.215.14"], "loopback"),
    ],
)
async def test_T6_a_name_that_resolves_to_a_forbidden_address_is_refused_before_a_byte_is_sent(
    addresses: list[str], rule: str, tmp_path: Path
) -> None:
    names = Names(addresses)
    async with self_signed(tmp_path) as (port, sent), calling(OutboundClient(lookup=names)) as client:
        url = f"https://login.acme.example:{port}/"
        client.check_url(url)
        for call in (client.fetch("GET", url), client.open_stream("GET", url)):
            with pytest.raises(OutboundRefused) as refusal:
                await call
            assert refusal.value.detail.startswith(f"{rule}: ")
    assert sent == []
    assert names.lookups == ["login.acme.example"], "the second check used the cached addresses"


@pytest.mark.gen_test
async def test_T6_connections_use_the_addresses_that_were_checked(tmp_path: Path) -> None:
    """A name resolves differently each time: connections go to the checked addresses."""
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    clock = ManualClock()
    client = OutboundClient(allow_private_networks=True, lookup=names, clock=clock)
    async with self_signed(tmp_path) as (port, sent), self_signed(tmp_path) as (other, _), calling(client):
        with pytest.raises(OutboundFailed, match="certificate"):  # the checked address was connected to
            await client.fetch("GET", f"https://rebind.example:{port}/")
        assert len(names.lookups) == 1
        clock.advance(SUCCESS_SECONDS)
        with pytest.raises(OutboundRefused, match="link-local"):
            await client.fetch("GET", f"https://rebind.example:{other}/")
    assert sent == []


@pytest.mark.gen_test
async def test_T6_loopback_names_are_resolved_without_a_name_server() -> None:
    names = Names(["93.184.215.14"])
    client = OutboundClient(allow_private_networks=True, lookup=names)
    async with serving(lambda _: http_response(200, "here")) as wire, calling(client):
        assert (await client.fetch("GET", wire.url(host="db.localhost"))).body == b"here"
    assert names.lookups == []


@pytest.mark.gen_test
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_T6_a_redirect_is_not_followed(status: int) -> None:
    async with serving(lambda _: http_response(200, "secret")) as target:
        to_target = http_response(status, headers=[("Location", target.url())])
        async with serving(lambda _: to_target) as wire, calling() as client:
            assert (await client.fetch("GET", wire.url())).status == status
            assert (await client.fetch("POST", wire.url(), body=b"code=x")).status == status
            stream = await client.open_stream("GET", wire.url())
            assert stream.status == status
            await stream.aclose()
    assert target.connections == 0


@pytest.mark.gen_test
async def test_T6_an_issuer_at_a_forbidden_address_is_refused() -> None:
    async with calling(OutboundClient()) as client:
        with pytest.raises(OutboundRefused, match="private"):
            await RelyingParty(client).metadata(registration(issuer="https://10.0.0.1/realms/a"))


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "name",
    [
        "authorization_endpoint",
        "token_endpoint",
        "jwks_uri",
        "userinfo_endpoint",
        "end_session_endpoint",
        "revocation_endpoint",
    ],
)
async def test_T6_metadata_that_points_to_a_forbidden_address_is_rejected(name: str) -> None:
    document: dict[str, str] = {}
    async with serving(lambda _: http_response(200, json.dumps(document))) as wire, calling() as client:
        document |= {
            "issuer": wire.url(""),
            "authorization_endpoint": wire.url("/auth"),
            "token_endpoint": wire.url("/token"),
            "jwks_uri": wire.url("/jwks"),
        }
        provider = registration(issuer=wire.url(""))
        await RelyingParty(client).metadata(provider)
        document[name] = "https://169.254.169.254/"
        with pytest.raises(MetadataRejected, match=f"^{name}: link-local: "):
            await RelyingParty(client).metadata(provider)


@pytest.mark.gen_test
async def test_T6_an_endpoint_of_a_tenant_file_at_a_forbidden_address_is_rejected() -> None:
    endpoints = Endpoints("https://a.example/a", "https://127.0.0.1:27017/", "https://a.example/jwks")
    async with calling(OutboundClient()) as client:
        with pytest.raises(MetadataRejected, match=r"^token_endpoint: loopback: "):
            await MetadataSource(client, clock=time.time).get(
                registration(discovery=False, endpoints=endpoints)
            )


# --- T7


@pytest.mark.gen_test
async def test_T7_a_server_that_never_responds_times_out() -> None:
    async def silent(writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with serving(lambda _: silent) as wire, calling() as client:
        with pytest.raises(OutboundTimeout):
            await client.fetch("GET", wire.url(), timeout=0.1)
        with pytest.raises(OutboundTimeout):
            await client.open_stream("GET", wire.url(), head_timeout=0.1)


@pytest.mark.gen_test
async def test_T7_a_server_that_responds_byte_by_byte_times_out() -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async def drip_head(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    for script in (lambda _: drip, lambda _: drip_head):
        async with serving(script) as wire, calling() as client:
            with pytest.raises(OutboundTimeout):
                await client.fetch("GET", wire.url(), timeout=0.2)
            await until(partial(_is_disconnected, wire))


def _is_disconnected(wire: Wire) -> bool:
    return wire.open_connections == 0


@pytest.mark.gen_test
@pytest.mark.parametrize("announced", [True, False])
async def test_T7_a_response_of_100_megabytes_is_cut_off(announced: bool) -> None:
    sent = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        length = f"Content-Length: {TOO_MUCH}\r\n" if announced else "Connection: close\r\n"
        writer.write(f"HTTP/1.1 200 OK\r\n{length}\r\n".encode())
        while sent < TOO_MUCH:
            writer.write(b"x" * 100_000)
            sent += 100_000
            await writer.drain()

    async with serving(lambda _: flood) as wire, calling() as client:
        with pytest.raises(OutboundFailed, match="more than 1000000 bytes"):
            await client.fetch("GET", wire.url())
        await until(lambda: wire.open_connections == 0)
    assert sent < TOO_MUCH / 4


@pytest.mark.gen_test
async def test_T7_endless_headers_are_cut_off() -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        number = 0
        while True:
            number += 1
            writer.write(f"X-{number}: {'x' * 1000}\r\n".encode() * 10)
            await writer.drain()

    async def long_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while True:
            writer.write(b"x" * 10_000)
            await writer.drain()

    for behaviour in (flood, long_line):
        async with conversing(behaviour) as port, calling() as client:
            with pytest.raises(OutboundFailed) as failure:
                await client.fetch("GET", f"http://127.0.0.1:{port}/")
            assert not isinstance(failure.value, OutboundTimeout)


@pytest.mark.gen_test
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "GZIP", "identity, gzip"])
async def test_T7_a_compressed_response_is_refused_without_decompression(coding: str) -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    assert len(bomb) < 20_000
    compressed = http_response(200, bomb, headers=[("Content-Encoding", coding)])
    async with serving(lambda _: compressed) as wire, calling() as client:
        with pytest.raises(OutboundFailed, match="compressed"):
            await client.fetch("GET", wire.url())
    assert wire.received[0].header("Accept-Encoding") == "identity"


@pytest.mark.gen_test
async def test_T7_a_response_is_compressed_if_any_of_its_headers_says_so() -> None:
    headers = [("Content-Encoding", "identity"), ("content-encoding", "gzip")]
    async with serving(lambda _: http_response(200, b"{}", headers=headers)) as wire, calling() as client:
        with pytest.raises(OutboundFailed, match="compressed"):
            await client.fetch("GET", wire.url())


@pytest.mark.gen_test
async def test_T7_endless_redirects_end_at_the_first() -> None:
    async with (
        serving(lambda _: http_response(302, headers=[("Location", "/again")])) as wire,
        calling() as client,
    ):
        with pytest.raises(MetadataRejected, match="302"):
            await RelyingParty(client).metadata(registration(issuer=wire.url("")))
    assert len(wire.received) == 1


DEEP = [
    b"[" * 10_000,
    b'{"a":' * 10_000,
    b'{"keys":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    b'{"a":[' * 5_000,
]


@pytest.mark.parametrize("body", DEEP)
def test_T7_json_nested_ten_thousand_deep_is_rejected(body: bytes) -> None:
    with pytest.raises(MetadataRejected, match=r"nested deeper|more than"):
        parse_document(body, "https://login.acme.example/")
    with pytest.raises(KeysRejected, match=r"nested deeper|more than"):
        parse_key_set(body)


def test_T7_brackets_in_strings_do_not_count_as_depth_and_quotes_cost_no_time() -> None:
    text = json.dumps({"issuer": "x", "a": "[" * 1_000, "b": '\\"[{' * 400})
    assert parse_document(text.encode(), "x")["issuer"] == "x"
    begun = time.perf_counter()
    with pytest.raises(MetadataRejected):
        parse_document(b"[" * 40 + b'"' + b'\\"' * 400_000, "x")
    assert time.perf_counter() - begun < 2


MANY_PARTS = [
    b'{"access_token":"at","token_type":"Bearer","a":[' + b"[]," * 2_000 + b"[]]}",
    b'{"access_token":"at","token_type":"Bearer","a":[' + b"{}," * 40_000 + b"{}]}",
    b'{"keys":[' + b"{}," * 2_000 + b"{}]}",
    b'{"keys":[{"a":[' + b"[]," * 20_000 + b"[]]}]}",
    b'{"keys":[' + b'{"kty":"RSA","n":"x","e":"AQAB"},' * 3_000 + b"{}]}",
]


@pytest.mark.parametrize("body", MANY_PARTS)
def test_T7_json_of_very_many_parts_is_rejected_in_every_document_of_a_provider(body: bytes) -> None:
    """Each part becomes an object, and a document has room for very many."""
    with pytest.raises(MetadataRejected, match="more than 2000 parts"):
        parse_document(body, "https://login.acme.example/")
    with pytest.raises(KeysRejected, match="more than 2000 parts"):
        parse_key_set(body)
    with pytest.raises(TokenResponseMalformed, match="more than 2000 parts"):
        read_token_set(OutboundResponse(200, (), body), requested_scopes=("openid",), now=0.0)


@pytest.mark.gen_test
async def test_T7_each_document_of_a_provider_has_a_size_limit() -> None:
    large = http_response(200, b'{"keys":[]' + b" " * 130_000 + b"}")
    async with serving(lambda _: large) as wire, calling() as client:
        with pytest.raises(ProviderUnavailable):
            await KeySource(client, clock=time.time).get(registration(), wire.url("/jwks"))
    huge = http_response(200, b"{" + b" " * 270_000 + b"}")
    async with serving(lambda _: huge) as wire, calling() as client:
        with pytest.raises(ProviderUnavailable, match="more than 262144 bytes"):
            await post_form(client, wire.url("/token"), [("code", "x")], endpoint="token", tenant="acme")


@pytest.mark.gen_test
async def test_T7_a_key_set_of_100_megabytes_makes_the_provider_unavailable() -> None:
    async def flood(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {TOO_MUCH}\r\n\r\n".encode())
        while True:
            writer.write(b"x" * 100_000)
            await writer.drain()

    async with serving(lambda _: flood) as wire, calling() as client:
        with pytest.raises(ProviderUnavailable):
            await KeySource(client, clock=time.time).get(registration(), wire.url("/jwks"))
    assert len(wire.received) == 2  # one retry, as for every document


@pytest.mark.gen_test
async def test_T7_a_dead_provider_does_not_delay_another() -> None:
    async def silent(writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with (
        serving(lambda _: silent) as dead,
        serving(lambda _: http_response(200, "alive")) as alive,
        calling() as client,
    ):
        waiting = [
            asyncio.ensure_future(get_document(client, dead.url(), endpoint="metadata", tenant="acme"))
            for _ in range(200)
        ]
        await until(lambda: dead.connections == min(200, default_limits().per_destination))
        begun = time.perf_counter()
        for _ in range(50):
            assert (
                await get_document(client, alive.url(), endpoint="metadata", tenant="globex")
            ).body == b"alive"
        assert time.perf_counter() - begun < 4
        assert not any(call.done() for call in waiting)
        for call in waiting:
            call.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


LONG_HEADERS = {
    "cookies": [("Set-Cookie", "a=b"), ("Set-Cookie2", "a=b," * 15_000)],
    "a cookie of many parts": [("Set-Cookie", "a=b"), ("Set-Cookie2", "a;" * 30_000)],
    "a redirect": [("Location", "https://login.acme.example/?" + "<é" * 30_000)],
    "a redirect to many users": [("Location", "https://" + "@" * 60_000 + "a.example/")],
}


@pytest.mark.gen_test
@pytest.mark.parametrize("headers", LONG_HEADERS.values(), ids=LONG_HEADERS.keys())
async def test_D1_unused_headers_cost_no_time(headers: list[tuple[str, str]]) -> None:
    lines = [f"{name}: {value}\r\n" for name, value in headers]
    head = "".join(["HTTP/1.1 302 Found\r\nContent-Length: 0\r\n", *lines, "\r\n"]).encode("latin-1")
    async with serving(lambda _: head) as wire, calling() as client:
        await client.fetch("GET", wire.url())
        begun = time.thread_time()
        response = await client.fetch("GET", wire.url())
        assert time.thread_time() - begun < 0.03
    assert response.status == 302
    assert response.header(headers[0][0]) == headers[0][1]
