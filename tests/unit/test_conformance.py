"""The conformance table: each rule has existing tests, and the committed table is current."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def conformance() -> ModuleType:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("conformance", ROOT / "scripts" / "conformance.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_rule_has_existing_tests(conformance: ModuleType) -> None:
    families = conformance.read_families()
    assert all(family.plans for family in families)
    assert all(rule.tests and rule.sources and rule.text for family in families for rule in family.rules)


def test_the_committed_table_has_the_rules_and_their_tests(conformance: ModuleType) -> None:
    expected = conformance.render(conformance.read_families(), conformance.NOTHING)
    committed = conformance.TABLE.read_text()
    assert conformance.without_results(committed) == conformance.without_results(expected), (
        "docs/conformance.md does not match docs/conformance.yaml; run scripts/conformance.py"
    )


def test_the_committed_table_shows_no_rule_that_is_not_met(conformance: ModuleType) -> None:
    rows = [line for line in conformance.TABLE.read_text().splitlines() if line.startswith("| ")]
    results = [row.rstrip(" |").rpartition(" | ")[2] for row in rows if "<br>" in row or "`" in row]
    assert results
    assert all(conformance.is_met(result) for result in results)


@pytest.mark.parametrize(
    ("tests", "problem"),
    [
        ("[]", "no test shows this rule"),
        ("['here::test_that_nobody_wrote']", "has no test test_that_nobody_wrote"),
        ("['here::test_no_such_*']", "has no test"),
        ("['there::test_x']", "no file is called 'there'"),
    ],
)
def test_a_rule_without_a_test_is_a_mistake(
    conformance: ModuleType, tmp_path: Path, tests: str, problem: str
) -> None:
    source = tmp_path / "rules.yaml"
    source.write_text(
        "files: {here: tests/unit/test_conformance.py}\n"
        f"families: [{{title: T, plans: [p], rules: [{{id: r, rule: R, sources: [s], tests: {tests}}}]}}]\n"
    )
    with pytest.raises(conformance.Mistake, match=problem):
        conformance.read_families(source)


def test_results_are_read_from_reports(conformance: ModuleType, tmp_path: Path) -> None:
    report = tmp_path / "unit.xml"
    report.write_text(
        "<testsuites><testsuite><properties><property name='single faults: ID tokens' value='9 7 0 0 0'/>"
        "<property name='of a plugin' value='x'/></properties>"
        "<testcase classname='tests.unit.test_x' name='test_a[1]'/>"
        "<testcase classname='tests.unit.test_x' name='test_a[2]'/>"
        "<testcase classname='tests.unit.test_x' name='test_b'><failure/></testcase>"
        "<testcase classname='tests.unit.test_x' name='test_c'><skipped/></testcase></testsuite></testsuites>"
    )
    results = conformance.read_reports([report, tmp_path / "missing.xml"])
    assert results.faults == {"ID tokens": "9 7 0 0 0"}

    def result(*names: str) -> str:
        tests = tuple(("tests/unit/test_x.py", name) for name in names)
        found: str = conformance.result_of(conformance.Rule("r", "R", (), tests), results)
        return found

    assert result("test_a") == "2 passed"
    assert result("test_a", "test_c") == "2 passed, 1 skipped"
    assert result("test_a", "test_b") == "1 FAILED"
    assert result("test_c") == "skipped"
    assert result("test_a", "test_d") == "not run"
    assert not any(conformance.is_met(word) for word in ("1 FAILED", "skipped", "not run"))


def test_the_documentation_states_that_session_management_is_not_supported() -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    documents_with_it = [path.name for path in documents if "check_session_iframe" in path.read_text()]
    assert documents_with_it, "no document mentions that Session Management is not supported"
    code = "".join(path.read_text() for path in (ROOT / "portal").rglob("*.py"))
    assert "check_session_iframe" not in code
