"""CPU time per proxied API call with one session, and with many sessions in turn.

    python -m bench.sessions [--database sqlite|mongodb] [--sessions 10000] [--commits 100] [--seconds 4]
        [--rounds 5] [--server httptools|tornado] [--extended] [--profile]
        [--tree FOLDER ...]

Two portals, one process each: one has a single session, the other one 10,000. `wrk` loads them in turns over
32 connections, and takes the next session for each call. On SQLite the second portal is also measured while
another process commits to its file 100 times a second, as 10,000 active users do by extending their sessions.
With `--extended`, calls extend the sessions of the second portal: each one once a minute. `--tree` measures
the portals of other checkouts, in turns in the same run.
CPU time is that of the portal's process in /proc. `--profile` prints where the portal with many sessions
spends it (cProfile).
"""

from __future__ import annotations

import argparse
import contextlib
import pstats
import re
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.load import cpu_seconds
from bench.servers import ROOT, free_port, running
from bench.signed_in import SignedIn, make_portal
from tests.mongodb import running_server

_SCRIPT = """
local cookies, taken = {}, 0
function init(args)
  for line in io.lines(args[1]) do cookies[#cookies + 1] = line end
  taken = tonumber(args[2])
end
function request()
  taken = taken + 1
  wrk.headers["Cookie"] = cookies[taken % #cookies + 1]
  return wrk.format()
end
"""


@dataclass
class _Portal:
    """A running portal, with the cookies of its sessions in a file for wrk."""

    made: SignedIn
    process: int
    folder: Path
    name: str = ""
    calls: int = 0
    found: dict[str, list[float]] = field(default_factory=dict)

    def microseconds_per_call(self, seconds: int) -> float:
        command = ["wrk", "-t1", "-c32", f"-d{seconds}s", "-s", str(self.folder / "next_cookie.lua")]
        for name, value in self.made.headers.items():
            command += ["-H", f"{name}: {value}"]
        target = f"{self.made.public_url}/t/bench/api/200"
        before = cpu_seconds(self.process)
        arguments = [target, "--", str(self.folder / "cookies"), str(self.calls)]
        printed = subprocess.run([*command, *arguments], check=True, capture_output=True, text=True).stdout
        used = cpu_seconds(self.process) - before
        found = re.search(r"(\d+) requests in", printed)
        if found is None or "Non-2xx" in printed or "Socket errors" in printed:
            raise SystemExit(printed)
        self.calls += int(found[1])
        return used / int(found[1]) * 1e6

    def measure(self, case: str, seconds: int) -> None:
        self.found.setdefault(case, []).append(self.microseconds_per_call(seconds))

    @property
    def megabytes(self) -> float:
        """Resident memory of the process (Linux, proc_pid_status(5))."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process}/status").read_text())
        return int(found[1]) / 1000 if found else 0.0

    def print(self) -> None:
        for case, values in self.found.items():
            rounds = " ".join(f"{value:.0f}" for value in values)
            print(f"{self.name}{case:40} {statistics.median(values):6.0f} us of CPU a call, rounds: {rounds}")


@contextlib.contextmanager
def _portal(
    given: argparse.Namespace,
    folder: Path,
    api: str,
    *,
    sessions: int,
    profile: Path | None = None,
    tree: Path = ROOT,
) -> Iterator[_Portal]:
    folder.mkdir()
    port = free_port()
    extended = given.extended and sessions > 1
    with contextlib.ExitStack() as stack:
        if given.database == "sqlite":
            url = f"sqlite:///{folder}/portal.db"
            made = make_portal(folder, port=port, database=url, api=api, sessions=sessions, extended=extended)
        else:
            path, reads = folder / "documents", free_port()
            url = f"mongodb://127.0.0.1:{reads}/portal"
            made = make_portal(
                folder,
                port=port,
                database=url,
                api=api,
                sessions=sessions,
                documents=path,
                extended=extended,
            )
            stack.enter_context(_mongodb(folder, reads, path))
        (folder / "cookies").write_text("\n".join(made.cookies))
        (folder / "next_cookie.lua").write_text(_SCRIPT)
        python = [sys.executable]
        if profile is not None:
            python += ["-m", "cProfile", "-o", str(profile)]
        command = [*python, "-m", "portal", "serve", "--config", str(made.config)]
        health = f"http://127.0.0.1:{port}/healthz"
        process = stack.enter_context(
            running(command, health, cwd=tree, PORTAL_SERVER=given.server, PYTHONPATH=str(tree))
        )
        yield _Portal(made, process.pid, folder, f"{tree.name}: " if given.tree else "")
        if profile is not None:
            process.send_signal(signal.SIGINT)
            process.wait(30)


@contextlib.contextmanager
def _mongodb(folder: Path, port: int, documents: Path) -> Iterator[None]:
    """The test server, with the reads of sessions and logins from memory (see bench.mongodb_reads)."""
    with running_server(folder / "mongodb") as server:
        arguments = [str(port), server.rpartition(":")[2], str(documents)]
        process = subprocess.Popen([sys.executable, "-m", "bench.mongodb_reads", *arguments], cwd=ROOT)
        try:
            while socket.socket().connect_ex(("127.0.0.1", port)):
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            process.wait(10)


@contextlib.contextmanager
def _commits(path: Path, per_second: int) -> Iterator[None]:
    """Commit to a SQLite file during the block, as another process of the portal does."""
    database = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
    stop = threading.Event()

    def commit() -> None:
        number = 0
        while not stop.wait(1 / per_second):
            number += 1
            database.execute("INSERT OR REPLACE INTO meta (id, value) VALUES ('bench', ?)", (str(number),))

    thread = threading.Thread(target=commit)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        database.close()


def measure(given: argparse.Namespace, api: str, folder: Path) -> None:
    pairs = []
    with contextlib.ExitStack() as stack:
        for number, tree in enumerate(given.tree or [ROOT]):
            made = [
                stack.enter_context(
                    _portal(given, folder / f"{number}-{sessions}", api, sessions=sessions, tree=tree)
                )
                for sessions in (1, given.sessions)
            ]
            pairs.append((made[0], made[1], _warm_up(given, *made)))
        for _ in range(given.rounds):
            for one, many, _ in pairs:
                one.measure("one session", given.seconds)
                many.measure(f"{given.sessions} sessions", given.seconds)
        for _ in range(given.rounds if given.database == "sqlite" else 0):
            for one, many, _ in pairs:
                one.measure("one session", given.seconds)
                with _commits(many.folder / "portal.db", given.commits):
                    many.measure(f"{given.sessions} sessions, {given.commits} commits/s", given.seconds)
        for one, many, before in pairs:
            one.print()
            many.print()
            print(f"{many.name}memory of the process: {before:.0f} MB before, {many.megabytes:.0f} MB after")


def _warm_up(given: argparse.Namespace, one: _Portal, many: _Portal) -> float:
    """Use every session once; return the megabytes of the second portal before that."""
    one.microseconds_per_call(2)
    before = many.megabytes
    first = many.microseconds_per_call(given.seconds)
    print(f"{many.name}first calls of {many.calls} sessions: {first:.0f} us of CPU a call")
    while many.calls < given.sessions:
        many.microseconds_per_call(given.seconds)
    return before


def profile(given: argparse.Namespace, api: str, folder: Path) -> None:
    path = folder / "profile"
    with contextlib.ExitStack() as stack:
        many = stack.enter_context(
            _portal(given, folder / "many", api, sessions=given.sessions, profile=path)
        )
        while many.calls < given.sessions:
            many.microseconds_per_call(given.seconds)
        with contextlib.ExitStack() as busy:
            if given.database == "sqlite" and given.commits:
                busy.enter_context(_commits(folder / "many" / "portal.db", given.commits))
            for _ in range(given.rounds):
                many.microseconds_per_call(given.seconds)
    pstats.Stats(str(path)).sort_stats("tottime").print_stats(70)


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time per API call with one and with many sessions.")
    parser.add_argument("--database", choices=["sqlite", "mongodb"], default="sqlite")
    parser.add_argument("--server", choices=["tornado", "httptools"], default="httptools")
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--commits", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--extended", action="store_true")
    parser.add_argument("--tree", type=lambda path: Path(path).absolute(), nargs="+", default=[])
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    port = free_port()
    api = f"http://127.0.0.1:{port}"
    with (
        tempfile.TemporaryDirectory() as folder,
        running([sys.executable, "-m", "bench.api_server", str(port)], f"{api}/2"),
    ):
        (profile if given.profile else measure)(given, api, Path(folder))


if __name__ == "__main__":
    main()
