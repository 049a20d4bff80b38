"""A portal in separate processes (`portal serve`); development providers and APIs run in the test process."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, replace
from pathlib import Path

from tornado.httpclient import AsyncHTTPClient, HTTPError

from portal.app import build
from portal.config.settings import Settings
from portal.keys.key_ring import KeyRing
from tests.kit.faulty.parts import FaultyParts, ProviderOptions, faulty_parts
from tests.kit.world import OffsetClock, World

_ROOT = Path(__file__).parent.parent.parent
_START_SECONDS = 120.0
"""Generous: a busy machine takes 20."""
_STOP_SECONDS = 45.0


class PortalProcess:
    """`portal serve` with settings in its environment; a test can start, kill and restart it.

    Parameters: clock_offset, error of its clock in seconds; code, the folder with the portal's package.
    """

    def __init__(
        self, settings: Settings, log: Path, *, clock_offset: float = 0.0, code: Path = _ROOT
    ) -> None:
        self._code = code
        self._settings = settings
        self._log = log
        self._clock_offset = clock_offset
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def workers(self) -> list[int]:
        """The serving processes: its children, or itself if it has none."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(child) for child in children] or [self.pid]

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    async def start(self) -> None:
        """Start and wait until it responds."""
        settings = self._settings
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PORTAL_")}
        environment |= {
            "PORTAL_PUBLIC_URL": settings.public_url,
            "PORTAL_LISTEN": settings.listen,
            "PORTAL_TENANTS": str(settings.tenants),
            "PORTAL_DATABASE": settings.database,
            "PORTAL_KEYS": str(settings.keys),
            "PORTAL_PROCESSES": str(settings.processes),
            "PORTAL_ALLOW_PRIVATE_NETWORKS": "true",
            "PORTAL_SERVER": settings.server,
            "PORTAL_LOG_FORMAT": "json",
            "PORTAL_LOG_LEVEL": "debug",
        }
        webhook = settings.events.webhook
        if webhook is not None:
            secret = f"whsec_{base64.b64encode(webhook.key).decode()}"
            environment["PORTAL_EVENTS_WEBHOOK"] = json.dumps({"url": webhook.url, "secret": secret})
        if self._code != _ROOT:
            environment["PYTHONPATH"] = str(self._code)
        if settings.metrics_listen is not None:
            environment["PORTAL_METRICS_LISTEN"] = settings.metrics_listen
            environment["PORTAL_METRICS_TENANTS"] = str(settings.metrics.tenants)
        if settings.traces is not None:
            environment["PORTAL_TRACES"] = json.dumps(asdict(settings.traces))
        if self._clock_offset:
            environment["PYTHONPATH"] = str(_wrong_clock(self._log.parent, self._clock_offset))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "portal", "serve"],
                cwd=self._code,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        await self._wait_until_ready()

    def kill(self) -> None:
        """End it and its workers without warning (SIGKILL)."""
        for pid in (self.pid, *self.workers):  # the supervisor first: it would start new workers
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._reap()

    @staticmethod
    def kill_worker(pid: int) -> None:
        """Kill one of its workers (SIGKILL)."""
        os.kill(pid, signal.SIGKILL)

    async def stop(self) -> None:
        """Terminate it and wait until it has ended."""
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                while process.poll() is None:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            self.kill()
            raise AssertionError(f"the portal did not stop:\n{self.log[-4000:]}") from None
        self._reap()

    def _reap(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.wait(timeout=_START_SECONDS)

    async def _wait_until_ready(self) -> None:
        client, url = AsyncHTTPClient(force_instance=True), f"http://{self._settings.listen}/readyz"
        try:
            async with asyncio.timeout(_START_SECONDS):
                while True:
                    assert self._process is not None
                    assert self._process.poll() is None, self.log[-4000:]
                    with contextlib.suppress(OSError, HTTPError):
                        response = await client.fetch(url, raise_error=False)
                        if response.code == 200:
                            return
                    await asyncio.sleep(0.05)
        finally:
            client.close()


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no VmRSS of process {pid}")


def open_sockets(pid: int) -> int:
    """Return the number of open sockets of a process."""
    count = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(entry).startswith("socket:")
    return count


@contextlib.asynccontextmanager
async def world_outside(
    folder: Path,
    *,
    processes: int = 1,
    database: str | None = None,
    options: ProviderOptions | None = None,
    serves: bool = True,
    changes: Callable[[Settings], Settings] = lambda settings: settings,
) -> AsyncIterator[tuple[World, PortalProcess]]:
    """Like `tests.kit.world.world`, but another process serves the portal, with changed settings.

    `running` of this world uses the same database and key ring without serving requests: a test inspects
    the store and the vault through it. Parameters: serves, whether to start the other process.
    """
    port = free_port()
    url = f"http://localhost:{port}"
    options = options or ProviderOptions(access_token_seconds=300.0)
    async with faulty_parts(folder / "parts", portal_url=url, options=options, hostile=True) as parts:
        settings = changes(_settings(folder, url, port, parts, database))
        served = PortalProcess(replace(settings, processes=processes), folder / "portal.log")
        if serves:
            await served.start()
        else:
            KeyRing.load_or_create(settings.keys)
        inspector = build(settings)
        await inspector.portal.store.open()
        made = World(url, parts, inspector, OffsetClock(), settings)
        try:
            yield made, served
        finally:
            for browser in made.browsers:
                browser.close()
            await inspector.portal.http.close()
            await inspector.portal.store.close()
            await served.stop()


def _wrong_clock(folder: Path, seconds: float) -> Path:
    """Create a folder whose `sitecustomize`, which Python imports first, shifts the clock of a process."""
    made = folder / f"clock_off_by_{seconds:g}"
    made.mkdir(exist_ok=True)
    text = f"import time\nright = time.time\ntime.time = lambda: right() + {seconds}\n"
    (made / "sitecustomize.py").write_text(text)
    return made


def free_port() -> int:
    """Return a port below the ephemeral range, so that it stays free for a restart."""
    while True:
        port = random.randrange(20_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def _settings(folder: Path, url: str, port: int, parts: FaultyParts, database: str | None) -> Settings:
    return Settings(
        public_url=url,
        listen=f"127.0.0.1:{port}",
        tenants=parts.tenants_folder,
        database=database or f"sqlite:///{folder}/portal.db",
        keys=folder / "keys.json",
        allow_private_networks=True,
    )
