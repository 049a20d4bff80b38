"""`portal serve`: worker processes, signals and shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from portal.app import CHOOSE_ANOTHER_ADDRESS, RunningPortal, build, close, open_database, running
from portal.config.settings import Settings
from portal.errors import StartupError
from portal.keys.client_key_ring import complete_client_keys, load_client_keys
from portal.keys.key_ring import KeyRing
from portal.ops.descriptors import connection_limit, raise_descriptor_limit
from portal.ops.listening import ListeningSockets
from portal.ops.logging import configure_logging
from portal.ops.metrics import shared_metrics
from portal.ops.processes import Renewed, Start, Supervisor, Work
from portal.ops.reporting_worker import ReportingWorker
from portal.ops.service_manager import PassedSockets, ServiceManager, passed_sockets
from portal.settings_reload import ReadSettings, SettingsReload
from portal.web.server.stopping import StopDelays

_log = structlog.get_logger("portal")

_HANDSHAKE_SECONDS = 0.1
_REQUEST_SECONDS = 0.5
_CHOOSE_ANOTHER_METRICS_ADDRESS = "choose another with `metrics_listen` or PORTAL_METRICS_LISTEN"


@dataclass(frozen=True, slots=True)
class _Parts:
    """What all workers have of the process that starts them."""

    sockets: ListeningSockets
    metrics_sockets: ListeningSockets
    reload: SettingsReload
    manager: ServiceManager

    def begin_listening(self) -> None:
        self.sockets.begin()
        self.metrics_sockets.begin()


def serve(settings: Settings, *, read_again: ReadSettings | None = None, take_over: bool = False) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code.

    Parameters: read_again, reads the settings once more after SIGHUP; take_over, whether a portal that
    listens at the same addresses may go on until it is stopped.
    Raises ConfigurationError or StartupError before the first request is served.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the tenant files have been loaded
    manager = ServiceManager.from_environment(os.environ)
    count = settings.processes or os.cpu_count() or 1
    select = ReportingWorker() if count > 1 else None
    _configure_logging(settings, select, cache=count == 1)
    raise_descriptor_limit()
    connection_limit(settings.limits.connections)
    KeyRing.load_or_create(settings.keys)
    _complete_client_keys(settings.keys)
    sockets, metrics_sockets = _listen(settings, passed_sockets(os.environ), beside=take_over)
    reload = SettingsReload(settings, read_again)
    parts = _Parts(sockets, metrics_sockets, reload, manager)

    def work_with(settings: Settings) -> Work:
        def work(start: Start) -> int:
            _configure_logging(settings, select, cache=True)
            with asyncio.Runner(loop_factory=event_loop_factory()) as runner:
                runner.run(_serve(settings, parts, start))
            return 0

        return work

    def renew() -> Renewed | None:
        changed = reload.changed()
        return None if changed is None else Renewed(work_with(changed), reload.give_up)

    with contextlib.ExitStack() as resources:
        for bound in (sockets, metrics_sockets):
            resources.callback(bound.close)
        resources.enter_context(shared_metrics(count))
        if count == 1:
            return work_with(settings)(
                Start(
                    alone=True,
                    serves=manager.serving,
                    alive=manager.alive,
                    alive_seconds=manager.beat_seconds,
                )
            )
        asyncio.run(_check_startup(settings))
        return Supervisor(
            count, work_with(settings), sockets=[sockets, metrics_sockets], renew=renew, manager=manager
        ).run()


def _configure_logging(settings: Settings, select: ReportingWorker | None, *, cache: bool) -> None:
    configure_logging(style=settings.log.format, level=settings.log.level, cache=cache, select=select)


def _listen(
    settings: Settings, passed: PassedSockets, *, beside: bool
) -> tuple[ListeningSockets, ListeningSockets]:
    """Open the sockets of `listen` and `metrics_listen`, unless the service manager passed them."""
    if beside and (passed.listen or passed.metrics_listen):
        raise StartupError(
            "--take-over has no effect with sockets of the service manager.",
            remedy="Start without it: several portals can use these sockets at a time.",
        )
    sockets = ListeningSockets.open(
        settings.listen, choose=CHOOSE_ANOTHER_ADDRESS, passed=passed.listen, beside=beside
    )
    if settings.metrics_listen is None and not passed.metrics_listen:
        return sockets, ListeningSockets(())
    metrics = ListeningSockets.open(
        settings.metrics_listen or "",
        choose=_CHOOSE_ANOTHER_METRICS_ADDRESS,
        passed=passed.metrics_listen,
        beside=beside,
    )
    return sockets, metrics


def _complete_client_keys(path: Path) -> None:
    """Add missing client keys. A read-only key ring still works for tenants that need no client keys."""
    load_client_keys(path)
    try:
        complete_client_keys(path)
    except StartupError as error:
        _log.warning("client_keys_not_made", detail=error.message, remedy="portal key rotate")


async def _serve(settings: Settings, parts: _Parts, start: Start) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    async with running(
        settings,
        sockets=parts.sockets.sockets,
        metrics_sockets=parts.metrics_sockets.sockets,
        stop_delays=StopDelays(handshake=_HANDSHAKE_SECONDS, request=_REQUEST_SECONDS),
        replaces_worker=start.again,
        reloads=start.reloads,
        begin_listening=parts.begin_listening,
        memory=start.memory,
    ) as served:
        check = served.database_check
        report = parts.reload.report if start.alone else None
        loop.add_signal_handler(signal.SIGHUP, _reload_tenants, served, report)
        start.serves()
        _log.info(
            "serving",
            url=settings.public_url,
            listen=[_name_of(one) for one in parts.sockets.sockets],
            tenants=len(served.portal.registry.all()),
            pid=os.getpid(),
        )
        gc.collect()
        gc.freeze()  # objects made at start-up live until the end: no collection need traverse them again
        gc.set_threshold(20_000, 20, 50)
        reasons = [asyncio.create_task(event.wait()) for event in (stop, check.refused)]
        beating = asyncio.create_task(_say_alive(start))
        await asyncio.wait(reasons, return_when=asyncio.FIRST_COMPLETED)
        for task in (*reasons, beating):
            task.cancel()
        if start.alone:  # otherwise the supervisor does this: other processes share the sockets
            parts.manager.stopping()
            parts.sockets.refuse()
        _log.info("stopping", in_flight=served.portal.in_flight.count)
    _log.info("stopped")
    if check.refusal is not None:
        raise check.refusal


async def _say_alive(start: Start) -> None:
    """Say regularly that the event loop runs, if anybody wants to know."""
    while start.alive_seconds is not None:
        await asyncio.sleep(start.alive_seconds)
        start.alive()


def _name_of(one: socket.socket) -> str:
    """The address of a listening socket, as in the settings."""
    address = one.getsockname()
    if one.family == socket.AF_UNIX:
        return f"unix:{address}"
    return f"[{address[0]}]:{address[1]}" if one.family == socket.AF_INET6 else f"{address[0]}:{address[1]}"


def _reload_tenants(served: RunningPortal, report: Callable[[], None] | None) -> None:
    """Check the tenant files now (SIGHUP). The key ring is checked every second anyway.

    Parameters: report, reads the settings file where no supervisor does.
    """
    _log.info("reloading_tenant_files")
    served.portal.registry.check_now()
    if report is not None:
        asyncio.get_running_loop().run_in_executor(None, report)


async def _check_startup(settings: Settings) -> None:
    """Start up to the database and stop again, so that an error is reported once, before any fork."""
    built = build(settings)
    await open_database(built)
    await close(built)


def event_loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's event loop where it is installed, else None for the default."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
