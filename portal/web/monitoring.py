"""Health, readiness and metrics, for load balancers and Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from tornado.web import Application, RequestHandler

from portal.errors import StoreUnavailable
from portal.ops.metrics import CONTENT_TYPE, Metrics
from portal.web.base import PortalHandler

_log = structlog.get_logger("portal.health")


class HealthHandler(PortalHandler):
    """`GET /healthz`: the process responds."""

    async def get(self) -> None:
        self.finish({"status": "ok"})

    head = get


class ReadyHandler(PortalHandler):
    """`GET /readyz`: whether the process can serve requests.

    The response names no tenant and no address, because anyone may read it. The log has the reasons.
    """

    async def get(self) -> None:
        warnings = [] if self.portal.clock_check.agrees() else ["clock_differs_from_database"]
        if self.portal.registry.without_file:
            warnings.append("tenants_without_file")
        details = {
            "tenants": len(self.portal.registry.all()),
            "tenants_without_file": self.portal.registry.without_file,
            "clock_offset": self.portal.clock_check.offset,
            "warnings": warnings,
        }
        try:
            await self.portal.store_probe.check()
        except StoreUnavailable as error:
            _log.warning("not_ready", code=error.code, detail=error.detail)
            self.set_status(error.status)
            self.set_header("Retry-After", str(error.retry_after))
            self.finish({"status": "unavailable", "code": error.code, "database": "unavailable", **details})
            return
        self.finish({"status": "ready", "database": "ok", **details})

    head = get


class MetricsHandler(RequestHandler):
    """`GET /metrics` on the address `metrics_listen`: metrics of all processes, never public."""

    def initialize(self, metrics: Metrics, measure: Callable[[], Awaitable[None]]) -> None:
        self._metrics = metrics
        self._measure = measure

    async def get(self) -> None:
        await self._measure()
        self._metrics.tasks.set(len(asyncio.all_tasks()))
        text = await asyncio.to_thread(self._metrics.render)  # reads a file of every process
        self.set_header("Content-Type", CONTENT_TYPE)
        self.finish(text)


def metrics_application(metrics: Metrics, measure: Callable[[], Awaitable[None]]) -> Application:
    """Return the application that is served at `metrics_listen`.

    Parameters: measure, called before metrics are served.
    """
    return Application(
        [("/metrics", MetricsHandler, {"metrics": metrics, "measure": measure})],
        log_function=lambda handler: None,
    )
