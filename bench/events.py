"""How long the console and `portal events` take in a database with many events, and the event loop.

    python -m bench.events [--events 1000000] [--database sqlite|mongodb://…]

It fills a database with events of 100 tenants, of which one in ten is an act and the others are sign-ins,
and reads them as the pages do. For each read it prints the time, and the longest CPU time of one callback of
the event loop. With SQLite it also checks the store, and prints time and memory of the process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import astuple, replace
from pathlib import Path

from portal.admin.actors import Actor, ActorType
from portal.admin.event_search import EventFilter, newest_first, oldest_first
from portal.admin.events import Act, EventKind
from portal.admin.store_check import StoreCheck
from portal.clock import now
from portal.keys.key_ring import KeyRing
from portal.keys.vault import Vault
from portal.stores.by_url import inspection_for
from portal.stores.mongo.store import MongoStore
from portal.stores.sqlite.store import SQLiteStore
from portal.stores.stored_entries import stored_names
from portal.stores.tenant_records import Event
from portal.stores.tenant_store import Database

_TENANTS = 100
_AT_ONCE = 200
_ROUNDS = 20
_BEGIN = 1_700_000_000.0
_RARE = "rare-user"


def events(count: int) -> Iterator[Event]:
    """Events of sign-ins and of acts, one every 10 ms; one of the first is of a user of its own."""
    for number in range(count):
        kind = EventKind.LOGIN_ENDED if number % 10 == 0 else EventKind.SIGNED_IN
        subject = _RARE if number == 100 else f"user-{number % 5000}"
        act = Act(
            Actor(ActorType.USER, subject, "https://login.example"),
            request_id="0123456789abcdef",
            client="192.0.2.0/24",
            device="Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        )
        at = round(_BEGIN + number / 100, 3)
        yield act.event(kind, tenant=f"t-{number % _TENANTS}", target=subject, at=at)


async def fill(store: Database, path: Path | None, count: int) -> None:
    """Store the events: in a SQLite file directly, in MongoDB through the store."""
    if path is not None:
        names = ", ".join(stored_names(Event))
        slots = ", ".join("?" * len(stored_names(Event)))
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            rows = (astuple(event) for event in events(count))
            database.executemany(f"INSERT INTO events ({names}) VALUES ({slots})", rows)
        return
    some = []
    for event in events(count):
        some.append(event)
        if len(some) == _AT_ONCE:
            await store.tenants.add_events(some)
            some = []
    await store.tenants.add_events(some)


class Loop:
    """The longest CPU time of a callback of the event loop, in seconds."""

    longest = 0.0

    def __enter__(self) -> Loop:
        self._run = run = asyncio.events.Handle._run

        def measured(handle: asyncio.events.Handle) -> None:
            begun = time.thread_time()
            run(handle)
            self.longest = max(self.longest, time.thread_time() - begun)

        asyncio.events.Handle._run = measured  # type: ignore[method-assign, assignment]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.events.Handle._run = self._run  # type: ignore[method-assign]


async def measure(name: str, read: Callable[[], Awaitable[int]], rounds: int = _ROUNDS) -> None:
    """Print how long a read takes, and what it holds the event loop."""
    taken, found = [], 0
    with Loop() as loop:
        for _ in range(rounds):
            begun = time.perf_counter()
            found = await asyncio.create_task(read())  # type: ignore[arg-type]
            taken.append((time.perf_counter() - begun) * 1e3)
    print(
        f"{name}: median {statistics.median(taken):.1f} ms, longest {max(taken):.1f} ms, "
        f"{found} events, event loop {loop.longest * 1e3:.1f} ms"
    )


async def reads(store: Database, count: int) -> None:
    """Measure what the pages and the command read."""

    async def page(wanted: EventFilter, before: str | None = None) -> int:
        return len((await newest_first(store.tenants, wanted, before=before, most=50)).events)

    of_one, every = EventFilter(tenant="t-7"), EventFilter()
    middle = next(event for event in events(count) if event.at >= _BEGIN + count / 200).id
    await measure("page of all tenants", lambda: page(every))
    await measure("page of one tenant", lambda: page(of_one))
    await measure("page in the middle", lambda: page(every, middle))
    acts = frozenset({str(EventKind.LOGIN_ENDED)})
    await measure("acts of all tenants", lambda: page(replace(every, kinds=acts)))
    await measure("a person, nothing found", lambda: page(replace(every, subject="nobody")))
    await measure("a person at one tenant", lambda: page(replace(of_one, subject="nobody")))
    await measure("refusals, nothing found", lambda: page(replace(every, outcome="refused")))

    async def whole_search() -> int:
        before: str | None = None
        pages = 0
        while True:
            found = await newest_first(store.tenants, replace(every, subject=_RARE), before=before, most=50)
            pages += 1
            if found.events or found.more_before is None:
                return pages
            before = found.more_before

    await measure("a person among all, page by page (pages)", whole_search, rounds=1)

    async def command() -> int:
        read = 0
        async for some in oldest_first(store.tenants, every):
            read += len(some)
        return read

    await measure("portal events", command, rounds=1)

    async def waiting() -> int:
        return len((await store.tenants.waiting_events(after="", most=100)).events)

    await measure("a batch of the delivery", waiting)


async def check(path: Path) -> None:
    """Measure `portal store check`, as the command does it."""
    inspection = inspection_for(f"sqlite:///{path}")
    await inspection.open()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun, cpu = time.perf_counter(), time.process_time()
    try:
        checked = StoreCheck(Vault(KeyRing.load_or_create(path.with_name("keys.json"))), (), clock=now)
        report = await checked.run(inspection, most=20, progress=lambda done, total: None)
    finally:
        await inspection.close()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"store check: {time.perf_counter() - begun:.1f} s, {time.process_time() - cpu:.1f} s of CPU time, "
        f"{report.entries.total()} entries, {report.counts.total()} problems, "
        f"largest memory {before / 1024:.0f} MB before, {after / 1024:.0f} MB after"
    )


@contextlib.asynccontextmanager
async def opened(url: str, folder: Path) -> AsyncIterator[tuple[Database, Path | None]]:
    """The empty database, and its file."""
    path = folder / "portal.db" if url == "sqlite" else None
    store = SQLiteStore(path) if path is not None else MongoStore(url)
    await store.open()
    try:
        yield store, path
    finally:
        await store.close()


async def run(count: int, url: str) -> None:
    """Fill a database, and measure."""
    with tempfile.TemporaryDirectory(prefix="portal-events-") as folder:
        async with opened(url, Path(folder)) as (store, path):
            begun = time.perf_counter()
            await fill(store, path, count)
            print(f"{count} events stored in {time.perf_counter() - begun:.0f} s")
            await reads(store, count)
        if path is not None:
            print(f"file: {path.stat().st_size / 1e6:.0f} MB")
            await check(path)


def main() -> int:
    parser = argparse.ArgumentParser(description="Reading of many events.")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--database", default="sqlite", help="sqlite, or the URL of a new MongoDB database")
    given = parser.parse_args()
    asyncio.run(run(given.events, given.database))
    return 0


if __name__ == "__main__":
    sys.exit(main())
