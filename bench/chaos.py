"""Users who work while everything around the portal breaks: who was signed out, and why?

    python -m bench.chaos [--minutes 15] [--users 50] [--processes 4] [--database sqlite|mongodb] [--seed N]

Each user signs in with an account of their own and calls the API about once a second. Meanwhile workers are
killed (SIGKILL) and stopped (SIGSTOP), the database is locked or cut off, and the provider hangs, drops
requests and loses responses. The provider rotates refresh tokens and ends a grant whose token comes twice.

A sign-out has a cause when the provider lost the response of the last refresh, or when the process that had
asked for it was killed before it could store it. Every other sign-out, every other refresh token that comes
twice, every response for another user and every user who cannot work when all is well again is a failure: the
exit code is 1.
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
_HELD_SECONDS = 20.0
"""For how long the provider holds a request at most."""
_STORING_SECONDS = 2.0
"""A token set that was received is expected in the database within this time, outages not counted."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """One refresh at the provider, and the process that asked for it."""

    at: float
    pid: int | None
    """None when no process that lives has the connection."""
    response_lost: bool


@dataclass
class Journal:
    """What happened, by time (seconds of the monotonic clock)."""

    rotations: dict[str, list[Rotation]] = field(default_factory=dict)
    """By subject, since the last sign-in."""
    reuses: Counter[str] = field(default_factory=Counter)
    """Refresh tokens that came a second time, by the reason."""
    kills: dict[int, float] = field(default_factory=dict)
    """When each process was killed."""
    outages: list[tuple[float, float]] = field(default_factory=list)
    """When the database could not be written."""
    stops: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    """When each process was stopped (SIGSTOP), and could do nothing."""
    faults: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    sign_outs: Counter[str] = field(default_factory=Counter)
    refreshes: int = 0
    wrong_responses: int = 0
    unexplained: list[str] = field(default_factory=list)

    def note_reuse(self, subject: str) -> None:
        """A refresh token of this user came a second time."""
        self.reuses[self._cause(subject) or "WITHOUT CAUSE"] += 1

    def explain(self, subject: str) -> str:
        """Say why this user was signed out."""
        cause = self._cause(subject)
        if cause is None:
            rotations = self.rotations.get(subject, [])
            self.unexplained.append(f"{subject} at {time.monotonic():.2f}: {self._facts(rotations)}")
        return cause or "WITHOUT CAUSE"

    def _cause(self, subject: str) -> str | None:
        """Why the portal does not have what the last refresh of this user gave; None when it should."""
        rotations = self.rotations.get(subject, [])
        if rotations and rotations[-1].response_lost:
            return "the provider lost its response"
        for rotation in rotations[-1:]:
            if rotation.pid is None and self._killed_before(rotation.at):
                return "killed before the provider responded"
            killed = self.kills.get(rotation.pid or 0)
            if killed is not None and rotation.at <= killed <= self._stored_by(rotation):
                return "killed between response and write"
        return None

    def _killed_before(self, moment: float) -> bool:
        """Whether a process that no longer lived at that moment may have sent its request before."""
        return any(moment - _HELD_SECONDS <= killed <= moment for killed in self.kills.values())

    def _facts(self, rotations: list[Rotation]) -> str:
        """What is known of the last rotation, for whoever looks for the cause."""
        if not rotations:
            return "no refresh"
        last = rotations[-1]
        around = [f"{begun:.2f} to {end:.2f}" for begun, end in self.outages if end > last.at - 10][:3]
        return (
            f"{last}, killed at {self.kills.get(last.pid or 0)}, stored by {self._stored_by(last):.2f}, "
            f"stopped {self.stops.get(last.pid or 0)}, outages {around}"
        )

    def _stored_by(self, rotation: Rotation) -> float:
        """When the token set of a rotation should have been in the database."""
        end = rotation.at + _STORING_SECONDS
        for begun, ended in sorted([*self.outages, *self.stops.get(rotation.pid or 0, [])]):
            if begun <= end and ended >= rotation.at:
                end = max(end, ended + _STORING_SECONDS)
        return end


def _watch_refreshes(journal: Journal, workers: Callable[[], list[int]]) -> Callable[[], None]:
    """Note every refresh at the development providers; return what ends that."""
    original = FaultyTokenHandler.refresh

    def refresh(handler: FaultyTokenHandler, client: Any) -> dict[str, object]:
        token = handler.provider.state.refresh_token(handler.get_body_argument("refresh_token", ""))
        subject = token.grant.user.subject if token else ""
        if token is not None and token.spent:
            journal.note_reuse(subject)
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
    """The process that has a TCP connection from this local port."""
    wanted = f":{port:04X}"
    inodes = {
        line.split()[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[1].endswith(wanted)
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
    """Somebody who signs in, works, and signs in again when told to."""

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
    """The code of a problem of the portal; `of the API` for another error."""
    if response.status == 200:
        return ""
    if "X-Portal-Problem" not in response.headers:
        return "of the API"
    return str(json.loads(response.body)["code"])


# --- what breaks


class Breaker:
    """Everything that goes wrong; one thing at a time, some of them while others go on."""

    def __init__(self, world: World, served: PortalProcess, journal: Journal, database: Database) -> None:
        self._world = world
        self._served = served
        self._journal = journal
        self._database = database
        self._going_on: set[asyncio.Task[None]] = set()

    async def run(self, until: float) -> None:
        kinds: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("kill -9", self._kill),
            ("kill -9", self._kill),
            ("SIGSTOP", self._stop),
            ("SIGSTOP", self._stop),
            *((name, self._outage(name, how)) for name, how in self._database.faults().items()),
            ("provider hangs", self._hang),
            ("provider is down", lambda: self._provider(EndpointFault(response=FixedResponse(503)), 2, 8)),
            ("provider loses responses", lambda: self._provider(EndpointFault(drop_response=True), 0.1, 0.5)),
        ]
        while time.monotonic() < until:
            name, happen = random.choice(kinds)
            self._journal.faults[name] += 1
            task = asyncio.ensure_future(happen())
            self._going_on.add(task)
            task.add_done_callback(self._going_on.discard)
            await asyncio.sleep(random.uniform(2, 5))
        await asyncio.gather(*self._going_on)

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

    def _outage(self, name: str, how: Callable[[float], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def happen() -> None:
            begun, seconds = time.monotonic(), random.uniform(1, 10)
            self._journal.outages.append((begun, begun + seconds))
            await how(seconds)

        return happen

    async def _hang(self) -> None:
        """The provider keeps token requests for some seconds, then handles them."""
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
    """The processes that serve; never the supervisor."""
    return [pid for pid in served.workers if pid != served.pid]


class Database(Protocol):
    """A database that can be made to fail; `url` is what the portal is given."""

    url: str

    def faults(self) -> dict[str, Callable[[float], Awaitable[None]]]:
        """What can go wrong, by name; each is told for how many seconds."""


class SQLiteFile:
    """A SQLite file that another process locks."""

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
    """A MongoDB server behind a TCP proxy that can refuse, reset and hold connections."""

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
    """Run, print what happened, and return whether everything held."""
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
            people = [User(world, account, journal) for account in accounts]
            tasks = [asyncio.ensure_future(user.work(stopped)) for user in people]
            end = time.monotonic() + minutes * 60
            reporter = asyncio.ensure_future(_report_progress(journal, end))
            try:
                await asyncio.sleep(min(10.0, minutes * 10))
                await Breaker(world, served, journal, database).run(end)
                await asyncio.sleep(_RECOVERY_SECONDS)
                idle = [user.last for user in people if not user.working]
                reasons = _last_reasons(served.log)
            finally:
                reporter.cancel()
                stopped.set()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
                stop_watching()
    for error in (one for one in ended if isinstance(one, BaseException)):
        raise error  # a mistake of this module: its user did not work to the end
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
    """Why the portal refused its last calls."""
    lines = [line for line in log.splitlines()[-2000:] if '"request_failed"' in line]
    return Counter(f"{fields['code']}: {fields['detail']}" for fields in map(json.loads, lines))


def _print_result(journal: Journal, idle: list[str], reasons: Counter[str]) -> bool:
    for title, counts in (
        ("faults", journal.faults),
        ("calls", journal.calls),
        ("sign-outs", journal.sign_outs),
        ("refresh tokens that came twice", journal.reuses),
    ):
        print(
            f"{title}: " + (", ".join(f"{count} × {name}" for name, count in counts.most_common()) or "none")
        )
    print(f"refreshes at the provider: {journal.refreshes}")
    print(f"for another user: {journal.wrong_responses}; users who could not work at the end: {len(idle)}")
    for last, count in Counter(idle).items():
        print(f"  {count} × {last}")
    for reason, count in reasons.most_common() if idle else ():
        print(f"  in the log, {count} × {reason}")
    for line in journal.unexplained:
        print(f"  without cause: {line}")
    return not (journal.unexplained or journal.reuses["WITHOUT CAUSE"] or journal.wrong_responses or idle)


def main() -> int:
    parser = argparse.ArgumentParser(description="Users who work while everything around the portal breaks.")
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
    held = asyncio.run(
        run(minutes=given.minutes, users=given.users, processes=given.processes, kind=given.database)
    )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
