"""What the benchmarks know about each product, and how they start it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from bench.load import cpu_seconds
from bench.peers.browser import SignInFailed
from bench.peers.shared_servers import SharedServers
from bench.servers import ROOT, free_port

CACHE = ROOT / ".cache" / "peers"
"""Where the other products are installed."""


class Unavailable(Exception):
    """A product cannot be installed or started; the message says why."""


@dataclass(frozen=True, slots=True)
class Product:
    """A running product.

    `api` is the URL below which it forwards calls to the API; `login` a page that begins a sign-in, None when
    it signs nobody in; `pid` the process whose CPU time counts, with its descendants; `metrics` where the
    portal serves its metrics, None for other products; `other_pids` more processes whose CPU time counts.
    """

    name: str
    api: str
    login: str | None
    pid: int
    metrics: str | None = None
    extra_headers: Mapping[str, str] = field(default_factory=dict)
    other_pids: tuple[int, ...] = ()

    def signed_in(self, servers: SharedServers) -> dict[str, str]:
        """Sign in and return the headers of an API call. Raises SignInFailed."""
        if self.login is None:
            return {**self.extra_headers}
        return {**self.extra_headers, "Cookie": servers.sign_ins.sign_in(self.login)}

    def cpu_seconds(self) -> float:
        """CPU time that its processes have used."""
        return sum(map(cpu_seconds, (self.pid, *self.other_pids)))


Start = Callable[[SharedServers, int, str], AbstractContextManager[Product]]
"""Starts a product on a port of this machine under this name; raises Unavailable."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A product that can be measured; `install` raises Unavailable."""

    name: str
    install: Callable[[], None]
    start: Start


@contextlib.contextmanager
def process(command: list[str], folder: Path, port: int, **environment: str) -> Iterator[int]:
    """Run a server during the block, and yield its process id when it accepts connections.

    Its output goes to /dev/null, except errors, which go to a file. Raises Unavailable if it does not start.
    """
    errors = folder / "errors.log"
    with errors.open("wb") as log:
        running = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
    try:
        end = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if running.poll() is not None or time.monotonic() > end:
                text = errors.read_text(errors="replace").strip()[-2000:]
                raise Unavailable(f"{command[0]} did not start: {text}")
            time.sleep(0.02)
        yield running.pid
    finally:
        running.terminate()
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextlib.contextmanager
def running_products(servers: SharedServers, candidates: Sequence[Candidate]) -> Iterator[list[Product]]:
    """Install and start the candidates; those that fail are left out, with the reason printed."""
    with contextlib.ExitStack() as stack:
        products = []
        for candidate in candidates:
            try:
                candidate.install()
                product = stack.enter_context(candidate.start(servers, free_port(), candidate.name))
                product.signed_in(servers)
            except (Unavailable, SignInFailed, OSError) as error:
                print(f"{candidate.name} is left out: {error}", flush=True)
            else:
                products.append(product)
        yield products
