"""CPU time per proxied API call with each of the portal's HTTP servers (the setting `server`).

    python -m bench.incoming [--seconds 4] [--rounds 5] [--profile tornado|httptools]

Two portals on SQLite, one for each server, in one process each, are loaded in turns by `wrk` over 32
connections, with responses of 200 B, 10 KB and 1 MB. CPU time is that of the portal's process in /proc, so
other programs of the machine change it little. `--profile` prints where one server spends it (cProfile).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import pstats
import re
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from bench.servers import free_port, running
from bench.signed_in import SignedIn, make_portal

SERVERS = ("tornado", "httptools")
SIZES = (200, 10_000, 1_000_000)


class _Api(asyncio.Protocol):
    """Responds to each request with as many bytes as its path says."""

    _transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass

    def data_received(self, data: bytes) -> None:
        found = re.match(rb"GET \S*?/(\d+) ", data)
        body = b"x" * (int(found[1]) if found else 2)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        self._transport.write(head + body)


async def _serve_api(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Api, "127.0.0.1", port)
    await server.serve_forever()


def cpu_seconds(process: int) -> float:
    """Seconds of CPU time that all threads of a process have used (Linux, scheduler/sched-stats.rst)."""
    threads = Path(f"/proc/{process}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def microseconds_per_call(process: int, url: str, seconds: int, headers: dict[str, str]) -> float:
    command = ["wrk", "-t1", "-c32", f"-d{seconds}s"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    before = cpu_seconds(process)
    printed = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    used = cpu_seconds(process) - before
    found = re.search(r"(\d+) requests in", printed)
    if found is None or "Non-2xx" in printed or "Socket errors" in printed:
        raise SystemExit(printed)
    return used / int(found[1]) * 1e6


@contextlib.contextmanager
def portal_process(
    folder: Path, server: str, api: str, *, profile: Path | None = None
) -> Iterator[tuple[SignedIn, int]]:
    folder.mkdir()
    port = free_port()
    made = make_portal(folder, port=port, database=f"sqlite:///{folder}/portal.db", api=api)
    python = [sys.executable]
    if profile is not None:
        python += ["-m", "cProfile", "-o", str(profile)]
    command = [*python, "-m", "portal", "serve", "--config", str(made.config)]
    with running(command, f"http://127.0.0.1:{port}/healthz", PORTAL_SERVER=server) as process:
        yield made, process.pid
        if profile is not None:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def profile_one(server: str, api: str, seconds: int, folder: Path) -> None:
    path = folder / "profile"
    with portal_process(folder / server, server, api, profile=path) as (made, process):
        url = f"{made.public_url}/t/bench/api/{SIZES[0]}"
        microseconds_per_call(process, url, seconds, made.headers)
    pstats.Stats(str(path)).sort_stats("tottime").print_stats(60)


def measure(api: str, seconds: int, rounds: int, folder: Path) -> None:
    with contextlib.ExitStack() as stack:
        portals = {
            server: stack.enter_context(portal_process(folder / server, server, api)) for server in SERVERS
        }
        for size in SIZES:
            found: dict[str, list[float]] = {server: [] for server in SERVERS}
            for number in range(-1, rounds):
                for server, (made, process) in portals.items():
                    url = f"{made.public_url}/t/bench/api/{size}"
                    used = microseconds_per_call(process, url, seconds if number >= 0 else 1, made.headers)
                    if number >= 0:
                        found[server].append(used)
            for server, values in found.items():
                middle = statistics.median(values)
                print(f"{size:9,} bytes, {server:9}: {middle:6.0f} us of CPU a call, rounds:", end=" ")
                print(*(f"{value:.0f}" for value in values), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time per call with each of the portal's HTTP servers.")
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", choices=SERVERS)
    given = parser.parse_args()
    port = free_port()
    api = f"http://127.0.0.1:{port}"
    with (
        tempfile.TemporaryDirectory() as folder,
        running([sys.executable, "-m", "bench.incoming", "serve", str(port)], f"{api}/2"),
    ):
        if given.profile:
            profile_one(given.profile, api, given.seconds, Path(folder))
        else:
            measure(api, given.seconds, given.rounds, Path(folder))


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve_api(int(sys.argv[2])))
    else:
        main()
