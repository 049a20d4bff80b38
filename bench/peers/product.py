"""What the benchmarks know about each product, and the servers that they share."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from bench.load import cpu_seconds
from bench.peers.browser import SignInScript
from bench.servers import ROOT

CACHE = ROOT / ".cache" / "peers"
"""Where the other products are installed."""


class Unavailable(Exception):
    """A product cannot be installed or started; the message says why."""


@dataclass(frozen=True, slots=True)
class Lab:
    """A folder for files, and the URLs, without a slash at the end, of what all products share."""

    folder: Path
    api: str
    issuer: str
    sign_ins: SignInScript

    def make_folder(self, name: str) -> Path:
        """A new folder for the files of one product."""
        path = self.folder / f"{len([*self.folder.iterdir()])}-{name}"
        path.mkdir()
        return path


@dataclass(frozen=True, slots=True)
class Product:
    """A running product.

    `api` is the URL below which it forwards calls to the API; `login` a page that begins a sign-in, None when
    it signs nobody in; `pid` the process whose CPU time counts, with its descendants.
    """

    name: str
    api: str
    login: str | None
    pid: int
    extra_headers: Mapping[str, str] = field(default_factory=dict)

    def signed_in(self, lab: Lab) -> dict[str, str]:
        """Sign in and return the headers of an API call. Raises SignInFailed."""
        if self.login is None:
            return {**self.extra_headers}
        return {**self.extra_headers, "Cookie": lab.sign_ins.sign_in(self.login)}

    def cpu_seconds(self) -> float:
        """CPU time that its processes have used."""
        return cpu_seconds(self.pid)


Start = Callable[[Lab, int], AbstractContextManager[Product]]
"""Starts a product that listens on a port of this machine; raises Unavailable."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A product that can be measured. `install` raises Unavailable; `checks` is what it does at each call."""

    name: str
    install: Callable[[], None]
    start: Start
    checks: str
    single_process: str


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
