"""`portal serve`: worker processes, signals and shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from portal.app import CHOOSE_ANOTHER_ADDRESS, RunningPortal, build, close, open_database, running
from portal.config.settings import Settings
from portal.errors import StartupError
from portal.keys.client_key_ring import complete_client_keys, load_client_keys
from portal.keys.key_ring import KeyRing
from portal.ops.descriptors import connection_limit, raise_descriptor_limit
from portal.ops.logging import configure_logging
from portal.ops.metrics import shared_metrics
from portal.ops.processes import Start, Supervisor
from portal.ops.reporting_worker import ReportingWorker
from portal.ops.sockets import listening_sockets, refuse_new_connections
from portal.web.server.stopping import StopDelays

_log = structlog.get_logger("portal")

_HANDSHAKE_SECONDS = 0.1
_REQUEST_SECONDS = 0.5
_CHOOSE_ANOTHER_METRICS_ADDRESS = "choose another with `metrics_listen` or PORTAL_METRICS_LISTEN"


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code.

    Raises ConfigurationError or StartupError before the first request is served.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the tenant files have been loaded
    count = settings.processes or os.cpu_count() or 1
    configure_logging(
        style=settings.log.format,
        level=settings.log.level,
        cache=True,
        select=ReportingWorker() if count > 1 else None,
    )
    raise_descriptor_limit()
    connection_limit(settings.limits.connections)
    KeyRing.load_or_create(settings.keys)
    _complete_client_keys(settings.keys)
    sockets = listening_sockets(settings.listen, choose=CHOOSE_ANOTHER_ADDRESS)
    metrics_sockets: list[socket.socket] = []
    if settings.metrics_listen is not None:
        metrics_sockets = listening_sockets(settings.metrics_listen, choose=_CHOOSE_ANOTHER_METRICS_ADDRESS)

    def work(start: Start) -> int:
        with asyncio.Runner(loop_factory=event_loop_factory()) as runner:
            runner.run(_serve(settings, sockets, metrics_sockets, start))
        return 0

    with contextlib.ExitStack() as resources:
        for bound in (*sockets, *metrics_sockets):
            resources.enter_context(bound)
        resources.enter_context(shared_metrics(count))
        if count == 1:
            return work(Start(alone=True))
        asyncio.run(_check_startup(settings))
        return Supervisor(count, work, sockets=[*sockets, *metrics_sockets]).run()


def _complete_client_keys(path: Path) -> None:
    """Add missing client keys. A read-only key ring still works for tenants that need no client keys."""
    load_client_keys(path)
    try:
        complete_client_keys(path)
    except StartupError as error:
        _log.warning("client_keys_not_made", detail=error.message, remedy="portal key rotate")


async def _serve(
    settings: Settings,
    sockets: list[socket.socket],
    metrics_sockets: Sequence[socket.socket],
    start: Start,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    stop_delays = StopDelays(handshake=_HANDSHAKE_SECONDS, request=_REQUEST_SECONDS)
    async with running(
        settings,
        sockets=sockets,
        metrics_sockets=metrics_sockets,
        stop_delays=stop_delays,
        replaces_worker=start.again,
        load=start.load,
    ) as served:
        check = served.database_check
        loop.add_signal_handler(signal.SIGHUP, _reload_tenants, served)
        start.serves()
        _log.info(
            "serving",
            url=settings.public_url,
            listen=settings.listen,
            tenants=len(served.portal.registry.all()),
            pid=os.getpid(),
        )
        gc.collect()
        gc.freeze()  # objects made at start-up live until the end: no collection need traverse them again
        gc.set_threshold(20_000, 20, 50)
        reasons = [asyncio.create_task(event.wait()) for event in (stop, check.refused)]
        await asyncio.wait(reasons, return_when=asyncio.FIRST_COMPLETED)
        for reason in reasons:
            reason.cancel()
        if start.alone:  # otherwise the supervisor does this: other processes share the sockets
            refuse_new_connections(sockets)
        _log.info("stopping", in_flight=served.portal.in_flight.count)
    _log.info("stopped")
    if check.refusal is not None:
        raise check.refusal


def _reload_tenants(served: RunningPortal) -> None:
    """Reload the tenant files now (SIGHUP). The key ring is checked every second anyway."""
    _log.info("reloading_tenant_files")
    served.portal.registry.check_now()


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
