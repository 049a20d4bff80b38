"""Latency of API calls while tenant files change, with 10,000 tenants.

    python -m bench.reload [--tenants 10000] [--seconds 8] [--rounds 4] [--rate 200] [--trees FOLDER ...]
    python -m bench.reload --idle 60

Calls of one tenant are sent at a fixed rate, in turns with and without a change of another tenant's file
every second. A latency counts from the time at which the call was due; on a busy machine, only CPU time can
be compared. `--idle` prints the CPU time that the portal uses without any call. `--trees` measures other
checkouts in turns with this one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.load import cpu_seconds
from bench.servers import ROOT, free_port, running
from bench.signed_in import make_portal

_REQUIRED_RATIO = 1.5
_REQUIRED_IDLE_MILLISECONDS = 5.0
_CONNECTIONS = 16
_TENANT = """\
name: Organisation {number}
issuer: https://login{number}.example
client:
  id: portal
  secret: secret-{number}
scopes: [openid, profile, email, offline_access]
api:
  base_url: https://api{number}.example/v1
hosts: [portal{number}.example]
email_domains: [org{number}.example]
"""


@dataclass(frozen=True, eq=False)
class _Portal:
    name: str
    port: int
    process: int
    tenants: Path
    headers: Mapping[str, str]


@contextlib.contextmanager
def portal_process(folder: Path, tree: Path, api: str, tenants: int) -> Iterator[_Portal]:
    folder.mkdir()
    port = free_port()
    made = make_portal(folder, port=port, database=f"sqlite:///{folder}/portal.db", api=api)
    for number in range(tenants):
        (folder / "tenants" / f"org{number}.yaml").write_text(_TENANT.format(number=number))
    command = [sys.executable, "-m", "portal", "serve", "--config", str(made.config)]
    url = f"http://127.0.0.1:{port}/healthz"
    with running(command, url, cwd=tree, PYTHONPATH=str(tree)) as process:
        yield _Portal(tree.name, port, process.pid, folder / "tenants", made.headers)


async def latencies(portal: _Portal, rate: int, seconds: float) -> list[float]:
    """Return the sorted milliseconds of each call at a fixed rate."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in portal.headers.items())
    request = f"GET /t/bench/api/200 HTTP/1.1\r\nHost: localhost:{portal.port}\r\n{lines}\r\n".encode()
    began = time.perf_counter() + 0.1
    due = iter([began + number / rate for number in range(int(rate * seconds))])
    found = []

    async def send() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", portal.port)
        for at in due:
            await asyncio.sleep(at - time.perf_counter())
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(head.decode())
            await reader.readexactly(200)
            found.append((time.perf_counter() - at) * 1000)
        writer.close()

    await asyncio.gather(*(send() for _ in range(_CONNECTIONS)))
    return sorted(found)


async def change_files(portal: _Portal) -> None:
    """Change one tenant's file every second."""
    for number in range(1_000_000):
        await asyncio.sleep(1)
        text = _TENANT.format(number=1) + f"# change {number}\n"
        (portal.tenants / "org1.yaml").write_text(text)


async def measure_calls(portal: _Portal, given: argparse.Namespace, *, changes: bool) -> list[float]:
    changing = asyncio.create_task(change_files(portal)) if changes else None
    try:
        return await latencies(portal, given.rate, given.seconds)
    finally:
        if changing is not None:
            changing.cancel()


def p99(sorted_values: list[float]) -> float:
    return sorted_values[int(len(sorted_values) * 0.99)]


def measure(portals: list[_Portal], given: argparse.Namespace) -> bool:
    found: dict[tuple[_Portal, bool], list[list[float]]] = {}
    used: dict[tuple[_Portal, bool], list[float]] = {}
    for _ in range(given.rounds):
        for portal in portals:
            for changes in (False, True):
                before = cpu_seconds(portal.process)
                some = asyncio.run(measure_calls(portal, given, changes=changes))
                found.setdefault((portal, changes), []).append(some)
                cpu = (cpu_seconds(portal.process) - before) / given.seconds * 1000
                used.setdefault((portal, changes), []).append(cpu)
    ratios = []
    for portal in portals:
        without, with_changes = (found[portal, changes] for changes in (False, True))
        for name, rounds in (("unchanged files", without), ("changes", with_changes)):
            p50 = statistics.median(map(statistics.median, rounds))
            cpu = statistics.median(used[portal, rounds is with_changes])
            print(
                f"{portal.name:10} {name:15}: {cpu:.0f} ms of CPU a second, p50 {p50:.1f} ms, "
                f"p99 {statistics.median(map(p99, rounds)):.1f} ms; rounds:",
                *(f"{p99(one):.1f}" for one in rounds),
            )
        ratios.append(statistics.median(map(p99, with_changes)) / statistics.median(map(p99, without)))
        print(
            f"{portal.name:10} p99 with changes: {ratios[-1]:.2f} × (required: ≤ {_REQUIRED_RATIO})",
            flush=True,
        )
    return ratios[0] <= _REQUIRED_RATIO


def measure_idle(portals: list[_Portal], seconds: float) -> bool:
    before = [cpu_seconds(portal.process) for portal in portals]
    time.sleep(seconds)
    found = [
        (cpu_seconds(portal.process) - used) / seconds * 1000
        for portal, used in zip(portals, before, strict=True)
    ]
    for portal, each in zip(portals, found, strict=True):
        required = f"(required: ≤ {_REQUIRED_IDLE_MILLISECONDS:.0f})"
        print(f"{portal.name:10} idle: {each:.1f} ms of CPU a second {required}")
    return found[0] <= _REQUIRED_IDLE_MILLISECONDS


def main() -> int:
    parser = argparse.ArgumentParser(description="Latency of calls while tenant files change.")
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--idle", type=float)
    parser.add_argument("--trees", type=Path, nargs="*", default=[])
    given = parser.parse_args()
    port = free_port()
    api = f"http://127.0.0.1:{port}"
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(running([sys.executable, "-m", "bench.api_server", str(port)], f"{api}/2"))
        portals = [
            stack.enter_context(portal_process(folder / str(number), tree, api, given.tenants))
            for number, tree in enumerate([ROOT, *given.trees])
        ]
        time.sleep(15)  # the work after a start
        met = measure_idle(portals, given.idle) if given.idle else measure(portals, given)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
