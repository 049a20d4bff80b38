"""CPU time per page for a browser that is signed in to many tenants.

    python -m bench.pages [--logins 50] [--seconds 3] [--rounds 5] [--server httptools|tornado]
        [--trees FOLDER ...] [--profile PATH]

`wrk` requests the chooser (`/`) and the account page in turns over 8 connections, for a session with one
login and for one with 50. CPU time is that of the portal's process in /proc. `--trees` measures other
checkouts in turns with this one. `--profile` prints where the portal spends it for one page (cProfile).
"""

from __future__ import annotations

import argparse
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

from bench.load import cpu_seconds
from bench.servers import ROOT, free_port, running
from bench.signed_in import SignedIn, make_portal

PAGES = ("/", "/account")
_API = "http://127.0.0.1:9"


def _microseconds_per_page(process: int, made: SignedIn, page: str, seconds: int) -> float:
    cookie = made.headers["Cookie"]
    command = ["wrk", "-t1", "-c8", f"-d{seconds}s", "-H", f"Cookie: {cookie}", made.public_url + page]
    before = cpu_seconds(process)
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    used = cpu_seconds(process) - before
    found = re.search(r"(\d+) requests in", printed)
    if found is None or "Non-2xx" in printed or "Socket errors" in printed:
        raise SystemExit(printed)
    return used / int(found[1]) * 1e6


@contextlib.contextmanager
def _portal(
    folder: Path, *, logins: int, server: str, tree: Path = ROOT, profile: Path | None = None
) -> Iterator[tuple[SignedIn, int]]:
    folder.mkdir()
    port = free_port()
    others = {f"tenant-{number}": _API for number in range(1, logins)}
    made = make_portal(folder, port=port, database=f"sqlite:///{folder}/portal.db", api=_API, others=others)
    python = [sys.executable]
    if profile is not None:
        python += ["-m", "cProfile", "-o", str(profile)]
    command = [*python, "-m", "portal", "serve", "--config", str(made.config)]
    url = f"http://127.0.0.1:{port}/healthz"
    with running(command, url, cwd=tree, PYTHONPATH=str(tree), PORTAL_SERVER=server) as process:
        yield made, process.pid
        if profile is not None:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def measure(given: argparse.Namespace, folder: Path) -> None:
    with contextlib.ExitStack() as stack:
        portals = {
            (logins, tree): stack.enter_context(
                _portal(folder / f"{logins}-{number}", logins=logins, server=given.server, tree=tree)
            )
            for logins in (1, given.logins)
            for number, tree in enumerate([ROOT, *given.trees])
        }
        found: dict[tuple[str, int, Path], list[float]] = {}
        for number in range(-1, given.rounds):
            for page in PAGES:
                for (logins, tree), (made, process) in portals.items():
                    used = _microseconds_per_page(process, made, page, given.seconds)
                    if number >= 0:
                        found.setdefault((page, logins, tree), []).append(used)
        for (page, logins, tree), values in found.items():
            rounds = " ".join(f"{value:.0f}" for value in values)
            median = statistics.median(values)
            print(f"{tree.name:10} {page:9} {logins:3} logins: {median:6.0f} us of CPU, rounds: {rounds}")


def profile(given: argparse.Namespace, folder: Path) -> None:
    path = folder / "profile"
    with _portal(folder / "one", logins=given.logins, server=given.server, profile=path) as (made, process):
        _microseconds_per_page(process, made, given.profile, given.seconds)
    pstats.Stats(str(path)).sort_stats("tottime").print_stats(60)


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time per page with many logins.")
    parser.add_argument("--logins", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--server", choices=["tornado", "httptools"], default="httptools")
    parser.add_argument("--trees", type=Path, nargs="*", default=[])
    parser.add_argument("--profile", choices=PAGES)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (profile if given.profile else measure)(given, Path(folder))


if __name__ == "__main__":
    main()
