"""10,000 tenants, half of them in the database: start-up, memory, how soon a change is served, latency.

    python -m bench.tenants [--tenants 10000] [--stored 5000] [--only start,served,latency]
                            [--database sqlite|mongodb] [--rounds 4] [--seconds 8] [--rate 200]

Latency: calls of a tenant of a file at a fixed rate, in turns with and without a new revision of every tenant
of the database. The portal is stopped (SIGSTOP) while they are published, so that publishing takes no CPU
time from it, and then finds all of them changed at once. Other programs on the machine change the latencies
and the time of a start; only its CPU time can be compared then.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.load import cpu_seconds
from bench.reload import latencies, p99
from bench.servers import ROOT, free_port, running, wait_until_it_responds
from bench.signed_in import SignedIn, make_portal
from portal.admin.actors import Actor, ActorType
from portal.admin.events import Act, EventKind
from portal.admin.tenants import TenantAdmin
from portal.keys.key_ring import KeyRing
from portal.keys.vault import Vault
from portal.stores.by_url import store_for
from portal.stores.tenant_records import Revision
from portal.stores.tenant_store import Database
from portal.tenancy.presets import built_in
from portal.tenancy.stored import ContentReader
from tests.mongodb import fresh_database, running_server

_REQUIRED_START = 6.0
_REQUIRED_KILOBYTES = 12.0
_REQUIRED_SERVED = 2.0
_REQUIRED_RATIO = 1.5
_PROCESSES = 4
_AT_ONCE = 10
_ACT = Act(Actor(ActorType.SYSTEM), reason="benchmark")
_TENANT = """\
name: Organisation {number}
issuer: https://login{number}.example/realms/main
client:
  id: portal-{number}
  secret: secret-{number}
scopes: [openid, profile, email, offline_access]
audience: https://api{number}.example
api:
  base_url: https://api{number}.example/v1
email_domains: [org{number}.example]
"""


@dataclass(frozen=True)
class _Prepared:
    """A folder and a database with tenants, for several portals one after the other."""

    made: SignedIn
    folder: Path
    database: str

    @property
    def port(self) -> int:
        return int(self.made.public_url.rpartition(":")[2])

    @property
    def headers(self) -> dict[str, str]:
        return self.made.headers


@contextlib.asynccontextmanager
async def _opened(prepared: _Prepared):  # type: ignore[no-untyped-def]
    store = store_for(prepared.database)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def prepare(folder: Path, database: str, api: str, *, files: int, stored: int) -> _Prepared:
    """Write the files, and publish the tenants of the database."""
    port = free_port()
    made = make_portal(folder, port=port, database=database, api=api)
    for number in range(files):
        (folder / "tenants" / f"org{number}.yaml").write_text(_TENANT.format(number=number))
    prepared = _Prepared(made, folder, database)
    asyncio.run(_publish_first(prepared, range(files, files + stored)))
    return prepared


async def _publish_first(prepared: _Prepared, numbers: Sequence[int]) -> None:
    vault = Vault(KeyRing.load_or_create(prepared.folder / "keys.json"))
    async with _opened(prepared) as store:
        admin = TenantAdmin(store.tenants, ContentReader(vault, built_in()), clock=store.time)
        slots = asyncio.Semaphore(_AT_ONCE)

        async def publish(number: int) -> None:
            async with slots:
                await admin.publish(f"org{number}", _TENANT.format(number=number), _ACT)

        await asyncio.gather(*map(publish, numbers))


async def publish_again(store: Database, only: str | None = None, name: str = "") -> float:
    """Publish a new revision of every tenant of the database, or of one; return when it was done."""
    records = [one for one in await store.tenants.list_tenants() if only in (None, one.slug)]
    slots = asyncio.Semaphore(_AT_ONCE)

    async def publish(slug: str, live: int) -> None:
        async with slots:
            [before] = await store.tenants.read_revisions([(slug, live)])
            event = _ACT.event(EventKind.TENANT_PUBLISHED, tenant=slug, target=str(live + 1), at=store.time())
            assert await store.tenants.publish(
                _next(before, store.time(), name), replaces=live, draft=None, event=event
            )

    await asyncio.gather(*(publish(one.slug, one.live) for one in records))
    return time.monotonic()


def _next(before: Revision, now: float, name: str) -> Revision:
    lines = before.content.splitlines()
    if name:
        lines[0] = f"name: {name}"
    content = "\n".join([*(line for line in lines if not line.startswith("#")), f"# {now}", ""])
    return replace(before, number=before.number + 1, content=content, published_at=now)


# --- start-up and memory


@contextlib.contextmanager
def _portal(prepared: _Prepared, *, processes: int = 1) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """Run a portal; yield it, and the seconds until /readyz responded."""
    config = prepared.made.config
    text = config.read_text().split("processes:")[0] + f"processes: {processes}\n"
    config.write_text(text + "allow_private_networks: true\nlog: {format: json, level: error}\n")
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "portal", "serve", "--config", str(config)],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_it_responds(f"http://127.0.0.1:{prepared.port}/readyz", process, 120)
        yield process, time.perf_counter() - begun
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(60)


def _memory(pid: int) -> float:
    """KB of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return float(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def _ready(prepared: _Prepared) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{prepared.port}/readyz", timeout=5) as response:
        found: dict[str, int] = json.load(response)
    return found


def measure_start(prepared: _Prepared, empty: _Prepared, tenants: int) -> bool:
    """Time to /readyz, and memory beside that of a portal with one tenant."""
    took, used, sizes = [], [], []
    for _ in range(3):
        with _portal(prepared) as (process, seconds):
            used.append(cpu_seconds(process.pid))
            assert _ready(prepared)["tenants"] == tenants + 1, _ready(prepared)
            time.sleep(5)  # the work after a start
            took.append(seconds)
            sizes.append(_memory(process.pid))
    with _portal(empty) as (process, _):
        time.sleep(5)
        alone = _memory(process.pid)
    each = (statistics.median(sizes) - alone) / tenants
    print(
        f"start-up: {statistics.median(took):.2f} s (rounds: {', '.join(f'{one:.2f}' for one in took)}; "
        f"required: ≤ {_REQUIRED_START:g} s), {statistics.median(used):.2f} s of CPU time\n"
        f"memory: {each:.1f} KB for each tenant (required: ≤ {_REQUIRED_KILOBYTES:g} KB); "
        f"{statistics.median(sizes) / 1024:.0f} MB in all, {alone / 1024:.0f} MB with one tenant",
        flush=True,
    )
    return statistics.median(took) <= _REQUIRED_START and each <= _REQUIRED_KILOBYTES


# --- how soon a change is served


async def _name_shown(port: int, slug: str) -> str:
    """The title of a tenant's page, over a new connection, which any of the processes may accept."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(
            f"GET /t/{slug}/ HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n".encode()
        )
        page = (await reader.read()).decode()
    finally:
        writer.close()
    return page.partition("<title>Sign in to ")[2].partition(" –")[0]


async def _seconds_until_served(prepared: _Prepared, store: Database, slug: str, name: str) -> float:
    """The time from a publication to the last response that was made from the old revision."""
    old = time.monotonic()
    published = await publish_again(store, only=slug, name=name)
    while time.monotonic() < published + 4.0:
        asked = time.monotonic()
        shown = await asyncio.gather(*(_name_shown(prepared.port, slug) for _ in range(8)))
        if any(one != name for one in shown):
            old = asked
        await asyncio.sleep(0.02)
    return max(0.0, old - published)


async def _measure_served(prepared: _Prepared, slug: str, rounds: int) -> list[float]:
    async with _opened(prepared) as store:
        return [
            await _seconds_until_served(prepared, store, slug, f"Changed {number}")
            for number in range(rounds)
        ]


def measure_served(prepared: _Prepared, slug: str, rounds: int) -> bool:
    """How soon all processes serve a published revision."""
    with _portal(prepared, processes=_PROCESSES):
        time.sleep(20)  # all processes have started
        found = asyncio.run(_measure_served(prepared, slug, rounds))
    print(
        f"one change is served by all {_PROCESSES} processes after at most {max(found):.2f} s "
        f"(rounds: {', '.join(f'{one:.2f}' for one in found)}; required: ≤ {_REQUIRED_SERVED:g} s)",
        flush=True,
    )
    return max(found) <= _REQUIRED_SERVED


# --- latency while all tenants of the database change


async def _round(
    prepared: _Prepared, store: Database, process: int, given: argparse.Namespace, *, changes: bool
) -> list[float]:
    os.kill(process, signal.SIGSTOP)
    try:
        if changes:
            await publish_again(store)
    finally:
        os.kill(process, signal.SIGCONT)
    return await latencies(prepared, given.rate, given.seconds)  # type: ignore[arg-type]


async def _rounds(
    prepared: _Prepared, process: int, given: argparse.Namespace
) -> dict[bool, list[list[float]]]:
    found: dict[bool, list[list[float]]] = {False: [], True: []}
    async with _opened(prepared) as store:
        for _ in range(given.rounds):
            for changes in (False, True):
                found[changes].append(await _round(prepared, store, process, given, changes=changes))
    return found


def measure_latency(prepared: _Prepared, given: argparse.Namespace) -> bool:
    """p99 of another tenant's calls while every tenant of the database is read again."""
    with _portal(prepared) as (process, _):
        time.sleep(10)
        found = asyncio.run(_rounds(prepared, process.pid, given))
    quiet, busy = (statistics.median(map(p99, found[changes])) for changes in (False, True))
    for name, changes in (("nothing is published", False), ("all are published again", True)):
        rounds = ", ".join(f"{p99(one):.1f}" for one in found[changes])
        middle = statistics.median(statistics.median(one) for one in found[changes])
        print(f"{name}: p50 {middle:.1f} ms, p99 {(quiet, busy)[changes]:.1f} ms (rounds: {rounds})")
    print(
        f"p99 during a publication of all: {busy / quiet:.2f} × (required: ≤ {_REQUIRED_RATIO})", flush=True
    )
    return busy / quiet <= _REQUIRED_RATIO


def main() -> int:
    parser = argparse.ArgumentParser(description="10,000 tenants, half of them in the database.")
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--stored", type=int, default=5_000)
    parser.add_argument("--only", default="start,served,latency")
    parser.add_argument("--database", choices=["sqlite", "mongodb"], default="sqlite")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rate", type=int, default=200)
    given = parser.parse_args()
    files = given.tenants - given.stored
    port = free_port()
    api = f"http://127.0.0.1:{port}"
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(running([sys.executable, "-m", "bench.api_server", str(port)], f"{api}/2"))
        databases = [f"sqlite:///{folder}/{name}.db" for name in ("many", "one")]
        if given.database == "mongodb":
            server = stack.enter_context(running_server(folder))
            databases = [stack.enter_context(fresh_database(server)) for _ in databases]
        prepared = prepare(folder / "many", databases[0], api, files=files, stored=given.stored)
        empty = prepare(folder / "one", databases[1], api, files=0, stored=0)
        met = True
        if "start" in given.only:
            met &= measure_start(prepared, empty, given.tenants)
        if "served" in given.only:
            met &= measure_served(prepared, f"org{files}", given.rounds)
        if "latency" in given.only:
            met &= measure_latency(prepared, given)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
