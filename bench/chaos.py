"""Simulates users while workers, database and provider fail; reports who was signed out, and why.

    python -m bench.chaos [--minutes 15] [--users 50] [--processes 4] [--database sqlite|mongodb] [--seed N]

Each user signs in with a separate account and calls the API about once a second. Meanwhile workers are killed
(SIGKILL) and stopped (SIGSTOP), the database is locked or disconnected, and the provider hangs, drops
requests and loses responses. The provider rotates refresh tokens and revokes a grant whose refresh token is
reused.

A sign-out is explained if the provider lost the response of the last refresh, or if the process that sent the
refresh was killed before it could store the result. Every other sign-out or reuse of a refresh token, every
response for another user, and every user who cannot call the API after the recovery is a failure: the exit
code is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pymongo.uri_parser import parse_uri
from tornado.httpclient import HTTPError

from portal.demo.provider_model import UserAccount
from tests.kit.browser import Browser, Response
from tests.kit.faulty.endpoints import EndpointFault, FaultyHandler
from tests.kit.faulty.endpoints import Response as FixedResponse
from tests.kit.faulty.parts import ProviderOptions
from tests.kit.faulty.provider_handlers import FaultyTokenHandler
from tests.kit.processes import PortalProcess, world_outside
from tests.kit.world import World
from tests.mongodb import MongoTestServer

_TOKEN_SECONDS = 20.0
_RECOVERY_SECONDS = 40.0
_MAX_DELAY_SECONDS = 20.0
"""The longest time for which the provider delays a request."""
_STORING_SECONDS = 2.0
"""The time within which a received token set must be in the database, not counting outages."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """One refresh at the provider, and the process that sent it."""

    at: float
    pid: int | None
    """None if no running process has the connection."""
    response_lost: bool


@dataclass
class Journal:
    """A record of the run; times are seconds of the monotonic clock."""

    rotations: dict[str, list[Rotation]] = field(default_factory=dict)
    """By subject, since the last sign-in."""
    reuses: Counter[str] = field(default_factory=Counter)
    """Reused refresh tokens, by cause."""
    kills: dict[int, float] = field(default_factory=dict)
    """When each process was killed."""
    outages: list[tuple[float, float]] = field(default_factory=list)
    """Periods in which the database was not writable."""
    stops: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    """Periods in which each process was stopped (SIGSTOP)."""
    faults: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    sign_outs: Counter[str] = field(default_factory=Counter)
    refreshes: int = 0
    wrong_responses: int = 0
    unexplained: list[str] = field(default_factory=list)

    def record_reuse(self, subject: str) -> None:
        """Record that a refresh token of this user was reused."""
        self.reuses[self._cause(subject) or "UNEXPLAINED"] += 1

    def explain(self, subject: str) -> str:
        """Return why this user was signed out."""
        cause = self._cause(subject)
        if cause is None:
            rotations = self.rotations.get(subject, [])
            self.unexplained.append(f"{subject} at {time.monotonic():.2f}: {self._details(rotations)}")
        return cause or "UNEXPLAINED"

    def _cause(self, subject: str) -> str | None:
        """Return why the portal lacks the result of this user's last refresh, or None if it should."""
        rotations = self.rotations.get(subject, [])
        if rotations and rotations[-1].response_lost:
            return "the provider lost its response"
        for rotation in rotations[-1:]:
            if rotation.pid is None and self._killed_before(rotation.at):
                return "killed before the provider responded"
            killed = self.kills.get(rotation.pid or 0)
            if killed is not None and rotation.at <= killed <= self._storage_deadline(rotation):
                return "killed between response and write"
        return None

    def _killed_before(self, at: float) -> bool:
        """Whether a process that was killed shortly before this time may have sent the request."""
        return any(at - _MAX_DELAY_SECONDS <= killed <= at for killed in self.kills.values())

    def _details(self, rotations: list[Rotation]) -> str:
        """Return details of the last rotation, for debugging."""
        if not rotations:
            return "no refresh"
        last = rotations[-1]
        around = [f"{begun:.2f} to {end:.2f}" for begun, end in self.outages if end > last.at - 10][:3]
        return (
            f"{last}, killed at {self.kills.get(last.pid or 0)}, due {self._storage_deadline(last):.2f}, "
            f"stopped {self.stops.get(last.pid or 0)}, outages {around}"
        )

    def _storage_deadline(self, rotation: Rotation) -> float:
        """Return the time by which the token set of a rotation should be in the database."""
        end = rotation.at + _STORING_SECONDS
        for begun, ended in sorted([*self.outages, *self.stops.get(rotation.pid or 0, [])]):
            if begun <= end and ended >= rotation.at:
                end = max(end, ended + _STORING_SECONDS)
        return end


def _watch_refreshes(journal: Journal, workers: Callable[[], list[int]]) -> Callable[[], None]:
    """Record every refresh at the development providers; return a function that stops recording."""
    original = FaultyTokenHandler.refresh

    def refresh(handler: FaultyTokenHandler, client: Any) -> dict[str, object]:
        token = handler.provider.state.refresh_token(handler.get_body_argument("refresh_token", ""))
        subject = token.grant.user.subject if token else ""
        if token is not None and token.spent:
            journal.record_reuse(subject)
        stream = handler.request.connection.stream  # type: ignore[union-attr]
        pid = _owner_of(stream.socket.getpeername()[1], workers())
        document = original(handler, client)
        journal.refreshes += 1
        lost = isinstance(handler, FaultyHandler) and handler.drops_response
        journal.rotations.setdefault(subject, []).append(Rotation(time.monotonic(), pid, lost))
        return document

    FaultyTokenHandler.refresh = refresh  # type: ignore[method-assign, assignment]

    def stop() -> None:
        FaultyTokenHandler.refresh = original  # type: ignore[method-assign]

    return stop


def _owner_of(port: int, pids: list[int]) -> int | None:
    """Return the process with a TCP connection from this local port."""
    suffix = f":{port:04X}"
    inodes = {
        line.split()[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[1].endswith(suffix)
    }
    for pid in pids:
        with contextlib.suppress(OSError):
            for entry in os.scandir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    target = os.readlink(entry.path)
                    if target.startswith("socket:[") and target[8:-1] in inodes:
                        return pid
    return None


# --- users


class User:
    """A user who signs in, calls the API, and signs in again after a sign-out."""

    def __init__(self, world: World, account: UserAccount, journal: Journal) -> None:
        self._world = world
        self._account = account
        self._journal = journal
        self.working = False
        self.last = "nothing yet"

    async def work(self, stopped: asyncio.Event) -> None:
        browser = self._world.browser()
        await self._sign_in(browser, stopped)
        while not stopped.is_set():
            await asyncio.sleep(random.uniform(0.5, 1.5))
            try:
                response = await browser.fetch(self._world.at("/t/acme/api/echo"))
            except (HTTPError, OSError):
                self._journal.calls["no response"] += 1
                self.working, self.last = False, "no response"
                continue
            of_portal = "X-Portal-Problem" in response.headers
            self._journal.calls[f"{response.status} {_code(response)}".strip()] += 1
            self.last = f"{response.status} {_code(response)}"
            self.working = response.status == 200
            if response.status == 200:
                subject = json.loads(response.body)["authorization"]["subject"]
                self._journal.wrong_responses += subject != self._account.subject
            elif response.status == 401 and of_portal:
                self._journal.sign_outs[self._journal.explain(self._account.subject)] += 1
                await self._sign_in(browser, stopped)

    async def _sign_in(self, browser: Browser, stopped: asyncio.Event) -> None:
        while not stopped.is_set():
            browser.cookies.clear()
            self._journal.rotations.pop(self._account.subject, None)
            with contextlib.suppress(HTTPError, OSError, AssertionError, StopIteration):
                page = await browser.open(self._world.at("/t/acme/login"))
                if any(name == "password" for form in page.forms for name, _ in form.fields):
                    form = next(form for form in page.forms if dict(form.fields).get("password") is not None)
                    values = {"username": self._account.username, "password": self._account.password}
                    page = await browser.submit(form, values)
                if page.status == 200 and page.url == self._world.at("/t/acme/"):
                    self._journal.calls["sign-ins"] += 1
                    return
            await asyncio.sleep(0.5)


def _code(response: Response) -> str:
    """Return the code of a problem response of the portal; `of the API` for another error."""
    if response.status == 200:
        return ""
    if "X-Portal-Problem" not in response.headers:
        return "of the API"
    return str(json.loads(response.body)["code"])


# --- faults


class FaultInjector:
    """Causes random faults, which may overlap."""

    def __init__(self, world: World, served: PortalProcess, journal: Journal, database: Database) -> None:
        self._world = world
        self._served = served
        self._journal = journal
        self._database = database
        self._active: set[asyncio.Task[None]] = set()

    async def run(self, until: float) -> None:
        kinds: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("kill -9", self._kill),
            ("kill -9", self._kill),
            ("SIGSTOP", self._stop),
            ("SIGSTOP", self._stop),
            *((name, self._outage(name, cause)) for name, cause in self._database.faults().items()),
            ("provider hangs", self._hang),
            ("provider is down", lambda: self._provider(EndpointFault(response=FixedResponse(503)), 2, 8)),
            ("provider loses responses", lambda: self._provider(EndpointFault(drop_response=True), 0.1, 0.5)),
        ]
        while time.monotonic() < until:
            name, cause_fault = random.choice(kinds)
            self._journal.faults[name] += 1
            task = asyncio.ensure_future(cause_fault())
            self._active.add(task)
            task.add_done_callback(self._active.discard)
            await asyncio.sleep(random.uniform(2, 5))
        await asyncio.gather(*self._active)

    async def _kill(self) -> None:
        pid = random.choice(_workers(self._served) or [0])
        if not pid:
            return
        self._journal.kills[pid] = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    async def _stop(self) -> None:
        pid = random.choice(_workers(self._served) or [0])
        if not pid:
            return
        begun, seconds = time.monotonic(), random.uniform(1, 12)
        self._journal.stops.setdefault(pid, []).append((begun, begun + seconds))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(seconds)
            os.kill(pid, signal.SIGCONT)

    def _outage(self, name: str, cause: Callable[[float], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def cause_fault() -> None:
            begun, seconds = time.monotonic(), random.uniform(1, 10)
            self._journal.outages.append((begun, begun + seconds))
            await cause(seconds)

        return cause_fault

    async def _hang(self) -> None:
        """Delay token requests at the provider for some seconds."""
        over = asyncio.Event()
        try:
            await self._provider(EndpointFault(hold=over), 2, 15)
        finally:
            over.set()

    async def _provider(self, fault: EndpointFault, shortest: float, longest: float) -> None:
        endpoints = self._world.acme.faults.endpoints
        endpoints["token"] = fault
        await asyncio.sleep(random.uniform(shortest, longest))
        endpoints.clear()


def _workers(served: PortalProcess) -> list[int]:
    """Return the worker processes, without the supervisor."""
    return [pid for pid in served.workers if pid != served.pid]


class Database(Protocol):
    """A database with faults; `url` is its URL for the portal."""

    url: str

    def faults(self) -> dict[str, Callable[[float], Awaitable[None]]]:
        """Return the faults by name; their argument is the duration in seconds."""


class SQLiteFile:
    """A SQLite file that this process locks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.url = f"sqlite:///{path}"

    def faults(self) -> dict[str, Callable[[float], Awaitable[None]]]:
        return {"database locked": self._lock}

    async def _lock(self, seconds: float) -> None:
        def hold() -> None:
            with contextlib.closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                time.sleep(seconds)
                other.execute("ROLLBACK")

        with contextlib.suppress(sqlite3.OperationalError):
            await asyncio.to_thread(hold)


class MongoBehindProxy:
    """A MongoDB server behind a TCP proxy that can refuse and reset connections."""

    def __init__(self, server: MongoTestServer) -> None:
        self._server = server
        self._writers: set[asyncio.StreamWriter] = set()
        self._cut = False
        self._listener: asyncio.Server | None = None
        self.url = ""

    async def start(self) -> None:
        self._listener = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        port = self._listener.sockets[0].getsockname()[1]
        self.url = f"mongodb://127.0.0.1:{port}/portal_chaos"

    async def stop(self) -> None:
        self._reset_all()
        if self._listener is not None:
            self._listener.close()

    def faults(self) -> dict[str, Callable[[float], Awaitable[None]]]:
        return {
            "database cut off": self._cut_off,
            "connections reset": self._reset,
            "database frozen": self._freeze,
        }

    async def _cut_off(self, seconds: float) -> None:
        self._cut = True
        self._reset_all()
        await asyncio.sleep(seconds)
        self._cut = False

    async def _reset(self, seconds: float) -> None:
        del seconds
        self._reset_all()

    async def _freeze(self, seconds: float) -> None:
        self._server.freeze()
        await asyncio.sleep(seconds / 2)
        self._server.thaw()

    def _reset_all(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            writer.transport.abort()
            return
        (host, port), *_ = parse_uri(self._server.uri)["nodelist"]
        there, back = await asyncio.open_connection(host, port)
        self._writers |= {writer, back}
        try:
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
        finally:
            self._writers -= {writer, back}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


# --- the run


@contextlib.asynccontextmanager
async def _database(kind: str, folder: Path) -> AsyncIterator[Database]:
    if kind == "sqlite":
        yield SQLiteFile(folder / "portal.db")
        return
    server = MongoTestServer(folder / "mongodb")
    await asyncio.to_thread(server.start)
    proxied = MongoBehindProxy(server)
    await proxied.start()
    try:
        yield proxied
    finally:
        await proxied.stop()
        await asyncio.to_thread(server.terminate)


def _accounts(count: int) -> Iterator[UserAccount]:
    for number in range(count):
        name = f"user{number:03}"
        yield UserAccount(
            name,
            f"acme-{name}",
            f"subject-{number:03}",
            name,
            f"{name}@acme.example",
            (),
            frozenset({"read:orders"}),
        )


async def run(*, minutes: float, users: int, processes: int, kind: str) -> bool:
    """Run the simulation, print the results, and return whether there was no failure."""
    journal = Journal()
    accounts = tuple(_accounts(users))
    options = ProviderOptions(access_token_seconds=_TOKEN_SECONDS, consent=False, users=accounts)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            _database(kind, folder) as database,
            world_outside(folder, processes=processes, database=database.url, options=options) as (
                world,
                served,
            ),
        ):
            stop_watching = _watch_refreshes(journal, lambda: _workers(served))
            stopped = asyncio.Event()
            simulated_users = [User(world, account, journal) for account in accounts]
            tasks = [asyncio.ensure_future(user.work(stopped)) for user in simulated_users]
            end = time.monotonic() + minutes * 60
            reporter = asyncio.ensure_future(_report_progress(journal, end))
            try:
                await asyncio.sleep(min(10.0, minutes * 10))
                await FaultInjector(world, served, journal, database).run(end)
                await asyncio.sleep(_RECOVERY_SECONDS)
                idle = [user.last for user in simulated_users if not user.working]
                reasons = _last_reasons(served.log)
            finally:
                reporter.cancel()
                stopped.set()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
                stop_watching()
    for error in (one for one in ended if isinstance(one, BaseException)):
        raise error  # an error in this module: the user's task failed
    return _print_result(journal, idle, reasons)


async def _report_progress(journal: Journal, end: float) -> None:
    while True:
        await asyncio.sleep(30)
        left = max(0, end - time.monotonic())
        print(
            f"… {left:4.0f} s left: {journal.calls.total()} calls, {journal.refreshes} refreshes, "
            f"{journal.faults.total()} faults, sign-outs {dict(journal.sign_outs)}",
            flush=True,
        )


def _last_reasons(log: str) -> Counter[str]:
    """Return the reasons for the last refused calls, from the log."""
    lines = [line for line in log.splitlines()[-2000:] if '"request_failed"' in line]
    return Counter(f"{fields['code']}: {fields['detail']}" for fields in map(json.loads, lines))


def _print_result(journal: Journal, idle: list[str], reasons: Counter[str]) -> bool:
    for title, counts in (
        ("faults", journal.faults),
        ("calls", journal.calls),
        ("sign-outs", journal.sign_outs),
        ("reused refresh tokens", journal.reuses),
    ):
        print(
            f"{title}: " + (", ".join(f"{count} × {name}" for name, count in counts.most_common()) or "none")
        )
    print(f"refreshes at the provider: {journal.refreshes}")
    print(
        f"responses for another user: {journal.wrong_responses}; users without access at the end: {len(idle)}"
    )
    for last, count in Counter(idle).items():
        print(f"  {count} × {last}")
    for reason, count in reasons.most_common() if idle else ():
        print(f"  in the log, {count} × {reason}")
    for line in journal.unexplained:
        print(f"  unexplained: {line}")
    return not (journal.unexplained or journal.reuses["UNEXPLAINED"] or journal.wrong_responses or idle)


def main() -> int:
    parser = argparse.ArgumentParser(description="Simulates users while workers, database and provider fail.")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--database", choices=["sqlite", "mongodb"], default="sqlite")
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    random.seed(seed)
    print(
        f"seed {seed}, {given.users} users, {given.processes} processes, {given.database}, "
        f"{given.minutes:g} minutes"
    )
    passed = asyncio.run(
        run(minutes=given.minutes, users=given.users, processes=given.processes, kind=given.database)
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
