"""`portal demo`: the portal with sample organisations, in one process, on this machine only."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from portal.app import running
from portal.config.settings import LogSettings, Settings
from portal.demo.banner import RunningDemo, show_banner, show_end_message
from portal.demo.files import write_private
from portal.demo.setup import make_setup_link, operators
from portal.demo.topology import HOST, DemoPartMaker, Ports, development_parts, next_free_ports
from portal.errors import ConfigurationError, Problem, StartupError
from portal.ops.logging import configure_logging
from portal.ops.sockets import listening_sockets
from portal.serving import event_loop_factory

_LISTEN = re.compile(r"(?:127\.0\.0\.1|localhost):([0-9]{1,5})")
_PORTS_FILE = "ports.json"


def run_demo(data: Path | None, listen: str) -> int:
    """Serve the demo until Ctrl-C; return the exit code.

    Parameters: data, the folder for all files (None for a temporary folder, removed at the end); listen,
    `host:port` of the portal on a loopback address.

    Raises ConfigurationError or StartupError before the first request is served.
    """
    log = LogSettings(level="warning")
    configure_logging(style=log.format, level=log.level)
    with (
        _portal_socket(listen) as bound,
        _data_folder(data) as folder,
        asyncio.Runner(loop_factory=event_loop_factory()) as runner,
    ):
        runner.run(_until_stopped(folder, bound, log, kept=data is not None))
    show_end_message(data)
    return 0


async def serve_demo(
    data: Path,
    bound: socket.socket,
    stop: asyncio.Event,
    announce: Callable[[RunningDemo], None],
    *,
    kept: bool = True,
    log: LogSettings | None = None,
) -> None:
    """Serve the demo until `stop` is set.

    Parameters: data, the absolute path of an existing folder; bound, the portal's listening socket; announce,
    called once when the demo is ready; kept, whether `data` stays after the end.
    """
    port = bound.getsockname()[1]
    public_url = f"http://localhost:{port}"
    preferred = _load_ports(data) or Ports()
    ports = next_free_ports(preferred)
    _save_ports(data, ports)
    async with development_parts(data, DemoPartMaker(), portal_url=public_url, ports=ports) as parts:
        settings = Settings(
            public_url=public_url,
            listen=f"{HOST}:{port}",
            tenants=parts.tenants_folder,
            database=f"sqlite:///{data / 'portal.db'}",
            keys=data / "keys.json",
            allow_private_networks=True,
            log=log or LogSettings(),
            operators=operators(),
            setup_links="publish",
        )
        async with running(settings, sockets=[bound]) as served:
            setup_link = await make_setup_link(served.portal.admin)
            announce(RunningDemo(public_url, parts, data, kept, ports != preferred, setup_link))
            await stop.wait()
            await parts.disconnect()


async def _until_stopped(data: Path, bound: socket.socket, log: LogSettings, *, kept: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def stop_once() -> None:
        for number in signals:
            loop.remove_signal_handler(number)  # a second Ctrl-C terminates at once
        stop.set()

    for number in signals:
        loop.add_signal_handler(number, stop_once)
    await serve_demo(data, bound, stop, show_banner, kept=kept, log=log)


def _portal_socket(listen: str) -> socket.socket:
    match = _LISTEN.fullmatch(listen)
    if match is None or int(match[1]) > 65535:
        message = f'found "{listen}", expected a port of this machine, such as 127.0.0.1:8080'
        raise ConfigurationError([Problem("--listen", message)])
    (bound,) = listening_sockets(
        f"{HOST}:{match[1]}", choose="choose another: portal demo --listen 127.0.0.1:9080"
    )
    return bound


@contextlib.contextmanager
def _data_folder(data: Path | None) -> Iterator[Path]:
    if data is None:
        with tempfile.TemporaryDirectory(prefix="portal-demo-") as folder:
            yield Path(folder)
        return
    data = data.absolute()
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(data / ".writable", "")
        (data / ".writable").unlink()
    except OSError as error:
        raise StartupError(
            f"The folder {data} cannot be used: {error.strerror}.",
            remedy="Choose a writable folder: portal demo --data DIR",
        ) from error
    yield data


def _load_ports(data: Path) -> Ports | None:
    path = data / _PORTS_FILE
    if not path.exists():
        return None
    try:
        kept = json.loads(path.read_text())
        return Ports(**{name: int(kept.get(name, port)) for name, port in asdict(Ports()).items()})
    except (ValueError, AttributeError, TypeError) as error:
        raise ConfigurationError([Problem(str(path), "cannot be read; delete it")]) from error


def _save_ports(data: Path, ports: Ports) -> None:
    write_private(data / _PORTS_FILE, json.dumps(asdict(ports)))
