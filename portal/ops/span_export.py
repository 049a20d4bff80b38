"""Hands spans to OpenTelemetry's SDK, which only this module and `portal.ops.span_sending` import.

The request to the collector is the SDK's own, not one of `portal/outbound`: see
docs/decisions/097-spans-are-made-here-and-sent-by-opentelemetry.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from typing import TYPE_CHECKING

from portal.errors import StartupError
from portal.trace_context import TraceContext
from portal.traces import Span, SpanKind

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import SpanContext

    from portal.ops.span_sending import CollectorExporter

_FLUSH_SECONDS = 5.0
"""How long a stop waits until the last spans are sent."""
_QUEUE = 4096
"""Spans that wait for the collector. When there are more, the oldest are dropped."""
_BATCH = 512
_DELAY_MS = 2000.0


class SpanExport:
    """A queue of ended spans and the thread that sends them. Call `start` in the process that serves.

    Parameters: endpoint, the URL of the collector; service_name, of this portal.
    Raises: StartupError when OpenTelemetry is not installed.
    """

    def __init__(self, endpoint: str, *, service_name: str) -> None:
        try:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import ReadableSpan, export
            from opentelemetry.sdk.util.instrumentation import InstrumentationScope
            from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags
            from opentelemetry.trace import SpanKind as Kind

            from portal.ops.span_sending import CollectorExporter, LossLog, refusal_of
        except ImportError as error:
            raise StartupError(
                "`traces` needs the packages of OpenTelemetry, which are not installed.",
                remedy="Run: pip install 'tenant-portal[otel]'",
            ) from error
        self._endpoint = endpoint
        self._processor: BatchSpanProcessor | None = None
        self._exporter: CollectorExporter | None = None
        self._losses = LossLog()
        self._ended = self._dropped = 0
        self._new_exporter = CollectorExporter
        self._new_processor = export.BatchSpanProcessor
        self._refusal_of = refusal_of
        self._new_resource = Resource
        self._service_name = service_name
        self._resource = Resource({})
        self._scope = InstrumentationScope("tenant-portal")
        self._readable = ReadableSpan
        self._context = SpanContext
        self._flags = {True: TraceFlags(TraceFlags.SAMPLED), False: TraceFlags(TraceFlags.DEFAULT)}
        self._kinds = {
            SpanKind.SERVER: Kind.SERVER,
            SpanKind.CLIENT: Kind.CLIENT,
            SpanKind.INTERNAL: Kind.INTERNAL,
        }
        self._unset, self._error = Status(StatusCode.UNSET), Status(StatusCode.ERROR)

    def start(self) -> None:
        """Start the thread. A thread does not survive a fork: call it afterwards."""
        self._resource = self._new_resource({"service.name": self._service_name, "process.pid": os.getpid()})
        self._exporter = self._new_exporter(self._endpoint, self._losses)
        self._processor = self._new_processor(
            self._exporter,
            max_queue_size=_QUEUE,
            max_export_batch_size=_BATCH,
            schedule_delay_millis=_DELAY_MS,
        )

    def export(self, span: Span) -> None:
        """Queue an ended span; before `start` and after `close` it is dropped."""
        if self._processor is None or self._exporter is None:
            return
        if self._ended - self._dropped - self._exporter.taken >= _QUEUE:  # the SDK drops the oldest one
            self._dropped += 1
            self._losses.lost(1, "queue full")
        self._ended += 1
        attributes = {**span.attributes, "error.type": span.error} if span.error else span.attributes
        self._processor.on_end(
            self._readable(
                name=span.name,
                context=self._of(span.context, remote=False),
                parent=self._of(span.parent, remote=span.kind is SpanKind.SERVER) if span.parent else None,
                resource=self._resource,
                attributes=attributes,
                kind=self._kinds[span.kind],
                status=self._error if span.error else self._unset,
                start_time=span.begun,
                end_time=span.ended,
                instrumentation_scope=self._scope,
            )
        )

    def _of(self, context: TraceContext, *, remote: bool) -> SpanContext:
        return self._context(
            context.trace_id, context.span_id, is_remote=remote, trace_flags=self._flags[context.sampled]
        )

    def flush(self) -> None:
        """Send what is queued; blocks until it is sent or has failed."""
        if self._processor is not None:
            self._processor.force_flush()

    def refusal(self) -> str:
        """Send the collector an empty message; return why it did not take it, empty if it did. Blocks."""
        return self._refusal_of(self._endpoint)

    async def close(self) -> None:
        """Send what is queued, for at most five seconds, and stop the thread."""
        processor, self._processor = self._processor, None
        if processor is None or self._exporter is None:
            return
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def stop() -> None:
            processor.shutdown()  # type: ignore[no-untyped-call]
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(sent.set)

        # Not a thread of the loop's executor: the end of the process would wait for it.
        threading.Thread(target=stop, name="last-spans", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_SECONDS):
                await sent.wait()
        waiting = 0 if sent.is_set() else self._ended - self._dropped - self._exporter.settled
        self._losses.lost(waiting, "stopped", at_once=True)
