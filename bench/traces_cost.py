"""CPU time of a proxied call with traces and without, measured in turns in one run.

    python -m bench.traces_cost [--rounds 10] [--before FOLDER]

One process on SQLite, 32 connections, 200 bytes. It prints the times without traces, and with traces of which
none, a tenth and all are recorded; with --before also those of the source in another folder. A collector
accepts what is sent and ignores it.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import statistics
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bench.parent import microseconds
from bench.peers.portal import running_portal
from bench.peers.shared_servers import SharedServers, running_shared_servers
from bench.servers import free_port

_SHARES = (0.0, 0.1, 1.0)


class _Collector(BaseHTTPRequestHandler):
    """Reads a message and accepts it."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing."""


@contextlib.contextmanager
def _collector() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/traces"
        server.shutdown()


def compare(servers: SharedServers, endpoint: str, rounds: int, before: Path | None) -> None:
    """Print the times of each round, and their medians. Parameters: before, a folder with other source."""
    with contextlib.ExitStack() as stack:
        products = [stack.enter_context(running_portal(servers, free_port(), "off"))]
        if before is not None:
            products.append(stack.enter_context(running_portal(servers, free_port(), "before", root=before)))
        for share in _SHARES:
            settings = f"traces: {{endpoint: '{endpoint}', sample: {share}}}\n"
            portal = running_portal(servers, free_port(), f"{share:.0%}", more_settings=settings)
            products.append(stack.enter_context(portal))
        headers = {product.name: product.signed_in(servers) for product in products}
        found: dict[str, list[float]] = {product.name: [] for product in products}
        for number in range(rounds + 1):
            for product in products if number % 2 else products[::-1]:
                used = microseconds(product, headers[product.name])
                if number:  # the first one warms up
                    found[product.name].append(used)
            if number:
                print(f"round {number}:", *(f"{name} {times[-1]:.0f} us" for name, times in found.items()))
        medians = {name: statistics.median(times) for name, times in found.items()}
        print(
            "median:", *(f"{name} {one:.1f} us ({one / medians['off']:.3f})" for name, one in medians.items())
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time of a proxied call with traces and without.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--before", type=Path, help="a folder with the source to compare with")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    with running_shared_servers() as servers, _collector() as endpoint:
        compare(servers, endpoint, arguments.rounds, arguments.before)


if __name__ == "__main__":
    main()
