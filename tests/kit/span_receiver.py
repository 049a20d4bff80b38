"""A collector on a real socket: it receives spans with OTLP over HTTP and decodes them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

# Imported here, as building a portal imports them: the tests watch how long the event loop is held.
import opentelemetry.exporter.otlp.proto.http.trace_exporter  # noqa: F401
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from portal.config.trace_settings import TraceSettings
from tests.kit.world import World
from tests.kit.world import world as make_world


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """A span as the collector sees it; ids in hex, `parent` empty without one."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    seconds: float
    failed: bool
    attributes: dict[str, str | int]


@dataclass
class SpanReceiver:
    """What the collector got. Parameters: status, of its responses."""

    port: int = 0
    status: int = 200
    bodies: list[bytes] = field(default_factory=list)
    resources: list[dict[str, str | int]] = field(default_factory=list)
    spans: list[ReceivedSpan] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/traces"

    def named(self, name: str) -> list[ReceivedSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReceivedSpan:
        [found] = self.named(name)
        return found

    def below(self, parent: ReceivedSpan) -> list[str]:
        """The names of the spans whose parent this is."""
        return [span.name for span in self.spans if (span.trace, span.parent) == (parent.trace, parent.id)]


class _Handler(RequestHandler):
    def initialize(self, receiver: SpanReceiver) -> None:
        self.receiver = receiver

    def post(self) -> None:
        self.receiver.bodies.append(self.request.body)
        self.set_status(self.receiver.status)
        if self.receiver.status != 200:
            return
        message = ExportTraceServiceRequest.FromString(self.request.body)
        for of_resource in message.resource_spans:
            self.receiver.resources.append(_values(of_resource.resource.attributes))
            for of_scope in of_resource.scope_spans:
                self.receiver.spans += [_received(span) for span in of_scope.spans]


def _received(span: ProtoSpan) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        kind=ProtoSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        failed=span.status.code == 2,
        attributes=_values(span.attributes),
    )


def _values(attributes: object) -> dict[str, str | int]:
    return {
        one.key: one.value.int_value if one.value.HasField("int_value") else one.value.string_value
        for one in attributes  # type: ignore[attr-defined]
    }


@contextlib.asynccontextmanager
async def span_receiver() -> AsyncIterator[SpanReceiver]:
    """Run a collector while the block runs."""
    receiver = SpanReceiver()
    server = HTTPServer(Application([("/v1/traces", _Handler, {"receiver": receiver})]))
    sockets = bind_sockets(0, "127.0.0.1")
    receiver.port = sockets[0].getsockname()[1]
    server.add_sockets(sockets)
    try:
        yield receiver
    finally:
        server.stop()
        await server.close_all_connections()


@dataclass
class TracedWorld:
    """A portal that sends its spans to a collector."""

    world: World
    receiver: SpanReceiver

    async def flush(self) -> SpanReceiver:
        """Send what has ended, and return the collector."""
        spans = self.world.running.tracing.spans
        assert spans is not None
        await asyncio.to_thread(spans.flush)
        return self.receiver

    async def afresh(self) -> None:
        """Forget what was received until now."""
        await self.flush()
        self.receiver.spans.clear()


@contextlib.asynccontextmanager
async def traced_world(
    folder: Path, *, sample: float = 1.0, continue_proxy_traces: bool = False, **changes: object
) -> AsyncIterator[TracedWorld]:
    """A portal with traces, and its collector. Parameters: changes, of its settings."""
    async with span_receiver() as receiver:
        traces = TraceSettings(receiver.endpoint, sample, "portal-of-tests", continue_proxy_traces)
        async with make_world(folder, **{"traces": traces, **changes}) as world:  # type: ignore[arg-type]
            yield TracedWorld(world, receiver)
