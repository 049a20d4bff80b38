"""The portal's metrics, in the text format of Prometheus.

app.py makes one `Metrics` for each process and passes it to the objects that count. A label never contains a
user, a token, or a path with an id. Several processes store their values in a shared folder, so that each can
serve the sum over all of them.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from portal.ops.event_metrics import EventMetrics
from portal.ops.expiry_metric import ExpiryMetric
from portal.ops.socket_metrics import SocketMetrics
from portal.ops.store_metrics import StoreMetrics

_log = structlog.get_logger("portal.metrics")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that tells prometheus-client at import which folder the processes share."""


class Metrics:
    """The counters and gauges of one process; the constructor documents each metric."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge

        self._registry = CollectorRegistry()
        self.start_time = Gauge(
            "portal_start_time_seconds",
            "Start time of the oldest process that serves, in seconds since the epoch.",
            multiprocess_mode="livemin",
            registry=self._registry,
        )
        self.start_time.set_to_current_time()
        self.store = StoreMetrics(self._registry)
        self.sockets = SocketMetrics(self._registry)
        self.events = EventMetrics(self._registry)
        self.connections = Gauge(
            "portal_connections",
            "Open connections of clients, including those to the metrics endpoint.",
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self.tasks = Gauge(
            "portal_tasks",
            "Tasks of the event loop when a process last served metrics; the largest of all processes.",
            multiprocess_mode="livemax",
            registry=self._registry,
        )
        self.accept_pauses = Counter(
            "portal_accept_pauses",
            "How often the portal stopped accepting connections: at limits.connections or a system limit.",
            registry=self._registry,
        )
        self.slow_readers = Counter(
            "portal_slow_readers_closed",
            "Connections that were closed because the client did not read its response.",
            registry=self._registry,
        )
        self.calls_cut = Counter(
            "portal_calls_cut",
            "API calls in progress that were aborted because their login or tenant ended.",
            registry=self._registry,
        )
        self.session_streams = Gauge(
            "portal_session_streams",
            "Open event streams of GET /session/events.",
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self.session_streams_refused = Counter(
            "portal_session_streams_refused",
            "Event streams that were ended at once because the process had too many.",
            registry=self._registry,
        )
        self.tenants_without_file = Gauge(
            "portal_tenants_without_file",
            "Tenants that are served although their files are gone; the largest number of all processes.",
            multiprocess_mode="livemax",
            registry=self._registry,
        )

        self.expiries = ExpiryMetric()
        self._registry.register(self.expiries)

    def render(self) -> bytes:
        """Return every metric in the text format of Prometheus, summed over all processes."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        folder = os.environ.get(_FOLDER)
        if folder is None:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
        registry.register(self.expiries)
        return generate_latest(registry)


@contextmanager
def shared_metrics(processes: int) -> Iterator[None]:
    """Sum the metrics of all processes that are forked inside the block; a single process needs no folder.

    Call it before the first `Metrics` is made.
    """
    if processes == 1:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="portal-metrics-") as folder:
        Path(folder).chmod(0o700)
        os.environ[_FOLDER] = folder
        try:
            yield
        finally:
            os.environ.pop(_FOLDER, None)


def forget_process(pid: int) -> None:
    """Remove the gauges of a process that has ended; its counters stay in the sum.

    Its counters are added to one file for all ended processes: each request for metrics reads every file, and
    must not become slower each time a process ends.
    """
    folder = os.environ.get(_FOLDER)
    if folder is None:
        return
    from prometheus_client.mmap_dict import MmapedDict
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid)  # type: ignore[no-untyped-call]
    counters = Path(folder) / f"counter_{pid}.db"
    if not counters.exists():
        return
    ended: Any = MmapedDict(str(counters.with_name("counter_ended.db")))  # type: ignore[no-untyped-call]
    try:
        for key, value, _, _ in MmapedDict.read_all_values_from_file(counters):  # type: ignore[no-untyped-call]
            if value:
                ended.write_value(key, ended.read_value(key)[0] + value, 0.0)
    except (struct.error, ValueError, RuntimeError):
        _log.warning("counters_lost", pid=pid)  # the process was killed while it created the file
    finally:
        ended.close()
        counters.unlink()
