"""Spans: what a request made the portal do, and how long it took. `portal.ops.span_export` sends them away.

A span says nothing that is secret or names a person: routes instead of paths, no query, no subject, no token.
Work that continues after its request is not part of the request's trace, but a refresh is a span of its own:
it is recorded until it ends.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum

from portal.errors import PortalError
from portal.trace_context import TraceContext

Attributes = dict[str, str | int]
Measure = Callable[[str, float, bool], None]
"""As `portal.stores.timing.Measure`."""

_RATIO_BITS = 64


class SpanKind(Enum):
    """Who asks whom, as OpenTelemetry names it."""

    SERVER = "server"
    CLIENT = "client"
    INTERNAL = "internal"


@dataclass(slots=True, eq=False)
class Span:
    """One step of a trace. Times are nanoseconds since the epoch."""

    name: str
    kind: SpanKind
    context: TraceContext
    parent: TraceContext | None
    begun: int
    attributes: Attributes
    ended: int = 0
    """0 while it is in progress."""
    error: str = ""
    """The kind of error, a word of the code; empty without one."""


current_span: ContextVar[Span | None] = ContextVar("current_span", default=None)
"""The span that the running task works for."""


class Tracer:
    """Makes spans and hands those of recorded traces to `export` when they end.

    Parameters: export, gets each ended span and returns at once; sample, the share of the traces that begin
    here which are recorded, 0 to 1; clock, nanoseconds since the epoch.
    """

    def __init__(
        self, export: Callable[[Span], None], *, sample: float = 1.0, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._export = export
        self._bound = round(sample * (1 << _RATIO_BITS))
        self._clock = clock
        self._ids = random.Random(secrets.randbits(256))  # noqa: S311 - ids of spans, no secrets

    def request(self, parent: TraceContext | None) -> Span:
        """Begin the span of a request. Parameters: parent, of a trusted proxy, which decided on sampling."""
        if parent is None:
            trace_id = self._new_id(128)
            sampled = trace_id & ((1 << _RATIO_BITS) - 1) < self._bound
        else:
            trace_id, sampled = parent.trace_id, parent.sampled
        context = TraceContext(trace_id, self._new_id(64), sampled)
        return Span("request", SpanKind.SERVER, context, parent, self._clock(), {})

    def child(self, name: str, kind: SpanKind) -> Span | None:
        """Begin a span of the running task; None when it works for no request that is recorded."""
        of = current_span.get()
        if of is None or of.ended or not of.context.sampled:
            return None
        context = TraceContext(of.context.trace_id, self._new_id(64), sampled=True)
        return Span(name, kind, context, of.context, self._clock(), {})

    def traceparent(self, span: Span | None) -> str | None:
        """The header for a request to another server, also in a trace that is not recorded; None for none.

        Parameters: span, of that request; None when it has none.
        """
        of = span or current_span.get()
        return of.context.traceparent if of is not None and not of.ended else None

    def end(self, span: Span) -> None:
        """End a span; ending it twice has no effect."""
        if not span.ended:
            span.ended = self._clock()
            if span.context.sampled:
                self._export(span)

    def operation(self, name: str, seconds: float, failed: bool) -> None:
        """Record an operation of the store that has just ended; a `Measure`."""
        span = self.child(f"store {name}", SpanKind.CLIENT)
        if span is not None:
            span.begun -= round(seconds * 1e9)
            span.attributes["db.operation.name"] = name
            span.error = "store_unavailable" if failed else ""
            self.end(span)

    def measuring(self, measure: Measure | None) -> Measure:
        """Return what records an operation here and, where one is given, in `measure`."""
        if measure is None:
            return self.operation
        other = measure

        def both(name: str, seconds: float, failed: bool) -> None:
            other(name, seconds, failed)
            self.operation(name, seconds, failed)

        return both

    def _new_id(self, bits: int) -> int:
        return self._ids.getrandbits(bits) or 1  # zero is invalid


@contextmanager
def child_span(
    tracer: Tracer | None, name: str, attributes: Attributes, kind: SpanKind = SpanKind.INTERNAL
) -> Iterator[Span | None]:
    """A span for the block, whose own steps are its children; None where `Tracer.child` makes none."""
    span = tracer.child(name, kind) if tracer is not None else None
    if tracer is None or span is None:
        yield None
        return
    span.attributes = attributes
    before = current_span.set(span)
    try:
        yield span
    except BaseException as error:
        span.error = error_name(error)
        raise
    finally:
        current_span.reset(before)
        tracer.end(span)


def error_name(error: BaseException) -> str:
    """The word for an error in a span: the code of the portal's own, the type of others, never a message."""
    return error.code if isinstance(error, PortalError) else type(error).__name__
