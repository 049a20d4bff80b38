"""CPU time per proxied API call with each of the portal's HTTP servers (the setting `server`), on SQLite.

    python -m bench.incoming [--seconds 4] [--rounds 5]

`python -m bench.peers` compares them with other products, `python -m bench.profile` shows where one of them
spends it.
"""

from __future__ import annotations

import argparse

from bench.peers.measurements import calls
from bench.peers.portal import SERVERS, candidate
from bench.peers.product import running_products
from bench.peers.rounds import Plan
from bench.peers.shared_servers import running_shared_servers


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time per call with each of the portal's HTTP servers.")
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    candidates = [candidate(server, "SQLite") for server in SERVERS]
    with running_shared_servers() as servers, running_products(servers, candidates) as products:
        table = calls(servers, products, Plan(rounds=given.rounds, seconds=given.seconds))
    print(f"\n{table.markdown()}")


if __name__ == "__main__":
    main()
