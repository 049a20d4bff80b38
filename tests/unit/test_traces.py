"""The tracer: ids, parents, sampling, and what is no part of a trace any more."""

from __future__ import annotations

import asyncio

import pytest

from portal.errors import StoreUnavailable
from portal.trace_context import TraceContext
from portal.traces import Span, SpanKind, Tracer, child_span, current_span


def tracer(ended: list[Span], *, sample: float = 1.0) -> Tracer:
    times = iter(range(10**9, 10**12, 10**9))
    return Tracer(ended.append, sample=sample, clock=lambda: next(times))


def test_a_request_without_a_parent_begins_a_trace() -> None:
    ended: list[Span] = []
    made = tracer(ended)
    first, second = made.request(None), made.request(None)
    assert first.context.trace_id != second.context.trace_id
    assert 0 < first.context.trace_id < 1 << 128
    assert 0 < first.context.span_id < 1 << 64
    made.end(first)
    assert ended == [first]
    assert first.ended - first.begun == 2 * 10**9
    made.end(first)
    assert ended == [first]


def test_a_request_with_a_parent_goes_on_with_its_trace() -> None:
    parent = TraceContext(7, 8, True)
    span = tracer([], sample=0.0).request(parent)
    assert (span.context.trace_id, span.parent, span.context.sampled) == (7, parent, True)
    assert span.context.span_id != 8


def test_a_share_of_traces_is_recorded() -> None:
    ended: list[Span] = []
    made = tracer(ended, sample=0.25)
    spans = [made.request(None) for _ in range(400)]
    for span in spans:
        made.end(span)
    assert ended == [span for span in spans if span.context.sampled]
    assert 40 < len(ended) < 160
    assert not any(tracer([], sample=0.0).request(None).context.sampled for _ in range(100))
    assert all(tracer([]).request(None).context.sampled for _ in range(100))


def test_steps_are_children_of_the_span_that_the_task_works_for() -> None:
    ended: list[Span] = []
    made = tracer(ended)

    async def work() -> Span:
        request = made.request(None)
        current_span.set(request)
        with child_span(made, "refresh", {"portal.tenant": "acme"}) as refresh:
            made.operation("swap_login", 0.5, False)
        made.operation("read", 0.5, True)
        assert current_span.get() is request
        assert refresh is not None
        return request

    request = asyncio.run(work())
    swap, refresh, read = ended
    assert [one.parent for one in ended] == [refresh.context, request.context, request.context]
    assert (swap.name, swap.kind, swap.attributes) == (
        *("store swap_login", SpanKind.CLIENT),
        {"db.operation.name": "swap_login"},
    )
    assert (swap.error, read.error) == ("", "store_unavailable")
    assert swap.ended - swap.begun == 1.5e9  # half a second, and one of the clock of this test
    assert (refresh.name, refresh.attributes) == ("refresh", {"portal.tenant": "acme"})


def test_what_begins_after_the_end_of_a_request_is_not_part_of_its_trace() -> None:
    ended: list[Span] = []
    made = tracer(ended)

    async def later() -> None:
        made.operation("read", 0.1, False)
        assert made.child("call API", SpanKind.CLIENT) is None

    async def work() -> None:
        request = made.request(None)
        current_span.set(request)
        task = asyncio.create_task(later())
        made.end(request)
        await task

    asyncio.run(work())
    assert [span.name for span in ended] == ["request"]


def test_work_for_no_request_has_no_spans() -> None:
    ended: list[Span] = []
    made = tracer(ended)
    made.operation("read", 0.1, False)
    with child_span(made, "refresh", {}) as span, child_span(None, "refresh", {}) as without:
        assert (span, without) == (None, None)
    assert ended == []


@pytest.mark.parametrize(
    ("error", "name"),
    [(StoreUnavailable("a secret"), StoreUnavailable.code), (ValueError("a secret"), "ValueError")],
)
def test_an_error_is_named_without_its_message(error: Exception, name: str) -> None:
    ended: list[Span] = []
    made = tracer(ended)

    async def work() -> None:
        current_span.set(made.request(None))
        with pytest.raises(type(error)), child_span(made, "refresh", {}):
            raise error

    asyncio.run(work())
    [span] = ended
    assert span.error == name


def test_a_measured_operation_is_also_counted() -> None:
    counted: list[tuple[str, float, bool]] = []
    made = tracer([])
    made.measuring(lambda *of: counted.append(of))("read", 0.5, True)
    assert counted == [("read", 0.5, True)]
    assert made.measuring(None) == made.operation
