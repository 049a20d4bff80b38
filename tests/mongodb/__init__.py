"""The MongoDB server for tests: a separate process, prepared by `setup.sh` in this folder."""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pymongo import MongoClient

_HERE = Path(__file__).parent
_READY = _HERE.parent.parent / ".cache" / "mongodb"
_START_SECONDS = 30.0


class MongoTestServer:
    """A MongoDB server process on a loopback port, with its data in a folder.

    It can be killed and restarted on the same port and data. It always ends together with the process that
    started it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def uri(self) -> str:
        """Connection string, without a database name."""
        return f"mongodb://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start and wait until it listens: on a free port the first time, later on the same port."""
        _prepare()
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [_java(), "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                 "-cp", f"{_READY / 'classes'}:{_READY / 'lib'}/*",
                 "MongoTestServer", str(self.port), str(self._folder / "data.mv")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )  # fmt: skip
        self.port = self._await_port(self._process)

    def kill(self) -> None:
        """End it without warning (SIGKILL)."""
        self._end(signal.SIGKILL)

    def terminate(self) -> None:
        """Terminate it and wait until it has ended."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Pause it (SIGSTOP): connections stay open, but get no response."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume it after `freeze`."""
        self._signal(signal.SIGCONT)

    def _signal(self, which: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(which)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        process.wait(timeout=_START_SECONDS)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def _await_port(self, process: subprocess.Popen[bytes]) -> int:
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            heard = selector.select(timeout=_START_SECONDS)
        line = process.stdout.readline().decode() if heard else ""
        if not line.startswith("listening on "):
            self.kill()
            log = (self._folder / "server.log").read_text(errors="replace")
            raise RuntimeError(f"the test MongoDB server did not start: {line or 'no output'}\n{log[-4000:]}")
        return int(line.removeprefix("listening on "))


def _java() -> str:
    java = shutil.which("java")
    if java is None:
        raise RuntimeError("java is missing; scripts/setup.sh test installs it")
    return java


def _prepare() -> None:
    done = subprocess.run([_HERE / "setup.sh"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise RuntimeError(f"the test MongoDB server cannot be prepared:\n{done.stdout}{done.stderr}")


@contextlib.contextmanager
def running_server(folder: Path) -> Iterator[str]:
    """Yield the connection string, without a database name, of a server for a whole test session.

    It is `PORTAL_TEST_MONGODB_URI` if set, otherwise a server started for this session.
    """
    given = os.environ.get("PORTAL_TEST_MONGODB_URI")
    if given:
        yield given
        return
    server = MongoTestServer(folder)
    server.start()
    try:
        yield server.uri
    finally:
        server.terminate()


@contextlib.contextmanager
def fresh_database(server_uri: str) -> Iterator[str]:
    """Yield a connection string with the name of a new database, which is dropped at the end."""
    name = f"portal_test_{int(time.time())}_{secrets.token_hex(4)}"
    address, question, options = server_uri.partition("?")
    scheme, _, rest = address.partition("://")
    hosts, _, authentication_database = rest.partition("/")
    if authentication_database and "authsource=" not in options.lower():
        options = "&".join(filter(None, (options, f"authSource={authentication_database}")))
        question = "?"
    yield f"{scheme}://{hosts}/{name}{question}{options}"
    with MongoClient[dict[str, Any]](server_uri, serverSelectionTimeoutMS=5000) as client:
        client.drop_database(name)
