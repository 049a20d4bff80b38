"""Collectors that misbehave: nothing is held, kept without bounds, sent elsewhere or logged with a secret."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import threading
from pathlib import Path

import pytest

from portal.ops.span_export import SpanExport
from portal.ops.span_sending import LossLog
from portal.traces import Tracer
from tests.kit.bad_collector import bad_collector
from tests.kit.raw import until

SECRET = "a-key-of-the-collector"
PIECE = b"x" * 65_536
MOST = 64 * 1024 * 1024


def answer(status: str, headers: str = "", body: bytes = b"") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def export(endpoint: str, spans: int = 1) -> SpanExport:
    """A started export with spans in its queue."""
    made = SpanExport(endpoint, service_name="portal")
    made.start()
    tracer = Tracer(made.export)
    for _ in range(spans):
        tracer.end(tracer.request(None))
    return made


def lines(log: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


# --- responses


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (answer("500 Internal Server Error"), "status 500"),
        (answer("401 Unauthorized", body=SECRET.encode()), "status 401"),
        (answer("429 Too Many Requests", "Retry-After: 86400\r\n"), "status 429"),
        (answer(f"400 {SECRET}"), "status 400"),
        (b"HTTP/1.1 2", "ConnectionError"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "ConnectionError"),
    ],
)
def test_what_a_collector_refuses_is_one_line_without_what_it_wrote(
    log_lines: io.StringIO, response: bytes, reason: str
) -> None:
    def respond(connection: socket.socket) -> None:
        connection.sendall(response)
        if reason == "ConnectionError":
            connection.shutdown(socket.SHUT_RDWR)

    with bad_collector(respond) as collector:
        made = export(collector.endpoint, spans=3)
        made.flush()
        asyncio.run(made.close())
    assert [(line["event"], line["level"], line["spans"], line["reason"]) for line in lines(log_lines)] == [
        ("spans_not_sent", "warning", 3, reason)
    ]
    assert SECRET not in log_lines.getvalue()
    assert str(collector.port) not in log_lines.getvalue()


@pytest.mark.parametrize("status", ["301 Moved", "307 Temporary Redirect", "304 Not Modified"])
def test_a_redirect_is_not_followed_and_the_spans_are_lost(log_lines: io.StringIO, status: str) -> None:
    with bad_collector(lambda connection: connection.sendall(answer("200 OK"))) as elsewhere:
        location = f"Location: {elsewhere.endpoint}\r\n"
        with bad_collector(lambda connection: connection.sendall(answer(status, location))) as collector:
            made = export(collector.endpoint)
            made.flush()
            asyncio.run(made.close())
            assert len(collector.heads) == 1
        assert elsewhere.heads == []
    assert [line["reason"] for line in lines(log_lines)] == [f"status {status[:3]}"]


@pytest.mark.parametrize("framing", ["Content-Length: 99999999999\r\n", "Transfer-Encoding: chunked\r\n", ""])
def test_a_body_without_end_is_not_read(
    log_lines: io.StringIO, monkeypatch: pytest.MonkeyPatch, framing: str
) -> None:
    monkeypatch.setattr("portal.ops.span_sending._BODY_SECONDS", 1000.0)
    sent: list[int] = [0]
    ended = threading.Event()

    def respond(connection: socket.socket) -> None:
        try:
            connection.sendall(f"HTTP/1.1 200 OK\r\n{framing}\r\n".encode())
            while sent[0] < MOST:
                piece = b"10000\r\n" + PIECE + b"\r\n" if "chunked" in framing else PIECE
                connection.sendall(piece)
                sent[0] += len(piece)
        finally:
            ended.set()

    with bad_collector(respond) as collector:
        made = export(collector.endpoint)
        made.flush()
        assert ended.wait(30)
        asyncio.run(made.close())
    assert sent[0] < MOST
    assert lines(log_lines) == []


def test_a_body_that_drips_does_not_hold_the_spans_that_follow(
    log_lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.ops.span_sending._BODY_SECONDS", 0.2)
    gone = threading.Event()

    def respond(connection: socket.socket) -> None:
        try:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n")
            while not gone.wait(0.05):  # a byte before each time limit of a read
                connection.sendall(b"x")
        finally:
            gone.set()

    with bad_collector(respond) as collector:
        made = export(collector.endpoint)
        threading.Thread(target=made.flush, daemon=True).start()
        assert gone.wait(30), "the exporter goes on reading"
        asyncio.run(made.close())
    assert lines(log_lines) == []


def test_a_collector_that_responds_keeps_its_connection(log_lines: io.StringIO) -> None:
    bodies = iter([b"", b"\n\x00", b"", b""])
    with bad_collector(
        lambda connection: connection.sendall(answer("200 OK", "", next(bodies)))
    ) as collector:
        made = export(collector.endpoint)
        tracer = Tracer(made.export)
        for _ in range(3):
            made.flush()
            tracer.end(tracer.request(None))
        asyncio.run(made.close())
        assert (len(collector.heads), collector.connections) == (4, 1)
    assert lines(log_lines) == []


# --- a collector that does not respond


def silent(connection: socket.socket) -> None:
    connection.recv(1)  # until the exporter gives up


def test_a_stop_does_not_wait_for_a_collector_that_is_silent(
    log_lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.ops.span_export._FLUSH_SECONDS", 0.05)

    async def use(endpoint: str) -> None:
        made = export(endpoint, spans=3)
        async with asyncio.timeout(60):
            await made.close()
        assert [one for one in threading.enumerate() if one.name == "last-spans"], "it waited for the end"

    with bad_collector(silent) as collector:
        asyncio.run(use(collector.endpoint))
        [line] = lines(log_lines)
        assert (line["event"], line["spans"], line["reason"]) == ("spans_not_sent", 3, "stopped")


@pytest.mark.gen_test
async def test_a_full_queue_drops_spans_and_says_so_once(
    log_lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.ops.span_export._QUEUE", 16)
    monkeypatch.setattr("portal.ops.span_export._BATCH", 4)
    monkeypatch.setattr("portal.ops.span_export._FLUSH_SECONDS", 0.05)
    with bad_collector(silent) as collector:
        made = export(collector.endpoint, spans=4)
        await until(lambda: collector.heads, "no request")  # the thread waits for the response
        tracer = Tracer(made.export)
        for _ in range(100):
            tracer.end(tracer.request(None))
        assert [(line["event"], line["reason"]) for line in lines(log_lines)] == [
            ("spans_not_sent", "queue full")
        ]
        await made.close()
        last = lines(log_lines)[-1]
        assert (last["event"], last["reason"]) == ("spans_not_sent", "stopped")
        assert sum(int(str(line["spans"])) for line in lines(log_lines)) == 104


# --- the environment


def test_no_proxy_and_no_credentials_of_the_environment_are_used(
    tmp_path: Path, log_lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"default login portal password {SECRET}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/elsewhere")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "of=the-environment")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "of-the-environment")
    monkeypatch.setenv("OTEL_BSP_EXPORT_TIMEOUT", "not a number")
    with bad_collector(lambda connection: connection.sendall(answer("200 OK"))) as proxy:
        for name in ("http_proxy", "all_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        with bad_collector(lambda connection: connection.sendall(answer("200 OK"))) as collector:
            made = export(collector.endpoint)
            made.flush()
            asyncio.run(made.close())
            [head] = collector.heads
        assert proxy.heads == []
    assert head.startswith("POST /v1/traces HTTP/1.1")
    assert "authorization" not in head.lower()
    assert lines(log_lines) == []


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (f"x-key={SECRET},x-more=%20of%20it", True),
        (f"x-key={SECRET}\nx: y", False),
        (f"{SECRET}", False),
        (f"x key={SECRET}", False),
    ],
)
def test_headers_for_the_collector_reach_it_and_no_log(
    log_lines: io.StringIO, monkeypatch: pytest.MonkeyPatch, value: str, sent: bool
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", value)
    with bad_collector(lambda connection: connection.sendall(answer("403 Forbidden"))) as collector:
        made = export(collector.endpoint)
        made.flush()
        asyncio.run(made.close())
        assert [SECRET in head for head in collector.heads] in ([[True]] if sent else [[False], []])
    assert "spans_not_sent" in log_lines.getvalue()
    assert SECRET not in log_lines.getvalue()


# --- what the log says


def test_losses_are_logged_once_a_minute(log_lines: io.StringIO) -> None:
    now = [0.0]
    losses = LossLog(lambda: now[0])
    losses.sent()
    for second in range(0, 121, 10):
        now[0] = float(second)
        losses.lost(2, "status 503")
    assert [(line["event"], line["spans"]) for line in lines(log_lines)] == [
        ("spans_not_sent", 2),
        ("spans_not_sent", 12),
        ("spans_not_sent", 12),
    ]
    losses.lost(5, "queue full")
    losses.sent()
    losses.sent()
    assert [(line["event"], line["lost"]) for line in lines(log_lines)[3:]] == [("spans_sent_again", 5)]
    losses.lost(1, "status 503")
    losses.sent()
    assert len(lines(log_lines)) == 4, "a collector that fails now and then makes few lines"
    losses.lost(0, "stopped", at_once=True)
    last = lines(log_lines)[4:]
    assert [(one["event"], one["spans"], one["reason"]) for one in last] == [
        ("spans_not_sent", 1, "status 503")
    ]
    losses.lost(0, "stopped", at_once=True)
    assert len(lines(log_lines)) == 5
