"""`portal demo`: the portal with sample organisations, in one process, on this machine only."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from ipaddress import ip_network
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from portal.app import running
from portal.config.front_ends import FrontEnd
from portal.config.setting_types import PublicUrl
from portal.config.settings import LogSettings, Settings
from portal.demo.banner import RunningDemo, show_banner, show_end_message
from portal.demo.command import demo_command
from portal.demo.files import write_private
from portal.demo.front_ends import demo_front_ends
from portal.demo.setup import make_setup_link, operators
from portal.demo.topology import HOST, DemoPartMaker, Ports, development_parts, next_free_ports
from portal.errors import ConfigurationError, Problem, StartupError
from portal.ops.logging import configure_logging
from portal.ops.sockets import listening_sockets
from portal.serving import event_loop_factory

_LISTEN = re.compile(r"(?:127\.0\.0\.1|localhost):([0-9]{1,5})")
_PORTS_FILE = "ports.json"


def run_demo(
    data: Path | None, listen: str, *, public_url: str | None = None, front_end: str | None = None
) -> int:
    """Serve the demo until Ctrl-C; return the exit code.

    Parameters: data, the folder for all files (None for a temporary folder, removed at the end); listen,
    `host:port` of the portal on a loopback address; public_url, its URL for browsers (None: localhost and the
    port); front_end, a folder or a development server in place of the order desk.

    Raises ConfigurationError or StartupError before the first request is served.
    """
    url = None if public_url is None else _checked_url(public_url)
    front_ends = demo_front_ends(front_end)
    log = LogSettings(level="warning")
    configure_logging(style=log.format, level=log.level)
    with (
        _portal_socket(listen) as bound,
        _data_folder(data) as folder,
        asyncio.Runner(loop_factory=event_loop_factory()) as runner,
    ):
        kept = data is not None
        runner.run(_until_stopped(folder, bound, log, kept=kept, public_url=url, front_ends=front_ends))
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
    public_url: str | None = None,
    front_ends: Mapping[str, FrontEnd] | None = None,
) -> None:
    """Serve the demo until `stop` is set.

    Parameters: data, the absolute path of an existing folder; bound, the portal's listening socket; announce,
    called once when the demo is ready; kept, whether `data` stays after the end; public_url, as in run_demo,
    with which a proxy on this machine is trusted; front_ends, in place of the order desk.
    """
    port = bound.getsockname()[1]
    proxies = () if public_url is None else (ip_network(HOST),)  # what serves that URL, on this machine
    public_url = public_url or f"http://localhost:{port}"
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
            chooser="list",
            front_ends=demo_front_ends() if front_ends is None else front_ends,
            setup_links="publish",
            trusted_proxies=proxies,
        )
        async with running(settings, sockets=[bound]) as served:
            setup_link = await make_setup_link(served.portal.admin)
            changed, has_desk = ports != preferred, "desk" in settings.front_ends
            announce(RunningDemo(public_url, parts, data, kept, changed, setup_link, has_desk))
            await stop.wait()
            await parts.disconnect()


async def _until_stopped(
    data: Path,
    bound: socket.socket,
    log: LogSettings,
    *,
    kept: bool,
    public_url: str | None,
    front_ends: Mapping[str, FrontEnd],
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def stop_once() -> None:
        for number in signals:
            loop.remove_signal_handler(number)  # a second Ctrl-C terminates at once
        stop.set()

    for number in signals:
        loop.add_signal_handler(number, stop_once)
    await serve_demo(
        data, bound, stop, show_banner, kept=kept, log=log, public_url=public_url, front_ends=front_ends
    )


def _portal_socket(listen: str) -> socket.socket:
    match = _LISTEN.fullmatch(listen)
    if match is None or int(match[1]) > 65535:
        message = f'found "{listen}", expected a port of this machine, such as 127.0.0.1:8080'
        raise ConfigurationError([Problem("--listen", message)])
    choose = f"choose another: {demo_command('--listen', '127.0.0.1:9080')}"
    (bound,) = listening_sockets(f"{HOST}:{match[1]}", choose=choose)
    return bound


def _checked_url(text: str) -> str:
    """The URL as the setting `public_url` has it. Raises ConfigurationError."""
    try:
        return str(TypeAdapter(PublicUrl).validate_python(text))
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise ConfigurationError([Problem("--public-url", message)]) from error


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
            remedy=f"Choose a writable folder: {demo_command('--data', 'DIR')}",
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
