"""Benchmarks of the portal beside other products, all in turns in one run.

    python -m bench.peers [--only calls,paced,…] [--products portal,nginx,…] [--rounds 5] [--seconds 3]
                          [--logins 100] [--sessions 10000] [--write]

CPU time is that of all processes of a product in /proc. docs/performance.md says what is measured, and what
each product does at a call; `--write` puts the tables there. A product that cannot be installed is left out,
with the reason.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Sequence

from bench.peers import forward_auth, measurements, others, portal
from bench.peers.product import Candidate, Product, running_products
from bench.peers.report import write_table
from bench.peers.rounds import Plan
from bench.peers.shared_servers import SharedServers, running_shared_servers
from bench.peers.tables import Table

Measurement = Callable[[SharedServers, Sequence[Product], Plan], Table]

_ALL = (*others.PEERS, *portal.PORTALS)
_MANY_SESSIONS = (*others.MANY_SESSIONS, *portal.PORTALS)
MEASUREMENTS: dict[str, tuple[Measurement, Sequence[Candidate]]] = {
    "calls": (measurements.calls, _ALL),
    "paced": (measurements.paced, _ALL),
    "stream": (measurements.stream, _ALL),
    "sessions": (measurements.sessions, _MANY_SESSIONS),
    "login": (measurements.login, _ALL),
    "authz": (forward_auth.decisions, forward_auth.FORWARD_AUTH),
}


def chosen(candidates: Sequence[Candidate], names: str) -> list[Candidate]:
    """The candidates whose name contains one of the names, separated by commas; all when there are none."""
    wanted = [name for name in names.split(",") if name]
    return [one for one in candidates if not wanted or any(name in one.name for name in wanted)]


def main() -> None:
    parser = argparse.ArgumentParser(description="The portal beside other products.")
    parser.add_argument("--only", default=",".join(MEASUREMENTS), help="measurements, separated by commas")
    parser.add_argument("--products", default="", help="parts of names of products, separated by commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each load")
    parser.add_argument("--logins", type=int, default=100, help="of each round")
    parser.add_argument("--sessions", type=int, default=10_000, help="that take turns")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    unknown = set(given.only.split(",")) - set(MEASUREMENTS)
    if unknown:
        raise SystemExit(f"no such measurement: {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}")
    plan = Plan(given.rounds, given.seconds, given.logins, given.sessions)
    tables: dict[str, Table] = {}
    with running_shared_servers() as servers:
        for candidates in {id(one): one for _, one in MEASUREMENTS.values()}.values():
            names = [name for name in given.only.split(",") if MEASUREMENTS[name][1] is candidates]
            if not names:
                continue
            with running_products(servers, chosen(candidates, given.products)) as products:
                for name in names:
                    tables[name] = MEASUREMENTS[name][0](servers, products, plan)
                    if given.write:
                        write_table(tables[name], plan)
    for table in tables.values():
        print(f"\n{table.markdown()}", flush=True)


if __name__ == "__main__":
    main()
