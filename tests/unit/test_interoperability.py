"""The table of providers: each cell has a test or an entry, and the committed table is current."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def table() -> ModuleType:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location(
        "interoperability", ROOT / "scripts" / "interoperability.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _filled(table: ModuleType, **cells: str) -> list[object]:
    """Return a provider with all capabilities "not offered" except these."""
    texts = {**dict.fromkeys(table.CAPABILITIES, "not offered"), **cells}
    return [table.ProviderEntry("Some provider", "1.0", "", False, "", texts)]


def _shown(result: str = "passed") -> dict[tuple[str, str], dict[str, str]]:
    return {("Some provider", "login"): {"tests/integration/test_x.py::test_a": result}}


def _without(table: ModuleType, capability: str) -> list[object]:
    (provider,) = _filled(table)
    cells = {name: text for name, text in provider.cells.items() if name != capability}  # type: ignore[attr-defined]
    return [replace(provider, cells=cells)]  # type: ignore[type-var]


def test_a_cell_with_a_test_works(table: ModuleType) -> None:
    providers = _without(table, "login")
    committed = table.render(providers, _shown())
    assert "| login | ✓ |" in committed
    assert "| Some provider | login | `integration/test_x.py` test_a |" in committed
    table.check(providers, _shown(), committed)


def test_a_cell_whose_test_vanished_is_named(table: ModuleType) -> None:
    with pytest.raises(table.Mistake, match='Some provider: no test shows "login"'):
        table.check(_without(table, "login"), {}, "")


@pytest.mark.parametrize("text", ["✓", "it asks twice"])
def test_a_cell_of_a_tested_provider_needs_a_test(table: ModuleType, text: str) -> None:
    with pytest.raises(table.Mistake, match='Some provider: no test shows "login"'):
        table.check(_filled(table, login=text), {}, "")


def test_a_capability_that_is_not_offered_has_no_test(table: ModuleType) -> None:
    with pytest.raises(table.Mistake, match="which the YAML file says is not offered"):
        table.check(_filled(table), _shown(), "")


@pytest.mark.parametrize("cell", [("Another", "login"), ("Some provider", "logging in")])
def test_a_marker_names_a_provider_and_a_capability(table: ModuleType, cell: tuple[str, str]) -> None:
    with pytest.raises(table.Mistake, match=r"integration/test_x.py::test_a: .*(no provider|not one of)"):
        table.check(_filled(table), {cell: {"tests/integration/test_x.py::test_a": "passed"}}, "")


@pytest.mark.parametrize("result", ["failed", "skipped", "not run"])
def test_a_cell_shows_that_its_test_did_not_pass_and_the_table_is_refused(
    table: ModuleType, result: str
) -> None:
    providers = _without(table, "login")
    committed = table.render(providers, {} if result == "not run" else _shown(result))
    assert f"| login | {result.upper()} |" in committed
    with pytest.raises(table.Mistake, match=result.upper()):
        table.check(providers, _shown(), committed)


def test_a_sentence_is_a_note(table: ModuleType) -> None:
    text = "The provider requires something that contradicts its own metadata."
    lines = table.render(_filled(table, login=text), _shown()).splitlines()
    assert "| login | [1](#notes) |" in lines
    assert f"1. Some provider, login: {text}" in lines


def test_a_provider_tried_by_hand_is_marked_and_may_be_incomplete(table: ModuleType) -> None:
    provider = table.ProviderEntry(
        "Some provider", "1.0", "2026-11-21", True, "Kept in memory.", {"login": "✓"}
    )
    committed = table.render([provider], {})
    for line in ("| tried | by hand, 2026-11-21 |", "| login | ✓ |", "| PAR | not tried |"):
        assert line in committed.splitlines()
    table.check([provider], {}, committed)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{name: N, how: tests, version: 1, capabilities: {logging in: x}}", "N: 'logging in' is not one of"),
        ("{name: N, how: by guess, version: 1}", "N: how is 'by guess'"),
        ("{name: N, how: tests, version: 1}, {name: N, how: tests, version: 1}", "N: two entries"),
        ("{name: N, how: by hand, version: 1}", "N: what was tried by hand needs a date"),
    ],
)
def test_an_invalid_entry_is_a_mistake(table: ModuleType, tmp_path: Path, entry: str, problem: str) -> None:
    source = tmp_path / "providers.yaml"
    source.write_text(f"providers: [{entry}]")
    with pytest.raises(table.Mistake, match=problem):
        table.read_providers(source)


def test_results_are_read_from_reports(table: ModuleType, tmp_path: Path) -> None:
    report = tmp_path / "integration.xml"
    shows = "<properties><property name='shows' value='Some provider: login'/></properties>"
    report.write_text(
        "<testsuites><testsuite>"
        f"<testcase classname='tests.integration.test_x' name='test_a[1]'>{shows}</testcase>"
        f"<testcase classname='tests.integration.test_x' name='test_a[2]'>{shows}<failure/></testcase>"
        f"<testcase classname='tests.integration.test_x' name='test_b'>{shows}<skipped/></testcase>"
        "<testcase classname='tests.integration.test_x' name='test_c'/></testsuite></testsuites>"
    )
    tests = {
        "tests/integration/test_x.py::test_a": "failed",
        "tests/integration/test_x.py::test_b": "skipped",
    }
    assert table.read_reports([report]) == {("Some provider", "login"): tests}
