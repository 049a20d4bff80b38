"""Servers for benchmarks, each in a separate process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

ROOT = Path(__file__).parent.parent
RESPONSE = json.dumps({"orders": [{"id": n, "item": "pencil", "count": n * 3} for n in range(20)]}).encode()


class BareHandler(RequestHandler):
    """A minimal Tornado handler with a response of this size."""

    async def get(self) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(RESPONSE)

    def compute_etag(self) -> None:
        return None


async def _serve_bare(port: int) -> None:
    server = HTTPServer(Application([(r".*", BareHandler)], log_function=lambda handler: None))
    server.listen(port, address="127.0.0.1")
    await asyncio.Event().wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_it_responds(url: str, process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            if process.poll() is not None:
                raise SystemExit(f"{process.args!r} ended with {process.returncode}") from None
            if time.monotonic() > end:
                raise SystemExit(f"{url} did not respond within {seconds:g} s") from None
            time.sleep(0.005)


@contextlib.contextmanager
def running(
    command: list[str], url: str, *, cwd: Path = ROOT, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command during the block; wait first until `url` responds."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_it_responds(url, process)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


@contextlib.contextmanager
def bare_server() -> Iterator[str]:
    """Run a bare Tornado server on uvloop; yields its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running([sys.executable, "-m", "bench.servers", str(port)], f"{url}/"):
        yield url


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_bare(int(sys.argv[1])))
