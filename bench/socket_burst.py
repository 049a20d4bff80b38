"""How long the portal's event loop is held when many WebSockets become readable at the same time.

    python -m bench.socket_burst [--sockets 1000] [--tenants 5] [--rounds 10] [--code DIR ...]

First, 10 sockets echo 200 messages a second. Then all sockets are open. In each round the portal is stopped
(SIGSTOP) while every browser, or every API connection, sends a message, and goes on; all messages are read in
one iteration then. Counted is CPU time of the event loop's thread between two timers of a millisecond: what
other programs do on the machine changes it little. `--code` measures the portals of other checkouts in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import uvloop

from bench.servers import free_port, running
from bench.signed_in import make_portal
from bench.socket_client import ClientSocket, Echoes, open_sockets
from bench.socket_server import SocketServer

_LIMITS = "limits: {sockets_per_tenant: 100000, sockets_per_user: 100000}\n"
_TO_ALL = b"\x81\x80\x00\x00\x00\x00"
_PUSHED = bytes((0x82, 64)) + bytes(64)
_PUSH_AFTER = 0.15
_MILLISECOND = 0.001


class _Pushing(SocketServer):
    """A text message makes the server send one message over all of its connections, a little later."""

    opened: set[_Pushing] = set()  # noqa: RUF012 - of the process

    def data_received(self, data: bytes) -> None:
        if self._is_open and data.startswith(b"\x81"):
            asyncio.get_running_loop().call_later(_PUSH_AFTER, self._push)
            return
        super().data_received(data)
        if self._is_open:
            self.opened.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.opened.discard(self)

    def _push(self) -> None:
        for one in self.opened:
            one._transport.write(_PUSHED)


class _Probe:
    """Measures the CPU time between two timers in a running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._gaps: list[float] = []
        self._at = self._begun = time.thread_time()
        self._timer()

    def _timer(self) -> None:
        now = time.thread_time()
        self._gaps.append(now - self._at)
        self._at = now
        self._loop.call_later(_MILLISECOND, self._timer)

    def report(self) -> None:
        """Print the longest hold since the last report, and the CPU time, in seconds."""
        gaps, self._gaps = self._gaps, []
        print(json.dumps({"longest": max(gaps, default=0.0), "cpu": self._at - self._begun}), flush=True)
        self._begun = self._at


def _serve_portal(config: Path) -> None:
    """Serve a portal in this process; respond to each line on the standard input with a report."""
    from portal.app import running as running_portal
    from portal.config.settings import load_settings

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        async with running_portal(load_settings(config, os.environ)):
            probe, ended = _Probe(), asyncio.Event()

            def read() -> None:
                for _ in sys.stdin:
                    loop.call_soon_threadsafe(probe.report)
                loop.call_soon_threadsafe(ended.set)

            threading.Thread(target=read, daemon=True).start()
            await ended.wait()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


async def _serve_api(port: int) -> None:
    await asyncio.get_running_loop().create_server(_Pushing, "127.0.0.1", port, backlog=1024)
    await asyncio.Event().wait()


class _Measurement:
    def __init__(self, name: str, portal: subprocess.Popen[str], url: str, headers: dict[str, str]) -> None:
        self._name = name
        self._portal = portal
        self._url = url
        self._headers = headers

    def _report(self) -> dict[str, float]:
        assert self._portal.stdin is not None
        assert self._portal.stdout is not None
        self._portal.stdin.write("\n")
        self._portal.stdin.flush()
        while not (line := self._portal.stdout.readline()).startswith('{"longest"'):
            if not line:
                raise SystemExit("the portal has ended")
        found: dict[str, float] = json.loads(line)
        return found

    async def run(self, sockets: int, tenants: int, rounds: int) -> None:
        await self._few()
        echoes = Echoes()
        opened: list[ClientSocket] = []
        for number in range(tenants):
            url = f"{self._url}/t/t{number}/api/echo"
            opened += await open_sockets(url, sockets // tenants, self._headers, echoes)
        await asyncio.sleep(0.5)
        for title, burst in (("browsers", self._from_browsers), ("APIs", self._from_apis)):
            holds = []
            for _ in range(rounds):
                self._report()
                before = sum(socket.received for socket in opened)
                await burst(opened)
                await _until_received(opened, before + 66 * len(opened))
                holds.append(self._report())
            longest = sorted(hold["longest"] * 1e3 for hold in holds)
            cpu = sum(hold["cpu"] for hold in holds) / rounds / len(opened) * 1e6
            print(
                f"{self._name}: {len(opened)} messages of {title} at once: longest hold median "
                f"{longest[len(longest) // 2]:.1f} ms, worst {longest[-1]:.1f} ms; {cpu:.0f} µs of CPU each",
                flush=True,
            )
        for socket in opened:
            socket.transport.abort()

    async def _few(self) -> None:
        echoes = Echoes()
        few = await open_sockets(f"{self._url}/t/t0/api/echo", 10, self._headers, echoes)
        self._report()
        for number in range(1000):
            few[number % 10].send()
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.2)
        found = self._report()
        print(
            f"{self._name}: 10 sockets: echo p50 {echoes.percentile(50):.2f} ms, p99 "
            f"{echoes.percentile(99):.2f} ms; {found['cpu'] / 2000 * 1e6:.0f} µs of CPU for each message "
            f"(with the probe); longest hold {found['longest'] * 1e3:.1f} ms"
        )
        for socket in few:
            socket.transport.abort()

    async def _from_browsers(self, opened: Sequence[ClientSocket]) -> None:
        async with self._stopped():
            for socket in opened:
                socket.send()

    async def _from_apis(self, opened: Sequence[ClientSocket]) -> None:
        opened[0].transport.write(_TO_ALL)
        await asyncio.sleep(_PUSH_AFTER / 2)
        async with self._stopped():
            await asyncio.sleep(_PUSH_AFTER * 2)

    @contextlib.asynccontextmanager
    async def _stopped(self) -> AsyncIterator[None]:
        os.kill(self._portal.pid, signal.SIGSTOP)
        try:
            yield
            await asyncio.sleep(0.05)
        finally:
            os.kill(self._portal.pid, signal.SIGCONT)


async def _until_received(opened: Sequence[ClientSocket], wanted: int) -> None:
    async with asyncio.timeout(30):
        while sum(socket.received for socket in opened) < wanted:  # noqa: ASYNC110 - bytes, not events
            await asyncio.sleep(0.01)


def _measure(code: Path, api: str, sockets: int, tenants: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        others = {f"t{number}": api for number in range(tenants)}
        made = make_portal(
            folder, port=port, database=f"sqlite:///{folder}/portal.db", api=api, others=others
        )
        with made.config.open("a") as config:
            config.write(_LIMITS)
        command = [sys.executable, "-P", str(Path(__file__).resolve()), "--portal", str(made.config)]
        environment = {**os.environ, "PYTHONPATH": str(code)}
        with (folder / "log").open("w") as log:
            portal = subprocess.Popen(
                command,
                cwd=code,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
            headers = {"Cookie": made.headers["Cookie"], "Origin": made.public_url}
            try:
                measurement = _Measurement(code.name, portal, made.public_url, headers)
                measurement._report()
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    runner.run(measurement.run(sockets, tenants, rounds))
            finally:
                portal.kill()
                portal.wait(10)


def main() -> int:
    parser = argparse.ArgumentParser(description="WebSockets that become readable at the same time.")
    parser.add_argument("--sockets", type=int, default=1000)
    parser.add_argument("--tenants", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--turns", type=int, default=1, help="how often each checkout is measured")
    parser.add_argument("--code", type=Path, nargs="+", default=[Path.cwd()])
    parser.add_argument("--portal", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--api", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.portal:
        _serve_portal(given.portal)
        return 0
    if given.api:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve_api(given.api))
        return 0
    port = free_port()
    api = f"http://127.0.0.1:{port}"
    with running([sys.executable, "-m", "bench.socket_burst", "--api", str(port)], f"{api}/"):
        for _ in range(given.turns):
            for code in given.code:
                _measure(code.resolve(), api, given.sockets, given.tenants, given.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
