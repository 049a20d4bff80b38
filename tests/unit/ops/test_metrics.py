"""Metrics of a single process."""

from __future__ import annotations

from portal.ops.metrics import Metrics


def test_one_process_renders_its_own_numbers() -> None:
    metrics = Metrics()
    metrics.start_time.set(12.5)
    assert b"\nportal_start_time_seconds 12.5\n" in metrics.render()
