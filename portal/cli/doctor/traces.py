"""What `portal doctor` checks of traces: whether the collector takes spans."""

from __future__ import annotations

from portal.cli.doctor.model import Area, Result
from portal.config.settings import Settings
from portal.errors import StartupError
from portal.ops.span_export import SpanExport

_AREA = Area("traces")
_SEE = 'docs/operations.md "Traces" has how to set it up.'


def trace_results(settings: Settings, *, offline: bool) -> list[Result]:
    """Send the collector a message without spans. Parameters: offline, whether to send nothing."""
    traces = settings.traces
    if traces is None:
        return []
    try:
        spans = SpanExport(traces.endpoint, service_name=traces.service_name)
    except StartupError as error:
        return [_AREA.failed("packages", error.message, error.remedy)]
    if offline:
        return [_AREA.skipped("collector", "not asked: --offline")]
    if refusal := spans.refusal():
        seen = f"{traces.endpoint} takes no spans: {refusal}"
        return [_AREA.warned("collector", seen, f"Start the collector, or correct `traces.endpoint`. {_SEE}")]
    return [_AREA.passed("collector", f"{traces.endpoint} takes spans")]
