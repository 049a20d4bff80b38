"""p99 latency of one tenant's API calls while another tenant's API sends endless one-byte chunks.

    python -m bench.flood [--seconds 8] [--rounds 3] [--connections 4]

One portal process; `wrk` sends the calls over one connection. The flood alternates between passing through
the portal and bypassing it: in the baseline, the machine has the same load, but the portal has none of it.
The processes that send and read the flood run only when a core is idle.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.load import cpu_seconds
from bench.servers import bare_server, free_port, running
from bench.signed_in import make_portal

_REQUIRED = 1.5
_WHEN_IDLE = ("chrt", "--idle", "0")
_CHUNK = b"1\r\nx\r\n"
_RATE = "40k"
"""Bytes of body per second and connection; about the portal's throughput for one-byte chunks."""
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


async def _respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while head := await reader.readuntil(b"\r\n\r\n"):
            if b" /ready " in head:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                continue
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                writer.write(_CHUNK)
                await writer.drain()
                await asyncio.sleep(0)
    writer.close()


async def _serve(port: int) -> None:
    server = await asyncio.start_server(_respond, "127.0.0.1", port)
    await server.serve_forever()


def p99(url: str, seconds: int, headers: Mapping[str, str]) -> float:
    """Return the 99th percentile of the latency in milliseconds."""
    command = ["wrk", "-t1", "-c1", f"-d{seconds}s", "--latency"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    printed = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    found = re.search(r"99%\s+([\d.]+)(us|ms|s)", printed)
    if "Non-2xx" in printed or found is None:
        raise SystemExit(printed)
    return float(found[1]) * _UNITS[found[2]]


@contextlib.contextmanager
def flooded(url: str, connections: int, headers: Mapping[str, str]) -> Iterator[None]:
    """Read endless responses on this many connections during the block."""
    command = [*_WHEN_IDLE, "curl", "--silent", "--no-buffer", "--output", "/dev/null"]
    command += ["--limit-rate", _RATE]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    readers = [subprocess.Popen([*command, url]) for _ in range(connections)]
    try:
        yield
    finally:
        ended = [reader for reader in readers if reader.poll() is not None]
        for reader in readers:
            reader.terminate()
            reader.wait(10)
        if ended:
            raise SystemExit(f"{len(ended)} of {connections} floods ended before the measurement")


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Calls of one tenant during a flood of small chunks for another."
    )
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(_serve(given.serve))
        return 0
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        api, flood, port = stack.enter_context(bare_server()), free_port(), free_port()
        flooding = f"http://127.0.0.1:{flood}"
        serve = [sys.executable, "-m", "bench.flood", "--serve", str(flood)]
        stack.enter_context(running([*_WHEN_IDLE, *serve], f"{flooding}/ready"))
        made = make_portal(
            folder, port=port, database=f"sqlite:///{folder}/portal.db", api=api, others={"flood": flooding}
        )
        command = [sys.executable, "-m", "portal", "serve", "--config", str(made.config)]
        portal = stack.enter_context(running(command, f"http://127.0.0.1:{port}/healthz"))
        target, endless = (f"http://localhost:{port}/t/{slug}/api/orders" for slug in ("bench", "flood"))
        p99(target, 1, made.headers)
        ratios = []
        for number in range(1, given.rounds + 1):
            with flooded(flooding, given.connections, {}):
                alone = p99(target, given.seconds, made.headers)
            with flooded(endless, given.connections, made.headers):
                before = cpu_seconds(portal.pid)
                sent_values = p99(target, given.seconds, made.headers)
                cpu = (cpu_seconds(portal.pid) - before) / given.seconds
            ratios.append(sent_values / alone)
            print(
                f"round {number}: p99 with the flood bypassing the portal {alone:.2f} ms, through it "
                f"{sent_values:.2f} ms, {ratios[-1]:.2f}; the portal takes {cpu:.0%} of a core"
            )
        ratio = statistics.median(ratios)
        print(f"median ratio {ratio:.2f} (limit {_REQUIRED}): {'met' if ratio <= _REQUIRED else 'NOT MET'}")
        return 0 if ratio <= _REQUIRED else 1


if __name__ == "__main__":
    sys.exit(main())
