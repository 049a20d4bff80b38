"""The portal's metrics, in the text format of Prometheus.

app.py makes one `Metrics` for each process and passes it to the objects that count. A label never contains a
user, a token, or a path with an id. Several processes store their values in a shared folder, so that each can
serve the sum over all of them. docs/reference/metrics.md is generated from what is declared here.
"""

from __future__ import annotations

import fcntl
import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import structlog

from portal.ops import expiry_metric, state_metric
from portal.ops.call_metrics import CallMetrics
from portal.ops.event_metrics import EventMetrics
from portal.ops.expiry_metric import ExpiryMetric
from portal.ops.forward_auth_metrics import ForwardAuthMetrics
from portal.ops.limit_metrics import Limit, LimitMetrics
from portal.ops.login_metrics import LoginMetrics
from portal.ops.loop_lag import LoopLag
from portal.ops.provider_metrics import UNHEALTHY, ProviderMetrics
from portal.ops.socket_metrics import SocketMetrics
from portal.ops.state_metric import StateMetric
from portal.ops.store_metrics import StoreMetrics
from portal.ops.tallies import FOLDER, SHARED_FILES, Description, Tallies
from portal.ops.tenant_labels import TenantLabels

_log = structlog.get_logger("portal.metrics")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The metrics of one process; the constructor documents each, or makes the object that does.

    Parameters: tenants, how many of them have metrics of their own; counts_calls, whether API calls are
    counted: not where nobody can read the metrics.
    """

    def __init__(self, *, tenants: int = 100, counts_calls: bool = True) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics

        disable_created_metrics()  # type: ignore[no-untyped-call]  # several processes have none
        self._registry = CollectorRegistry()
        self._tallies = Tallies()
        self._registry.register(self._tallies)
        self.tenants = TenantLabels(tenants)
        self.limits = LimitMetrics(self._tallies)
        self.logins = LoginMetrics(self._tallies, self.tenants)
        self.providers = ProviderMetrics(self._registry, self._tallies, self.tenants)
        calls = CallMetrics(self._tallies, self.tenants)
        self.calls = calls if counts_calls else None
        self.forward_auth = ForwardAuthMetrics(self._tallies, self.tenants)
        self.loop_lag = LoopLag(self._tallies)
        self.start_time = Gauge(
            "portal_start_time_seconds",
            "Start time of the oldest process that serves, in seconds since the epoch.",
            multiprocess_mode="livemin",
            registry=self._registry,
        )
        self.start_time.set_to_current_time()
        self.store = StoreMetrics(self._registry, self._tallies, self.limits)
        self.sockets = SocketMetrics(self._registry, self._tallies, self.limits)
        self.events = EventMetrics(self._registry, self._tallies)
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
        self.state = StateMetric()
        self._registry.register(self.state)

    def descriptions(self) -> list[Description]:
        """Every metric, by name."""
        others = [
            Description(
                f"{family.name}_total" if family.type == "counter" else family.name,
                family.type,
                (),
                family.documentation,
            )
            for family in self._registry.collect()
        ]
        described = [
            *(expiry_metric.DESCRIPTION, *state_metric.DESCRIPTIONS, UNHEALTHY),
            *(self._tallies.descriptions()),
        ]
        known = {one.name for one in described}
        return sorted([*described, *(one for one in others if one.name not in known)])

    def requested(self, tenant: str, endpoint: str, outcome: str, seconds: float) -> None:
        """Count a request to a provider; see `portal.outbound.client.Observe`."""
        if outcome == "busy":
            self.limits.hit(Limit.PROVIDER_CONNECTIONS, tenant)
        self.providers.requested(tenant, endpoint, outcome, seconds)

    async def flush(self) -> None:
        """Show other processes what this one has counted. Call it every second and before `render`."""
        await self._tallies.flush()

    async def close(self) -> None:
        """Flush for the last time, and close the files."""
        await self._tallies.flush()
        self._tallies.close()

    def render(self) -> bytes:
        """Return every metric in the text format of Prometheus, summed over all processes.

        It reads the files of all processes: call it in a thread.
        """
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        folder = os.environ.get(FOLDER)
        if folder is None:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
        registry.register(self.expiries)
        registry.register(self.state)
        with _locked(Path(folder), fcntl.LOCK_SH):
            return generate_latest(registry)

    def unhealthy_providers(self) -> dict[str, int]:
        """How many providers are unhealthy, by the label of their tenant; the most of all processes.

        It reads the files of all processes: call it in a thread.
        """
        from prometheus_client import CollectorRegistry
        from prometheus_client.multiprocess import MultiProcessCollector

        folder = os.environ.get(FOLDER)
        registry = self._registry
        if folder is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
        with _locked(Path(folder), fcntl.LOCK_SH) if folder is not None else nullcontext():
            families = list(registry.collect())
        return {
            sample.labels["tenant"]: int(sample.value)
            for family in families
            if family.name == UNHEALTHY.name
            for sample in family.samples
            if sample.value
        }


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
        os.environ[FOLDER] = folder
        try:
            yield
        finally:
            os.environ.pop(FOLDER, None)


@contextmanager
def _locked(folder: Path, operation: int) -> Iterator[None]:
    """Hold a lock (flock(2)) on the files of a folder; the system releases that of a process that ends.

    Without it, a reader could see the counters of an ended process twice, or miss one of its files.
    """
    with (folder / "lock").open("a") as file:
        fcntl.flock(file, operation)
        yield


def forget_process(pid: int) -> None:
    """Remove the gauges of a process that has ended; its counters and histograms stay in the sum.

    They are added to one file for all ended processes: each request for metrics reads every file, and must
    not become slower each time a process ends.
    """
    folder = os.environ.get(FOLDER)
    if folder is None:
        return
    from prometheus_client.multiprocess import mark_process_dead

    with _locked(Path(folder), fcntl.LOCK_EX):
        mark_process_dead(pid)  # type: ignore[no-untyped-call]
        for name in SHARED_FILES:
            path = Path(folder) / name.format(pid)
            if path.exists():
                _add_to_ended(path, pid)


def _add_to_ended(path: Path, pid: int) -> None:
    from prometheus_client.mmap_dict import MmapedDict

    kind = path.name.partition("_")[0]
    ended: Any = MmapedDict(str(path.with_name(f"{kind}_ended.db")))  # type: ignore[no-untyped-call]
    try:
        for key, value, _, _ in MmapedDict.read_all_values_from_file(path):  # type: ignore[no-untyped-call]
            if value:
                ended.write_value(key, ended.read_value(key)[0] + value, 0.0)
    except (struct.error, ValueError, RuntimeError):
        _log.warning("counters_lost", pid=pid)  # the process was killed while it created the file
    finally:
        ended.close()
        path.unlink()
