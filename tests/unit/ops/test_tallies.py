"""Tallies, in one process and in several."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from portal.ops.tallies import FOLDER, Tallies


def rendered(tallies: Tallies) -> list[str]:
    registry = CollectorRegistry()
    registry.register(tallies)
    return generate_latest(registry).decode().splitlines()


def test_a_counter_has_a_value_for_each_combination_of_labels() -> None:
    tallies = Tallies()
    counter = tallies.counter("portal_things", "Things.", ("kind", "place"))
    counter.add("a", "here")
    counter.add("a", "here", amount=2)
    counter.add("b", "there")
    lines = rendered(tallies)
    assert "# TYPE portal_things_total counter" in lines
    assert 'portal_things_total{kind="a",place="here"} 3.0' in lines
    assert 'portal_things_total{kind="b",place="there"} 1.0' in lines


def test_a_counter_without_labels_begins_with_zero() -> None:
    tallies = Tallies()
    tallies.counter("portal_things", "Things.")
    assert "portal_things_total 0.0" in rendered(tallies)


def test_the_buckets_of_a_histogram_include_their_upper_bound_and_are_cumulative() -> None:
    tallies = Tallies()
    seconds = tallies.histogram("portal_wait_seconds", "Waiting.", ("for",), bounds=(0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        seconds.observe(value, "it")
    assert [line for line in rendered(tallies) if not line.startswith("#")] == [
        'portal_wait_seconds_bucket{for="it",le="0.1"} 2.0',
        'portal_wait_seconds_bucket{for="it",le="1.0"} 3.0',
        'portal_wait_seconds_bucket{for="it",le="+Inf"} 4.0',
        'portal_wait_seconds_count{for="it"} 4.0',
        'portal_wait_seconds_sum{for="it"} 7.65',
    ]


@pytest.mark.gen_test
async def test_without_a_shared_folder_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(FOLDER, raising=False)
    tallies = Tallies()
    tallies.counter("portal_things", "Things.").add()
    await tallies.flush()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.gen_test
async def test_a_flush_writes_what_has_changed_since_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    tallies = Tallies()
    counter = tallies.counter("portal_things", "Things.", ("kind",))
    seconds = tallies.histogram("portal_wait_seconds", "Waiting.", bounds=(1.0,))
    for value in (1, 2):
        counter.add("a")
        seconds.observe(0.5)
        await tallies.flush()
        assert f'portal_things_total{{kind="a"}} {value}.0' in combined(tmp_path)
        assert f'portal_wait_seconds_bucket{{le="1.0"}} {value}.0' in combined(tmp_path)
        assert f"portal_wait_seconds_count {value}.0" in combined(tmp_path)
    tallies.close()
    assert {path.name for path in tmp_path.iterdir()} == {
        f"counter_tallies-{os.getpid()}.db",
        f"histogram_tallies-{os.getpid()}.db",
    }


def combined(folder: Path) -> list[str]:
    """What prometheus-client reads from the files of all processes."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
    return generate_latest(registry).decode().splitlines()
