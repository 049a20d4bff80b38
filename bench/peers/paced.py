"""Calls at a fixed rate, and their latency: a client in a process of its own.

    python -m bench.peers.paced RATE SECONDS URL [NAME: VALUE]…

It prints the latencies in microseconds as JSON. Calls begin on schedule whether or not earlier ones have
ended; one that finds all connections busy waits, and its waiting counts (otherwise a slow server would get
fewer calls).
"""

from __future__ import annotations

import asyncio
import collections
import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from bench.load import CONNECTIONS
from bench.servers import ROOT


@dataclass(frozen=True, slots=True)
class Latencies:
    """Median and 99th percentile of the latency of calls at a fixed rate, in microseconds."""

    calls: int
    p50: float
    p99: float


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


def measure_paced(url: str, headers: Mapping[str, str], *, rate: int, seconds: int) -> Latencies:
    """Call a URL at this rate, in calls per second, from another process. Raises CalledProcessError."""
    lines = [f"{name}: {value}" for name, value in headers.items()]
    command = [sys.executable, "-m", "bench.peers.paced", str(rate), str(seconds), url, *lines]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    values: list[float] = json.loads(printed)
    return Latencies(len(values), percentile(values, 0.5), percentile(values, 0.99))


class _Connection(asyncio.Protocol):
    """Sends one request at a time and recognizes the end of its response by Content-Length."""

    def __init__(self, client: PacedClient) -> None:
        self._client = client
        self._transport: asyncio.Transport
        self._received = b""
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._client.fail("a connection was closed")

    def call(self, due: float) -> None:
        """Send a request that was due at this time of time.perf_counter()."""
        self._due = due
        self._transport.write(self._client.request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        lines = head.lower().split(b"\r\n")
        lengths = [line for line in lines if line.startswith(b"content-length:")]
        if not lines[0].startswith(b"http/1.1 200") or not lengths:
            self._client.fail(head.decode("latin-1"))
        elif len(body) >= int(lengths[0].partition(b":")[2]):
            self._received = b""
            self._client.done(self, time.perf_counter() - self._due)

    def close(self) -> None:
        """Close the connection."""
        self._transport.abort()


class PacedClient:
    """Keeps the schedule and the free connections. `request` is sent for each call."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.microseconds: list[float] = []
        self._free: collections.deque[_Connection] = collections.deque()
        self._waiting: collections.deque[float] = collections.deque()
        self._failure: str | None = None
        self._expected = 0
        self._ended = asyncio.Event()

    def fail(self, reason: str) -> None:
        """Record why the measurement is not valid."""
        self._failure = self._failure or reason
        self._ended.set()

    def done(self, connection: _Connection, seconds: float) -> None:
        """A call took this long; its connection takes the call that has waited longest, if any."""
        self.microseconds.append(seconds * 1e6)
        if len(self.microseconds) == self._expected:
            self._ended.set()
        if self._waiting:
            connection.call(self._waiting.popleft())
        else:
            self._free.append(connection)

    async def run(self, host: str, port: int, *, rate: int, calls: int) -> None:
        """Make this many calls at a rate in calls per second. Raises SystemExit when one failed."""
        self._expected = calls
        loop = asyncio.get_running_loop()
        connections = [
            (await loop.create_connection(lambda: _Connection(self), host, port))[1]
            for _ in range(CONNECTIONS)
        ]
        self._free.extend(connections)
        begun = time.perf_counter()
        for number in range(calls):
            delay = begun + number / rate - time.perf_counter()
            if delay > 0:
                await asyncio.sleep(delay)
            self._begin_call()
        async with asyncio.timeout(10):
            await self._ended.wait()
        failure = self._failure
        for connection in connections:
            connection.close()
        if failure is not None:
            raise SystemExit(failure)

    def _begin_call(self) -> None:
        now = time.perf_counter()
        if self._free:
            self._free.popleft().call(now)
        else:
            self._waiting.append(now)


def main() -> None:
    rate, seconds, url, *lines = sys.argv[1:]
    parts = urlsplit(url)
    head = [f"GET {parts.path} HTTP/1.1", f"Host: {parts.netloc}", *lines]
    client = PacedClient("\r\n".join([*head, "", ""]).encode())
    host = "127.0.0.1" if parts.hostname == "localhost" else str(parts.hostname)
    calls = int(rate) * int(seconds)
    asyncio.run(client.run(host, parts.port or 80, rate=int(rate), calls=calls))
    print(json.dumps([round(value, 1) for value in client.microseconds]))


if __name__ == "__main__":
    main()
