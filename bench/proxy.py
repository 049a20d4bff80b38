"""Proxied API calls per second and process, compared with a bare Tornado handler with the same response size.

    python -m bench.proxy [--seconds 5] [--rounds 3] [--only sqlite|mongodb]

Both run on uvloop in one process each; `wrk` loads them alternately over 32 connections. MongoDB is the test
server of this project, or the server in PORTAL_TEST_MONGODB_URI.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.load import run_wrk
from bench.servers import bare_server, free_port, running
from bench.signed_in import make_portal
from tests.mongodb import fresh_database, running_server

_REQUIRED = 0.30


def calls_per_second(url: str, seconds: int, headers: dict[str, str]) -> float:
    load = run_wrk(url, headers, seconds)
    return load.calls / load.seconds


@contextlib.contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder}/portal.db"
    else:
        with running_server(folder / "mongodb") as server, fresh_database(server) as uri:
            yield uri


def measure(kind: str, seconds: int, rounds: int) -> bool:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(database(kind, folder))
        api = stack.enter_context(bare_server())
        port = free_port()
        made = make_portal(folder, port=port, database=url, api=api)
        stack.enter_context(
            running(
                [sys.executable, "-m", "portal", "serve", "--config", str(made.config)],
                f"http://127.0.0.1:{port}/healthz",
            )
        )
        target = f"http://localhost:{port}/t/bench/api/orders"
        calls_per_second(target, 1, made.headers)
        ratios = []
        for number in range(1, rounds + 1):
            bare = calls_per_second(f"{api}/orders", seconds, {})
            proxied = calls_per_second(target, seconds, made.headers)
            ratios.append(proxied / bare)
            print(f"{kind:8} round {number}: proxied {proxied:5.0f}/s, bare {bare:5.0f}/s, {ratios[-1]:.2f}")
    ratio = statistics.median(ratios)
    met = ratio >= _REQUIRED
    print(f"{kind:8} median ratio {ratio:.2f} (required: ≥ {_REQUIRED:.2f}): {'met' if met else 'NOT MET'}")
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description="Proxied API calls compared with a bare Tornado handler.")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["sqlite", "mongodb"])
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    kinds = [given.only] if given.only else ["sqlite", "mongodb"]
    met = [measure(kind, given.seconds, given.rounds) for kind in kinds]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
