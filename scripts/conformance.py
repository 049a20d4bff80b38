"""Writes docs/conformance.md: the relying party's rules, the tests that verify them, and their results.

`conformance.py` runs the tests that docs/conformance.yaml names. `conformance.py --reports DIR` reads their
results from the JUnit reports in a folder instead, such as .cache/tests after `make test`.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "docs" / "conformance.yaml"
TABLE = ROOT / "docs" / "conformance.md"
FAULTS = "tests/hostile"
_FAULT_PROPERTY = "single faults: "
_FAULT_HEAD = "| single faults in | cases | relevant | accepted wrongly | refused wrongly | unhandled |"
_ABOUT_THE_SUITE = (
    "Names such as `oidcc-client-test-…` are modules of the OpenID Foundation's conformance suite that test",
    "the same rules; that suite was not run for this table, and the portal is not certified. The results are",
    "those of the portal's own tests.",
    "",
    "To run that suite against a portal, give each test plan its own alias. The alias is part of the issuer:",
    "modules of two plans under one issuer would share keys and clients, which the portal caches. Modules of",
    "one plan can run without pauses, although most of them use new keys.",
)
_RULE_HEAD = "| rule | sources | tests | result |"

Test = tuple[str, str]
"""File and name of a test function."""


class Mistake(Exception):
    """docs/conformance.yaml is invalid."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One requirement for the relying party."""

    id: str
    text: str
    sources: tuple[str, ...]
    tests: tuple[Test, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """Related rules, and the certification test plans that require them."""

    title: str
    plans: tuple[str, ...]
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Number of cases of a test function by result."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Results:
    """Results of a test run: by test function, and the numbers of the single faults."""

    outcomes: Mapping[Test, Outcome]
    faults: Mapping[str, str]


NOTHING = Results({}, {})


def main(arguments: Sequence[str]) -> int:
    """Write the table and return the exit code."""
    try:
        families = read_families()
    except Mistake as mistake:
        print(f"error: {mistake}")
        return 2
    match arguments:
        case []:
            results = run_tests(families)
        case ["--reports", folder]:
            results = read_reports(sorted(Path(folder).glob("*.xml")))
        case _:
            print("usage: conformance.py [--reports DIR]")
            return 2
    TABLE.write_text(render(families, results))
    results_of_rules = [result_of(rule, results) for family in families for rule in family.rules]
    print(f"{len(results_of_rules)} rules, {sum(is_met(result) for result in results_of_rules)} met: {TABLE}")
    return 0 if all(is_met(result) for result in results_of_rules) else 1


# --- the rules


def read_families(source: Path = SOURCE) -> list[Family]:
    """Read the rules, with every pattern of a test resolved.

    Raises: Mistake when a rule has no test, or a pattern finds none.
    """
    document = yaml.load(source.read_text(), yaml.CSafeLoader)
    names = {file: test_names(ROOT / file) for file in document["files"].values()}
    mistakes: list[str] = []
    families = [
        Family(
            entry["title"],
            tuple(entry["plans"]),
            tuple(_rule(rule, document["files"], names, mistakes) for rule in entry["rules"]),
        )
        for entry in document["families"]
    ]
    ids = [rule.id for family in families for rule in family.rules]
    mistakes += [f"{id}: two rules have this id" for id in sorted(set(ids)) if ids.count(id) > 1]
    if mistakes:
        raise Mistake("\n".join(mistakes))
    return families


def test_names(path: Path) -> list[str]:
    """Names of the test functions of a file, none when the file does not exist."""
    if not path.exists():
        return []
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    tree = ast.parse(path.read_text())
    return [node.name for node in tree.body if isinstance(node, functions) and node.name.startswith("test_")]


def _rule(
    entry: Mapping[str, Any],
    files: Mapping[str, str],
    names: Mapping[str, Sequence[str]],
    mistakes: list[str],
) -> Rule:
    tests: dict[Test, None] = {}
    for pattern in entry["tests"]:
        short, _, name = pattern.partition("::")
        if short not in files:
            mistakes.append(f"{entry['id']}: no file is called {short!r}")
            continue
        found = [test for test in names[files[short]] if fnmatchcase(test, name)]
        if not found:
            mistakes.append(f"{entry['id']}: {files[short]} has no test {name}")
        tests |= {(files[short], test): None for test in found}
    if not entry["tests"]:
        mistakes.append(f"{entry['id']}: no test shows this rule")
    return Rule(entry["id"], entry["rule"], tuple(entry["sources"]), tuple(tests))


# --- the results


def run_tests(families: Iterable[Family]) -> Results:
    """Run the tests of all rules, and every single fault."""
    from run_tests import make_environment

    tests = {test: None for family in families for rule in family.rules for test in rule.tests}
    named = [f"{file}::{name}" for file, name in tests if not file.startswith(FAULTS)]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", FAULTS, *named, f"--junit-xml={report}"]
        subprocess.run(command, cwd=ROOT, env=make_environment(folder), stdin=subprocess.DEVNULL, check=False)
        return read_reports([report])


def read_reports(reports: Iterable[Path]) -> Results:
    """Read JUnit reports as pytest writes them; missing reports are skipped."""
    outcomes: dict[Test, Outcome] = {}
    faults: dict[str, str] = {}
    for report in reports:
        if not report.exists():
            continue
        root = ElementTree.parse(report).getroot()
        for node in root.findall("./testsuite/properties/property"):
            name, numbers = node.get("name", ""), node.get("value", "")
            if name.startswith(_FAULT_PROPERTY):
                faults[name.removeprefix(_FAULT_PROPERTY)] = numbers
        for case in root.iter("testcase"):
            test = case.get("classname", "").replace(".", "/") + ".py", case.get("name", "").partition("[")[0]
            outcomes[test] = _with(outcomes.get(test, Outcome()), case)
    return Results(outcomes, faults)


def _with(outcome: Outcome, case: ElementTree.Element) -> Outcome:
    if case.find("failure") is not None or case.find("error") is not None:
        return Outcome(outcome.passed, outcome.failed + 1, outcome.skipped)
    if case.find("skipped") is not None:
        return Outcome(outcome.passed, outcome.failed, outcome.skipped + 1)
    return Outcome(outcome.passed + 1, outcome.failed, outcome.skipped)


def result_of(rule: Rule, results: Results) -> str:
    """The results of a rule's tests as text."""
    outcomes = [results.outcomes.get(test, Outcome()) for test in rule.tests]
    if failed := sum(outcome.failed for outcome in outcomes):
        return f"{failed} FAILED"
    if any(outcome == Outcome() for outcome in outcomes):
        return "not run"
    passed, skipped = (sum(getattr(outcome, name) for outcome in outcomes) for name in ("passed", "skipped"))
    if not passed:
        return "skipped"
    return f"{passed} passed" + (f", {skipped} skipped" if skipped else "")


def is_met(result: str) -> bool:
    """Whether a rule's tests ran and none failed."""
    return "passed" in result


# --- the table


def render(families: Iterable[Family], results: Results) -> str:
    """Return the document."""
    lines = [
        "# Requirements for the relying party, and their tests",
        "",
        "Generated by `scripts/conformance.py` from [conformance.yaml](conformance.yaml); do not edit.",
        "A result counts test cases: a parametrized test has several.",
        "",
        *_ABOUT_THE_SUITE,
    ]
    for family in families:
        lines += ["", f"## {family.title}", ""]
        lines += [f"- {plan}" for plan in family.plans]
        lines += ["", _RULE_HEAD, "|---|---|---|---|", *(_row(rule, results) for rule in family.rules)]
    return "\n".join([*lines, *_fault_lines(results), ""])


def _row(rule: Rule, results: Results) -> str:
    shown = [(file.removeprefix("tests/"), name) for file, name in rule.tests]
    tests = "<br>".join(f"`{file}` {name}" for file, name in shown)
    cells = (rule.text, "; ".join(rule.sources), tests, result_of(rule, results))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _fault_lines(results: Results) -> list[str]:
    """The table of single faults: messages of a provider with one fault each."""
    if not results.faults:
        return []
    rows = [f"| {name} | {' | '.join(numbers.split())} |" for name, numbers in results.faults.items()]
    lead = "Every message of a provider, with one fault at a time (`tests/hostile`)."
    return ["", "## Single faults", "", lead, "", _FAULT_HEAD, "|---|---|---|---|---|---|", *rows]


def without_results(table: str) -> str:
    """The document without test results: the part that must agree with the rules."""
    rules = table.partition("\n## Single faults\n")[0].rstrip("\n")
    return "\n".join(
        line.rpartition(" | ")[0] if line.startswith("| ") and line.endswith(" |") else line
        for line in rules.split("\n")
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
