"""What one client can do to the others: slow connections, begun sign-ins, forged logout tokens.

    python -m bench.client_flood [--seconds 20] [--only slow|sign-ins|logouts]

Each flood comes from one client and meets a fresh portal (SQLite, one process), with the default limits and
without. Meanwhile another client makes an API call of a signed-in user on a new connection every 50 ms. It
prints the time of these calls, CPU time, memory and the size of the database.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.load import cpu_seconds
from bench.servers import bare_server, free_port, running
from bench.signed_in import SignedIn, make_portal

_CONNECTIONS = 400
_SLOW = 500
_SIGN_INS = 2_000
_LOGOUTS = 200
_PROBE_SECONDS = 0.05
_LONGEST_PROBE = 5.0
_FLOODER, _OTHER = "203.0.113.7", "198.51.100.9"
_WITHOUT = (
    "limits: {connections: 400, connections_per_client: 400, sign_ins_per_client: 1000000, "
    "attempts_per_client: 10000000, logouts_per_client: 1000000}\n"
)
_WITH = "limits: {connections: 400}\n"
_TENANT = """\
name: Flooded
issuer: https://login.flooded.example
discovery: false
endpoints:
  authorization: https://login.flooded.example/authorize
  token: https://login.flooded.example/token
  jwks: https://login.flooded.example/keys
client: {id: flooded, secret: flooded}
"""
_TOKEN = "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJpc3MiOiJodHRwczovL2xvZ2luLmZsb29kZWQuZXhhbXBsZSJ9.AAAA"


@dataclass(frozen=True)
class Found:
    """What was measured: seconds of the other client's calls, and of the portal."""

    calls: Sequence[float]
    failed: int
    cpu: float
    """Share of a processor."""
    memory: float
    """MB that it grew by."""
    stored: float
    """MB that the database grew by."""
    statuses: Counter[str]
    """What the flood got; of slow connections, how often one was closed."""

    def line(self, name: str) -> str:
        ordered = sorted(self.calls) or [float("nan")]
        p50, p99 = (ordered[int(len(ordered) * share)] * 1000 for share in (0.5, 0.99))
        got = ", ".join(f"{number} {status}" for status, number in sorted(self.statuses.items()))
        return (
            f"{name:34} p50 {p50:6.1f} ms, p99 {p99:7.1f} ms, failed {self.failed:3} of "
            f"{len(self.calls) + self.failed}; CPU {self.cpu:4.0%}, memory {self.memory:+6.1f} MB, database "
            f"{self.stored:+6.1f} MB; the flood got: {got}"
        )


# --- floods


async def _paced(port: int, request: bytes, *, rate: int, seconds: float) -> Counter[str]:
    """Send a request at a rate over 64 connections that stay open; return how often each status came."""
    statuses: Counter[str] = Counter()
    end, begun = time.monotonic() + seconds, time.monotonic()
    sent = 0

    async def one() -> None:
        nonlocal sent
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < end:
            late = (time.monotonic() - begun) - sent / rate
            if late < 0:
                await asyncio.sleep(min(-late, 0.05))
                continue
            sent += 1
            try:
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line[15:])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:")
                )
                await reader.readexactly(length)
                statuses[head[9:12].decode()] += 1
                if b"\r\nconnection: close" not in head.lower():
                    continue
            except (ConnectionError, asyncio.IncompleteReadError):
                statuses["disconnected"] += 1
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()

    await asyncio.gather(*(one() for _ in range(64)))
    return statuses


def _sign_ins(port: int, seconds: float) -> Coroutine[Any, Any, Counter[str]]:
    head = f"GET /t/flooded/login HTTP/1.1\r\nHost: localhost:{port}\r\nX-Forwarded-For: {_FLOODER}\r\n\r\n"
    return _paced(port, head.encode(), rate=_SIGN_INS, seconds=seconds)


def _logouts(port: int, seconds: float) -> Coroutine[Any, Any, Counter[str]]:
    body = f"logout_token={_TOKEN}"
    head = (
        f"POST /t/flooded/backchannel-logout HTTP/1.1\r\nHost: localhost:{port}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
        f"X-Forwarded-For: {_FLOODER}\r\n\r\n{body}"
    )
    return _paced(port, head.encode(), rate=_LOGOUTS, seconds=seconds)


async def _slow(port: int, seconds: float) -> Counter[str]:
    """Keep connections open that send a byte of a head every half second; connect again when closed."""
    closed: Counter[str] = Counter()
    end = time.monotonic() + seconds

    async def one() -> None:
        while time.monotonic() < end:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionError:
                closed["refused"] += 1
                await asyncio.sleep(0.5)
                continue
            writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
            ended = asyncio.ensure_future(reader.read())
            while time.monotonic() < end and not ended.done():
                await asyncio.wait([ended], timeout=0.5)
                with contextlib.suppress(ConnectionError):
                    writer.write(b"x")
            if ended.done():
                closed["closed"] += 1
                _ = ended.exception()
                await asyncio.sleep(0.1)
            ended.cancel()
            writer.transport.abort()

    await asyncio.gather(*(one() for _ in range(_SLOW)))
    return closed


FLOODS: dict[str, Callable[[int, float], Coroutine[Any, Any, Counter[str]]]] = {
    "slow": _slow,
    "sign-ins": _sign_ins,
    "logouts": _logouts,
}


def _run_flood(name: str, port: int, seconds: float, results: Any) -> None:
    os.nice(5)
    results.put(asyncio.run(FLOODS[name](port, seconds)))


# --- the other client


async def _probe(port: int, made: SignedIn, seconds: float) -> tuple[list[float], int]:
    """Make a call on a new connection every 50 ms; return seconds of each, and how many failed."""
    lines = [f"{name}: {value}" for name, value in made.headers.items()]
    head = "\r\n".join(
        [
            "GET /t/bench/api/orders HTTP/1.1",
            f"Host: localhost:{port}",
            f"X-Forwarded-For: {_OTHER}",
            "Connection: close",
            *lines,
        ]
    )
    request, taken, failed = f"{head}\r\n\r\n".encode(), [], 0

    async def one() -> None:
        nonlocal failed
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(_LONGEST_PROBE):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
                writer.write(request)
                received = await reader.read()
                writer.close()
        except (OSError, TimeoutError):
            received = b""
        if received[9:12] == b"200":
            taken.append(time.perf_counter() - begun)
        else:
            failed += 1

    end, tasks = time.monotonic() + seconds, []
    while time.monotonic() < end:
        tasks.append(asyncio.ensure_future(one()))
        await asyncio.sleep(_PROBE_SECONDS)
    await asyncio.gather(*tasks)
    return taken, failed


# --- measuring


def _memory(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def _stored(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.glob("portal.db*")) / 1e6


@contextlib.contextmanager
def _flooded(name: str | None, port: int, seconds: float) -> Iterator[Callable[[], Counter[str]]]:
    """Flood during the block; afterwards the yielded function returns what the flood got."""
    if name is None:
        yield Counter
        return
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    flood = context.Process(target=_run_flood, args=(name, port, seconds + 2, results))
    flood.start()
    try:
        time.sleep(1.5)  # the interpreter starts, and connections fill up
        yield lambda: Counter(results.get(timeout=60))
    finally:
        flood.join(10)
        if flood.is_alive():
            flood.terminate()


def measure(flood: str | None, settings: str, *, behind_proxy: bool, seconds: float) -> Found:
    """Start a portal with these settings and measure it during a flood; None: without one."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        api, port = stack.enter_context(bare_server()), free_port()
        made = make_portal(folder, port=port, database=f"sqlite:///{folder}/portal.db", api=api)
        (folder / "tenants" / "flooded.yaml").write_text(_TENANT)
        proxies = "trusted_proxies: [127.0.0.1, 127.0.0.2]\n" if behind_proxy else ""
        made.config.write_text(made.config.read_text() + settings + proxies)
        command = [sys.executable, "-m", "portal", "serve", "--config", str(made.config)]
        portal = stack.enter_context(running(command, f"http://127.0.0.1:{port}/healthz"))
        memory, stored, cpu = _memory(portal.pid), _stored(folder), cpu_seconds(portal.pid)
        begun = time.monotonic()
        with _flooded(flood, port, seconds) as result:
            calls, failed = asyncio.run(_probe(port, made, seconds))
            statuses = result()
            return Found(
                calls,
                failed,
                (cpu_seconds(portal.pid) - cpu) / (time.monotonic() - begun),
                _memory(portal.pid) - memory,
                _stored(folder) - stored,
                statuses,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="Floods of one client, and what others notice.")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--only", choices=sorted(FLOODS))
    given = parser.parse_args()
    found = measure(None, _WITH, behind_proxy=True, seconds=given.seconds)
    print(found.line("no flood"), flush=True)
    for name in [given.only] if given.only else FLOODS:
        for label, settings in (("without limits", _WITHOUT), ("with limits", _WITH)):
            found = measure(name, settings, behind_proxy=name != "slow", seconds=given.seconds)
            print(found.line(f"{name}, {label}"), flush=True)


if __name__ == "__main__":
    main()
