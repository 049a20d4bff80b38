"""The page of events has every kind, and its tables are current."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from portal.admin.events import EventKind

ROOT = Path(__file__).resolve().parents[2]


def test_the_tables_of_the_page_are_current() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "events.py"))
    page = script["PAGE"].read_text(encoding="utf-8")
    assert script["rendered"](page) == page, "run: python scripts/events.py"


def test_the_page_has_every_kind() -> None:
    page = (ROOT / "docs" / "reference" / "events.md").read_text(encoding="utf-8")
    assert [kind for kind in EventKind if f"| `{kind}` |" not in page] == []


def test_a_kind_without_a_sentence_is_an_error() -> None:
    members = runpy.run_path(str(ROOT / "scripts" / "generated_pages.py"))["members"]
    source = 'class Kind:\n    A = "a"\n    """First."""\n    B = "b"\n'
    with pytest.raises(ValueError, match="Kind: b has no docstring"):
        members(source, "Kind")
    assert members(source + '    """Second."""\n', "Kind") == [("a", "First."), ("b", "Second.")]
