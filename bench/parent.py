"""CPU time of a proxied call in this commit and in its parent, measured in turns on this machine.

    python -m bench.parent [--seconds 20]

It prints a line such as "HEAD^ 150 us, HEAD 148 us (-1 %)", or why it cannot measure. A difference is no
failure: on a busy machine a few percent are chance.
"""

from __future__ import annotations

import argparse
import io
import itertools
import shutil
import statistics
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

from bench.load import LoadFailed, run_wrk
from bench.peers.browser import SignInFailed
from bench.peers.portal import running_portal
from bench.peers.product import Product, Unavailable
from bench.peers.shared_servers import SharedServers, running_shared_servers
from bench.servers import ROOT, free_port

_TITLE = "CPU time per proxied call of 200 bytes on SQLite"
_LOAD_SECONDS = 1
_STOP_SECONDS = 2
"""How long it takes to stop everything."""


class NoParent(Exception):
    """There is nothing to compare with; the message says why."""


def _git(*arguments: str) -> bytes:
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        return subprocess.run(command, capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise NoParent("git is not installed") from None
    except subprocess.CalledProcessError as error:
        raise NoParent(f"git {arguments[0]}: {error.stderr.decode().strip()}") from error


def extract_parent(folder: Path) -> None:
    """Put the source of the parent commit into a folder. Raises NoParent."""
    if Path(_git("rev-parse", "--show-toplevel").decode().strip()).resolve() != ROOT.resolve():
        raise NoParent("this folder is not the top of a git checkout")
    archive = _git("archive", "--format=tar", "HEAD^")
    with tarfile.open(fileobj=io.BytesIO(archive)) as source:
        source.extractall(folder, filter="data")


def compare(servers: SharedServers, parent: Path, end: float) -> tuple[float, float]:
    """Median microseconds of CPU time for a call in the parent and in this source.

    Parameters: end, when to stop, in seconds of time.monotonic(); there is one round in any case.
    """
    with (
        running_portal(servers, free_port(), "HEAD^", root=parent) as before,
        running_portal(servers, free_port(), "HEAD") as after,
    ):
        headers = {product.name: product.signed_in(servers) for product in (before, after)}
        found: dict[str, list[float]] = {before.name: [], after.name: []}
        for number in itertools.count():
            if number > 1 and time.monotonic() > end - 2 * _LOAD_SECONDS:
                break
            for product in (before, after) if number % 2 else (after, before):
                used = microseconds(product, headers[product.name])
                if number:
                    found[product.name].append(used)
        return statistics.median(found[before.name]), statistics.median(found[after.name])


def microseconds(product: Product, headers: dict[str, str]) -> float:
    """CPU time of a call, under load for a second. Parameters: headers, of a signed-in browser."""
    before = product.cpu_seconds()
    calls = run_wrk(f"{product.api}/200", headers, _LOAD_SECONDS).calls
    return (product.cpu_seconds() - before) / calls * 1e6


def describe(before: float, after: float) -> str:
    """The line that is printed: both figures in microseconds, and their difference in percent."""
    return f"HEAD^ {before:.0f} us, HEAD {after:.0f} us ({after / before - 1:+.0%})".replace("%", " %")


def main() -> None:
    begun = time.monotonic()
    parser = argparse.ArgumentParser(description=f"{_TITLE}, compared with the parent commit.")
    parser.add_argument("--seconds", type=int, default=20, help="that the whole comparison may take")
    end = begun + parser.parse_args().seconds - _STOP_SECONDS
    try:
        if shutil.which("wrk") is None:
            raise NoParent("wrk is missing: apt-get install wrk")
        with tempfile.TemporaryDirectory(prefix="parent-") as folder, running_shared_servers() as servers:
            extract_parent(Path(folder))
            print(f"{_TITLE}: {describe(*compare(servers, Path(folder), end))}")
    except (NoParent, Unavailable, LoadFailed, SignInFailed) as error:
        print(f"{_TITLE} is not compared with the parent commit: {error}")


if __name__ == "__main__":
    main()
