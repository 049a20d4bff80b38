"""Where one portal process spends its time under load (cProfile, which makes Python code look slower than C).

    python -m bench.profile [--server httptools|tornado] [--database SQLite|MongoDB] [--what calls|login]
                            [--bytes 200] [--seconds 5] [--lines 60] [--sort tottime|cumtime] [--output FILE]

`--what calls` loads proxied calls over 32 connections, `--what login` signs in again and again. `--output`
keeps the statistics, for pstats or a viewer.
"""

from __future__ import annotations

import argparse
import pstats
import time
from pathlib import Path

from bench.load import run_wrk
from bench.peers.portal import DATABASES, SERVERS, running_portal
from bench.peers.product import Product
from bench.peers.shared_servers import SharedServers, running_shared_servers
from bench.servers import free_port


def load(servers: SharedServers, product: Product, what: str, size: int, seconds: int) -> None:
    """Load the portal for this many seconds, with calls of this many bytes or with logins."""
    headers = product.signed_in(servers)
    if what == "calls":
        run_wrk(f"{product.api}/{size}", headers, seconds)
        return
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        product.signed_in(servers)


def main() -> None:
    parser = argparse.ArgumentParser(description="Where one portal process spends its time under load.")
    parser.add_argument("--server", choices=SERVERS)
    parser.add_argument("--database", choices=DATABASES, default="SQLite")
    parser.add_argument("--what", choices=("calls", "login"), default="calls")
    parser.add_argument("--bytes", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--lines", type=int, default=60)
    parser.add_argument("--sort", choices=("tottime", "cumtime"), default="tottime")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    with running_shared_servers() as servers:
        path = given.output.absolute() if given.output else servers.folder / "profile"
        with running_portal(
            servers,
            free_port(),
            "portal",
            server=given.server,
            mongodb=given.database == "MongoDB",
            profile=path,
        ) as product:
            load(servers, product, given.what, given.bytes, given.seconds)
        pstats.Stats(str(path)).sort_stats(given.sort).print_stats(given.lines)


if __name__ == "__main__":
    main()
