"""Traces as the settings ask for them: the tracer, and what sends its spans."""

from __future__ import annotations

from dataclasses import dataclass

from portal.config.trace_settings import TraceSettings
from portal.ops.metrics import Metrics
from portal.ops.span_export import SpanExport
from portal.stores.tenant_store import Database
from portal.stores.timing import timed_store
from portal.traces import Tracer


@dataclass(frozen=True, slots=True)
class Tracing:
    """Both are None without `traces` in the settings."""

    tracer: Tracer | None = None
    spans: SpanExport | None = None

    @classmethod
    def of(cls, settings: TraceSettings | None) -> Tracing:
        """Wire the traces of a portal; nothing is sent before `start`. Raises: StartupError."""
        if settings is None:
            return cls()
        spans = SpanExport(settings.endpoint, service_name=settings.service_name)
        return cls(Tracer(spans.export, sample=settings.sample), spans)

    def timed(self, store: Database, metrics: Metrics) -> Database:
        """Return the store with its operations measured, if metrics or traces need that."""
        counted = metrics.store.operation_done if metrics.calls is not None else None
        measure = counted if self.tracer is None else self.tracer.measuring(counted)
        return store if measure is None else timed_store(store, measure)

    def start(self) -> None:
        """Begin to send spans, in the process that serves."""
        if self.spans is not None:
            self.spans.start()

    async def close(self) -> None:
        """Send the last spans, for at most five seconds."""
        if self.spans is not None:
            await self.spans.close()
