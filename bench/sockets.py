"""WebSockets through the portal, compared with direct connections in the same run.

    python -m bench.sockets [--sockets 1000] [--minutes 10] [--rate 200]

All sockets are open at the same time. Echoes go in turns over sockets of the portal and direct ones, `rate`
a second together. Then 200 MB pass through one socket whose client pauses, and a logout ends all sockets.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from bench.load import cpu_seconds, resident_bytes
from bench.servers import free_port, running
from bench.signed_in import SignedIn, make_portal
from bench.socket_client import ClientSocket, Echoes, open_sockets

_MEGABYTE = 1024 * 1024
_BULK = 200
_PAUSE = 3.0
_LIMITS = "limits: {sockets_per_tenant: 100000, sockets_per_user: 100000}\n"


class Measurement:
    """The measurements of one run. Parameters: pid, of the portal."""

    def __init__(self, portal: SignedIn, api: str, pid: int) -> None:
        self._url = f"{portal.public_url}/t/bench/api"
        self._headers = {"Cookie": portal.headers["Cookie"], "Origin": portal.public_url}
        self._logout = f"{portal.public_url}/t/bench/logout"
        self._api = api
        self._pid = pid

    async def run(self, count: int, seconds: float, rate: float) -> None:
        """Print all figures."""
        before = resident_bytes(self._pid)
        through, direct = Echoes(), Echoes()
        begun, used = time.perf_counter(), cpu_seconds(self._pid)
        sockets = await open_sockets(f"{self._url}/echo", count, self._headers, through)
        took, cpu = time.perf_counter() - begun, cpu_seconds(self._pid) - used
        opened = resident_bytes(self._pid)
        print(f"{count} sockets opened in {took:.1f} s, {cpu / count * 1e3:.2f} ms of CPU time each")
        print(f"memory of the portal: {_mb(before)} before, {_mb(opened)} with them", end=": ")
        print(f"{(opened - before) / count / 1024:.1f} KB each")
        others = await open_sockets(f"{self._api}/echo", min(count, 100), {}, direct)
        await self._echo(sockets, others, seconds, rate)
        self._report(through, direct, seconds, resident_bytes(self._pid))
        await self._bulk()
        await self._end(sockets)

    async def _echo(
        self, sockets: Sequence[ClientSocket], others: Sequence[ClientSocket], seconds: float, rate: float
    ) -> None:
        idle = cpu_seconds(self._pid)
        await asyncio.sleep(min(10.0, seconds / 4))
        idle = (cpu_seconds(self._pid) - idle) / min(10.0, seconds / 4)
        used, begun, number = cpu_seconds(self._pid), time.perf_counter(), 0
        while (now := time.perf_counter() - begun) < seconds:
            while number < now * rate:
                some = sockets if number % 2 else others
                some[number // 2 % len(some)].send()
                number += 1
            await asyncio.sleep(1 / rate)
        await asyncio.sleep(0.5)
        used = cpu_seconds(self._pid) - used - idle * seconds
        print(f"CPU time: {idle * 100:.1f} % while all are silent, ", end="")
        print(f"{used / max(number / 2, 1) / 2 * 1e6:.0f} µs for each message (an echo is two)")

    def _report(self, through: Echoes, direct: Echoes, seconds: float, memory: int) -> None:
        print(f"after {seconds / 60:.1f} minutes: {_mb(memory)}, {len(through.seconds)} echoes")
        for name, echoes in (("through the portal", through), ("direct", direct)):
            print(f"  {name:18} p50 {echoes.percentile(50):.2f} ms, p99 {echoes.percentile(99):.2f} ms")
        added = through.percentile(50) - direct.percentile(50), through.percentile(99) - direct.percentile(99)
        print(f"  {'added':18} p50 {added[0]:.2f} ms, p99 {added[1]:.2f} ms")

    async def _bulk(self) -> None:
        """200 MB through one socket, with a pause of its client."""
        before = most = resident_bytes(self._pid)
        url = f"{self._url}/source?mb={_BULK}"
        begun, used = time.perf_counter(), cpu_seconds(self._pid)
        (socket,) = await open_sockets(url, 1, self._headers, None)
        paused = False
        while socket.received < _BULK * _MEGABYTE and not socket.ended.done():
            await asyncio.sleep(0.02)
            most = max(most, resident_bytes(self._pid))
            if not paused and socket.received > _BULK * _MEGABYTE // 2:
                paused = True
                socket.transport.pause_reading()
                await asyncio.sleep(_PAUSE)
                most = max(most, resident_bytes(self._pid))
                socket.transport.resume_reading()
        took, cpu = time.perf_counter() - begun - _PAUSE, cpu_seconds(self._pid) - used
        print(f"{_BULK} MB through one socket, whose client paused {_PAUSE:g} s: {took:.1f} s, ", end="")
        print(f"{cpu:.2f} s of CPU time, memory grew by {_mb(most - before)}")
        socket.transport.abort()

    async def _end(self, sockets: Sequence[ClientSocket]) -> None:
        curl = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", self._logout]
        headers = {"Cookie": self._headers["Cookie"], "Sec-Fetch-Site": "same-origin"}
        for name, value in headers.items():
            curl += ["-H", f"{name}: {value}"]
        process = await asyncio.create_subprocess_exec(*curl, stdout=subprocess.PIPE)
        status, _ = await process.communicate()
        begun = time.perf_counter()
        await asyncio.gather(*(socket.ended for socket in sockets))
        codes = {socket.code for socket in sockets}
        print(f"a logout ({status.decode()}) ended all {len(sockets)} sockets ", end="")
        print(f"{time.perf_counter() - begun:.1f} s later, with the codes {codes}")


def _mb(size: int) -> str:
    return f"{size / _MEGABYTE:.1f} MB"


def main() -> int:
    parser = argparse.ArgumentParser(description="WebSockets through the portal, and direct ones.")
    parser.add_argument("--sockets", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=200.0)
    given = parser.parse_args()
    if shutil.which("curl") is None:
        raise SystemExit("curl is missing: apt-get install curl")
    with tempfile.TemporaryDirectory() as name:
        folder, port, api_port = Path(name), free_port(), free_port()
        api = f"http://127.0.0.1:{api_port}"
        made = make_portal(folder, port=port, database=f"sqlite:///{folder}/portal.db", api=api)
        with made.config.open("a") as config:
            config.write(_LIMITS)
        serve = [sys.executable, "-m", "portal", "serve", "--config", str(made.config)]
        with (
            running([sys.executable, "-m", "bench.socket_server", str(api_port)], f"{api}/"),
            running(serve, f"http://127.0.0.1:{port}/healthz") as portal,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            measurement = Measurement(made, api, portal.pid)
            runner.run(measurement.run(given.sockets, given.minutes * 60, given.rate))
    return 0


if __name__ == "__main__":
    sys.exit(main())
