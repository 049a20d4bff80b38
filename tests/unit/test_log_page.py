"""The page of log events has every event of the code and no other, and its table is current."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / "log_events.py"))


@pytest.fixture(scope="module")
def found(script: dict[str, Any]) -> dict[str, Any]:
    events: dict[str, Any] = script["logged_events"]((ROOT / "portal").rglob("*.py"))
    return events


@pytest.mark.reads_source
def test_every_event_has_a_sentence_and_every_sentence_an_event(
    script: dict[str, Any], found: dict[str, Any]
) -> None:
    assert sorted(script["sentences"]()) == sorted(found)
    assert len(found) > 100
    assert [name for name, text in script["sentences"]().items() if not text.rstrip().endswith(".")] == []


@pytest.mark.reads_source
def test_the_table_is_current(script: dict[str, Any], found: dict[str, Any]) -> None:
    page = script["PAGE"].read_text(encoding="utf-8")
    assert script["rendered"](page, found, script["sentences"]()) == page, "run: python scripts/log_events.py"


@pytest.mark.reads_source
@pytest.mark.parametrize(
    "event",
    ["key_ring_reloaded", "settings_changed", "settings_rejected", "tenant_file_rejected", "preset_rejected"],
)
def test_rotation_reload_and_rejection_are_events(found: dict[str, Any], event: str) -> None:
    assert found[event].levels <= {"info", "error"}


def test_the_name_of_an_event_is_found_in_each_form_that_the_code_uses(script: dict[str, Any]) -> None:
    source = """
def pairs():
    yield ("given_name", "text")

def log(self, new, event):
    _log.info("plain", tenant=new)
    self._log.error("one" if new else "two", exc_info=new)
    word = "three" if new else "four"
    _log.debug(word)

def warn(event):
    _log.warning(event)
"""
    events = list(script["events_of"](source, "x.py"))
    assert [(name, level) for name, level, _ in events] == [
        ("plain", "info"),
        ("one", "error"),
        ("two", "error"),
        ("three", "debug"),
        ("four", "debug"),
        ("given_name", "warning"),
    ]
    assert [fields for *_, fields in events][:2] == [{"tenant"}, {"error", "frames"}]


@pytest.mark.parametrize("name", ['f"tenant_{kind}"', '"two words"', "other"])
def test_an_event_whose_name_cannot_be_found_is_an_error(script: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=r"x\.py: line 1: the name of the event cannot be found"):
        list(script["events_of"](f"_log.info({name})", "x.py"))
