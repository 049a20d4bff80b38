"""Sending spans: without the packages, before the start, and to a collector that is down."""

from __future__ import annotations

import asyncio
import sys

import pytest

from portal.errors import StartupError
from portal.ops.span_export import SpanExport
from portal.traces import Tracer


def test_without_the_packages_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [one for one in sys.modules if one.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(StartupError) as caught:
        SpanExport("http://127.0.0.1:9/v1/traces", service_name="portal")
    assert caught.value.remedy == "Run: pip install 'tenant-portal[otel]'"


def test_before_the_start_and_after_the_end_nothing_is_queued() -> None:
    spans = SpanExport("http://127.0.0.1:9/v1/traces", service_name="portal")
    tracer = Tracer(spans.export)
    tracer.end(tracer.request(None))
    asyncio.run(spans.close())
    spans.flush()
