"""CPU time of a proxied call with metrics and without, measured in turns in one run.

    python -m bench.metrics_cost [--rounds 10]

One process on SQLite, 32 connections, 200 bytes. It prints both times and their ratio, and what a scrape
costs.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import time
import urllib.request

from bench.parent import microseconds
from bench.peers.portal import running_portal
from bench.peers.product import Product
from bench.peers.shared_servers import SharedServers, running_shared_servers
from bench.servers import free_port

_MOST = 1.05
_SCRAPES = 20


def compare(servers: SharedServers, rounds: int) -> float:
    """Print the times of each round; return the ratio of the medians."""
    with (
        running_portal(servers, free_port(), "off", measured=False) as off,
        running_portal(servers, free_port(), "on") as on,
    ):
        headers = {product.name: product.signed_in(servers) for product in (off, on)}
        found: dict[str, list[float]] = {off.name: [], on.name: []}
        for number in range(rounds + 1):
            for product in (off, on) if number % 2 else (on, off):
                used = microseconds(product, headers[product.name])
                if number:  # the first one warms up
                    found[product.name].append(used)
            if number:
                print(f"round {number}: off {found[off.name][-1]:.0f} us, on {found[on.name][-1]:.0f} us")
        medians = {name: statistics.median(times) for name, times in found.items()}
        ratio = medians[on.name] / medians[off.name]
        print(f"median: off {medians[off.name]:.1f} us, on {medians[on.name]:.1f} us, ratio {ratio:.3f}")
        _scrape(on)
        return ratio


def _scrape(product: Product) -> None:
    assert product.metrics is not None
    before, size = product.cpu_seconds(), 0
    begun = time.monotonic()
    for _ in range(_SCRAPES):
        with urllib.request.urlopen(product.metrics, timeout=30) as response:
            size = len(response.read())
    used = (product.cpu_seconds() - before) / _SCRAPES * 1e3
    taken = (time.monotonic() - begun) / _SCRAPES * 1e3
    print(f"a scrape of one process: {used:.1f} ms of CPU time, {taken:.1f} ms, {size} bytes")


def main() -> int:
    parser = argparse.ArgumentParser(description="CPU time of a proxied call with metrics and without.")
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    with running_shared_servers() as servers:
        return 0 if compare(servers, rounds) <= _MOST else 1


if __name__ == "__main__":
    sys.exit(main())
