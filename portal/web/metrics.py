"""`GET /metrics` on the address `metrics_listen`: for Prometheus, never for the public."""

from __future__ import annotations

import asyncio

from tornado.web import Application, RequestHandler

from portal.ops.metrics import CONTENT_TYPE, Metrics


class MetricsHandler(RequestHandler):
    """The metrics of all processes."""

    def initialize(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def get(self) -> None:
        text = await asyncio.to_thread(self._metrics.render)  # it reads files of every process
        self.set_header("Content-Type", CONTENT_TYPE)
        self.finish(text)


def metrics_application(metrics: Metrics) -> Application:
    """Return what is served at `metrics_listen`."""
    return Application(
        [("/metrics", MetricsHandler, {"metrics": metrics})], log_function=lambda handler: None
    )
