"""Health, readiness and metrics, for load balancers and Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

import structlog
from tornado.web import Application, RequestHandler

from portal.display_text import display_text
from portal.errors import StoreUnavailable
from portal.ops.metrics import CONTENT_TYPE, Metrics
from portal.web.base import PortalHandler
from portal.web.context import Portal
from portal.web.present_problems import found_problems

_LONGEST = 500
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
        await finish_readiness(self, self.portal)

    head = get


class DetailedReadyHandler(RequestHandler):
    """`GET /readyz` on the address `metrics_listen`: the same, and with `?verbose` what is wrong.

    An unhealthy provider or a refused tenant file does not change the status: the process serves the others.
    """

    def initialize(self, portal: Portal) -> None:
        self._portal = portal

    async def get(self) -> None:
        verbose = "verbose" in self.request.query_arguments or self.request.query == "verbose"
        await finish_readiness(
            self, self._portal, problems=await found_problems(self._portal) if verbose else {}
        )

    head = get


async def finish_readiness(
    handler: RequestHandler, portal: Portal, *, problems: Mapping[str, object] = MappingProxyType({})
) -> None:
    """Respond with the readiness of a process. Parameters: problems, further members of the response."""
    warnings = [] if portal.clock_check.agrees() else ["clock_differs_from_database"]
    if portal.registry.without_file:
        warnings.append("tenants_without_file")
    details = {
        "tenants": len(portal.registry.all()),
        "tenants_without_file": portal.registry.without_file,
        "clock_offset": portal.clock_check.offset,
        "warnings": warnings,
        **problems,
    }
    try:
        await portal.store_probe.check()
    except StoreUnavailable as error:
        _log.warning("not_ready", code=error.code, detail=error.detail)
        handler.set_status(error.status)
        handler.set_header("Retry-After", str(error.retry_after))
        if problems:
            details["store"] = display_text(error.detail, limit=_LONGEST)
        handler.finish({"status": "unavailable", "code": error.code, "database": "unavailable", **details})
        return
    handler.finish({"status": "ready", "database": "ok", **details})


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


def metrics_application(portal: Portal, measure: Callable[[], Awaitable[None]]) -> Application:
    """Return the application that is served at `metrics_listen`.

    Parameters: measure, called before metrics are served.
    """
    return Application(
        [
            ("/metrics", MetricsHandler, {"metrics": portal.metrics, "measure": measure}),
            ("/readyz", DetailedReadyHandler, {"portal": portal}),
        ],
        log_function=lambda handler: None,
    )
