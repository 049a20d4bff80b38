from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from portal.errors import OutboundFailed, OutboundRefused, OutboundTimeout, PayloadTooLarge
from portal.outbound.client import OutboundClient
from portal.outbound.request import OutboundRequest, split_url
from tests.unit.outbound.wire import (
    Received,
    Response,
    calling,
    conversing,
    http_response,
    self_signed,
    serving,
    until,
)


async def read_all(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


@pytest.mark.gen_test
async def test_path_and_query_reach_the_api_byte_for_byte() -> None:
    target = "/v1/a%2Fb;c=%3B/%e4%C3%A4//x?q=%2F%40%3b&r='|\"\\&s=1+2%20&t=a?b@c:d"
    async with serving(lambda _: http_response()) as wire, calling() as client:
        await (await client.open_stream("GET", wire.url(target))).aclose()
        await client.fetch("GET", wire.url(target))
    assert wire.targets() == [target, target]


@pytest.mark.gen_test
async def test_no_header_is_added_to_an_api_call_but_the_host() -> None:
    sent = [("X-One", "1"), ("X-One", "2"), ("Authorization", "Bearer x")]
    async with serving(lambda _: http_response()) as wire, calling() as client:
        await (await client.open_stream("GET", wire.url(), headers=sent)).aclose()
    assert wire.received[0].headers == [("Host", f"127.0.0.1:{wire.port}"), *sent]


@pytest.mark.gen_test
async def test_headers_of_a_response_keep_order_case_and_repetition() -> None:
    headers = [("sEt-Cookie", "a=1"), ("X-Other", "ä"), ("Set-Cookie", "b=2")]
    sent = http_response(201, "body", reason="Made It", headers=[*headers]).replace("ä".encode(), b"\xe4")
    async with serving(lambda _: sent) as wire, calling() as client:
        stream = await client.open_stream("GET", wire.url())
        assert (stream.status, stream.reason) == (201, "Made It")
        assert stream.headers[:3] == headers
        assert await read_all(stream.chunks()) == b"body"
        await stream.aclose()


@pytest.mark.gen_test
async def test_a_cookie_of_one_call_is_not_sent_with_the_next() -> None:
    sent = http_response(headers=[("Set-Cookie", "session=of-another-user; Path=/")])
    async with serving(lambda _: sent) as wire, calling() as client:
        for _ in range(2):
            await (await client.open_stream("GET", wire.url(host="api.localhost"))).aclose()
            await client.fetch("GET", wire.url(host="api.localhost"))
    assert len(wire.received) == 4
    assert all(request.header("Cookie") is None for request in wire.received)


@pytest.mark.gen_test
async def test_proxies_and_netrc_of_the_environment_are_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ada password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with serving(lambda _: http_response(200, "direct")) as wire, calling() as client:
        assert (await client.fetch("GET", wire.url())).body == b"direct"
        await (await client.open_stream("GET", wire.url())).aclose()
    assert all(request.header("Authorization") is None for request in wire.received)


@pytest.mark.gen_test
async def test_a_body_of_unknown_length_is_sent_chunked_and_a_known_one_with_its_length() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async with serving(lambda _: http_response()) as wire, calling() as client:
        await (await client.open_stream("POST", wire.url(), body=parts())).aclose()
        await (
            await client.open_stream("POST", wire.url(), body=parts(), headers=[("Content-Length", "7")])
        ).aclose()
        await (await client.open_stream("PUT", wire.url(), body=b"bytes")).aclose()
        await (await client.open_stream("POST", wire.url(), body=None)).aclose()
        await (await client.open_stream("GET", wire.url(), body=b"")).aclose()
    assert [request.body for request in wire.received] == [b"one two", b"one two", b"bytes", b"", b""]
    assert [request.header("Transfer-Encoding") for request in wire.received] == [
        "chunked",
        None,
        None,
        None,
        None,
    ]
    assert [request.header("Content-Length") for request in wire.received] == [None, "7", "5", "0", None]


@pytest.mark.gen_test
async def test_a_compressed_body_of_an_api_is_passed_on_as_it_is() -> None:
    sent = http_response(200, b"\x1f\x8b not really gzip", headers=[("Content-Encoding", "gzip")])
    async with serving(lambda _: sent) as wire, calling() as client:
        stream = await client.open_stream("GET", wire.url())
        assert await read_all(stream.chunks()) == b"\x1f\x8b not really gzip"
        await stream.aclose()


@pytest.mark.gen_test
async def test_chunks_are_yielded_as_they_arrive() -> None:
    go_on = asyncio.Event()

    async def events(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await writer.drain()
        await go_on.wait()
        writer.write(b"6\r\nsecond\r\n0\r\n\r\n")

    async with serving(lambda _: events) as wire, calling() as client:
        stream = await client.open_stream("GET", wire.url())
        chunks = stream.chunks()
        assert await anext(chunks) == b"first"
        go_on.set()
        assert await read_all(chunks) == b"second"
        await stream.aclose()


@pytest.mark.gen_test
async def test_closing_a_stream_before_its_end_closes_the_connection() -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        while True:
            writer.write(b"data: x\n\n" * 100)
            await writer.drain()
            await asyncio.sleep(0)

    async with serving(lambda _: endless) as wire, calling() as client:
        stream = await client.open_stream("GET", wire.url())
        chunks = stream.chunks()
        await anext(chunks)
        assert wire.open_connections == 1
        await stream.aclose()
        await until(lambda: wire.open_connections == 0)


@pytest.mark.gen_test
async def test_cancelling_a_call_that_waits_for_its_response_closes_the_connection() -> None:
    received, closed = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        received.set()
        assert await reader.read() == b""
        closed.set()

    async with conversing(silent) as port, calling() as client:
        call = asyncio.ensure_future(client.open_stream("GET", f"http://127.0.0.1:{port}/"))
        await received.wait()
        assert not closed.is_set()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with asyncio.timeout(5):
            await closed.wait()


@pytest.mark.gen_test
async def test_a_response_before_the_end_of_the_upload_ends_the_upload() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0.001)

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http_response(413, "too much"))
        await writer.drain()
        await reader.read()

    async with conversing(refuse) as port, calling() as client:
        stream = await client.open_stream("POST", f"http://127.0.0.1:{port}/", body=endless())
        assert stream.status == 413
        assert await read_all(stream.chunks()) == b"too much"
        await stream.aclose()


@pytest.mark.gen_test
async def test_an_error_of_the_body_iterator_is_raised_unchanged() -> None:
    async def too_large() -> AsyncIterator[bytes]:
        yield b"x"
        raise PayloadTooLarge("the body is too large")

    async with serving(lambda _: http_response()) as wire, calling() as client:
        with pytest.raises(PayloadTooLarge):
            await client.open_stream("POST", wire.url(), body=too_large())
        await until(lambda: wire.open_connections == 0)


@pytest.mark.gen_test
async def test_connections_are_used_again_after_a_whole_response() -> None:
    async with serving(lambda _: http_response(200, "x")) as wire, calling() as client:
        for _ in range(5):
            stream = await client.open_stream("GET", wire.url())
            await read_all(stream.chunks())
            await stream.aclose()
    assert wire.connections == 1


@pytest.mark.gen_test
async def test_a_post_is_never_sent_again_when_a_reused_connection_fails() -> None:
    async def drop(writer: asyncio.StreamWriter) -> None:
        writer.close()

    def script(request: Received) -> Response:
        return drop if request.target == "/token" else http_response(200, "warm")

    async with serving(script) as wire, calling() as client:
        await client.fetch("GET", wire.url("/warm"))
        with pytest.raises(OutboundFailed):
            await client.fetch("POST", wire.url("/token"), body=b"grant_type=authorization_code")
        stream = await client.open_stream("GET", wire.url("/warm"))
        await read_all(stream.chunks())
        await stream.aclose()
        with pytest.raises(OutboundFailed):
            await client.open_stream("POST", wire.url("/token"), body=b"x")
    assert wire.targets().count("/token") == 2


@pytest.mark.gen_test
async def test_a_failed_connection_is_an_outbound_failure_and_no_timeout() -> None:
    async with serving(lambda _: http_response()) as wire:
        url = wire.url()
    async with calling() as client:
        for call in (client.fetch("GET", url), client.open_stream("GET", url)):
            with pytest.raises(OutboundFailed) as failure:
                await call
            assert not isinstance(failure.value, OutboundTimeout)


@pytest.mark.gen_test
async def test_a_name_that_does_not_exist_is_an_outbound_failure() -> None:
    async def not_found(host: str) -> list[str]:
        raise OSError("no such name")

    async with calling(OutboundClient(lookup=not_found)) as client:
        with pytest.raises(OutboundFailed):
            await client.fetch("GET", "https://login.acme.example/")


@pytest.mark.gen_test
async def test_a_name_without_addresses_is_an_outbound_failure() -> None:
    async def nothing(host: str) -> list[str]:
        return []

    async with calling(OutboundClient(lookup=nothing)) as client:
        with pytest.raises(OutboundFailed):
            await client.fetch("GET", "https://login.acme.example/")


@pytest.mark.gen_test
async def test_a_connection_that_is_never_made_times_out() -> None:
    async def never(host: str) -> list[str]:
        await asyncio.Event().wait()
        raise AssertionError

    async with calling(OutboundClient(lookup=never, connect_timeout=0.05)) as client:
        with pytest.raises(OutboundTimeout):
            await client.open_stream("GET", "https://api.acme.example/")


@pytest.mark.gen_test
async def test_a_stream_without_data_times_out() -> None:
    async def stall(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf ")
        await writer.drain()
        await asyncio.Event().wait()

    async with serving(lambda _: stall) as wire, calling() as client:
        stream = await client.open_stream("GET", wire.url(), idle_timeout=0.05)
        with pytest.raises(OutboundTimeout):
            await read_all(stream.chunks())
        await stream.aclose()


@pytest.mark.gen_test
async def test_a_truncated_body_is_an_outbound_failure() -> None:
    async def truncate(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf ")
        await writer.drain()
        writer.close()

    async with serving(lambda _: truncate) as wire, calling() as client:
        stream = await client.open_stream("GET", wire.url())
        with pytest.raises(OutboundFailed):
            await read_all(stream.chunks())
        await stream.aclose()
        with pytest.raises(OutboundFailed):
            await client.fetch("GET", wire.url())


@pytest.mark.gen_test
@pytest.mark.parametrize("sent", [b"no http at all\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
async def test_a_response_that_is_not_http_is_an_outbound_failure(sent: bytes) -> None:
    async with serving(lambda _: sent) as wire, calling() as client:
        with pytest.raises(OutboundFailed):
            await client.fetch("GET", wire.url())
        with pytest.raises(OutboundFailed):
            await client.open_stream("GET", wire.url())


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "headers",
    [
        [("X-A", "a\r\nX-B: b")],
        [("X-A\r\nX-B", "a")],
        [("X-A", "a\nb")],
        [("X-A: a\r\nX-B", "b")],
        [("X-A: b", "a")],
        [("", "a")],
        [("X-A", "a"), ("X B", "b")],
    ],
)
async def test_line_breaks_in_headers_are_refused_before_a_byte_is_sent(
    headers: list[tuple[str, str]],
) -> None:
    async with serving(lambda _: http_response()) as wire, calling() as client:
        with pytest.raises(OutboundRefused):
            await client.open_stream("GET", wire.url(), headers=headers)
        with pytest.raises(OutboundRefused):
            await client.open_stream("GET / HTTP/1.1\r\nX: y", wire.url())
    assert wire.received == []


@pytest.mark.gen_test
async def test_no_error_contains_path_query_header_or_body() -> None:
    async def drop(writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with serving(lambda _: drop) as wire, calling() as client:
        for call in (
            client.fetch("POST", wire.url("/s3cret?s3cret"), headers=[("X", "s3cret")], body=b"s3cret"),
            client.open_stream("POST", wire.url("/s3cret"), headers=[("X", "s3cret")], body=b"s3cret"),
        ):
            with pytest.raises(OutboundFailed) as failure:
                await call
            assert "s3cret" not in f"{failure.value} {failure.value.detail} {failure.value!r}"


@pytest.mark.gen_test
async def test_nothing_is_sent_to_a_server_with_a_self_signed_certificate(tmp_path: Path) -> None:
    async with self_signed(tmp_path) as (port, received), calling() as client:
        with pytest.raises(OutboundFailed, match="certificate"):
            await client.fetch("GET", f"https://localhost:{port}/")
        with pytest.raises(OutboundFailed, match="certificate"):
            await client.open_stream("GET", f"https://localhost:{port}/")
    assert received == []


@pytest.mark.gen_test
async def test_a_fetched_response_has_status_headers_in_any_case_and_body() -> None:
    sent = http_response(404, "gone", headers=[("Cache-Control", "max-age=5"), ("cache-control", "no-store")])
    async with serving(lambda _: sent) as wire, calling() as client:
        response = await client.fetch("POST", wire.url(), body=b"a=b", headers=[("X-A", "1")])
    assert (response.status, response.body) == (404, b"gone")
    assert response.header("CACHE-CONTROL") == "max-age=5"
    assert response.header("missing") is None
    assert wire.received[0].header("Accept-Encoding") == "identity"
    assert wire.received[0].header("X-A") == "1"
    assert wire.received[0].body == b"a=b"


@pytest.mark.gen_test
async def test_a_closed_client_sends_nothing_and_may_be_closed_again() -> None:
    async with serving(lambda _: http_response()) as wire:
        client = OutboundClient(allow_private_networks=True)
        await client.fetch("GET", wire.url())
        await client.close()
        await client.close()
        with pytest.raises(OutboundFailed):
            await client.fetch("GET", wire.url())
        with pytest.raises(OutboundFailed):
            await client.open_stream("GET", wire.url())
    assert len(wire.received) == 1


def test_a_client_can_be_made_without_an_event_loop() -> None:
    client = OutboundClient()
    client.check_url("https://login.acme.example/")
    del client
    gc.collect()


def test_the_repr_of_a_request_contains_no_path_header_or_body() -> None:
    origin, target = split_url("https://api.acme.example/s3cret?s3cret")
    request = OutboundRequest("GET", origin, target, [("Authorization", "Bearer s3cret")], b"s3cret", "acme")
    assert "s3cret" not in repr(request)


@pytest.mark.parametrize(
    ("url", "host", "authority", "target"),
    [
        ("https://API.acme.example", "api.acme.example", "api.acme.example", "/"),
        ("https://api.acme.example:443/a", "api.acme.example", "api.acme.example", "/a"),
        ("https://api.acme.example:8443?q=1", "api.acme.example", "api.acme.example:8443", "/?q=1"),
        ("https://api.acme.example./a:b@c?d=/e", "api.acme.example", "api.acme.example", "/a:b@c?d=/e"),
        ("http://[::1]:8080/", "::1", "[::1]:8080", "/"),
        ("https://[2001:DB8::1]/", "2001:db8::1", "[2001:db8::1]", "/"),
    ],
)
def test_a_url_is_split_into_origin_and_target(url: str, host: str, authority: str, target: str) -> None:
    origin, found = split_url(url)
    assert (origin.host_name, origin.authority, found) == (host, authority, target)


@pytest.mark.gen_test
async def test_A4_private_networks_are_for_trusted_tenants_only() -> None:
    async with serving(lambda _: http_response()) as wire:
        client = OutboundClient(allow_private_networks=True, is_trusted=lambda tenant: tenant == "file")
        async with calling(client):
            assert (await client.fetch("GET", wire.url("/"), tenant="file")).status == 200
            for url in (wire.url("/"), wire.url("/").replace("127.0.0.1", "localhost")):
                with pytest.raises(OutboundRefused, match="loopback"):
                    await client.fetch("GET", url, tenant="stored")
                with pytest.raises(OutboundRefused, match="loopback"):
                    await client.open_stream("GET", url, tenant="stored")
        assert len(wire.received) == 1
