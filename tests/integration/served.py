"""`portal serve` in a separate process, with a settings file and tenant files."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import yaml

from tests.integration.child import Child, eventually
from tests.integration.local_portal import PortalUsers, write_tenants
from tests.kit.world import SERVER

# Below the ephemeral ports.
_PORTS = range(20_000, 30_000)
_START_SECONDS = 240.0
"""A busy machine needs long to start several processes."""


class ServedPortal(PortalUsers):
    """A portal that can be restarted with the same address and data."""

    def __init__(self, folder: Path, *, processes: int = 1) -> None:
        self.port = free_port()
        super().__init__(f"http://localhost:{self.port}")
        self._folder = folder
        self._processes = processes
        self._environment: dict[str, str] = {}
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        assert self._child is not None
        return self._child

    @property
    def has_child(self) -> bool:
        """Whether it was started, serving or not."""
        return self._child is not None

    @property
    def log(self) -> list[dict[str, object]]:
        """The log lines since the last start."""
        lines = self.child.errors.splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]

    def logged(self, event: str) -> list[dict[str, object]]:
        return [line for line in self.log if line["event"] == event]

    @property
    def workers(self) -> list[int]:
        """The process ids in its `serving` log lines."""
        return [int(str(line["pid"])) for line in self.logged("serving")]

    def configure(self, tenants: Mapping[str, str], secrets: Mapping[str, str]) -> None:
        """Write the settings and tenant files; `secrets` are environment variables."""
        write_tenants(self._folder, tenants)
        settings = {
            "public_url": self.url,
            "listen": f"127.0.0.1:{self.port}",
            "tenants": "./tenants",
            "database": "sqlite:///data/portal.db",
            "keys": "./data/keys.json",
            "processes": self._processes,
            "allow_private_networks": True,
            "log": {"format": "json", "level": "info"},
        }
        (self._folder / "portal.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PORTAL_")}
        self._environment = {**kept, "PORTAL_SERVER": SERVER, **secrets}

    def write_settings(self, **changed: object) -> None:
        """Write the settings file again with other values."""
        path = self._folder / "portal.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changed}), encoding="utf-8")

    def successor(self) -> ServedPortal:
        """A second portal with the same settings and data, not started."""
        made = ServedPortal(self._folder, processes=self._processes)
        made.port, made.url, made._environment = self.port, self.url, self._environment
        return made

    async def start(
        self,
        *options: str,
        name: str = "portal",
        through: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        passed: Sequence[int] = (),
    ) -> None:
        """Start it and wait until all processes serve.

        Parameters: options, of `portal serve`; name, of the files with its output; through, a command that
        runs it; environment, more variables; passed, descriptors that it inherits.
        """
        command = (sys.executable, "-m", "portal", "serve", "--config", self._folder / "portal.yaml")
        child = Child(
            name,
            [*through, *map(str, command), *options],
            self._folder,
            environment={**self._environment, **(environment or {})},
            passed=passed,
        )
        self._child = child
        await child.ready(
            lambda: child.errors.count('"event": "serving"') == self._processes, seconds=_START_SECONDS
        )

    async def stop(self) -> int:
        """Stop it with SIGTERM, as a service manager would; return its exit code."""
        self.child.signal(signal.SIGTERM)
        return await self.child.ended(seconds=_START_SECONDS)

    def accepts_connections(self) -> bool:
        """Return whether its port accepts connections."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except ConnectionRefusedError:
            return False
        return True

    async def wait_until_closed(self) -> None:
        await eventually(lambda: not self.accepts_connections(), "the port is closed")

    def idle_connection(self) -> socket.socket:
        """Return an open keep-alive connection, like those of load balancers."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)

    def close(self) -> None:
        super().close()
        if self._child is not None:
            self._child.end()
            print(self._child.errors)


@contextlib.asynccontextmanager
async def served_portal(folder: Path, *, processes: int = 1) -> AsyncIterator[ServedPortal]:
    """A portal that the test configures and starts; it is always ended after the block."""
    portal = ServedPortal(folder, processes=processes)
    try:
        yield portal
        assert "Traceback" not in portal.child.errors
        assert portal.logged("unexpected_error") == []
    finally:
        portal.close()


def free_port() -> int:
    """Return a free port."""
    while True:
        port = random.choice(_PORTS)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
